"""The states of all members on disk, to resume from.

A checkpoint is one file of tensors. Beside them it holds its seal: the clock, the fingerprint of
the run it belongs to, and a hash of all of that. It gets its name when the disk has all of it, and
the one before is kept. So whenever a run is killed, its newest checkpoint is whole; and if a disk
has spoiled that, the one before still counts.
"""

import hashlib
import json
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxq.errors import ConfigError
from jaxq.runs.files import CHECKPOINTS
from jaxq.runs.listening import Listener, Moment
from jaxq.runs.tensors import bytes_of, read_tensors, write_tensors
from jaxq.types import Clock, PyTree

_ENDING = ".safetensors"
_PENDING = "pending/"  # before the names of metrics, which the names of leaves do not begin with


def fingerprint(document: Any) -> str:
    """A short hash of anything JSON can hold, the same for 1 and 1.0."""
    document = json.loads(json.dumps(document), parse_int=float)
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]


def keep_checkpoints(run: Path, owner: str, every: float) -> Listener:
    """Saves the members once ``every`` seconds have passed since the last time, and at the end."""
    saved_at, saved_steps = time.monotonic(), None

    def write(moment: Moment) -> None:
        nonlocal saved_at, saved_steps
        history = moment.history
        since = history.steps[-1] if history.steps else 0, history.pending_arrays()
        save(run / CHECKPOINTS, moment.fetch(), moment.clock, owner, *since)
        saved_at, saved_steps = time.monotonic(), int(moment.clock.steps)

    def chunk_ended(moment: Moment) -> None:
        if time.monotonic() - saved_at >= every:
            write(moment)

    def closed(moment: Moment) -> None:
        if int(moment.clock.steps) != saved_steps:
            write(moment)

    return Listener(chunk_ended, closed, chunk_ended)


class Saved(NamedTuple):
    """What a checkpoint holds."""

    path: Path
    tree: PyTree  # NumPy leaves [M, ...]; of ``newest`` by their places in the state
    clock: Clock
    evaluated: int  # the step of the last evaluation, 0 before the first
    pending: Mapping[str, np.ndarray]  # metrics [M, K] of the K chunks since


def save(
    directory: Path,
    tree: PyTree,
    clock: Clock,
    owner: str,
    evaluated: int | None = None,
    pending: Mapping[str, np.ndarray] = {},
) -> None:
    """Save NumPy leaves [M, ...] as ``directory / STEPS.safetensors``; keep the one before as well.

    Args:
      owner: by which the run is known, see ``restore``.
      evaluated, pending: as of ``Saved``; by default nothing has come since an evaluation.

    Raises:
      OSError: it could not be written; the one before is whole.
    """
    arrays = {name: _plain(leaf) for name, leaf in _by_name(tree).items()}
    save_arrays(directory, arrays, clock, owner, evaluated, pending)


def save_arrays(
    directory: Path,
    arrays: Mapping[str, np.ndarray],
    clock: Clock,
    owner: str,
    evaluated: int | None = None,
    pending: Mapping[str, np.ndarray] = {},
) -> None:
    """As ``save``, of a tree as ``newest`` reads it."""
    step = int(clock.steps)
    seal = {"owner": owner, "steps": str(step), "updates": str(int(clock.updates))}
    if pending:
        seal["evaluated"] = str(evaluated)
        arrays = {**arrays, **{_PENDING + name: values for name, values in pending.items()}}
    seal["hash"] = _hash(arrays, seal)
    directory.mkdir(exist_ok=True)
    for leftover in directory.glob(f".*{_ENDING}"):  # of a process killed while it wrote
        leftover.unlink()
    write_tensors(_path(directory, step), arrays, seal)
    saved = _steps(directory)
    before = max((other for other in saved if other < step), default=None)
    for other in saved:
        if other not in (step, before):  # a later one was damaged: the run went back before it
            _path(directory, other).unlink()


def exists(directory: Path) -> bool:
    """Whether there is any checkpoint, damaged or whole."""
    return bool(_steps(directory))


def restore(directory: Path, shapes: PyTree, owner: str, before: int | None = None) -> Saved | None:
    """The newest whole checkpoint, with a tree of these shapes, or None if there is none yet.

    Args:
      before: only of those before this step.

    Raises:
      ConfigError: all are damaged, or it belongs to another run; nothing is changed.
    """
    saved = newest(directory, owner, before)
    return saved and saved._replace(tree=_as(shapes, saved.tree, saved.path))


def newest(directory: Path, owner: str, before: int | None = None) -> Saved | None:
    """The newest whole checkpoint, or None if there is none yet; raises what ``restore`` does."""
    steps = [step for step in _steps(directory) if before is None or step < before]
    if not steps:
        if any(directory.glob("*.json")):
            raise ConfigError(f"checkpoints={directory} were made by jaxq 0.1, and cannot be read.")
        return None
    last = _path(directory, steps[-1])
    for step in reversed(steps):
        path = _path(directory, step)
        try:
            arrays, seal = _read(path)
        except (OSError, ValueError):
            continue
        theirs, ours = seal["owner"].split(), owner.split()
        if theirs[0] != ours[0]:
            changed = [word.split(":")[0] for word in ours[1:] if word not in theirs]
            another = f" (another {' and '.join(changed)})" if changed and theirs[1:] else ""
            raise ConfigError(
                f"checkpoint={path} belongs to another run than config.json describes{another}; it "
                f"was left as it is, and goes on with the numbers and seeds that it was begun with."
            )
        if path != last:
            warnings.warn(f"{last} is damaged; {path} is taken.", stacklevel=2)
        names = [name for name in arrays if name.startswith(_PENDING)]
        pending = {name.removeprefix(_PENDING): arrays.pop(name) for name in names}
        clock = Clock(np.int32(step), np.int32(seal["updates"]))
        return Saved(path, arrays, clock, int(seal.get("evaluated", step)), pending)
    raise ConfigError(
        f"checkpoint={last} is damaged and cannot be read; it was left as it is, start a new "
        f"run in another --out directory."
    )


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays and the seal of a checkpoint.

    Raises:
      OSError, ValueError: it is damaged.
    """
    arrays, seal = read_tensors(path)
    if seal.pop("hash", None) != _hash(arrays, seal):
        raise ValueError(f"{path} is not what was saved.")
    return arrays, seal


def _hash(arrays: Mapping[str, np.ndarray], seal: Mapping[str, str]) -> str:
    """SHA-256 of everything that a checkpoint holds, read where it lies."""
    names = sorted(arrays)
    described = [[name, str(arrays[name].dtype), arrays[name].shape] for name in names]
    total = hashlib.sha256(json.dumps([sorted(seal.items()), described]).encode())
    for name in names:
        total.update(bytes_of(arrays[name]))
    return total.hexdigest()


def _by_name(tree: PyTree) -> dict[str, Any]:
    """The leaves of a tree by where they are in it, such as ``.params['params']['Dense_0']``."""
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def _plain(leaf: np.ndarray) -> np.ndarray:
    """The same bytes in a type that every reader of tensors knows."""
    leaf = np.asarray(leaf)
    is_extension = leaf.dtype.kind == "V"  # such as bfloat16
    return np.ascontiguousarray(leaf).view(f"u{leaf.itemsize}") if is_extension else leaf


def _as(shapes: PyTree, arrays: Mapping[str, np.ndarray], path: Path) -> PyTree:
    """The arrays as a tree of these shapes.

    Raises:
      ConfigError: they are of another state.
    """
    wanted = _by_name(shapes)
    different = set(wanted) ^ set(arrays)
    for name in set(wanted) & set(arrays):
        like, there = wanted[name], arrays[name]
        if like.shape != there.shape or _plain(np.empty(0, like.dtype)).dtype != there.dtype:
            different.add(name)
    if different:
        raise ConfigError(
            f"checkpoint={path} cannot be restored: {', '.join(sorted(different)[:3])} of its "
            f"state is not as this version of jaxq has it."
        )
    leaves = [arrays[name].view(like.dtype) for name, like in wanted.items()]
    return jax.tree.unflatten(jax.tree.structure(shapes), leaves)


def _steps(directory: Path) -> list[int]:
    """Of all checkpoints, the oldest first."""
    stems = [path.stem for path in directory.glob(f"*{_ENDING}")]
    return sorted(int(stem) for stem in stems if stem.isdigit())


def _path(directory: Path, step: int) -> Path:
    return directory / f"{step}{_ENDING}"
