"""A run, and a part that has trained more seeds of it, become one run: whole or not at all.

What a run goes on from (members, metrics, config, meta) is joined beside it, and moved over it once
all of that is there; what is left of a process killed meanwhile is moved by ``finish``. Scores,
curves and policies follow from these when the run goes on.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxq.errors import ConfigError
from jaxq.runs import checkpoint, files
from jaxq.runs.history import History
from jaxq.runs.locking import lock
from jaxq.runs.resuming import owner_of

_JOINED = ".joined"


def join(directory: Path, document: dict[str, Any]) -> None:
    """Put the members of the run in ``directory / ADDED`` into that in ``directory``, which is
    locked.

    Args:
      document: the joined run's, which differs from both in its seeds only, and has those of both.

    Raises:
      ConfigError: a checkpoint or the metrics are damaged; nothing is changed.
    """
    lanes, seeds, part = len(document["lanes"]), document["seeds"], directory / files.ADDED
    runs = [(place, files.read_document(place)) for place in (directory, part)]
    seeds_of = [old["seeds"] for _, old in runs]
    saved = [checkpoint.newest(place / files.CHECKPOINTS, owner_of(old)) for place, old in runs]
    clock = saved[0].clock
    if saved[1].clock != clock:
        raise ConfigError(f"part={part} is not where the run is; remove it, and try again.")
    measured = [
        History.load(place / files.METRICS, lanes, len(old["seeds"]), int(clock.steps)).arrays()
        for place, old in runs
    ]
    metas = [files.read_json(place / files.META) for place, _ in runs]

    def members(arrays: Sequence[np.ndarray]) -> np.ndarray:
        """Arrays [M, ...] of the two as one."""
        by_lane = [array.reshape(lanes, -1, *array.shape[1:]) for array in arrays]
        return by_seed(by_lane, seeds_of, seeds).reshape(-1, *arrays[0].shape[1:])

    whole = directory / _JOINED
    shutil.rmtree(whole, ignore_errors=True)
    whole.mkdir()
    tree = {name: members([one.tree[name] for one in saved]) for name in saved[0].tree}
    checkpoint.save_arrays(whole / files.CHECKPOINTS, tree, clock, owner_of(document))
    names = [name for name in measured[0] if name != "steps"]
    arrays = {name: by_seed([one[name] for one in measured], seeds_of, seeds) for name in names}
    files.write_arrays(whole / files.METRICS, {"steps": measured[0]["steps"], **arrays})
    old, more = metas
    sessions = [{**session, "seeds": seeds_of[1]} for session in more["sessions"]]
    times = {name: old[name] + more[name] for name in ("seconds", "compile_seconds")}
    sessions = [*old["sessions"], *sessions]
    files.write_json(whole / files.META, {**old, **times, "sessions": sessions})
    files.write_document(whole / files.CONFIG, document)
    files.write_text(whole / files.COMPLETE, f"{int(clock.steps)}\n")
    _move(directory)


def finish(directory: Path) -> None:
    """Move what ``join`` has made, if a process was killed while it did.

    Raises:
      ConfigError: the process is alive.
    """
    if (directory / _JOINED / files.COMPLETE).exists():
        with lock(directory):
            _move(directory)


def _move(directory: Path) -> None:
    whole = directory / _JOINED
    if not (whole / files.COMPLETE).exists():
        return
    (directory / files.COMPLETE).unlink(missing_ok=True)  # scores and policy lack the new seeds
    if (whole / files.CHECKPOINTS).exists():
        shutil.rmtree(directory / files.CHECKPOINTS, ignore_errors=True)
        (whole / files.CHECKPOINTS).replace(directory / files.CHECKPOINTS)
    for name in (files.METRICS, files.META, files.CONFIG):
        if (whole / name).exists():
            (whole / name).replace(directory / name)
    shutil.rmtree(directory / files.ADDED, ignore_errors=True)
    shutil.rmtree(whole)


def by_seed(
    arrays: Sequence[np.ndarray], seeds_of: Sequence[Sequence[int]], seeds: Sequence[int]
) -> np.ndarray:
    """Arrays [H, S_i, ...], each of other seeds, as one [H, S, ...] in the order of ``seeds``."""
    lanes, _, *rest = arrays[0].shape
    result = np.empty((lanes, len(seeds), *rest), arrays[0].dtype)
    for array, mine in zip(arrays, seeds_of):
        result[:, [seeds.index(seed) for seed in mine]] = array
    return result
