"""Datasets: the replay of a finished run as a file, and how windows are drawn from it.

A run directory keeps one in the folder ``dataset``: the records as tensors, and beside them in JSON
what they are. Rows follow each other in time, with no seam; a column is one environment of one
seed. A dataset holds data: nothing in it decides what code runs.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxq.errors import ConfigError
from jaxq.replay.records import make_codec
from jaxq.replay.rings import below
from jaxq.types import Env, Sample, Step

DATASET, RECORDS, ABOUT = "dataset", "records.safetensors", "dataset.json"
FORMAT = 1  # of the records: how ``records`` packs a step


class Windows(NamedTuple):
    """``sample(records [rows, columns, words], key) -> Sample``, without carries;
    ``unpack(records [..., words]) -> Step``, leaves [..., *leaf].
    """

    sample: Callable
    unpack: Callable


def uniform_windows(step: Step, *, batch_size: int, window: int = 1) -> Windows:
    """Windows of consecutive steps, each equally likely, drawn with replacement.

    Args:
      step: one step of one environment, without a carry (arrays or shapes).
      batch_size: B.
      window: T. A sample's indices say where its windows begin, row by row.
    """
    codec = make_codec(step)

    def sample(records: jax.Array, key: jax.Array) -> Sample:
        rows, columns, _ = records.shape
        num_windows = (rows - window + 1) * columns
        first = below(jnp.int32(num_windows), jax.random.bits(key, (batch_size,), jnp.uint32))
        slots = first[:, None] + columns * jnp.arange(window)  # [B, T]
        steps = codec.unpack(records.reshape(rows * columns, -1)[slots])
        ones = jnp.ones(batch_size)
        return Sample(steps, first, ones / num_windows, ones)

    return Windows(sample, codec.unpack)


def read_about(run: str | Path) -> dict[str, Any]:
    """What the dataset of a run directory says of itself.

    Args:
      run: the run directory, or the folder of the dataset alone, wherever it was moved.

    Raises:
      ConfigError: there is none, or it is damaged.
    """
    path = _folder(run) / ABOUT
    if not path.is_file():
        found = f"is no directory as seen from {Path.cwd()}, and --dataset says where one has moved"
        if Path(run).is_dir():
            found = f"holds no dataset, and --resume {run} --keep-replay makes one of a replay"
        raise ConfigError(f"dataset={run} {found}; a run trained with --keep-replay is accepted.")
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        if about["format"] != FORMAT:
            raise ValueError(f"format {about['format']} is not {FORMAT}, which this version reads")
        parts = about["protocol"], about["run"]["lanes"][0]["env_params"]
        if not isinstance(about["hash"], str) or not all(isinstance(part, dict) for part in parts):
            raise ValueError("hash, protocol or env_params is none")
        return about
    except (OSError, ValueError, TypeError, LookupError) as error:
        words = f"{error} is missing" if isinstance(error, KeyError) else error
        raise ConfigError(f"dataset={run} is damaged: {words}.") from error


def _folder(run: str | Path) -> Path:
    return Path(run) if (Path(run) / ABOUT).is_file() else Path(run) / DATASET


def read_records(run: str | Path, env: Env, env_kwargs: Sequence[str], window: int) -> np.ndarray:
    """The records [rows, columns, words] uint32 of a dataset that was collected in ``env``.

    Raises:
      ConfigError: it was collected in another one, is damaged, or too short for a window.
    """
    from safetensors import SafetensorError, safe_open

    about, path = read_about(run), _folder(run) / RECORDS
    here = {**env.protocol, "env_kwargs": sorted(env_kwargs), **shape_of(env)}
    here.pop("limit", None)  # a step is the same under another
    here = json.loads(json.dumps(here))
    there = {**about["protocol"], **{name: about.get(name) for name in shape_of(env)}}
    for name, value in here.items():
        if there.get(name) != value:
            raise ConfigError(
                f"dataset={run} was collected with another {name} ({there.get(name)} there, "
                f"{value} here)."
            )
    try:
        with safe_open(path, framework="numpy") as file:
            records = file.get_tensor("records")
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"dataset={run} is damaged: {error}.") from error
    stamp = path.stat()
    key = str(path.resolve()), stamp.st_mtime_ns, stamp.st_size, about["hash"]
    if key not in _READ:
        if hash_of(records) != about["hash"]:
            raise ConfigError(
                f"dataset={run} is damaged: its records are not those that {ABOUT} describes."
            )
        _READ.add(key)
    if len(records) < window:
        raise ConfigError(
            f"dataset={run} holds {len(records)} steps in a row, and windows are {window} long."
        )
    return records


_READ: set[tuple] = set()  # files that this process has found whole


def check_env_params(run: str | Path, env: Env, lanes: Iterable[Mapping[str, Any]]) -> None:
    """Refuse numbers of the environment with which a dataset was not collected, but for its limit.

    Args:
      lanes: the ``env_params`` of each.

    Raises:
      ConfigError: names the first.
    """
    there, limit = read_about(run)["run"]["lanes"][0]["env_params"], env.protocol.get("limit")
    limits = set(limit) if isinstance(limit, dict) else set()
    for here in lanes:
        for name in sorted({*there, *here} - limits):
            both = [{name: given[name]} if name in given else {} for given in (there, here)]
            leaves = (jax.tree.leaves(env.params(given)) for given in both)
            if not all(map(np.array_equal, *leaves)):
                words = [given.get(name, "its default") for given in both]
                raise ConfigError(
                    f"dataset={run} was collected with another env_params.{name} ({words[0]} "
                    f"there, {words[1]} here)."
                )


def shape_of(env: Env) -> dict[str, Any]:
    """What steps of an environment are made of: shape and type of every part of an observation."""
    parts = [[list(x.shape), jnp.dtype(x.dtype).name] for x in jax.tree.leaves(env.obs_spec)]
    return {"observations": parts, "num_actions": env.num_actions}


def identity(run: str | Path) -> Mapping[str, Any]:
    """By what a run knows the dataset that it learns from.

    Raises:
      ConfigError: as ``read_about``.
    """
    about = read_about(run)
    return {name: about[name] for name in ("hash", "transitions") if name in about}


def hash_of(records: np.ndarray) -> str:
    """A hash of records, of all their bits and their shape."""
    records = np.ascontiguousarray(records)
    total = hashlib.sha256(f"{records.dtype.name}{records.shape}".encode())
    total.update(memoryview(records.reshape(-1).view(np.uint8)))
    return total.hexdigest()[:16]
