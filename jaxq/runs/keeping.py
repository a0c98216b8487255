"""The replay of a run, kept as a dataset that others learn from; see ``replay.datasets``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxq.errors import ConfigError
from jaxq.loops.rollout import record_shapes
from jaxq.recipes.experiment import Experiment
from jaxq.recipes.reading import loop_of
from jaxq.replay.datasets import ABOUT, DATASET, FORMAT, RECORDS, hash_of, shape_of
from jaxq.replay.records import make_codec
from jaxq.runs import files
from jaxq.runs.listening import Listener, Moment
from jaxq.runs.provenance import commit, versions
from jaxq.runs.spec import RunSpec, short
from jaxq.runs.tensors import write_tensors

_MEASURED = ("eval_return", "train_return")


def check_keeping(
    seeds: Sequence[int], spec: RunSpec, experiment: Experiment, directory: Path
) -> None:
    """Refuse to keep what a run does not have, or what would replace an earlier dataset.

    Raises:
      ConfigError: names it.
    """
    if experiment.trainer.contents is None:
        config, why = spec.config, ", which fills no replay"
        if config.dataset:
            why = f", which does not act with dataset={config.dataset}"
        elif loop_of(config) == "off-policy":
            why = f" with replay={config.replay}, which holds no past"
        raise ConfigError(
            f"keep_replay has no effect on agent={config.agent}{why}; an agent that acts and "
            f"learns from replay=uniform or prioritized is accepted."
        )
    if (directory / DATASET / ABOUT).exists():
        raise ConfigError(
            f"keep_replay would replace {directory / DATASET}, from which others may learn; move "
            f"it elsewhere first."
        )
    if len(spec.lanes) != 1:
        raise ConfigError(f"keep_replay needs a run of one lane, and there are {len(spec.lanes)}.")
    if missing := [seed for seed in seeds if seed not in spec.seeds]:
        raise ConfigError(
            f"keep_replay={missing[0]} must be a seed of the run: {short(list(spec.seeds))}."
        )


def keep_replay(
    run: Path,
    seeds: Sequence[int],
    spec: RunSpec,
    experiment: Experiment,
    document: Mapping[str, Any],
    about: Mapping[str, Any],
) -> Listener:
    """Writes the dataset of a run when it has finished; what was stopped is to go on.

    Args:
      seeds: whose replay is kept, side by side; that of the first seed if there are none.
      document: the run's.
      about: what else is to be said: the run's ``id``, its ``protocol``.
    """
    kept = list(dict.fromkeys(seeds)) or [spec.seeds[0]]
    members = [list(spec.seeds).index(seed) for seed in kept]

    def closed(moment: Moment) -> None:
        if not moment.finished:
            return
        states = moment.fetch()
        parts = [
            experiment.trainer.contents(jax.tree.map(lambda x: x[m], states), moment.clock)  # noqa: B023
            for m in members
        ]
        records = np.concatenate(parts, axis=1)  # [rows, seeds * E, words]
        rows, columns, _ = records.shape
        measured = {
            name: [float(moment.arrays[name][0, m, -1]) for m in members]
            for name in _MEASURED
            if moment.arrays
        }
        steps = int(moment.clock.steps)
        directory = run / DATASET
        directory.mkdir(exist_ok=True)
        write_tensors(directory / RECORDS, {"records": records})
        described = {
            "format": FORMAT,
            "hash": hash_of(records),
            "transitions": rows * columns,
            "rows": rows,
            "columns": columns,
            **shape_of(experiment.env),
            "seeds": kept,
            "steps": [steps - rows * experiment.env.num_envs, steps],  # of each seed, from and to
            "episodes": whole_episodes(records, experiment),
            **measured,  # of the policy that has collected it, by seed
            **about,
            "run": {name: document[name] for name in ("preset", "config", "lanes")},
            "versions": versions(),
            "commit": commit(),
        }
        files.write_json(directory / ABOUT, described)

    return Listener(lambda moment: None, closed)


def whole_episodes(records: np.ndarray, experiment: Experiment) -> dict[str, float]:
    """How many episodes lie in a dataset from their beginning to their end, and what they return.

    Of the first episode of a column the beginning is not known to be there.
    """
    codec = make_codec(record_shapes(experiment.env))
    rewards, dones = [], []
    for block in np.array_split(records, max(1, len(records) // 4096)):
        steps = codec.unpack(block)
        rewards.append(np.asarray(steps.reward, np.float64))
        dones.append(np.asarray(steps.done))
    reward, done = np.concatenate(rewards), np.concatenate(dones)  # [rows, columns]
    returns = []
    for column in range(reward.shape[1]):
        ends = np.flatnonzero(done[:, column])
        totals = np.cumsum(reward[:, column])[ends]
        returns.append(np.diff(totals))
    returns = np.concatenate(returns)
    found = {"count": len(returns)}
    return found | ({"mean_return": float(returns.mean())} if len(returns) else {})
