"""Saving and restoring a population, with Orbax.

A checkpoint is the state of all members and a seal: the clock, the fingerprint of the run it
belongs to and the hashes of its files. Orbax writes into a temporary folder and renames it; the
seal is written afterwards, and the checkpoint before it is kept. So whenever a run is killed, its
newest sealed checkpoint is whole; and if a disk has spoiled that, the one before still counts.
"""

import errno
import hashlib
import json
import logging
import os
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxq.errors import ConfigError
from jaxq.runs.files import write_text
from jaxq.runs.placement import tree_bytes
from jaxq.types import Clock, PyTree

_MARGIN = 1.2, 2_000_000  # times the size of the arrays, and bytes: what is written beside them


def fingerprint(document: Any) -> str:
    """A short hash of anything JSON can hold."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]


def save(directory: Path, tree: PyTree, clock: Clock, owner: str) -> None:
    """Save NumPy leaves [M, ...] under ``directory / steps``; keep the one before as well.

    Raises:
      OSError: it could not be written; the one before is whole.
    """
    step = int(clock.steps)
    if _is_whole(directory, step):
        return
    _seal(directory, step).unlink(missing_ok=True)
    for leftover in directory.glob("*"):  # of a process killed before it could seal it
        number, _, orbax = leftover.name.partition(".")  # which has a folder of its own until then
        is_sealed = number.isdigit() and not orbax and _seal(directory, int(number)).exists()
        if leftover.is_dir() and number.isdigit() and not is_sealed:
            shutil.rmtree(leftover)
    directory.mkdir(exist_ok=True)
    needed = _MARGIN[0] * tree_bytes(tree) + _MARGIN[1]
    if shutil.disk_usage(directory).free < needed:  # Orbax would find out in its own threads
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(directory / str(step)))
    ocp, manager = _open(directory)
    try:
        with manager:
            manager.save(step, args=ocp.args.StandardSave(jax.tree.leaves(tree)), force=True)
    except ValueError as error:  # how the storage below Orbax reports what the system refused
        code = re.search(r"os_error_code='(\d+)'", str(error))
        if not code:
            raise
        number = int(code[1])
        raise OSError(number, os.strerror(number), str(directory / str(step))) from error
    seal = {"owner": owner, "steps": step, "updates": int(clock.updates)}
    seal["files"] = _hashes(directory / str(step))
    write_text(_seal(directory, step), json.dumps(seal, indent=1) + "\n")
    for path in directory.glob("*.json"):
        if not (directory / path.stem).is_dir():
            path.unlink()


def restore(directory: Path, shapes: PyTree, owner: str) -> tuple[PyTree, Clock] | None:
    """The newest whole checkpoint as NumPy leaves [M, ...], or None if there is none yet.

    Raises:
      ConfigError: all are damaged, or it belongs to another run; nothing is changed.
    """
    steps = [int(path.stem) for path in directory.glob("*.json") if path.stem.isdigit()]
    if not steps:
        return None
    step = next((step for step in sorted(steps)[::-1] if _is_whole(directory, step)), None)
    if step is None:
        raise ConfigError(
            f"checkpoint={directory / str(max(steps))} is damaged and cannot be read; it was left "
            f"as it is, start a new run in another --out directory."
        )
    place, seal = directory / str(step), json.loads(_seal(directory, step).read_text())
    if seal["owner"] != owner:
        raise ConfigError(f"checkpoint={place} belongs to another run; it was left as it is.")
    if step < max(steps):
        warnings.warn(f"{directory / str(max(steps))} is damaged; {place} is taken.", stacklevel=2)
    leaves, structure = jax.tree.flatten(shapes)
    template = [np.zeros(leaf.shape, leaf.dtype) for leaf in leaves]
    ocp, manager = _open(directory)
    try:
        with manager:
            restored = manager.restore(step, args=ocp.args.StandardRestore(template))
    except Exception as error:  # the files are what was written, so it is something else
        raise ConfigError(f"checkpoint={place} cannot be restored: {error}") from error
    return structure.unflatten(restored), Clock(np.int32(step), np.int32(seal["updates"]))


def _is_whole(directory: Path, step: int) -> bool:
    """Whether the checkpoint is sealed, and its files are what was sealed."""
    try:
        seal = json.loads(_seal(directory, step).read_text())
        return seal["files"] == _hashes(directory / str(step)) and {"owner", "updates"} <= set(seal)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _hashes(place: Path) -> dict[str, str]:
    """SHA-256 of every file of a checkpoint."""
    paths = sorted(path for path in place.rglob("*") if path.is_file())
    return {
        str(path.relative_to(place)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
    }


def _seal(directory: Path, step: int) -> Path:
    return directory / f"{step}.json"


def _open(directory: Path):
    import orbax.checkpoint as ocp  # imported here: takes seconds

    logging.getLogger("absl").setLevel(logging.CRITICAL)  # what it logs is also raised
    alone = ocp.options.MultiprocessingOptions(
        primary_host=jax.process_index(),
        active_processes={jax.process_index()},
        barrier_sync_key_prefix=str(jax.process_index()),
    )
    options = ocp.CheckpointManagerOptions(
        max_to_keep=2,
        create=False,
        enable_async_checkpointing=False,
        multiprocessing_options=alone,  # every process saves its own members
    )
    return ocp, ocp.CheckpointManager(directory.resolve(), options=options)
