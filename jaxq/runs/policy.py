"""Trained policies on disk: safetensors and JSON, never a pickle or code."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxq.config import Config, HParams
from jaxq.documents import config_from_dict, hparams_from_dict
from jaxq.errors import ConfigError
from jaxq.runs import files
from jaxq.runs.listening import Listener, Moment
from jaxq.runs.spec import RunSpec, whole
from jaxq.runs.spreading import as_path
from jaxq.runs.tensors import map_tensors, write_tensors
from jaxq.types import PyTree

_DESCRIBED_BY = ("config", "lanes", "seeds", "made_of")  # of a run's document
# How the first dense layer after convolutions takes their features, which flax would flatten by
# rows, columns, channels.
_FEATURES = {name: ["channels", "rows", "columns"] for name in ("minatar", "nature", "octax")}


class Policy(NamedTuple):
    """The parameters of every member, and what is needed to act with them."""

    config: Config
    lanes: list[HParams]  # H
    seeds: list[int]  # S
    params: PyTree  # NumPy leaves [H, S, ...]; of a file, they are read where they are used
    made_of: Mapping[str, Any] = {}  # the parts of somebody's own, see ``Experiment``

    def member(self, lane: int, seed_index: int) -> PyTree:
        """The parameters of one member.

        Raises:
          ConfigError: there is no such lane or seed.
        """
        lane, seed_index = whole("lane", lane), whole("seed_index", seed_index)
        for name, index, count in (
            ("lane", lane, len(self.lanes)),
            ("seed_index", seed_index, len(self.seeds)),
        ):
            if not 0 <= index < count:
                raise ConfigError(f"{name}={index} must be between 0 and {count - 1}.")
        return jax.tree.map(lambda leaf: np.array(leaf[lane, seed_index]), self.params)


def save_policy(directory: Path, document: dict, params: PyTree) -> None:
    """Write ``params`` (NumPy leaves [H, S, ...]) and the run's document into ``directory``."""
    directory.mkdir(parents=True, exist_ok=True)
    arrays = {name: np.asarray(leaf) for name, leaf in flatten_dict(params, sep="/").items()}
    write_tensors(directory / files.PARAMS, arrays)
    about = {name: document[name] for name in _DESCRIBED_BY if name in document}
    if order := _FEATURES.get(about["config"].get("network")):
        about["order_of_features"] = order
    files.write_document(directory / files.CONFIG, about)


def export(run: Path, spec: RunSpec, document: dict) -> Listener:
    """Saves the trained networks at the end of a run."""
    shape = len(spec.lanes), len(spec.seeds)

    def closed(moment: Moment) -> None:
        params = moment.fetch().params
        params = jax.tree.map(lambda leaf: leaf.reshape(*shape, *leaf.shape[1:]), params)
        save_policy(run / files.POLICY, document, params)

    return Listener(lambda moment: None, closed)


def load_policy(run: str | Path, trusted: Sequence[str] = ()) -> Policy:
    """The policies that a run has exported; no code is imported.

    Args:
      run: its directory.
      trusted: names of functions of somebody's own, such as ``module:function``, that the run may
        name; others cannot be used to act.

    Raises:
      ConfigError: ``run`` holds none, they are damaged, or of another version of jaxq.
    """
    run = as_path("run", run)
    files.check_directory(run)
    directory = run / files.POLICY
    path = directory / files.PARAMS
    if not path.is_file():
        places = [Path(run) / files.WINNER, *sorted(Path(run).glob(f"{files.WINNER}/*"))]
        places += sorted(Path(run).glob(f"{files.PARTS}/*"))
        inside = [str(place) for place in places if (place / files.POLICY / files.PARAMS).is_file()]
        missing = f"{files.POLICY}/{files.PARAMS} is missing"
        hint = f"; it is a sweep, whose runs do, such as {inside[0]}" if inside else ""
        raise ConfigError(f"run={run} holds no exported policy ({missing}){hint}.")
    try:
        document = files.read_names(directory / files.CONFIG)
        params = unflatten_dict(map_tensors(path), sep="/")
    except (OSError, ValueError) as error:
        raise ConfigError(f"run={run} holds a damaged policy: {error}.") from error
    document = files.of_this_version(document, run)
    try:
        lanes = [hparams_from_dict(lane) for lane in document["lanes"]]
        config, seeds = config_from_dict(document["config"], trusted), list(document["seeds"])
        if not all(type(seed) is int for seed in seeds):
            raise TypeError(f"seeds={seeds} are not all whole numbers")
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"run={run} holds a damaged policy: {error!r}.") from error
    return Policy(config, lanes, seeds, params, document.get("made_of", {}))
