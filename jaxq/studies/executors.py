"""Who trains the parts of a study: this process, one process of several, or the workers of Ray.

All do the same to a part (``train_part``), which is idempotent: a complete part is left alone, one
that was begun goes on where it was saved. So parts may be given out again after any failure.
"""

import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
from rich.console import Console

from jaxq.errors import ConfigError
from jaxq.runs import files as results
from jaxq.runs import machine
from jaxq.runs.files import STUDY
from jaxq.runs.resuming import Point
from jaxq.runs.runner import Evolve, RunSpec, Spread, run
from jaxq.studies.searches import run_of
from jaxq.studies.study import Study, part_directory, point_after

_RETRIES = 10  # of a task whose worker dies
_POLL = 0.5  # seconds between looks for what other processes have finished


class Executor(NamedTuple):
    """Who trains parts, and how.

    ``train(directory, study, indices, spread, console)`` ends when these parts of the study in
    ``directory`` are complete. In a process that another one leads, ``follow(directory, read,
    spread)`` trains its share until the study is complete, which ``read()`` reads anew.
    """

    train: Callable[[Path, Study, Sequence[int], Spread, Console], None]
    num_parts: int | None = None  # into which every program is cut for it; None is as asked for
    follow: Callable[[Path, Callable[[], Study], Spread], None] | None = None


def train_once(
    spec: RunSpec,
    directory: Path,
    spread: Spread = Spread(),  # noqa: B008
    *,
    start: Callable[[], Point | None] = lambda: None,
    evolve: Evolve | None = None,
    console: Console | None = None,
) -> dict[str, Any] | None:
    """Train ``spec`` in ``directory`` unless it is complete there; go on if it was begun.

    Args:
      start, evolve: as for ``runner.run``.
      console: where to report; nothing is printed without one.

    Returns:
      What ``scores.json`` holds; None if there was nothing left to train.

    Raises:
      ConfigError: the directory holds another run.
      Interrupted: a signal came.
    """
    if not is_complete(directory):
        begun = (directory / results.CONFIG).exists()
        console = console or Console(quiet=True)
        how = {"start": start, "evolve": evolve, "console": console}
        return run(spec, directory, spread=spread, resume=begun, **how)
    there = {**results.read_document(directory), "made_of": {}}  # parts of one's own go by name
    if there != {**spec.document(), "made_of": {}}:
        raise ConfigError(
            f"out={directory} holds another {spec.preset} than the one asked for; choose another "
            f"directory."
        )
    return None


def is_complete(directory: Path) -> bool:
    """Whether a run or a study has ended."""
    return (directory / results.COMPLETE).exists()


def train_part(
    directory: Path, study: Study, index: int, spread: Spread, console: Console | None = None
) -> None:
    """Train part ``index`` of the study in ``directory``, unless it is complete."""
    part = study.parts[index]
    place = part_directory(directory, index)
    if is_complete(place):
        return
    spec, evolve = run_of(study, part)
    start = partial(point_after, directory, study, part)
    spread = spread._replace(batch=part.batch)
    train_once(spec, place, spread, start=start, evolve=evolve, console=console)


def _train_here(
    directory: Path, study: Study, indices: Sequence[int], spread: Spread, console: Console
) -> None:
    """Train parts one after the other."""
    for index in indices:
        train_part(directory, study, index, spread, console)


HERE = Executor(_train_here)


def several_processes(where: str, heartbeat: int) -> Executor:
    """The processes of a cluster, of which the first leads; see ``Cluster``."""
    cluster = Cluster(where, heartbeat)
    return Executor(cluster.train, cluster.count, None if cluster.leads else cluster.follow)


def with_ray(cpus: float = 1.0, gpus: float = 0.0) -> Executor:
    """Tasks of Ray, each with so many CPU cores and GPUs; a task whose worker dies is tried again,
    wherever there is room, and goes on where it was saved."""
    return Executor(partial(_train_with_ray, cpus, gpus))


class Cluster:
    """This process among several that JAX knows of (SLURM, Open MPI, Kubernetes, or as told).

    Every process trains its own parts and writes its own directories, which all must see. There is
    no communication but the heartbeat: when a process dies, the others end as well.
    """

    def __init__(self, where: str, heartbeat: int):
        """Join the others.

        Args:
          where: ``auto``, or ``HOST:PORT,COUNT,INDEX`` with the address of process 0.
          heartbeat: seconds without a sign of life after which a process counts as dead.

        Raises:
          ConfigError: there is no cluster, or the address is not of that form.
        """
        place = {}
        if where != "auto":
            try:
                address, count, index = where.split(",")
                place = {"num_processes": int(count), "process_id": int(index)}
            except ValueError:
                raise ConfigError(
                    f"distributed={where} must be auto, or HOST:PORT,COUNT,INDEX."
                ) from None
            place |= {"coordinator_address": address, "cluster_detection_method": "deactivate"}
        try:
            jax.distributed.initialize(
                **place, heartbeat_timeout_seconds=heartbeat, shutdown_timeout_seconds=heartbeat
            )
        except (ValueError, RuntimeError, OSError) as error:
            raise ConfigError(f"distributed={where} found no other processes: {error}.") from error
        self.index, self.count = jax.process_index(), jax.process_count()

    @property
    def leads(self) -> bool:
        """Whether this is the process that reports and chooses."""
        return self.index == 0

    def train(
        self,
        directory: Path,
        study: Study,
        indices: Sequence[int],
        spread: Spread,
        console: Console,
    ) -> None:
        """Train this process's share, then wait for the others'."""
        mine = [index for index in indices if index % self.count == self.index]
        _train_here(directory, study, mine, spread, console)
        self.wait(lambda: all(is_complete(part_directory(directory, i)) for i in indices))

    def follow(self, directory: Path, read: Callable[[], Study], spread: Spread) -> None:
        """Train this process's share of a study that another leads, until it is complete.

        Args:
          read: the study as it is now.
        """
        self.wait((directory / STUDY).exists)
        while not is_complete(directory):
            study = read()
            for index in range(self.index, len(study.parts), self.count):
                train_part(directory, study, index, spread)
            time.sleep(_POLL)

    def wait(self, done: Callable[[], bool]) -> None:
        """Until another process has done something."""
        while not done():
            time.sleep(_POLL)


def _train_with_ray(
    cpus: float,
    gpus: float,
    directory: Path,
    study: Study,
    indices: Sequence[int],
    spread: Spread,
    console: Console,
) -> None:
    """Train parts as tasks of Ray.

    Raises:
      ConfigError: a part failed.
    """
    import ray  # imported here: an extra, and takes seconds

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # Ray forks before it does anything else
        ray.init(log_to_driver=False, include_dashboard=False, logging_level="ERROR")
    try:
        task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=_RETRIES)(_ray_task)
        work = directory.resolve(), study
        waiting = {task.remote(*work, i, spread, cpus, sys.path): i for i in indices}
        while waiting:
            (done,), _ = ray.wait(list(waiting), num_returns=1)
            index = waiting.pop(done)
            try:
                ray.get(done)
            except ray.exceptions.RayError as error:
                raise ConfigError(f"part={index} failed: {_cause(error)}.") from error
            finished = len(indices) - len(waiting)
            console.print(f"part {index} is complete ({finished} of {len(indices)})")
    finally:
        ray.shutdown()


def _ray_task(
    directory: Path, study: Study, index: int, spread: Spread, cpus: float, path: list[str]
) -> None:
    """In a worker: one part, on the cores and GPUs that Ray has given it."""
    sys.path[:] = [*path, *(entry for entry in sys.path if entry not in path)]
    if not os.environ.get("CUDA_VISIBLE_DEVICES"):
        jax.config.update("jax_platforms", "cpu")
    machine.use_cores(max(1, int(cpus)))
    train_part(directory, study, index, spread)


def _cause(error: Exception) -> str:
    """The last line of an error, which says what happened."""
    return str(error).strip().splitlines()[-1].rstrip(".")
