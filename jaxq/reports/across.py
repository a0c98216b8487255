"""Methods on several environments: side by side in one table, and pooled where anchors allow it."""

from collections.abc import Callable, Mapping, Sequence

from jaxq.reports import figures, tables
from jaxq.reports.anchors import Scale, together
from jaxq.reports.pages import Notes, Picture, Section
from jaxq.reports.pooling import PooledMethod, methods_of, mixture, pool
from jaxq.reports.sources import Lane
from jaxq.scoring import plots
from jaxq.scoring.canvas import COLORS
from jaxq.scoring.panels import draw_grid, draw_side_by_side
from jaxq.scoring.protocol import protocol_words, steps_words
from jaxq.scoring.scores import seed_words

_NAMED = 8  # methods in a sentence
_PANELS = 60  # of one figure
_OF_ITS_OWN = ("environment", "num_actions", "limit")  # what a protocol says of one environment


def side_by_side(lanes: Sequence[Lane]) -> list[Section]:
    """The final scores of methods on all environments under protocols of one kind."""
    kinds: dict[str, list[Lane]] = {}
    for lane in lanes:
        kinds.setdefault(words_across(lane), []).append(lane)
    found = []
    for words, group in kinds.items():
        methods = methods_of(group)
        rows = {x.label: places for x in methods if len(places := _places_of(x)) > 1}
        if rows:
            notes = [mixture(method) for method in methods if method.label in rows]
            alone = [method.label for method in methods if method.label not in rows]
            if alone:
                few = f"{', '.join(alone[:_NAMED])}{' and others' if len(alone) > _NAMED else ''}"
                notes.append(f"Not on several environments, or several times on one: {few}.")
            found.append(tables.side_by_side(rows, words, " ".join(filter(None, notes))))
            found.append(_curves(rows, words))
    if not found and len(_places(lanes)) > 1:
        found += [tables.each(lanes), _each(lanes)]
    return [Section("Environments side by side", found)] if found else []


def _each(lanes: Sequence[Lane]) -> Picture | Notes:
    """How lanes learn of which no method is on several environments, a panel for each."""
    if len(lanes) > _PANELS:
        return Notes([f"Learning curves of at most {_PANELS} lanes are drawn side by side."])
    curves = {figures.drawn(lane.label): lane.curves for lane in lanes}
    seeds = seed_words([len(lane.scores) for lane in lanes])
    counted = steps_words(lanes[0].protocol)
    return figures.picture(
        "Learning curves",
        f"Evaluation return while learning: IQM, its interval and every seed. {seeds} each. "
        f"{tables.INTERVAL}. The protocol of each is that of its environment above.",
        lambda file: draw_grid(file, curves, "", counted=counted, sharey=False),
    )


def _curves(rows: Mapping[str, Mapping[str, Lane]], words: str) -> Picture | Notes:
    """How methods (label -> environment -> lane) learn."""
    if len(rows) > len(COLORS):
        return Notes([f"Learning curves of at most {len(COLORS)} methods are drawn side by side."])
    lanes = [lane for places in rows.values() for lane in places.values()]
    counted = steps_words(lanes[0].protocol)
    names, note = _without_what_all_have(list(rows))
    curves = {
        figures.drawn(name): {place: lane.curves for place, lane in places.items()}
        for name, places in zip(names, rows.values())
    }
    seeds = seed_words([len(lane.scores) for lane in lanes])
    return figures.picture(
        "Learning curves",
        f"Evaluation return while learning: IQM and its interval. {seeds} each. "
        f"{tables.INTERVAL}. Protocol: {words}.",
        lambda file: draw_side_by_side(file, curves, note, counted),
    )


def _without_what_all_have(labels: list[str]) -> tuple[list[str], str]:
    """Labels such as ``qrc epsilon_steps=400000`` without a setting that they share, and a note of
    it."""
    parts = [label.partition(" ") for label in labels]
    shared, *others = {setting for _, _, setting in parts}
    if len(labels) == 1 or others or "=" not in shared:
        return labels, ""
    return [name for name, _, _ in parts], f"all with {shared}"


def _places_of(method: PooledMethod) -> dict[str, Lane]:
    """Environment -> lane; empty if several lanes on one environment are the method."""
    places = {lane.protocol["environment"]: lane for lane in method.lanes}
    return places if len(places) == len(method.lanes) else {}


def pooled(lanes: Sequence[Lane], scaled: Callable[[Lane], Scale | str]) -> list[Section]:
    """Methods on several environments with anchors of one kind, and what is not pooled, and why."""
    if len(_places(lanes)) < 2:
        return []
    groups: dict[tuple[str, str], list[Lane]] = {}
    reasons: dict[str, list[str]] = {}
    for lane in lanes:
        scale = scaled(lane)
        if isinstance(scale, Scale):
            groups.setdefault((scale.title(), words_across(lane)), []).append(lane)
        else:
            reasons.setdefault(scale, []).append(lane.label)
    sections = []
    for (title, words), group in groups.items():
        if len(_places([x for (t, _), lanes in groups.items() if t == title for x in lanes])) == 1:
            reason = f"{_places(group)[0]} alone has anchors of that kind ({title})"
            reasons.setdefault(reason, []).extend(lane.label for lane in group)
        else:
            sections.append(Section(f"Across environments, {title}", _pooled(group, scaled, words)))
    lines = [
        f"{', '.join(labels[: tables.MOST_PRINTED])}: not pooled, because {reason}."
        for reason, labels in reasons.items()
    ]
    if lines and not sections:
        sections.append(Section("Across environments", []))
    if lines:
        sections[-1].blocks.append(Notes(lines))
    return sections


def _places(lanes: Sequence[Lane]) -> list[str]:
    return list(dict.fromkeys(lane.protocol["environment"] for lane in lanes))


def _pooled(lanes: Sequence[Lane], scaled: Callable[[Lane], Scale], words: str) -> list:
    """The same of lanes that share a kind of protocol and of anchors."""
    methods, notes = pool(lanes, lambda lane: lane.protocol["environment"])
    blocks: list = [Notes(notes)] if notes else []
    scales = {lane.protocol["environment"]: scaled(lane) for lane in lanes}
    once = {
        label: tables.on_scales({place: (lane, scales[place]) for place, lane in places.items()})
        for label, places in methods.items()
    }
    if not once:
        return [*blocks, Notes([f"Protocol: {words}."])]
    counts = [len(values) for scores in once.values() for values in scores.values()]
    ending = f"{seed_words(counts)} an environment. {tables.INTERVAL}. Protocol: {words}."
    here = {place for scores in once.values() for place in scores}
    meaning = together({place: scale for place, scale in scales.items() if place in here})
    blocks.append(tables.across(once, meaning, ending))
    blocks.append(
        figures.picture(
            "Performance profiles",
            f"The share of seeds whose normalised score is above each value, averaged over "
            f"environments, with its interval. {ending}",
            lambda file: plots.draw_profiles(
                file, {figures.drawn(k): v for k, v in once.items()}, "", "normalised score"
            ),
        )
    )
    if len(once) > 1 and len({frozenset(scores) for scores in once.values()}) == 1:
        blocks.append(tables.improvement(once, ending))
    return blocks


def words_across(lane: Lane) -> str:
    """The part of a lane's protocol that other environments can have, too."""
    rest = {k: v for k, v in lane.protocol.items() if k not in _OF_ITS_OWN}
    if lane.fields["time_limit"] == "default":  # which is terminal in Freeway alone
        rest["time_limit"] = "every environment has its own policy for"
    return protocol_words(rest)
