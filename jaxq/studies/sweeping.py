"""A sweep from beginning to end: settings, their scores, the best of them again, and figures.

    scores = sweep("dqn-cartpole", grid={"learning_rate": [1e-4, 1e-3]}, directory="runs/rates")
    scores = sweep(resume="runs/rates")

Numbers are lanes of one compiled program; every value of a structural field is a program of its
own. The directory holds what ``study`` says, and figures.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from jaxq.config import Preset
from jaxq.errors import ConfigError, unknown
from jaxq.printing import make_console
from jaxq.recipes.identity import same_parts
from jaxq.runs import files as results
from jaxq.runs.files import STUDY
from jaxq.runs.machine import use_machine
from jaxq.runs.runner import Spread
from jaxq.runs.sinks import check_kind
from jaxq.runs.spec import positive, short
from jaxq.runs.spreading import as_console, as_path, settled_spread
from jaxq.studies import searches
from jaxq.studies import study as studies
from jaxq.studies.asking import make_study
from jaxq.studies.cutting import cut as cut_parts
from jaxq.studies.ending import confirm, draw
from jaxq.studies.executors import HERE, Executor, is_complete
from jaxq.studies.fitting import print_fit
from jaxq.studies.planning import print_plan
from jaxq.studies.study import Part, Study

_CHOSEN = Spread()  # by this house
_ASKED = frozenset(inspect.signature(make_study).parameters) - {"base"}

Report = Callable[[Study, Mapping[str, Any]], None]


def sweep(
    base: str | Preset | None = None,
    directory: str | Path | None = None,
    *,
    resume: str | Path | None = None,
    trusted: Sequence[str] = (),
    spread: Spread = _CHOSEN,
    executor: Executor = HERE,
    num_parts: int = 1,
    report: Report | None = None,
    console: Console | None = None,
    **asked: Any,
) -> dict[str, Any]:
    """Train many settings as one experiment, and the best one again on fresh seeds.

    Args:
      base: the name of a preset, or one of one's own.
      directory: the home of the sweep, new or empty.
      resume: go on with the sweep in this directory instead; it knows the base and what was asked.
      trusted: functions of somebody's own that a resumed sweep may name; no others are run.
      spread, executor, num_parts, report, console: as for ``carry_out``.
      asked: as for ``make_study``: ``grid``, ``space`` and ``random``, ``seeds``, ``steps`` ...

    Returns:
      What ``scores.json`` holds.

    Raises:
      ConfigError: bad input, before anything compiles.
      Interrupted: a signal came; the sweep can be resumed.
    """
    for name in asked:
        if name not in _ASKED:
            raise unknown("argument", name, [*_ASKED, *inspect.signature(sweep).parameters])
    how = {"spread": spread, "executor": executor, "num_parts": num_parts}
    how |= {"report": report, "console": console}
    if resume is None:
        if base is None or directory is None:
            raise ConfigError("sweep needs base and directory, or resume.")
        return carry_out(as_path("directory", directory), make_study(base, **asked), **how)
    for name, value in {"base": base, "directory": directory, **asked}.items():
        if value is not None:
            raise ConfigError(f"{name}={value} cannot be changed by a resumed sweep.")
    return carry_out(as_path("resume", resume), trusted=trusted, **how)


def carry_out(
    directory: Path,
    study: Study | None = None,
    *,
    trusted: Sequence[str] = (),
    spread: Spread = _CHOSEN,
    executor: Executor = HERE,
    num_parts: int = 1,
    report: Report | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Train a study to its end; also one that was begun.

    Args:
      directory: new or empty, or the one of the study.
      study: without parts; None goes on with the one in the directory.
      trusted: functions of somebody's own that the one in the directory may name.
      spread: of every part; its batch is kept by a study that goes on.
      executor: who trains the parts.
      num_parts: runs into which every program is cut, unless the executor says.
      report: ``report(study, scores)`` hears what was measured before the best is trained again.
      console: where to show progress and what is found, stderr by default;
        ``Console(quiet=True)`` shows none.

    Returns, Raises:
      As ``sweep``.
    """
    use_machine()
    console, spread = as_console(console, make_console(stderr=True)), settled_spread(spread)
    for kind in spread.track:
        check_kind(kind)
    if not isinstance(executor, Executor):
        raise ConfigError(f"executor={short(executor)} must be a jaxq Executor.")
    if not (report is None or callable(report)):
        raise ConfigError(f"report={short(report)} must be a function of a study and its scores.")
    num_parts = positive("num_parts", num_parts)
    if study is not None:
        study = _begun(_to_be_cut(study, spread, executor.num_parts or num_parts), spread)
        trusted = (*([trusted] if isinstance(trusted, str) else trusted), *study.functions())
    if executor.follow:
        executor.follow(directory, _reader(directory, study, trusted), spread)
        return results.read_scores(directory)
    if study is None:
        study = studies.read_study(directory, trusted)
        changes = same_parts(study.made_of, study.described(), spread.accept_changed_code)
        if changes:
            raise ConfigError(f"resume={directory} was begun with a different {changes[0]}.")
    else:
        study = study._replace(made_of=study.described())
        studies.create(directory, study)

    def train(study: Study, indices: Sequence[int]) -> None:
        places = {index: studies.part_directory(directory, index) for index in indices}
        left = [index for index, place in places.items() if not is_complete(place)]
        executor.train(directory, study, left, spread, console)

    search = searches.search_of(study)
    (directory / results.COMPLETE).unlink(missing_ok=True)  # scores are without a winner for a time
    study = search.go_on(directory, study, train, _cutter(spread))
    scores = studies.collect(directory, study)
    if report:
        report(study, scores)
    if search.moves:
        console.print(
            "Numbers are those with which a member began; parts/*/metrics.npz has the rest."
        )
    if study.fresh_seeds:
        scores = confirm(directory, study, scores, spread, console)
    draw(directory, study, scores)
    results.write_text(directory / results.COMPLETE, f"{scores['steps']}\n")
    return scores


def begin_or_go_on(directory: Path, study: Study, **how: Any) -> dict[str, Any]:
    """``carry_out`` for a script whose own command goes on where it was stopped.

    Raises:
      ConfigError: also where ``directory`` holds another sweep than ``study``.
    """
    if not (directory / STUDY).is_file():
        return carry_out(directory, study, **how)
    found = studies.read_study(directory, study.functions())
    _check_is(found, _to_be_cut(study, how.get("spread", _CHOSEN), 1), directory)
    if is_complete(directory):
        return results.read_scores(directory)
    return carry_out(directory, trusted=study.functions(), **how)


def plan(
    study: Study,
    console: Console,
    *,
    spread: Spread = _CHOSEN,
    num_parts: int = 1,
    device: str | None = None,
) -> None:
    """Only say what ``carry_out`` would train: programs, memory, time.

    Args:
      device: of ``described.DEVICES``: what fits there, instead of what it takes here.

    Raises:
      ConfigError: bad input, or settings that are chosen later.
    """
    use_machine()
    if searches.search_of(study).grows:
        raise ConfigError("plan needs settings that are known; optuna chooses them later.")
    if device is not None:
        print_fit(study, device, spread.batch, console)
        return
    print_plan(_begun(_to_be_cut(study, spread, num_parts), spread), spread.num_devices, console)


def _reader(directory: Path, asked: Study | None, trusted: Sequence[str]) -> Callable[[], Study]:
    """What reads a study that another process leads, and refuses one that was not asked for."""

    def read() -> Study:
        found = studies.read_study(directory, trusted)
        if asked is not None:
            _check_is(found, asked, directory)
        return found

    return read


def _check_is(found: Study, asked: Study, directory: Path) -> None:
    if not searches.is_same(found, asked):
        raise ConfigError(f"out={directory} holds another sweep than the one asked for.")


def _to_be_cut(study: Study, spread: Spread, num_parts: int) -> Study:
    """The study, which now knows how it is cut wherever it goes on."""
    search = {**study.search, "batch": spread.batch, "num_parts": num_parts}
    return study._replace(search=search)


def _begun(study: Study, spread: Spread) -> Study:
    """The study with its first parts, checked."""
    parts = searches.search_of(study).begin(study, _cutter(spread))
    study = study._replace(parts=parts)
    searches.check(study)
    return study


def _cutter(spread: Spread) -> searches.Cut:
    def cut(study: Study, indices: Sequence[int], steps: int) -> list[Part]:
        batch, num_parts = study.search["batch"], study.search["num_parts"]
        if batch is None and study.parts:
            batch = study.parts[0].batch  # wherever a search goes on
        by_seeds = searches.search_of(study).moves
        return cut_parts(study, indices, steps, num_parts, batch, spread.num_devices, by_seeds)

    return cut
