"""The host side of a run: chunks, evaluation, saving, stopping.

Compiled programs run for one chunk at a time; everything the user sees happens in between.
"""

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console

from jaxq.config import Config, HParams, plain_numbers
from jaxq.errors import ConfigError
from jaxq.recipes.experiment import Experiment, make_experiment
from jaxq.runs import checkpoint, provenance
from jaxq.runs import files as results
from jaxq.runs.history import History, write_history
from jaxq.runs.placement import Plan
from jaxq.runs.policy import save_policy
from jaxq.runs.population import Population, make_population
from jaxq.runs.progress import Progress
from jaxq.runs.resuming import Point, check_same, load, owner_of, short
from jaxq.runs.sinks import check_kind, make_sink
from jaxq.runs.stopping import Stop, reason
from jaxq.scoring import plots
from jaxq.scoring.protocol import make_protocol, protocol_words
from jaxq.scoring.scores import score, table_rows, without_diverged
from jaxq.settings import describe_all, differing, flatten
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


class RunSpec(NamedTuple):
    """What to train. The same specification gives the same bits on the same machine."""

    preset: str
    config: Config
    lanes: Sequence[HParams]
    seeds: Sequence[int]
    steps: int  # environment steps per member, rounded up to a whole chunk
    sweep: Mapping[str, Any] = {}  # what else a sweep does with it, which only that can continue

    def document(self) -> dict[str, Any]:
        """What ``config.json`` holds."""
        document = {
            "preset": self.preset,
            "steps": self.steps,
            "seeds": list(self.seeds),
            "config": vars(self.config),
            "lanes": [plain_numbers(lane) for lane in self.lanes],
        }
        return results.jsonable(document | ({"sweep": self.sweep} if self.sweep else {}))


class Spread(NamedTuple):
    """How members are spread over devices, saved and heard of; None chooses. A resumed run keeps
    its batch."""

    batch: int | None = None
    num_devices: int | None = None
    save_every: float = 30.0  # seconds between checkpoints; one is always saved at the end
    track: Sequence[str] = ()  # what else hears of every chunk, ``wandb`` or ``tensorboard``


class Interrupted(Exception):
    """A signal stopped the run between two chunks; everything is saved."""

    def __init__(self, signum: int, steps: int):
        super().__init__(f"stopped by {signal.Signals(signum).name} at step {steps:,}")
        self.exit_code = 128 + signum


def run(
    spec: RunSpec,
    directory: Path,
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
      spread: how members are spread.
      start: begin where these members were in another run, not at step 0.
      evolve: decides before every later chunk who goes on from whom, with which numbers.
      experiment: what is trained in place of what the names in ``spec.config`` compose, with agents
        or environments of one's own; ``config.json`` and exported policies know only the names.
      console: where to report; nothing is printed without one.

    Returns:
      What ``scores.json`` holds.

    Raises:
      ConfigError: bad input, before anything compiles.
      Interrupted: SIGINT or SIGTERM came; the run can be resumed.
    """
    experiment = compose(spec, experiment)
    document = spec.document()
    protocol = make_protocol(
        experiment.env.protocol, version("gymnax"), document["config"], document["lanes"]
    )
    if resume:
        spread = spread._replace(batch=check_same(document, directory, spread.batch))
    population = make_population(
        experiment.trainer,
        experiment.evaluate,
        spec.lanes,
        spec.seeds,
        spread.batch,
        spread.num_devices,
    )
    for kind in spread.track:
        check_kind(kind)
    with results.lock(directory), _catch_signals() as signals:
        if not resume:
            results.create(directory, document)
        point = load(directory, document, population.shapes) if resume else None
        point = point or start
        history = point.history if point else History(len(spec.lanes), len(spec.seeds))
        if point:
            write_history(directory, history, history.arrays())  # it ends where we begin
        meta = _start_meta(directory, protocol, population.plan)
        console = console or Console(quiet=True)
        labels, resumed_at = lane_labels(spec.lanes), int(point.clock.steps) if point else None
        sinks = [
            make_sink(k, directory, document, labels, console, resumed_at) for k in spread.track
        ]
        started = time.monotonic()
        progress = Progress(spec.preset, population.plan.num_members, spec.steps, console)
        with progress:
            population.prepare(("chunk", "evaluate") if point else ("init", "chunk", "evaluate"))
            meta["compile_seconds"] += time.monotonic() - started
            if point:
                states, clock = population.place(point.tree), point.clock
            else:
                states, clock = population.init()
            progress.begin(int(clock.steps))

            hparams = population.hparams
            last_save, stopped_by = time.monotonic(), reason(stop, history)
            while int(clock.steps) < spec.steps and not (signals or stopped_by):
                if evolve and history.steps:
                    move = evolve.decide(history)
                    states, hparams = _moved(population, states, move, evolve.fields), move.hparams
                states, clock, metrics = population.chunk(states, clock, hparams)
                evaluation = population.evaluate(states, clock, hparams)
                history.append(int(clock.steps), metrics, evaluation, hparams if evolve else None)
                scores = _record(directory, spec, protocol, history)
                progress.update(int(clock.steps), _headline(scores))
                for sink in sinks:
                    sink.log(history.steps[-1], history.last())
                stopped_by = reason(stop, history)
                if time.monotonic() - last_save >= spread.save_every:
                    _save(directory, document, population.fetch(states), clock)
                    last_save = time.monotonic()
            tree = population.fetch(states)
            _save(directory, document, tree, clock)

        for sink in sinks:
            sink.close()
        meta["seconds"] = round(meta["seconds"] + time.monotonic() - started, 2)
        meta["compile_seconds"] = round(meta["compile_seconds"], 2)
        meta["stopped_by"] = signal.Signals(signals[0]).name if signals else stopped_by or "steps"
        results.write_json(directory / results.META, meta)
        _export(directory, spec, document, tree.params)
        scores = _summarise(directory, spec, protocol, history) if history.steps else {}
        if signals:
            raise Interrupted(signals[0], int(clock.steps))
        results.write_text(directory / results.COMPLETE, f"{int(clock.steps)}\n")
    return scores


def lane_settings(lanes: Sequence[HParams]) -> list[dict[str, float]]:
    """The numbers in which lanes differ, of each."""
    flat = [flatten(lane) for lane in lanes]
    names = differing(flat)
    return [{name: numbers[name] for name in names} for numbers in flat]


def lane_labels(lanes: Sequence[HParams]) -> list[str]:
    """What tells the lanes apart, such as ``learning_rate=0.001 gamma=0.9``."""
    return describe_all(lane_settings(lanes))


def compose(spec: RunSpec, experiment: Experiment | None = None) -> Experiment:
    """The experiment of all lanes of a run, composed unless it is given; everything is checked.

    Raises:
      ConfigError: bad input.
    """
    seeds = list(spec.seeds)
    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0 or max(seeds) >= 2**32:
        raise ConfigError(f"seeds={short(seeds)} must be different numbers from 0 to 2^32 - 1.")
    if not spec.config.prefill < spec.steps < 2**31 - spec.config.chunk_steps:
        raise ConfigError(
            f"steps={spec.steps} must be larger than prefill={spec.config.prefill}, after which "
            f"learning begins, and fit into 31 bits."
        )
    if len({frozenset(lane.env_params) for lane in spec.lanes}) != 1:
        raise ConfigError("env_params must name the same parameters in every lane.")
    return experiment or make_experiment(spec.config, *spec.lanes)


def _start_meta(directory: Path, protocol: dict, plan: Plan) -> dict[str, Any]:
    """``meta.json``, written at the start; a resumed run adds to its times."""
    path = directory / results.META
    old = results.read_json(path) if path.exists() else {}
    meta = {
        "protocol": protocol,
        "members": {**plan._asdict(), "groups": plan.num_groups},
        "sessions": [*old.get("sessions", []), provenance.describe()],  # more than one if resumed
        "seconds": old.get("seconds", 0.0),
        "compile_seconds": old.get("compile_seconds", 0.0),
    }
    results.write_json(path, meta)
    return meta


def _moved(population: Population, states: list[PyTree], move: Move, fields) -> list[PyTree]:
    """The states after a move; a broken member takes over everything but its key."""
    own = np.arange(len(move.sources))
    whole = tuple(name for name in states[0]._fields if name != "key")
    states = population.gather(states, np.where(move.broken, move.sources, own), whole)
    return population.gather(states, np.where(move.broken, own, move.sources), fields)


def _record(directory: Path, spec: RunSpec, protocol: dict, history: History) -> dict:
    """Write what has been measured so far; returns the scores."""
    arrays = history.arrays()
    scores = score(arrays, spec.document(), protocol)
    write_history(directory, history, arrays)
    rows = table_rows(scores["lanes"], lane_settings(spec.lanes))
    results.write_scores(directory, scores, rows)
    return scores


def _summarise(directory: Path, spec: RunSpec, protocol: dict, history: History) -> dict:
    """Write the scores, and draw the curves; returns the scores."""
    scores = _record(directory, spec, protocol, history)
    title, labels = f"{spec.preset}: {spec.config.env}", lane_labels(spec.lanes)
    curves, note = without_diverged(history.arrays()), protocol_words(protocol)
    plots.draw_curves(directory / results.CURVES, curves, title, labels, note)
    return scores


def _save(directory: Path, document: dict, tree: PyTree, clock: Clock) -> None:
    checkpoint.save(directory / results.CHECKPOINTS, tree, clock, owner_of(document))


def _export(directory: Path, spec: RunSpec, document: dict, params: PyTree) -> None:
    """Save the trained networks [H, S, ...]."""
    shape = len(spec.lanes), len(spec.seeds)
    params = jax.tree.map(lambda leaf: leaf.reshape(*shape, *leaf.shape[1:]), params)
    save_policy(directory / "policy", document, params)


def _headline(scores: dict[str, Any]) -> str:
    """The last evaluation in a few words; of the best lane, if there are several."""
    lanes = scores["lanes"]
    best = max(lanes, key=lambda lane: np.nan_to_num(lane["iqm"], nan=-np.inf))
    name = "return" if len(lanes) == 1 else f"best of {len(lanes)} lanes: return"
    low, high = best["iqm_95"]
    return f"{name} {best['iqm']:.4g} [{low:.4g}, {high:.4g}]"


@contextmanager
def _catch_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying; a second one acts as usual."""
    caught: list[int] = []
    handlers = {}

    def handle(signum, frame):
        caught.append(signum)
        for number, handler in handlers.items():
            signal.signal(number, handler)

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            handlers[number] = signal.signal(number, handle)
    except ValueError:  # not in the main thread, which alone receives signals
        pass
    try:
        yield caught
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
