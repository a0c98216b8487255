"""The host side of a run: chunks, and whoever hears of them.

Compiled programs run for one chunk at a time; everything the user sees happens in between.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from jaxq.config import HParams
from jaxq.errors import ConfigError, check_call, require_devices
from jaxq.printing import escape, make_console
from jaxq.recipes.experiment import Experiment, try_env
from jaxq.recipes.reading import evaluation_steps
from jaxq.runs import files as results
from jaxq.runs.checkpoint import keep_checkpoints
from jaxq.runs.history import History, write_history
from jaxq.runs.joining import finish
from jaxq.runs.keeping import check_keeping, keep_replay
from jaxq.runs.listening import Listener, Moment
from jaxq.runs.locking import lock
from jaxq.runs.machine import use_machine
from jaxq.runs.policy import export
from jaxq.runs.population import Population
from jaxq.runs.progress import Progress
from jaxq.runs.recording import Meta, record
from jaxq.runs.resuming import Point, check_same, load, owner_of, with_earlier_code
from jaxq.runs.signals import Interrupted, catch_signals
from jaxq.runs.sinks import check_kind, copy_to, make_sink
from jaxq.runs.spec import RunSpec, compose, lane_labels, protocol_of, settled_spec
from jaxq.runs.spreading import Spread, as_console, as_path, settled_spread
from jaxq.runs.stopping import Stop, reason, settled_stop, stop_early
from jaxq.scoring.scores import score
from jaxq.types import Clock, PyTree


class Move(NamedTuple):
    """Who goes on from whom."""

    sources: np.ndarray  # [M] the member from which each goes on, mostly itself
    broken: np.ndarray  # [M] whether nothing of its own state is worth keeping
    hparams: HParams  # [M] with which members go on


class Evolve(NamedTuple):
    """How members take over from each other, before every chunk but the first."""

    decide: Callable[[History], Move]
    fields: Sequence[str] | None = None  # of the state that is taken over; what was learned if None


def run(
    spec: RunSpec,
    directory: str | Path,
    *,
    stop: Stop = Stop(),  # noqa: B008
    spread: Spread = Spread(),  # noqa: B008
    resume: bool = False,
    start: Callable[[], Point | None] = lambda: None,
    evolve: Evolve | None = None,
    experiment: Experiment | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Train and evaluate all members; leave a complete run directory.

    Args:
      spec: what to train.
      directory: the run directory; new or empty, or with ``resume`` the one of this run.
      stop: reasons to stop early.
      spread: how it is carried out.
      start: gives where to begin, as these members were in another run; None is step 0.
      evolve: decides before every later chunk who goes on from whom, with which numbers.
      experiment: what is trained in place of what the names in ``spec.config`` compose, made of the
        same configuration with functions of one's own, see ``make_experiment``. Only who hands them
        over again can resume or evaluate such a run; a name like ``module:function`` in the
        configuration is as good, and every script takes it.
      console: where to show progress, stderr by default; ``Console(quiet=True)`` shows none.

    Returns:
      What ``scores.json`` holds.

    Raises:
      ConfigError: bad input, before anything compiles.
      Interrupted: a signal came that asks to end (see ``signals``); the run can be resumed.
      OSError: something could not be written; everything else was, and the run can be resumed.
    """
    use_machine()
    require_devices()
    check_call("start", start, ())
    if evolve is not None:
        check_call("evolve.decide", getattr(evolve, "decide", evolve), ("history",))
    job = _prepared(spec, directory, stop, spread, resume, experiment)
    spec, directory, population = job.spec, job.directory, job.population
    console = as_console(console, make_console(stderr=True))
    with lock(directory), catch_signals() as signals:
        point = (_saved(job, console) if resume else _created(job)) or start()
        if spec.last_step > 1.1 * spec.steps:
            _say_last_step(spec, console)
        history = point.history if point else History(len(spec.lanes), len(spec.seeds))
        if history.steps:
            write_history(directory, history, history.arrays())  # it ends where we begin
        meta = Meta(directory, job.protocol, population.plan)
        title, num_members = spec.preset, population.plan.num_members
        with Progress(title, num_members, spec.last_step, console) as progress:
            states, clock = _begun(job, point)
            since = int(clock.steps) if point else None
            del point  # and with it a copy of all members
            meta.compiled()
            listeners = _listeners(job, meta, progress, since, console)
            progress.begin(int(clock.steps))
            states, clock, stopped_by, error = _train(
                job, states, clock, history, listeners, evolve, signals
            )
            tree = population.fetch(states)
            why = "error" if error else signals[0].name if signals else stopped_by or "steps"
            end = _moment(job, history, states, clock)._replace(
                fetch=lambda: tree, stopped_by=why, finished=not (error or signals)
            )
        failed = [error] if error else []
        for listener in reversed(listeners):
            try:
                listener.closed(end)
            except OSError as another:
                failed.append(another)
        if failed:
            raise failed[0]
        if signals:
            raise Interrupted(signals[0], int(clock.steps))
        results.write_text(directory / results.COMPLETE, f"{int(clock.steps)}\n")
    return dict(end.scores)


class _Job(NamedTuple):
    """A run that nothing speaks against."""

    spec: RunSpec
    directory: Path
    stop: Stop
    spread: Spread
    experiment: Experiment
    document: dict[str, Any]  # config.json
    protocol: dict[str, Any]
    population: Population


def _prepared(
    spec: RunSpec,
    directory: str | Path,
    stop: Stop,
    spread: Spread,
    resume: bool,
    experiment: Experiment | None,
) -> _Job:
    """All that is refused is refused here, before anything compiles; only ``finish`` writes."""
    spec, directory = settled_spec(spec), as_path("directory", directory)
    spread, stop = settled_spread(spread), settled_stop(stop)
    experiment = compose(spec, experiment)
    document, protocol = spec.document(experiment.made_of), protocol_of(spec, experiment)
    if resume:
        finish(directory)
        batch = check_same(document, directory, spread.batch, spread.accept_changed_code)
        spread = spread._replace(batch=batch)
        document = with_earlier_code(document, directory)
    if spread.try_env:
        try_env(experiment)
    if stop.episodes is not None and spec.config.dataset:
        raise ConfigError(
            f"episodes={stop.episodes} has no effect with dataset={spec.config.dataset}, from "
            f"which is learned without acting."
        )
    if spread.keep_replay is not None:
        check_keeping(spread.keep_replay, spec, experiment, directory)
    members = (spec.lanes, spec.seeds, spread.batch, spread.num_devices)
    inside = experiment.diagnostics
    population = Population(experiment.trainer, experiment.evaluate, *members, diagnostics=inside)
    for kind in spread.track:
        check_kind(kind)
    return _Job(spec, directory, stop, spread, experiment, document, protocol, population)


def _created(job: _Job) -> None:
    results.create(job.directory, job.document)


def _saved(job: _Job, console: Console) -> Point | None:
    """Where the run in a directory goes on, if it has saved anything."""
    if (place := job.directory / results.ADDED).exists():
        console.print(f"Seeds on their way in {escape(str(place))} are left as they are.")
    return load(job.directory, job.document, job.population.shapes)


def _say_last_step(spec: RunSpec, console: Console) -> None:
    console.print(
        f"steps={spec.steps:,} become {spec.last_step:,}: a run ends with an evaluation, and "
        f"they are {evaluation_steps(spec.config):,} steps apart (chunk_steps, eval_period).",
        highlight=False,
    )


def _begun(job: _Job, point: Point | None) -> tuple[list[PyTree], Clock]:
    """The members at the start, or where they were; all programs are compiled."""
    population, is_new, inside = job.population, point is None, job.experiment.diagnostics
    names = ("chunk", "evaluate", "begin", "measure", *["init"] * bool(is_new or inside))
    population.prepare(names)
    states, clock = population.init() if is_new or inside else (None, None)
    if inside:  # made again where a run goes on: what it is compared with is not saved
        population.begin(states, clock)
    if point:
        del states  # make room
        return population.place(point.tree), point.clock
    return states, clock


def _listeners(
    job: _Job, meta: Meta, progress: Progress, since: int | None, console: Console
) -> list[Listener]:
    """Who is told of the run, in this order, and closed in the other.

    Args:
      since: the step at which it goes on.
    """
    spec, directory, document = job.spec, job.directory, job.document
    keep = [directory, job.spread.keep_replay, spec, job.experiment, document]
    keep += [{"id": meta.id, "protocol": job.protocol}]
    known, labels = {**document, "id": meta.id}, lane_labels(spec.lanes)
    return [
        record(directory, spec),
        export(directory, spec, document),
        *([keep_replay(*keep)] if job.spread.keep_replay is not None else []),
        meta.listener,
        progress.listener,
        *(
            copy_to(make_sink(kind, directory, known, labels, console, since))
            for kind in job.spread.track
        ),
        stop_early(job.stop),
        keep_checkpoints(directory, owner_of(document), job.spread.save_every),
    ]


def _train(
    job: _Job,
    states: list[PyTree],
    clock: Clock,
    history: History,
    listeners: Sequence[Listener],
    evolve: Evolve | None,
    signals: Sequence,
) -> tuple[list[PyTree], Clock, str | None, OSError | None]:
    """Chunk after chunk, to the last step or a reason to stop.

    Returns:
      states, clock, the reason to stop early, and what could not be written.
    """
    population = job.population
    hparams, stopped_by = population.hparams, reason(job.stop, history)
    while int(clock.steps) < job.spec.last_step and not (signals or stopped_by):
        if evolve and history.steps and not history.pending:
            move = evolve.decide(history)
            states, hparams = _moved(population, states, move, evolve.fields), move.hparams
        states, clock, metrics = population.chunk(states, clock, hparams)
        is_due = job.spec.is_evaluated_at(int(clock.steps))
        if is_due:
            evaluation = population.evaluate(states, clock, hparams)
            numbers = hparams if evolve else None
            more = population.measure(states, clock, hparams)
            history.append(int(clock.steps), metrics, evaluation, numbers, more)
        else:
            history.pending.append(metrics)
        try:
            moment = _moment(job, history, states, clock, measured=is_due)
            stopped_by = _tell(listeners, moment, is_due)
        except OSError as error:  # a full disk; what is small may still find room
            return states, clock, None, error
    return states, clock, stopped_by, None


def _moment(
    job: _Job, history: History, states: list[PyTree], clock: Clock, measured: bool = True
) -> Moment:
    arrays, scores = {}, {}
    if measured and history.steps:
        arrays = history.arrays()
        scores = score(arrays, job.document, job.protocol)
    return Moment(clock, history, arrays, scores, lambda: job.population.fetch(states))


def _tell(listeners: Sequence[Listener], moment: Moment, evaluated: bool) -> str | None:
    """Tell all that a chunk has ended; the first reason to stop, if one has any."""
    if not evaluated:
        for listener in listeners:
            listener.passed(moment)
        return None
    answers = [listener.evaluated(moment) for listener in listeners]
    return next((answer for answer in answers if answer is not None), None)


def _moved(population: Population, states: list[PyTree], move: Move, fields) -> list[PyTree]:
    """The states after a move; a broken member takes over everything but its key."""
    own = np.arange(len(move.sources))
    whole = tuple(name for name in states[0]._fields if name != "key")
    states = population.gather(states, np.where(move.broken, move.sources, own), whole)
    return population.gather(states, np.where(move.broken, own, move.sources), fields)
