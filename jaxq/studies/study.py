"""A study: many settings trained as one experiment, in a directory of run directories.

    study.json     the settings, the seeds, and which part trains which
    parts/000/     a run directory per part: some settings of one program, on some seeds
    winner/        the best setting again, on fresh seeds; of several environments a run
                   directory each, by their names
    lanes.csv      one row per setting
    scores.json    the same with every seed, and the winner's second number
    metrics.npz    ``steps`` [T]; ``eval_return``, ``eval_value``, ``loss`` and what else all
                   parts have measured [L, S, T] of all settings, NaN where one was not measured
    COMPLETE       written last

Parts are independent of each other and of who runs them; a part is finished once it holds
``COMPLETE``. So a study is continued by running what is not finished, here or anywhere else.
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxq.config import Config, HParams
from jaxq.documents import FromFile, config_from_dict, from_file, hparams_from_dict, plain_numbers
from jaxq.errors import ConfigError
from jaxq.recipes.experiment import make_experiment
from jaxq.recipes.identity import description
from jaxq.recipes.own import OPEN, is_own, own_names, refuse_untrusted, resolve
from jaxq.recipes.reading import settle
from jaxq.runs import files as results
from jaxq.runs.files import PARTS, STUDY
from jaxq.runs.population import Population
from jaxq.runs.resuming import Point, read_point
from jaxq.runs.runner import RunSpec
from jaxq.scoring.cross import ENVIRONMENT
from jaxq.scoring.protocol import Protocol, lane_protocols, split
from jaxq.scoring.scores import (
    comparable,
    curves_in,
    divergence,
    plain,
    rank,
    score_seeds,
    table_rows,
)
from jaxq.scoring.selection import chosen
from jaxq.settings import Setting, apply, as_tuple, format_value
from jaxq.studies.crossing import crossed


class Part(NamedTuple):
    """A run of a study: a rectangle of settings and seeds that share a program."""

    settings: tuple[int, ...]  # their indices
    seeds: tuple[int, ...]
    batch: int  # a member's bits depend on it, so it is the same whoever runs the part
    steps: int
    after: int | None = None  # the part from whose end its members go on


class Study(NamedTuple):
    """What is trained; ``study.json`` holds it."""

    name: str
    config: Config  # which settings change
    hparams: HParams
    settings: Sequence[Setting]
    seeds: Sequence[int]
    steps: int
    fresh_seeds: Sequence[int]  # for the winner; none is no second stage
    parts: Sequence[Part] = ()
    search: Mapping[str, Any] = {"kind": "fixed"}  # how it goes on, and is cut into parts
    made_of: Mapping[str, Any] = {}  # name -> name and source, of functions of somebody's own

    def applied(self, index: int) -> tuple[Config, HParams]:
        """What the setting ``index`` makes of the base; what it makes idle is at its default."""
        setting = self.settings[index]
        return settle(*apply(self.config, self.hparams, setting), asked=setting)

    def spec(self, part: Part) -> RunSpec:
        """What a part trains."""
        made = [self.applied(index) for index in part.settings]
        after = {"after": part.after} if part.after is not None else {}
        lanes = [hparams for _, hparams in made]
        return RunSpec(self.name, made[0][0], lanes, part.seeds, part.steps, after)

    def winner_spec(self, lane: int) -> RunSpec:
        """The setting ``lane`` again, on fresh seeds."""
        config, hparams = self.applied(lane)
        return RunSpec(self.name, config, [hparams], self.fresh_seeds, self.steps)

    def environments(self) -> list[str]:
        """Those that its settings name, if it has several."""
        return list(dict.fromkeys(s[ENVIRONMENT] for s in self.settings if ENVIRONMENT in s))

    def functions(self) -> tuple[str, ...]:
        """The functions of somebody's own that it names, but for those that only a file names."""
        own = [value for value in self._names() if not isinstance(value, FromFile)]
        return tuple(dict.fromkeys(own))

    def _names(self) -> list[str]:
        """All functions of somebody's own that base, settings and space name."""
        space = self.search.get("space", {})
        spaces = [values.get("values", ()) for name, values in space.items() if name in OPEN]
        tried = (setting[field] for setting in self.settings for field in OPEN if field in setting)
        values = itertools.chain(own_names(self.config), tried, *spaces)
        return [value for value in values if is_own(value)]

    def described(self) -> dict[str, Any]:
        """``made_of`` as the functions are now; their modules are imported.

        Raises:
          ConfigError: a file names one that nobody has asked for.
        """
        refuse_untrusted(self._names())
        return {name: description(resolve("study", name)) for name in self.functions()}

    def document(self) -> dict[str, Any]:
        """What ``study.json`` holds."""
        document = self._asdict() | {
            "config": vars(self.config),
            "hparams": plain_numbers(self.hparams),
            "parts": [part._asdict() for part in self.parts],
        }
        return results.jsonable(document)


def create(directory: Path, study: Study) -> None:
    """Make ``directory`` the home of a study.

    Raises:
      ConfigError: it already holds something, or cannot be written.
    """
    results.create(directory, study.document(), STUDY)


def extend(
    directory: Path,
    study: Study,
    settings: Sequence[Setting] = (),
    parts: Sequence[Part] = (),
    trials: Sequence[int] = (),
) -> Study:
    """The study with more settings and parts, as it is from now on in ``directory``.

    Args:
      trials: what Optuna calls the settings.
    """
    search = {**study.search, "trials": [*study.search.get("trials", ()), *trials]}
    study = study._replace(
        settings=[*study.settings, *settings], parts=[*study.parts, *parts], search=search
    )
    results.write_json(directory / STUDY, study.document())
    return study


def read_study(directory: Path, trusted: Sequence[str] = ()) -> Study:
    """The study in ``directory``.

    Args:
      trusted: functions of somebody's own that it may name; it cannot be trained with others.

    Raises:
      ConfigError: there is none, or it cannot be read.
    """
    path = directory / STUDY
    if not path.is_file():
        raise ConfigError(f"study={directory} holds no {STUDY}; a sweep's directory is accepted.")
    try:
        document = results.read_json(path)
        search = document["search"]
        _check_kinds(document)
        for values in search.get("space", {}).values():
            if "values" in values:
                values["values"] = [from_file(value, trusted) for value in values["values"]]
        return Study(
            document["name"],
            config_from_dict(document["config"], trusted),
            hparams_from_dict(document["hparams"]),
            [{k: from_file(v, trusted) for k, v in s.items()} for s in document["settings"]],
            tuple(document["seeds"]),
            document["steps"],
            tuple(document["fresh_seeds"]),
            [Part(*map(as_tuple, part.values())) for part in document["parts"]],
            search,
            document.get("made_of", {}),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"study={path} cannot be read: {error}.") from error


def _check_kinds(document: Mapping[str, Any]) -> None:
    """Refuse what only a hand can have written into a ``study.json``.

    Raises:
      ValueError: names it.
    """
    for name in ("seeds", "fresh_seeds"):
        if not all(type(seed) is int for seed in document[name]):
            raise ValueError(f"{name}={document[name]} are not all whole numbers")
    of_parts = {seed for part in document["parts"] for seed in part["seeds"]}
    if others := sorted(of_parts - set(document["seeds"])):
        raise ValueError(f"seeds={document['seeds']} lack {others}, which its parts have")
    if not isinstance(document["search"].get("kind"), str):
        raise ValueError(f"search={document['search']} has no kind")
    if not isinstance(document["name"], str):
        raise ValueError(f"name={document['name']} is no text")
    if not isinstance(document.get("made_of", {}), Mapping):
        raise ValueError(f"made_of={document['made_of']} does not describe functions by name")


def part_directory(directory: Path, index: int) -> Path:
    """Where part ``index`` of the study in ``directory`` lives."""
    return directory / PARTS / f"{index:03d}"


def collect(directory: Path, study: Study) -> dict[str, Any]:
    """Join what the parts have measured; writes ``metrics.npz``, ``lanes.csv``, ``scores.json``.

    A setting counts with the last part that trained it. Settings that were not trained to the end
    are in the table, and are not ``best``; that is chosen by ``scores.rank``. Of several
    environments ``across`` says which setting is best on all, and there is no ``best`` lane.

    Returns:
      What ``scores.json`` holds.
    """
    parts = [_measured(directory, index) for index in range(len(study.parts))]
    steps = np.unique(np.concatenate([arrays["steps"] for arrays in parts]))
    size = len(study.settings), len(study.seeds)
    names = [name for name in curves_in(parts[0]) if all(name in arrays for arrays in parts)]
    joined = {name: np.full((*size, len(steps)), np.nan) for name in names}
    asked, last, gone = np.zeros(size[0], int), np.zeros(size[0], int), np.full(size, -1)
    for part, arrays in zip(study.parts, parts):
        place = np.ix_(part.settings, [study.seeds.index(seed) for seed in part.seeds])
        when = np.searchsorted(steps, arrays["steps"])
        for name in names:
            joined[name][*place, when[:, None, None]] = np.moveaxis(arrays[name], -1, 0)
        asked[list(part.settings)] = part.steps
        last[list(part.settings)] = arrays["steps"][-1]
        gone[place] = divergence(arrays)
    lanes = []
    for lane, setting in enumerate(study.settings):
        returns = joined["eval_return"][lane, :, np.searchsorted(steps, last[lane])]
        scores = score_seeds(returns, study.seeds, gone[lane])
        done = {"steps": int(last[lane]), "cut": bool(asked[lane] < asked.max())}
        lanes.append({"lane": lane, "setting": setting, **done, **scores})
    protocol, own = split(_protocols(directory, study))
    lanes = [{**lane, "protocol": rest} if rest else lane for lane, rest in zip(lanes, own)]
    scores = {"steps": int(steps[-1]), "protocol": protocol, "lanes": lanes}
    if study.environments():
        scores["across"] = crossed(lanes, study.search["scale"])
    else:
        scores["best"] = best_first(lanes)[0]["lane"]
        whole = [lane for lane in lanes if not lane["cut"]]
        for lane, share in zip(whole, chosen([comparable(lane) for lane in whole])):
            lane["chosen"] = plain(share)  # by so many bootstraps over seeds
    results.write_arrays(directory / results.METRICS, {"steps": steps, **joined})
    results.write_scores(directory, scores, study_rows(scores))
    return scores


def best_first(lanes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Lanes of a study from the best to the worst; those that were cut come last."""
    return sorted(lanes, key=lambda lane: (lane["cut"], -rank(lane)))


def study_rows(scores: Mapping[str, Any]) -> list[dict[str, Any]]:
    """``lanes.csv``: one row per setting."""
    lanes = scores["lanes"]
    settings = [
        {k: format_value(v) if isinstance(v, tuple | list) else v for k, v in s["setting"].items()}
        for s in lanes
    ]
    rows = table_rows(lanes, settings)
    return [{**row, "steps": lane["steps"]} for row, lane in zip(rows, lanes)]


def point_after(directory: Path, study: Study, part: Part) -> Point | None:
    """Where the members of ``part`` were when the part before it ended."""
    if part.after is None:
        return None
    before, place = study.parts[part.after], part_directory(directory, part.after)
    spec = study.spec(before)
    experiment = make_experiment(spec.config, spec.lanes[0])
    population = Population(
        experiment.trainer, experiment.evaluate, spec.lanes, spec.seeds, before.batch
    )
    point = read_point(place, spec.document(), population.shapes)
    if point is None:
        raise ConfigError(f"part={place} has no checkpoint, and the next part goes on from there.")
    rows = np.arange(len(before.settings) * len(before.seeds)).reshape(len(before.settings), -1)
    kept = rows[[before.settings.index(setting) for setting in part.settings]].ravel()
    return point.of_members(kept, len(part.settings))


def _measured(directory: Path, index: int) -> dict[str, np.ndarray]:
    path = part_directory(directory, index) / results.METRICS
    try:
        return results.read_arrays(path, but=["eval_returns"])
    except (OSError, ValueError) as error:
        raise ConfigError(f"part={path} cannot be read: {error}.") from error


def _protocols(directory: Path, study: Study) -> list[Protocol]:
    """The protocol under which each setting was measured."""
    found = {}
    for index, part in enumerate(study.parts):
        scores = results.read_scores(part_directory(directory, index))
        found |= zip(part.settings, lane_protocols(scores), strict=True)
    return [found[lane] for lane in range(len(study.settings))]
