"""What a run measures, copied to W&B or TensorBoard while it trains.

A sink is a convenience. The run directory holds everything without it, so a sink that fails says so
once and is switched off; training goes on.
"""

import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.markup import escape

from jaxq.errors import require, unknown
from jaxq.runs.files import TENSORBOARD
from jaxq.runs.listening import Listener, Moment
from jaxq.scoring.stats import iqm

_FLUSH_SECONDS = 5.0  # TensorBoard: every flush waits for the disk, once per lane
_START_SECONDS = 5.0  # W&B: to reach the server, for each lane until one fails
_FINISH_SECONDS = 10.0  # W&B: to upload what is left, for each lane; the rest stays on the disk
_PROJECT = "jaxq"


class Sink(NamedTuple):
    """``log(steps, metrics)`` at evaluations, metrics name -> [H, S]; ``close()`` at the end."""

    log: Callable
    close: Callable


def make_sink(
    kind: str,
    directory: Path,
    document: Mapping[str, Any],
    labels: Sequence[str],
    console: Console,
    resumed_at: int | None = None,
) -> Sink:
    """A sink that never raises, and warns at most once.

    Args:
      kind: ``wandb`` or ``tensorboard``.
      directory: the run directory; its name is the group of the lanes' W&B runs.
      document: what ``config.json`` holds, and the ``id`` of ``meta.json``.
      labels: what tells each lane apart; may be empty.
      console: where the warning goes.
      resumed_at: the clock of the checkpoint from which a run goes on, None for a new one.

    Raises:
      ConfigError: as ``check_kind``.
    """
    check_kind(kind)
    start = _KINDS[kind][1]
    return guarded(lambda: start(directory, document, labels, resumed_at), kind, console)


def copy_to(sink: Sink) -> Listener:
    """Tells a sink what has been measured at every evaluation."""

    def evaluated(moment: Moment) -> None:
        sink.log(int(moment.clock.steps), moment.history.last())

    return Listener(evaluated, lambda moment: sink.close())


def check_kind(kind: str) -> None:
    """Refuse what cannot be started.

    Raises:
      ConfigError: there is no such kind, or its package is not installed.
    """
    if kind not in _KINDS:
        raise unknown("track", kind, _KINDS)
    require(f"track={kind}", _KINDS[kind][0], extra=kind)


def guarded(start: Callable[[], Sink], name: str, console: Console) -> Sink:
    """The sink that ``start()`` makes, switched off at its first exception, with one warning."""
    sinks: list[Sink] = []  # empty: off

    def attempt(function: Callable, *arguments) -> Any:
        try:
            return function(*arguments)
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            console.print(
                f"[yellow]{name} is switched off, training goes on:[/] {escape(reason)}",
                highlight=False,
            )
            sinks.clear()

    def log(steps: int, metrics: Mapping[str, np.ndarray]) -> None:
        for sink in list(sinks):
            attempt(sink.log, steps, metrics)

    def close() -> None:
        for sink in list(sinks):
            attempt(sink.close)
        sinks.clear()

    made = attempt(start)
    if made is not None:
        sinks.append(made)
    return Sink(log, close)


def summarise(values: np.ndarray, seeds: Sequence[int], name: str) -> dict[str, float]:
    """One lane's values [S] under ``name``: IQM and mean of the seeds that have one, and each."""
    apart = {f"{name}/seed{seed}": float(value) for seed, value in zip(seeds, values)}
    known = values[~np.isnan(values)]
    if not known.size:
        return apart
    return {f"{name}/iqm": float(iqm(known)), f"{name}/mean": float(known.mean())} | apart


def _by_lane(metrics: Mapping[str, np.ndarray], seeds: Sequence[int]) -> list[dict[str, float]]:
    """All scalars of every lane."""
    values = {name: np.asarray(value, np.float64) for name, value in metrics.items()}  # [H, S]
    lanes: list[dict[str, float]] = [{} for _ in next(iter(values.values()))]
    for name, by_lane in values.items():
        for lane, row in zip(lanes, by_lane):
            lane |= summarise(row, seeds, name)
    return lanes


def _lane_names(labels: Sequence[str]) -> list[str]:
    return [f"lane{lane} {label}".strip() for lane, label in enumerate(labels)]


def _start_tensorboard(directory, document, labels, resumed_at) -> Sink:
    """Event files in a folder per lane, written without a thread, so that errors come up here."""
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event, SessionLog
    from tensorboardX.proto.summary_pb2 import Summary

    writers = []
    for name in _lane_names(labels):
        folder = directory / TENSORBOARD / name.replace("/", "_")
        folder.mkdir(parents=True, exist_ok=True)
        # The suffix: a file of the same second and machine would be overwritten.
        writers.append(EventsWriter(str(folder / "events"), f".{time.time_ns()}"))
    if resumed_at is not None:
        # TensorBoard then drops what an earlier process wrote at this step or later.
        restart = SessionLog(status=SessionLog.START)
        for writer in writers:
            event = Event(wall_time=time.time(), step=resumed_at + 1, session_log=restart)
            writer.write_event(event)
    flushed = 0.0

    def log(steps: int, metrics: Mapping[str, np.ndarray]) -> None:
        nonlocal flushed
        for writer, scalars in zip(writers, _by_lane(metrics, document["seeds"])):
            values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
            summary = Summary(value=values)
            writer.write_event(Event(wall_time=time.time(), step=steps, summary=summary))
        if time.monotonic() - flushed >= _FLUSH_SECONDS:
            for writer in writers:
                writer.flush()
            flushed = time.monotonic()

    def close() -> None:
        for writer in writers:
            writer.close()

    return Sink(log, close)


def _start_wandb(directory, document, labels, resumed_at) -> Sink:
    """A run per lane. Its id is made of the run's own and the lane, so that a resumed run finds it,
    wherever it has been moved."""
    import wandb

    limits = {"init_timeout": _START_SECONDS, "finish_timeout": _FINISH_SECONDS}
    quiet = {"silent": True, "console": "off", "x_disable_stats": True, "disable_git": True}
    # Without a key W&B would ask for one in the terminal, and wait.
    is_online = wandb.setup(wandb.Settings(silent=True)).settings.mode == "online"
    if is_online and not wandb.login(prompt=False, verify=False):
        raise RuntimeError("no API key is configured; wandb login does.")
    place = directory.resolve()
    shared = {name: value for name, value in document.items() if name != "lanes"}
    runs = [
        wandb.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            group=place.name,
            name=f"{place.name} {name}",
            id=hashlib.sha256(f"{document['id']}/{lane}".encode()).hexdigest()[:16],
            config={**shared, "hparams": document["lanes"][lane]},
            dir=str(directory),
            reinit="create_new",
            resume=None if resumed_at is None else "allow",
            settings=wandb.Settings(**quiet, **limits),
        )
        for lane, name in enumerate(_lane_names(labels))
    ]
    for run in runs:
        run.define_metric("steps")
        run.define_metric("*", step_metric="steps")

    def log(steps: int, metrics: Mapping[str, np.ndarray]) -> None:
        for run, scalars in zip(runs, _by_lane(metrics, document["seeds"])):
            run.log({"steps": steps, **scalars})

    def close() -> None:
        for run in runs:
            run.finish()

    return Sink(log, close)


_KINDS = {
    "wandb": ("wandb", _start_wandb),
    "tensorboard": ("tensorboardX", _start_tensorboard),
}
