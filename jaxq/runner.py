"""The host side of a run: chunks, evaluation, saving, stopping.

Compiled programs run for one chunk at a time; everything the user sees happens in between.
"""

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console

from jaxq import checkpoint, plots, provenance, results
from jaxq.config import Config, HParams, plain_numbers
from jaxq.errors import ConfigError
from jaxq.experiment import Experiment, make_experiment
from jaxq.placement import Plan
from jaxq.policy import save_policy
from jaxq.population import make_population
from jaxq.progress import Progress
from jaxq.stats import bootstrap_iqm, iqm
from jaxq.sweeps import ENV_PARAM, differing, flatten
from jaxq.types import PyTree

_HOLDS = 3  # evaluations in a row that must reach until_return


class RunSpec(NamedTuple):
    """What to train. The same specification gives the same bits on the same machine."""

    preset: str
    config: Config
    lanes: Sequence[HParams]
    seeds: Sequence[int]
    steps: int  # environment steps per member, rounded up to a whole chunk

    def document(self) -> dict[str, Any]:
        """What ``config.json`` holds."""
        return results.jsonable(
            {
                "preset": self.preset,
                "steps": self.steps,
                "seeds": list(self.seeds),
                "config": vars(self.config),
                "lanes": [plain_numbers(lane) for lane in self.lanes],
            }
        )


class Stop(NamedTuple):
    """Reasons to stop before ``steps``, looked at after every chunk."""

    until_return: float | None = None  # every lane's evaluation IQM held this, three times running
    episodes: int | None = None  # every member finished this many episodes


class Spread(NamedTuple):
    """How members are spread over devices; None chooses. A resumed run keeps its batch."""

    batch: int | None = None
    num_devices: int | None = None


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
    save_every: float = 30.0,
    console: Console | None = None,
) -> dict[str, Any]:
    """Train and evaluate all members; leave a complete run directory.

    Args:
      spec: what to train.
      directory: the run directory; new or empty, or with ``resume`` the one of this run.
      stop: reasons to stop early.
      spread: how members are spread.
      save_every: seconds between checkpoints; one is always saved at the end.
      console: where to report; nothing is printed without one.

    Returns:
      What ``scores.json`` holds.

    Raises:
      ConfigError: bad input, before anything compiles.
      Interrupted: SIGINT or SIGTERM came; the run can be resumed.
    """
    experiment = _compose(spec)
    document = spec.document()
    if resume:
        spread = _check_resume(document, directory, spread)
    population = make_population(
        experiment.trainer, experiment.evaluate, spec.lanes, spec.seeds, *spread
    )
    owner = checkpoint.fingerprint({**document, "steps": None, "preset": None})
    if resume:
        saved, history = _load(directory, spec, population.shapes, owner)
    else:
        results.create(directory, document)
        saved, history = None, results.History(len(spec.lanes), len(spec.seeds))
    meta = _start_meta(directory, experiment, population.plan)

    checkpoints = directory / results.CHECKPOINTS
    started = last_save = time.monotonic()
    num_members = population.plan.num_members
    console = console or Console(quiet=True)
    progress = Progress(spec.preset, num_members, spec.steps, console)
    with _catch_signals() as signals, progress:
        population.prepare(("chunk", "evaluate") if saved else ("init", "chunk", "evaluate"))
        meta["compile_seconds"] += time.monotonic() - started
        states, clock = (population.place(saved[0]), saved[1]) if saved else population.init()
        progress.begin(int(clock.steps))
        stopped_by = _reason(stop, history)
        while int(clock.steps) < spec.steps and not (signals or stopped_by):
            states, clock, metrics = population.chunk(states, clock)
            history.append(int(clock.steps), metrics, population.evaluate(states, clock))
            results.write_history(directory, history)
            progress.update(int(clock.steps), _headline(history))
            stopped_by = _reason(stop, history)
            if time.monotonic() - last_save >= save_every:
                checkpoint.save(checkpoints, population.fetch(states), clock, owner)
                last_save = time.monotonic()
        tree = population.fetch(states)
        checkpoint.save(checkpoints, tree, clock, owner)

    meta["seconds"] = round(meta["seconds"] + time.monotonic() - started, 2)
    meta["compile_seconds"] = round(meta["compile_seconds"], 2)
    meta["stopped_by"] = signal.Signals(signals[0]).name if signals else stopped_by or "steps"
    results.write_json(directory / results.META, meta)
    scores = _finish(directory, spec, document, experiment, history, tree.params)
    if signals:
        raise Interrupted(signals[0], int(clock.steps))
    results.write_text(directory / results.COMPLETE, f"{int(clock.steps)}\n")
    return scores


def lane_labels(lanes: Sequence[HParams]) -> list[str]:
    """What tells the lanes apart, such as ``learning_rate=0.001 gamma=0.9``."""
    names = differing(lanes)
    return [
        " ".join(f"{name.removeprefix(ENV_PARAM)}={flatten(lane)[name]:g}" for name in names)
        for lane in lanes
    ]


def _compose(spec: RunSpec) -> Experiment:
    """The experiment of all lanes; every lane is checked."""
    seeds = list(spec.seeds)
    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0 or max(seeds) >= 2**32:
        raise ConfigError(f"seeds={_short(seeds)} must be different numbers from 0 to 2^32 - 1.")
    if not spec.config.prefill < spec.steps < 2**31 - spec.config.chunk_steps:
        raise ConfigError(
            f"steps={spec.steps} must be larger than prefill={spec.config.prefill}, after which "
            f"learning begins, and fit into 31 bits."
        )
    if len({frozenset(lane.env_params) for lane in spec.lanes}) != 1:
        raise ConfigError("env_params must name the same parameters in every lane.")
    experiments = [make_experiment(spec.config, lane) for lane in spec.lanes]
    return experiments[0]


def _check_resume(document: dict, directory: Path, spread: Spread) -> Spread:
    """Refuse to resume anything but the same run; keep its batch of members."""
    if not directory.is_dir():
        raise ConfigError(f"resume={directory} is not a directory; a run directory is accepted.")
    old = results.read_document(directory)
    there, here = old["config"], document["config"]
    changes = [
        f"{name} ({_short(there.get(name))} there, {_short(here.get(name))} here)"
        for name in sorted(set(there) | set(here))
        if there.get(name) != here.get(name)
    ]
    if len(old["lanes"]) != len(document["lanes"]):
        changes.append(f"lanes ({len(old['lanes'])} there, {len(document['lanes'])} here)")
    for ours, theirs in zip(document["lanes"], old["lanes"]):
        changes += [
            f"{name} ({_short(theirs.get(name))} there, {_short(ours[name])} here)"
            for name in ours
            if ours[name] != theirs.get(name)
        ]
    if old["seeds"] != document["seeds"]:
        changes.append(f"seeds ({_short(old['seeds'])} there, {_short(document['seeds'])} here)")
    if old["steps"] > document["steps"]:
        changes.append(f"steps ({old['steps']} there, only {document['steps']} here)")
    if changes:
        names = "; ".join(dict.fromkeys(changes))
        raise ConfigError(f"resume={directory} holds a run with a different {names}.")
    meta = directory / results.META
    if meta.exists():
        batch = results.read_json(meta)["members"]["batch"]
        if spread.batch not in (None, batch):
            raise ConfigError(
                f"batch={spread.batch} must stay {batch}, with which the run was started."
            )
        spread = spread._replace(batch=batch)
    return spread


def _load(directory: Path, spec: RunSpec, shapes: PyTree, owner: str):
    """The last checkpoint, or None, and the history up to it."""
    saved = checkpoint.restore(directory / results.CHECKPOINTS, shapes, owner)
    size = len(spec.lanes), len(spec.seeds)
    metrics = directory / results.METRICS
    if saved is None or not metrics.exists():
        history = results.History(*size)
    else:
        history = results.History.load(metrics, *size, until=int(saved[1].steps))
    (directory / results.COMPLETE).unlink(missing_ok=True)
    results.write_json(directory / results.CONFIG, spec.document())  # steps may have been raised
    return saved, history


def _start_meta(directory: Path, experiment: Experiment, plan: Plan) -> dict[str, Any]:
    """``meta.json``, written at the start; a resumed run adds to its times."""
    path = directory / results.META
    old = results.read_json(path) if path.exists() else {}
    meta = {
        "protocol": {**experiment.env.protocol, "policy": "greedy unless eval_epsilon"},
        "members": {**plan._asdict(), "groups": plan.num_groups},
        "sessions": [*old.get("sessions", []), provenance.describe()],  # more than one if resumed
        "seconds": old.get("seconds", 0.0),
        "compile_seconds": old.get("compile_seconds", 0.0),
    }
    results.write_json(path, meta)
    return meta


def _finish(directory, spec, document, experiment, history, params) -> dict[str, Any]:
    """Everything that is made of what the run has measured and learned so far."""
    shape = len(spec.lanes), len(spec.seeds)
    params = jax.tree.map(lambda leaf: leaf.reshape(*shape, *leaf.shape[1:]), params)
    save_policy(directory / "policy", document, params)
    if not history.steps:
        return {}
    scores = results.score(history, document, experiment.env.protocol)
    results.write_json(directory / results.SCORES, scores)
    title = f"{spec.preset}: {spec.config.env}"
    plots.draw_curves(directory / results.CURVES, history.arrays(), title, lane_labels(spec.lanes))
    return scores


def _reason(stop: Stop, history: results.History) -> str | None:
    """Why to stop now, if there is a reason."""
    if stop.episodes is not None and history.steps:
        finished = np.sum(history.values["episodes"], axis=0)  # [M]
        if finished.min() >= stop.episodes:
            return "episodes"
    if stop.until_return is not None and len(history.steps) >= _HOLDS:
        recent = np.stack(history.values["eval_return"][-_HOLDS:])  # [3, M]
        by_lane = recent.reshape(_HOLDS, *history.shape)
        if iqm(by_lane).min() >= stop.until_return:
            return "until_return"
    return None


def _headline(history: results.History) -> str:
    """The last evaluation in a few words; of the best lane, if there are several."""
    returns = history.values["eval_return"][-1].reshape(history.shape)  # [H, S]
    interval = bootstrap_iqm(returns)
    best = int(np.argmax(interval.point))
    point, low, high = (float(part[best]) for part in interval)
    name = "return" if len(returns) == 1 else f"best of {len(returns)} lanes: return"
    return f"{name} {point:.4g} [{low:.4g}, {high:.4g}]"


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


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."
