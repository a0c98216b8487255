"""Trained policies on disk: safetensors and JSON, never a pickle or code."""

import json
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxq.config import Config, HParams, config_from_dict, hparams_from_dict
from jaxq.errors import ConfigError
from jaxq.types import PyTree

_PARAMS, _ABOUT = "params.safetensors", "config.json"


class Policy(NamedTuple):
    """The parameters of every member, and what is needed to act with them."""

    config: Config
    lanes: list[HParams]  # H
    seeds: list[int]  # S
    params: PyTree  # NumPy leaves [H, S, ...]

    def member(self, lane: int, seed_index: int) -> PyTree:
        """The parameters of one member.

        Raises:
          ConfigError: there is no such lane or seed.
        """
        for name, index, count in (
            ("lane", lane, len(self.lanes)),
            ("seed_index", seed_index, len(self.seeds)),
        ):
            if not 0 <= index < count:
                raise ConfigError(f"{name}={index} must be between 0 and {count - 1}.")
        return jax.tree.map(lambda leaf: leaf[lane, seed_index], self.params)


def save_policy(directory: Path, document: dict, params: PyTree) -> None:
    """Write ``params`` (NumPy leaves [H, S, ...]) and the run's document into ``directory``."""
    from safetensors.numpy import save

    directory.mkdir(parents=True, exist_ok=True)
    arrays = {k: np.ascontiguousarray(v) for k, v in flatten_dict(params, sep="/").items()}
    partial = directory / (_PARAMS + ".partial")
    partial.write_bytes(save(arrays))
    partial.replace(directory / _PARAMS)
    text = json.dumps({name: document[name] for name in ("config", "lanes", "seeds")}, indent=2)
    partial = directory / (_ABOUT + ".partial")
    partial.write_text(text + "\n")
    partial.replace(directory / _ABOUT)


def load_policy(run: Path) -> Policy:
    """The policies that a run has exported.

    Raises:
      ConfigError: ``run`` holds none, or they are damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    directory = Path(run) / "policy"
    if not (directory / _PARAMS).is_file():
        raise ConfigError(f"run={run} holds no exported policy (policy/{_PARAMS} is missing).")
    try:
        document = json.loads((directory / _ABOUT).read_text())
        params = unflatten_dict(load_file(directory / _PARAMS), sep="/")
    except (OSError, ValueError, SafetensorError) as error:
        raise ConfigError(f"run={run} holds a damaged policy: {error}.") from error
    lanes = [hparams_from_dict(lane) for lane in document["lanes"]]
    return Policy(config_from_dict(document["config"]), lanes, document["seeds"], params)
