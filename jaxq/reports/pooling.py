"""Which lanes are one method on several environments: by their configuration, not by a name.

Two lanes are one method if they agree in every field of ``Config`` and of ``HParams`` except

* those of the environment and of its protocol, and how policies are evaluated;
* sizes, which suit an environment, unless a sweep varied them;
* the step size and the loss's delta, where both have those of a known preset of the same name:
  authors choose them for each environment (Young & Tian 2019; Obando-Ceron & Castro 2021). What no
  other preset is like is held by its numbers against the rest.

Whatever else a run records about what it was made of counts. When in doubt lanes are two methods;
``pool`` says which were not pooled, and why. Lanes that somebody has called the same are one method
all the same, and it is said in what they differ.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, NamedTuple

from jaxq.config import Preset
from jaxq.recipes.presets import PRESETS
from jaxq.reports.sources import Lane
from jaxq.settings import ENV_PARAM, describe, differing, flatten, format_value

_PROTOCOL = ("env", "env_kwargs", "time_limit", "eval_epsilon", "eval_episodes", "eval_max_steps")
_SIZES = ("num_envs", "widths", "memory_width", "capacity", "batch_size", "chunk_steps")
_CHOSEN = ("learning_rate", "huber_delta")  # by authors, for every environment
_COMPARED = ("config", "lanes")  # of a document, field by field
_NOT_COMPARED = ("preset", "steps", "seeds", "sweep")
_MOST_NAMED = 4  # differences that are told one by one


class PooledMethod(NamedTuple):
    """Lanes that agree in what makes a method."""

    label: str
    fields: dict[str, Hashable]  # in which they agree
    lanes: list[Lane]


class Pooled(NamedTuple):
    """Methods on several environments, and a sentence about each of the others and about those
    that are one method only because somebody says so."""

    methods: dict[str, dict[Hashable, Lane]]  # label -> environment -> its one lane
    notes: list[str]


def pool(lanes: Sequence[Lane], environment_of: Callable[[Lane], Hashable]) -> Pooled:
    """The methods in ``lanes``, which share a protocol, that were trained on several environments.

    Args:
      environment_of: what the pooled lanes of a method are told apart by.
    """
    methods, pooled = methods_of(lanes), {}
    notes = [words for method in methods if (words := mixture(method))]
    for method in methods:
        places: dict[Hashable, list[Lane]] = {}
        for lane in method.lanes:
            places.setdefault(environment_of(lane), []).append(lane)
        several = [lane.label for found in places.values() if len(found) > 1 for lane in found]
        if several:
            notes.append(
                f"{method.label}: not pooled, because several lanes on one environment are this "
                f"method ({', '.join(several)})."
            )
        elif len(places) > 1:
            pooled[method.label] = {place: found[0] for place, found in places.items()}
        else:
            notes.append(_alone(method, methods))
    return Pooled(pooled, notes)


def methods_of(lanes: Sequence[Lane]) -> list[PooledMethod]:
    """The methods in ``lanes``, each with a label of its own."""
    made = [[_made(lane, by_preset) for lane in lanes] for by_preset in (True, False)]
    groups = _alike(range(len(lanes)), made[0])
    alone = [place for group in groups if not _is_spread(group, lanes) for place in group]
    several = [group for group in _alike(alone, made[1]) if _is_spread(group, lanes)]
    taken = {place for group in several for place in group}
    groups = sorted([*several, *(group for group in groups if group[0] not in taken)])
    members = [[lanes[place] for place in group] for group in groups]
    labels = [_label(group) for group in members]
    counts = Counter(labels)
    return [
        PooledMethod(
            label if counts[label] == 1 else f"{label} ({group[0].label})",
            _shared(group, by_preset=places not in several),
            group,
        )
        for label, group, places in zip(labels, members, groups)
    ]


def _made(lane: Lane, by_preset: bool) -> Hashable:
    """What all lanes of a method have in common: their label, if somebody has called them so."""
    return lane.label if lane.given else tuple(sorted(fields_of(lane, by_preset).items()))


def _alike(places: Iterable[int], made: Sequence[Hashable]) -> list[list[int]]:
    """The places of lanes, in groups of those that are made alike."""
    groups: dict[Hashable, list[int]] = {}
    for place in places:
        groups.setdefault(made[place], []).append(place)
    return list(groups.values())


def _is_spread(group: Sequence[int], lanes: Sequence[Lane]) -> bool:
    """Whether lanes are on several environments."""
    return len({lanes[place].fields["env"] for place in group}) > 1


def mixture(method: PooledMethod) -> str:
    """In what the lanes of one method differ, if somebody has called them so."""
    if not method.lanes[0].given:
        return ""
    fields = [fields_of(lane) for lane in method.lanes]
    names = differing(fields)
    if not names:
        return ""
    words = ", ".join(names) if len(names) <= _MOST_NAMED else f"{len(names)} fields"
    return f"{method.label}: one method by its label; configurations differ in {words}."


def _shared(lanes: Sequence[Lane], by_preset: bool) -> dict[str, Hashable]:
    """The fields of a method in which its lanes agree."""
    fields = [fields_of(lane, by_preset) for lane in lanes]
    varied = differing(fields)
    return {name: value for name, value in fields[0].items() if name not in varied}


def fields_of(lane: Lane, by_preset: bool = True) -> dict[str, Hashable]:
    """What makes the method of a lane, by field.

    Args:
      by_preset: whether what authors choose is held by that it is their choice.
    """
    counted = _counted(lane.fields, lane.setting)
    document = lane.run.document
    counted |= {k: repr(document[k]) for k in document if k not in (*_COMPARED, *_NOT_COMPARED)}
    preset = _known(lane) if by_preset else None
    for name in _CHOSEN if preset else ():
        if counted[name] == getattr(preset.hparams, name):
            counted[name] = f"that of the preset of {_family(lane)}"
    return counted


def _counted(fields: dict[str, Any], setting: dict[str, Any]) -> dict[str, Hashable]:
    """The fields that make a method, in a form in which JSON does not matter."""
    sizes = [name for name in _SIZES if name not in setting]
    return {
        name: _comparable(value)
        for name, value in fields.items()
        if name not in (*_PROTOCOL, *sizes) and not name.startswith(ENV_PARAM)
    }


def _comparable(value: Any) -> Hashable:
    if isinstance(value, tuple | list):
        return tuple(map(_comparable, value))
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value)


def _known(lane: Lane) -> Preset | None:
    """The preset that a lane names, if it was trained on that preset's environment."""
    preset = PRESETS.get(lane.run.document["preset"])
    return preset if preset and preset.config.env == lane.fields["env"] else None


def _family(lane: Lane) -> str:
    """The name of a known preset without its environment, such as ``dqn``."""
    environment = lane.fields["env"].split("-")[0].lower()
    return lane.run.document["preset"].removesuffix(f"-{environment}")


def _label(lanes: Sequence[Lane]) -> str:
    if lanes[0].given:
        return lanes[0].label
    labels = list(dict.fromkeys(map(_name, lanes)))
    if len(labels) > 1 and all(map(_known, lanes)):  # presets, perhaps all changed alike
        families = {f"{_family(lane)} {describe(_changed(lane))}" for lane in lanes}
        labels = list(families) if len(families) == 1 else labels
    return labels[0] if len(labels) == 1 else f"{labels[0]} and {len(labels) - 1} like it"


def _name(lane: Lane) -> str:
    """What a lane's method is called; a preset that was changed or is not known keeps its name."""
    changed = _changed(lane)
    name = _family(lane) if _known(lane) and not changed else lane.run.document["preset"]
    return f"{name} {describe(changed)}".strip()


def _changed(lane: Lane) -> dict[str, Any]:
    """The fields of a lane's method that its known preset has otherwise; else those swept."""
    counted, preset = _counted(lane.fields, lane.setting), _known(lane)
    if not preset:
        return {k: v for k, v in lane.setting.items() if k in counted}
    original = _counted({**vars(preset.config), **flatten(preset.hparams)}, lane.setting)
    return {k: lane.fields[k] for k, v in counted.items() if original.get(k) != v}


def _alone(method: PooledMethod, methods: Sequence[PooledMethod]) -> str:
    """Why a method that was trained on one environment is on no other."""
    environment = method.lanes[0].protocol["environment"]
    if method.lanes[0].given:
        return f"{method.label}: not pooled, because only a lane on {environment} is called so."
    words = f"{method.label}: not pooled, because no lane on another environment than "
    words += f"{environment} is the same method"
    others = [m for m in methods if any(x.protocol["environment"] != environment for x in m.lanes)]
    if not others:
        return f"{words}."
    nearest = min(others, key=lambda other: len(_different(method, other)))
    names = _different(method, nearest)
    if len(names) > _MOST_NAMED:
        return f"{words}; the nearest, {nearest.label}, differs in {len(names)} fields."
    values = [f"{k} ({_said(method, k)} here, {_said(nearest, k)} there)" for k in names]
    return f"{words}; the nearest, {nearest.label}, differs in {', '.join(values)}."


def _different(one: PooledMethod, other: PooledMethod) -> list[str]:
    names = dict.fromkeys([*one.fields, *other.fields])
    return [name for name in names if one.fields.get(name) != other.fields.get(name)]


def _said(method: PooledMethod, name: str) -> str:
    value = method.fields.get(name, "not swept")
    return value if isinstance(value, str) else format_value(method.lanes[0].fields[name])
