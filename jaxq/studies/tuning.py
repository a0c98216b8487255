"""A search for the best settings with Optuna's TPE, a batch of trials at a time.

Whoever calls ``tune`` says how a batch of settings is trained, as the lanes of one program say;
``tune`` asks for the next batch, tells the scores and keeps the journal. While a batch is being
drawn, its own trials count as bad ones, so that they keep apart (the constant liar of Ginsbourger
et al. 2010). The draws of a batch depend on the seed, its first number and the journal alone: a
study that was killed between two batches ends like one that was not.

A trial ends as complete, as failed if its score is not finite, or as stale if its process was
killed. ``num_trials`` are those that were trained to their end, well or not; stale ones are
replaced.
"""

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxq.errors import ConfigError, require
from jaxq.runs.files import JOURNAL
from jaxq.runs.locking import hold
from jaxq.settings import format_values
from jaxq.studies.spaces import Choice, Range, Space, check_space

_ABOUT, _BATCH, _STALE = "about", "batch", "stale"  # attributes of the study

Settings = dict[str, Any]


class Trial(NamedTuple):
    """A setting that was trained."""

    number: int
    settings: Settings
    value: float | None  # None if it failed


def tune(
    space: Space,
    evaluate: Callable[[list[Settings], list[int]], Sequence[float]],
    *,
    num_trials: int,
    batch: int,
    directory: Path,
    seed: int = 0,
    can_continue: Callable[[list[int]], bool] = lambda numbers: False,
) -> list[Trial]:
    """Search ``space`` for the settings with the highest score.

    A directory that holds a study is taken up where it stopped. Its last batch, if that was being
    trained, is given to ``evaluate`` once more with the same settings and numbers if
    ``can_continue`` says so, as it should where that batch left a run directory of its own that
    resumes; otherwise its trials are stale.

    Args:
      space: name -> range or choice.
      evaluate: ``evaluate(settings, numbers) -> scores``, one for each trial of a batch; not
        finite where a trial failed. What it raises ends the search, which can be taken up again.
      num_trials: how many to train; may be raised later.
      batch: trials that are trained together; the last batch may be smaller.
      directory: where the journal is; one process at a time writes it.
      can_continue: receives the numbers of a batch.

    Returns:
      Every trial that was trained to its end, by number.

    Raises:
      ConfigError: bad input, another study or process in the directory, or no Optuna.
    """
    check_space(space)
    if num_trials < 1 or batch < 1:
        raise ConfigError(f"trials={num_trials} and batch={batch} must be at least 1.")
    optuna = _import_optuna()
    directory.mkdir(parents=True, exist_ok=True)
    with _only_writer(directory / JOURNAL):
        study = _open(optuna, directory, {"space": dict(space), "seed": seed})
        _finish_stopped(optuna, study, space, evaluate, can_continue)
        while (missing := num_trials - len(_trials(optuna, study, space))) > 0:
            numbers = _draw(optuna, study, space, min(batch, missing), seed)
            _train(optuna, study, space, evaluate, numbers)
        return _trials(optuna, study, space)


def _import_optuna():
    require("optuna", "optuna", extra="tune")
    import optuna  # imported here: an extra, and takes most of a second

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


@contextmanager
def _only_writer(journal: Path) -> Iterator[None]:
    """Hold the journal, made whole, while nobody else does; a killed process lets go of it."""
    journal.touch()
    with hold(journal, f"out={journal.parent} is being tuned by another process."):
        # Left by a writer that was killed: Optuna's own lock, and a line cut short.
        journal.with_name(journal.name + ".lock").unlink(missing_ok=True)
        whole = journal.read_bytes().rfind(b"\n") + 1
        if whole < journal.stat().st_size:
            os.truncate(journal, whole)
        yield


def _open(optuna, directory: Path, about: dict[str, Any]):
    """The study in the journal, made if there is none, which must be the one of ``about``."""
    storage = optuna.storages
    backend = storage.journal.JournalFileBackend(str(directory / JOURNAL))
    try:
        study = optuna.create_study(
            storage=storage.JournalStorage(backend),
            study_name="jaxq",
            direction="maximize",
            load_if_exists=True,
        )
    except ValueError as error:  # JSON that is none
        raise ConfigError(f"journal={directory / JOURNAL} cannot be read: {error}.") from error
    about = json.loads(json.dumps(about))
    there = study.user_attrs.get(_ABOUT)
    if there is None:
        study.set_user_attr(_ABOUT, about)
    elif there != about:
        changed = [name for name in about if there.get(name) != about[name]]
        raise ConfigError(f"out={directory} holds a study with a different {', '.join(changed)}.")
    return study


def _draw(optuna, study, space: Space, size: int, seed: int) -> list[int]:
    """Ask for a batch and write it down as one; the numbers of its trials."""
    first = len(study.get_trials(deepcopy=False))
    state = int(np.random.SeedSequence([seed, first]).generate_state(1)[0])
    study.sampler = optuna.samplers.TPESampler(seed=state, constant_liar=True)
    distributions = {name: _distribution(optuna, values) for name, values in space.items()}
    numbers = [study.ask(distributions).number for _ in range(size)]
    study.set_user_attr(_BATCH, numbers)
    return numbers


def _train(optuna, study, space: Space, evaluate: Callable, numbers: list[int]) -> None:
    """Evaluate a batch and tell its scores; trials that were told before stay as they are.

    One without a score counts as pruned, which the sampler takes for the worst there is; of what
    has failed it learns nothing, and would try it again and again.
    """
    trials = study.get_trials(deepcopy=False)
    settings = [_setting(space, trials[number]) for number in numbers]
    for number, value in zip(numbers, evaluate(settings, numbers), strict=True):
        pruned = {"state": optuna.trial.TrialState.PRUNED}
        told = {"values": float(value)} if math.isfinite(value) else pruned
        study.tell(number, **told, skip_if_finished=True)


def _finish_stopped(optuna, study, space: Space, evaluate: Callable, can_continue) -> None:
    """Continue the batch of a process that was killed, or mark its trials as stale."""
    running = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,))
    numbers = study.user_attrs.get(_BATCH, [])
    is_batch = {trial.number for trial in running} <= set(numbers)  # not one still being drawn
    if running and is_batch and can_continue(numbers):
        _train(optuna, study, space, evaluate, numbers)
        return
    stale = [trial.number for trial in running]
    study.set_user_attr(_STALE, study.user_attrs.get(_STALE, []) + stale)
    for number in stale:
        study.tell(number, state=optuna.trial.TrialState.FAIL)


def _trials(optuna, study, space: Space) -> list[Trial]:
    """The trials that were trained to their end."""
    stale = study.user_attrs.get(_STALE, [])
    return [
        Trial(trial.number, _setting(space, trial), trial.value)
        for trial in study.get_trials(deepcopy=False)
        if trial.state.is_finished() and trial.number not in stale
    ]


def _setting(space: Space, trial) -> Settings:
    """What a trial stands for; Optuna knows the values of a choice by their words."""
    words = {
        name: dict(zip(format_values(values.values), values.values))
        for name, values in space.items()
        if isinstance(values, Choice)
    }
    return {
        name: words[name][value] if name in words else value
        for name, value in ((name, trial.params[name]) for name in space)
    }


def _distribution(optuna, values: Range | Choice):
    if isinstance(values, Choice):
        return optuna.distributions.CategoricalDistribution(format_values(values.values))
    if values.integer:
        return optuna.distributions.IntDistribution(int(values.low), int(values.high), values.log)
    return optuna.distributions.FloatDistribution(values.low, values.high, values.log)
