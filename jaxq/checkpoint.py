"""Saving and restoring a population, with Orbax.

A checkpoint is the state of all members, the clock, and the fingerprint of the run it belongs to.
Orbax writes into a temporary folder and renames it, so a checkpoint is there whole or not at all;
the previous one is deleted only afterwards.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxq.errors import ConfigError
from jaxq.types import Clock, PyTree


def fingerprint(document: Any) -> str:
    """A short hash of anything JSON can hold."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]


def save(directory: Path, tree: PyTree, clock: Clock, owner: str) -> None:
    """Save NumPy leaves [M, ...] under ``directory / steps``, then drop older checkpoints."""
    ocp, manager = _open(directory)
    with manager:
        manager.save(
            int(clock.steps),
            args=ocp.args.Composite(
                state=ocp.args.StandardSave({"leaves": jax.tree.leaves(tree)}),
                about=ocp.args.JsonSave(
                    {"owner": owner, "steps": int(clock.steps), "updates": int(clock.updates)}
                ),
            ),
        )


def restore(directory: Path, shapes: PyTree, owner: str) -> tuple[PyTree, Clock] | None:
    """The newest checkpoint as NumPy leaves, or None if there is none yet.

    Raises:
      ConfigError: the checkpoint is damaged or belongs to another run; nothing is changed.
    """
    if not directory.is_dir():
        return None
    ocp, manager = _open(directory)
    with manager:
        step = manager.latest_step()
        if step is None:
            return None
        place = directory / str(step)
        try:
            about = manager.restore(step, args=ocp.args.Composite(about=ocp.args.JsonRestore()))
            about = dict(about["about"])
        except Exception as error:
            raise _damaged(place) from error
        if about.get("owner") != owner:
            raise ConfigError(f"checkpoint={place} belongs to another run; it was left as it is.")
        leaves, structure = jax.tree.flatten(shapes)
        template = {"leaves": [np.zeros(leaf.shape, leaf.dtype) for leaf in leaves]}
        try:
            restored = manager.restore(
                step, args=ocp.args.Composite(state=ocp.args.StandardRestore(template))
            )["state"]["leaves"]
        except Exception as error:
            raise _damaged(place) from error
    for leaf, value in zip(leaves, restored, strict=True):
        if leaf.shape != value.shape or leaf.dtype != value.dtype:
            raise _damaged(place)
    clock = Clock(np.int32(about["steps"]), np.int32(about["updates"]))
    return structure.unflatten(restored), clock


def _damaged(place: Path) -> ConfigError:
    return ConfigError(
        f"checkpoint={place} is damaged and cannot be read; it was left as it is, start a new run "
        f"in another --out directory."
    )


def _open(directory: Path):
    import orbax.checkpoint as ocp  # imported here: takes seconds

    options = ocp.CheckpointManagerOptions(max_to_keep=1, enable_async_checkpointing=False)
    return ocp, ocp.CheckpointManager(directory.resolve(), options=options)
