"""Finished runs as lanes with a label, a protocol and scores: what a report compares."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxq.config import Config, HParams
from jaxq.errors import ConfigError
from jaxq.reports import swept
from jaxq.reports.labels import names_of
from jaxq.reports.swept import Sweep
from jaxq.runs import files as results
from jaxq.runs.spreading import as_path
from jaxq.scoring.protocol import completed, lane_protocol
from jaxq.scoring.scores import diagnoses, divergence, own_metrics
from jaxq.scoring.stats import bootstrap_iqm, pooled_iqm
from jaxq.settings import describe_all, differing

_CURVES = ("steps", "loss", "eval_return", "eval_value")


class Run(NamedTuple):
    """A run directory."""

    path: Path
    document: dict[str, Any]  # config.json
    meta: dict[str, Any]
    scores: dict[str, Any]
    arrays: dict[str, np.ndarray]  # of metrics.npz, but for the single episodes
    complete: bool


class Lane(NamedTuple):
    """One setting on one environment, with those of its seeds that have not diverged."""

    label: str  # what tells it apart from every other
    run: Run
    setting: dict[str, Any]  # what differs between the lanes of its run or sweep
    fields: dict[str, Any]  # all of Config and of the numbers
    protocol: dict[str, Any]  # what a score must share with another to be compared
    seeds: list[int]  # all that were trained
    scores: np.ndarray  # [S] of the last evaluation
    curves: dict[str, np.ndarray]  # steps [T]; eval_return and metrics of one's own [1, S, T]
    diverged: list[int]  # seeds
    episodes: int  # of an evaluation, per seed
    episodes_cut: int
    given: bool = False  # its label: lanes that somebody calls the same are one method
    beside: bool = False  # of the reference data, with which the others are compared


class Source(NamedTuple):
    """What one path holds: a run, or the parts of a sweep and its winner."""

    name: str
    runs: list[Run]
    lanes: list[Lane]  # of those runs that are complete
    incomplete: list[str]  # a sentence about each run that is
    sweep: Sweep | None  # None if no setting differs from another
    scores: Mapping[str, Any] | None = None  # of a sweep that has ended

    @property
    def across(self) -> Mapping[str, Any] | None:
        """What a sweep over several environments says of all of them; None of any other."""
        return self.scores.get("across") if self.scores else None


def read_all(paths: Sequence[Path], labels: Sequence[str] = ()) -> list[Source]:
    """What every path holds, each once.

    Args:
      labels: what runs are called, each ``RUN=NAME``.

    Raises:
      ConfigError: a path holds no run, or no finished evaluation, or a label names no run.
    """
    paths = list({path.resolve(): path for path in paths}.values())
    if not paths:
        raise ConfigError("runs is empty; run directories are accepted.")
    studies = []
    for path, name in zip(paths, names_of(paths, labels)):
        study = read(path, name.text)
        lanes = [lane._replace(given=name.given) for lane in study.lanes]
        studies.append(study._replace(lanes=lanes))
    return studies


def read(path: Path, name: str) -> Source:
    """The run or the sweep in ``path``, whose lanes are labelled with ``name``.

    Raises:
      ConfigError: as ``read_all``.
    """
    if not (path / results.STUDY).is_file() or (path / results.CONFIG).is_file():
        return source_of(read_run(path), name)
    try:
        study = results.read_json(path / results.STUDY)
        trained, moves = swept.trained(path, study), swept.moves(study)
        scores = results.read_scores(path) if (path / results.SCORES).is_file() else None
        cut = [lane["lane"] for lane in (scores or {}).get("lanes", ()) if lane.get("cut")]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"sweep={path} has files that cannot be read: {error!r}.") from error
    found, lanes, incomplete = [], [], []
    winner = swept.winners(path)
    for label, parts in ((name, trained), (f"{name} {results.WINNER}", winner)):
        runs = []
        for part in parts:
            try:
                runs.append(read_run(part))
            except ConfigError as error:
                incomplete.append(f"{label}: {error}")
        more, unfinished = _lanes(runs, label)
        found, lanes, incomplete = found + runs, lanes + more, incomplete + unfinished
    table = path / results.TABLE
    sweep = swept.read_table(table, name, cut) if table.is_file() else sweep_of(lanes, name)
    return Source(name, found, lanes, incomplete, None if moves else sweep, scores)


def source_of(run: Run, name: str, beside: bool = False) -> Source:
    """One run, whose lanes are labelled with ``name``, and are ``beside`` others or not."""
    lanes, incomplete = _lanes([run], name)
    lanes = [lane._replace(beside=beside) for lane in lanes]
    return Source(name, [run], lanes, incomplete, sweep_of(lanes, name))


def best_first(lanes: Sequence[Lane]) -> list[Lane]:
    """Lanes by their IQM, and those that others are compared with after them all."""
    return sorted(lanes, key=lambda lane: (lane.beside, -float(pooled_iqm(lane.scores))))


def read_run(path: str | Path) -> Run:
    """The run directory ``path``.

    Raises:
      ConfigError: it is not one, has no finished evaluation, or its files do not fit together.
    """
    path = as_path("run", path)
    results.check_directory(path)
    document = results.read_document(path)
    if not ((path / results.SCORES).is_file() and (path / results.METRICS).is_file()):
        raise ConfigError(
            f"run={path} has no finished evaluation; a run that has reached one is accepted."
        )
    try:
        meta, scores = results.read_names(path / results.META), results.read_scores(path)
        arrays = results.read_arrays(path / results.METRICS, but=("eval_returns",))
        shape = len(document["lanes"]), len(document["seeds"])
        missing = set(_CURVES) - set(arrays)
        if missing:
            raise KeyError(*sorted(missing))
        per_seed = np.shape([lane["per_seed"] for lane in scores["lanes"]])
        if {shape} != {per_seed, *(arrays[name].shape[:2] for name in ("eval_return", "loss"))}:
            raise ValueError(f"they are not of {shape[0]} lanes and {shape[1]} seeds")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"run={path} has results that cannot be read: {error}.") from error
    return Run(path, document, meta, scores, arrays, (path / results.COMPLETE).exists())


def sweep_of(lanes: Sequence[Lane], name: str) -> Sweep | None:
    """The settings of some lanes with their scores, if they differ in any."""
    lanes = [lane for lane in lanes if lane.setting and len(lane.scores)]
    if len(lanes) < 2:
        return None
    scores = []
    for lane in lanes:
        point, low, high = (float(part) for part in bootstrap_iqm(lane.scores))
        scores.append({"iqm": point, "low": low, "high": high, "num_seeds": len(lane.scores)})
    return swept.table_of(name, [lane.setting for lane in lanes], scores)


def _lanes(runs: Sequence[Run], name: str) -> tuple[list[Lane], list[str]]:
    """The lanes of the complete runs, and a sentence about each of the others."""
    incomplete = [
        f"{name}: the run in {run.path} is incomplete (step {run.scores['steps']:,} of "
        f"{run.document['steps']:,})"
        for run in runs
        if not run.complete
    ]
    found = [
        (run, lane, _fields(run.document, numbers))
        for run in runs
        if run.complete
        for lane, numbers in enumerate(run.document["lanes"])
    ]
    swept = differing([fields for _, _, fields in found])
    settings = [{k: fields[k] for k in swept if k in fields} for _, _, fields in found]
    lanes: dict[str, Lane] = {}
    gone = {run.path: divergence(run.arrays) for run in runs if run.complete}
    for (run, lane, fields), setting, words in zip(found, settings, describe_all(settings)):
        label = f"{name} {words}".strip()
        made = _lane(label, run, lane, setting, fields, gone[run.path][lane])
        if label not in lanes:
            lanes[label] = made
        elif set(made.seeds).isdisjoint(lanes[label].seeds):
            lanes[label] = _joined(lanes[label], made)
        # else a setting that was drawn twice: the same seeds again say nothing new
    return list(lanes.values()), incomplete


def _joined(lane: Lane, more: Lane) -> Lane:
    """One setting whose seeds were trained in two parts."""
    pairs = {k: [v, more.curves[k]] for k, v in lane.curves.items() if k in more.curves}
    steps = pairs.pop("steps")[0]
    return lane._replace(
        seeds=[*lane.seeds, *more.seeds],
        scores=np.concatenate([lane.scores, more.scores]),
        curves={"steps": steps} | {k: np.concatenate(v, axis=1) for k, v in pairs.items()},
        diverged=[*lane.diverged, *more.diverged],
        episodes_cut=lane.episodes_cut + more.episodes_cut,
    )


def _lane(label: str, run: Run, lane: int, setting: dict, fields: dict, gone: np.ndarray) -> Lane:
    score, arrays = run.scores["lanes"][lane], run.arrays
    scores = np.array(score["per_seed"], float)
    kept = (gone < 0) & np.isfinite(scores)
    return Lane(
        label=label,
        run=run,
        setting=setting,
        fields=fields,
        protocol=completed(
            lane_protocol(run.scores, lane), run.document["config"], run.document["lanes"][lane]
        ),
        seeds=run.document["seeds"],
        scores=scores[kept],
        curves={"steps": arrays["steps"]}
        | {
            name: arrays[name][[lane]][:, kept]
            for name in ("eval_return", *own_metrics(arrays), *diagnoses(arrays))
        },
        diverged=[seed for seed, keep in zip(run.document["seeds"], kept) if not keep],
        episodes=score["episodes_per_seed"],
        episodes_cut=score["episodes_cut"],
    )


def _fields(document: Mapping[str, Any], numbers: Mapping[str, Any]) -> dict[str, Any]:
    """All fields of one lane; those that its config.json lacks take their defaults. Numbers that
    are kept in a dictionary are called as in settings, ``env_params.NAME``."""
    flat: dict[str, Any] = {}
    for name, value in {**HParams()._asdict(), **numbers}.items():
        named = isinstance(value, dict)
        flat |= {f"{name}.{key}": item for key, item in value.items()} if named else {name: value}
    return {**vars(Config()), **document["config"], **flat}
