"""The host side of a run: chunks, and whoever hears of them.

Compiled programs run for one chunk at a time; everything the user sees happens in between.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from jaxq.config import HParams
from jaxq.errors import ConfigError, require_devices
from jaxq.printing import escape, make_console
from jaxq.recipes.experiment import Experiment, try_env
from jaxq.recipes.reading import evaluation_steps
from jaxq.runs import files as results
from jaxq.runs.checkpoint import keep_checkpoints, newest
from jaxq.runs.history import History, write_history
from jaxq.runs.joining import finish, join
from jaxq.runs.keeping import check_keeping, keep_replay
from jaxq.runs.listening import Listener, Moment
from jaxq.runs.machine import use_machine
from jaxq.runs.policy import export
from jaxq.runs.population import Population
from jaxq.runs.progress import Progress
from jaxq.runs.recording import Meta, record
from jaxq.runs.resuming import Point, check_same, load, owner_of, with_earlier_code
from jaxq.runs.signals import Interrupted, catch_signals
from jaxq.runs.sinks import check_kind, copy_to, make_sink
from jaxq.runs.spec import RunSpec, compose, lane_labels, protocol_of, settled_spec, short
from jaxq.runs.spreading import Spread, as_console, as_path, settled_spread
from jaxq.runs.stopping import Stop, reason, settled_stop, stop_early
from jaxq.scoring.scores import score
from jaxq.types import PyTree


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
    start: Point | None = None,
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
      start: begin where these members were in another run, not at step 0.
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
    console = as_console(console, make_console(stderr=True))
    if spec.last_step > 1.1 * spec.steps:
        console.print(
            f"steps={spec.steps:,} become {spec.last_step:,}: a run ends with an evaluation, and "
            f"they are {evaluation_steps(spec.config):,} steps apart (chunk_steps, eval_period).",
            highlight=False,
        )
    with results.lock(directory), catch_signals() as signals:
        if not resume:
            results.create(directory, document)
        if resume and (directory / results.ADDED).exists():
            place = directory / results.ADDED
            console.print(f"Seeds on their way in {escape(str(place))} are left as they are.")
        point = (load(directory, document, population.shapes) if resume else None) or start
        history = point.history if point else History(len(spec.lanes), len(spec.seeds))
        if history.steps:
            write_history(directory, history, history.arrays())  # it ends where we begin
        meta = Meta(directory, protocol, population.plan)
        title, num_members = spec.preset, population.plan.num_members
        with Progress(title, num_members, spec.last_step, console) as progress:
            is_new = point is None
            names = ("chunk", "evaluate", "begin", "measure", *["init"] * bool(is_new or inside))
            population.prepare(names)
            meta.compiled()
            states, clock = population.init() if is_new or inside else (None, None)
            if inside:  # made again where a run goes on: what it is compared with is not saved
                population.begin(states, clock)
            if point:
                del states  # make room
                states, clock = population.place(point.tree), point.clock
            about = {"id": meta.id, "protocol": protocol}
            listeners = [  # told in this order, and closed in the other
                record(directory, spec),
                export(directory, spec, document),
                *_kept(directory, spread, spec, experiment, document, about),
                meta.listener,
                progress.listener,
                *_sinks(spread.track, directory, spec, {**document, "id": meta.id}, point, console),
                stop_early(stop),
                keep_checkpoints(directory, owner_of(document), spread.save_every),
            ]

            def moment(measured: bool = True) -> Moment:
                arrays, scores = {}, {}
                if measured and history.steps:
                    arrays = history.arrays()
                    scores = score(arrays, document, protocol)
                return Moment(clock, history, arrays, scores, lambda: population.fetch(states))

            progress.begin(int(clock.steps))
            hparams, stopped_by, failed = population.hparams, reason(stop, history), []
            while int(clock.steps) < spec.last_step and not (signals or stopped_by):
                if evolve and history.steps and not history.pending:
                    move = evolve.decide(history)
                    states, hparams = _moved(population, states, move, evolve.fields), move.hparams
                states, clock, metrics = population.chunk(states, clock, hparams)
                is_due = spec.is_evaluated_at(int(clock.steps))
                if is_due:
                    evaluation = population.evaluate(states, clock, hparams)
                    numbers = hparams if evolve else None
                    more = population.measure(states, clock, hparams)
                    history.append(int(clock.steps), metrics, evaluation, numbers, more)
                else:
                    history.pending.append(metrics)
                try:
                    stopped_by = _tell(listeners, moment(is_due), is_due)
                except OSError as error:  # a full disk; what is small may still find room
                    failed.append(error)
                    break
            tree = population.fetch(states)
            why = signals[0].name if signals else stopped_by or "steps"
            if failed:
                why = "error"
            finished = not (failed or signals)
            end = moment()._replace(fetch=lambda: tree, stopped_by=why, finished=finished)
        for listener in reversed(listeners):
            try:
                listener.closed(end)
            except OSError as error:
                failed.append(error)
        if failed:
            raise failed[0]
        if signals:
            raise Interrupted(signals[0], int(clock.steps))
        results.write_text(directory / results.COMPLETE, f"{int(clock.steps)}\n")
    return dict(end.scores)


def add_seeds(
    spec: RunSpec,
    directory: str | Path,
    *,
    spread: Spread = Spread(),  # noqa: B008
    experiment: Experiment | None = None,
    console: Console | None = None,
) -> None:
    """Train the seeds of ``spec`` that a run lacks, to the step where it is, and put them into it.

    They are trained as a run of their own, inside of its directory, which goes on if it was
    stopped, and have the bits that they would have had from the beginning. ``run`` with ``resume``
    then goes on with all seeds.

    Args:
      spec: the run's, with more seeds; nothing happens if it has no others.
      directory: the run directory.
      spread, experiment, console: as for ``run``.

    Raises:
      As ``run``; ConfigError also where the run has not saved anything.
    """
    use_machine()
    spec, directory = settled_spec(spec), as_path("directory", directory)
    spread = settled_spread(spread)
    finish(directory)
    old = results.read_document(directory)
    seeds = [seed for seed in spec.seeds if seed not in old["seeds"]]
    if not seeds or len(seeds) + len(old["seeds"]) > len(spec.seeds):
        return  # run says what is wrong with it
    console = as_console(console, make_console(stderr=True))
    experiment = compose(spec, experiment)
    document = spec.document(experiment.made_of)
    there = {**document, "seeds": old["seeds"]}
    batch = check_same(there, directory, spread.batch, spread.accept_changed_code)
    saved = newest(directory / results.CHECKPOINTS, owner_of(old))
    if saved is None or not saved.clock.updates:
        raise ConfigError(f"resume={directory} has saved nothing that seeds could be added to.")
    part, steps, evaluated = directory / results.ADDED, int(saved.clock.steps), saved.evaluated
    del saved
    if steps != evaluated:
        raise ConfigError(
            f"resume={directory} stands between two evaluations, at step {steps}; go on with it "
            f"before seeds are added."
        )
    if (part / results.CONFIG).exists():
        begun = results.read_document(part)["seeds"]
        if begun != seeds:
            raise ConfigError(
                f"resume={directory} has the seeds {short(begun)} on their way in {part}; ask for "
                f"those first, or remove that directory."
            )
    words = short(seeds) if len(seeds) < 5 else f"{seeds[0]} to {seeds[-1]}"
    console.print(f"Seeds {words}, up to step {steps:,}, where the others are:", highlight=False)
    with results.lock(directory):
        run(
            spec._replace(seeds=seeds, steps=steps),
            part,
            spread=spread._replace(batch=batch, keep_replay=None),
            resume=(part / results.CONFIG).exists(),
            experiment=experiment,
            console=console,
        )
        kept = {name: old[name] for name in ("preset", "steps")}
        join(directory, {**with_earlier_code(document, directory), **kept})


def _tell(listeners: Sequence[Listener], moment: Moment, evaluated: bool) -> str | None:
    """Tell all that a chunk has ended; the first reason to stop, if one has any."""
    if not evaluated:
        for listener in listeners:
            listener.passed(moment)
        return None
    answers = [listener.evaluated(moment) for listener in listeners]
    return next((answer for answer in answers if answer is not None), None)


def _kept(directory: Path, spread: Spread, *what: Any) -> list[Listener]:
    if spread.keep_replay is None:
        return []
    return [keep_replay(directory, spread.keep_replay, *what)]


def _sinks(
    kinds: Sequence[str],
    directory: Path,
    spec: RunSpec,
    document: dict[str, Any],
    point: Point | None,
    console: Console,
) -> list[Listener]:
    labels = lane_labels(spec.lanes)
    since = int(point.clock.steps) if point else None
    return [copy_to(make_sink(k, directory, document, labels, console, since)) for k in kinds]


def _moved(population: Population, states: list[PyTree], move: Move, fields) -> list[PyTree]:
    """The states after a move; a broken member takes over everything but its key."""
    own = np.arange(len(move.sources))
    whole = tuple(name for name in states[0]._fields if name != "key")
    states = population.gather(states, np.where(move.broken, move.sources, own), whole)
    return population.gather(states, np.where(move.broken, own, move.sources), fields)
