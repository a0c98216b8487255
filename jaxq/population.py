"""Many members at once: seeds x hyperparameter lanes, batched, over devices.

Members are numbered lane by lane: member ``h * S + s`` is lane ``h`` with seed ``s``. They run in
waves of ``devices * batch``: within a device the members of a batch are vmapped, devices run side
by side, waves one after the other. Batch and devices are fixed once per run, because a member's
bits depend on them (and on nothing else: not on how many members there are, nor on its place).
"""

import math
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import psutil
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxq.config import HParams
from jaxq.errors import ConfigError
from jaxq.evaluation import Evaluation
from jaxq.types import Clock, PyTree, Trainer

# Parameters, their target, gradients and two moments of a batch of members should stay in a
# core's second-level cache; beyond it every member of the batch becomes slower.
_CPU_CACHE_BYTES = 2_000_000
_COPIES_PER_PARAMETER = 5
# Share of the free memory that states may take; the rest is for temporaries and results.
_MEMORY_SHARE = 0.7


class Plan(NamedTuple):
    """How members are spread."""

    num_members: int
    num_devices: int
    batch: int  # members vmapped together on a device

    @property
    def wave(self) -> int:
        """Members that run at once."""
        return self.num_devices * self.batch

    @property
    def num_waves(self) -> int:
        return math.ceil(self.num_members / self.wave)


class Population(NamedTuple):
    """M members as host functions; ``states`` is one tree per wave, on the devices.

    ``init() -> (states, clock)``
    ``chunk(states, clock) -> (states, clock, metrics)``, metrics NumPy [M]; donates the states
    ``evaluate(states, clock) -> Evaluation`` in NumPy, leaves [M, K]
    ``fetch(states) -> tree``, NumPy leaves [M, ...], and its inverse ``place``
    ``shapes``: the tree that ``fetch`` returns, as shapes
    """

    plan: Plan
    init: Callable
    chunk: Callable
    evaluate: Callable
    fetch: Callable
    place: Callable
    shapes: PyTree


def make_population(
    trainer: Trainer,
    evaluate: Callable[[PyTree, jax.Array, HParams], Evaluation],
    lanes: Sequence[HParams],
    seeds: Sequence[int],
    batch: int | None = None,
    num_devices: int | None = None,
) -> Population:
    """Programs for ``len(lanes) * len(seeds)`` members, compiled on first use.

    Args:
      trainer: of one member.
      evaluate: of one member.
      lanes: H hyperparameter settings, which may differ in every number.
      seeds: S seeds, used in every lane: lanes differ in nothing but their numbers.
      batch: members vmapped together on a device; chosen from their size by default.
      num_devices: chosen from the devices there are by default.

    Raises:
      ConfigError: the members do not fit in memory.
    """
    hparams, seeds_of = stack_members(lanes, seeds)
    member, _ = jax.eval_shape(trainer.init, jax.random.key(0), _member(hparams, 0))
    plan = make_plan(len(seeds_of), member, batch, num_devices)
    devices = np.asarray(jax.local_devices()[: plan.num_devices])
    mesh = Mesh(devices, ("members",))
    sharding = NamedSharding(mesh, PartitionSpec("members"))

    def split(tree: PyTree) -> list[PyTree]:
        """One tree per wave; the last is filled up with copies of the last member."""
        index = np.minimum(np.arange(plan.num_waves * plan.wave), plan.num_members - 1)
        return [
            jax.device_put(jax.tree.map(lambda leaf: leaf[rows], tree), sharding)  # noqa: B023
            for rows in index.reshape(plan.num_waves, plan.wave)
        ]

    def join(results: Sequence[PyTree]) -> PyTree:
        """The results of all waves as NumPy arrays [M, ...]."""
        results = jax.device_get(results)
        return jax.tree.map(lambda *leaves: np.concatenate(leaves)[: plan.num_members], *results)

    waves = split((seeds_of, hparams))

    def init_member(seed, hparams):
        return trainer.init(_keys(seed)[0], hparams)

    def evaluate_member(params, seed, clock, hparams):
        return evaluate(params, jax.random.fold_in(_keys(seed)[1], clock.steps), hparams)

    spread = partial(_spread, mesh=mesh, batch=plan.batch)
    jit_init = jax.jit(spread(init_member, "mm", "mc"))
    jit_chunk = jax.jit(spread(trainer.chunk, "mcm", "mcm"), donate_argnums=0)
    jit_evaluate = jax.jit(spread(evaluate_member, "mmcm", "m"))

    def init() -> tuple[list[PyTree], Clock]:
        results = [jit_init(seed, hparams) for seed, hparams in waves]
        return [state for state, _ in results], results[0][1]

    def chunk(states: list[PyTree], clock: Clock):
        results = [jit_chunk(state, clock, hparams) for state, (_, hparams) in zip(states, waves)]
        states, clocks, metrics = map(list, zip(*results))
        return states, clocks[0], join(metrics)

    def evaluate_all(states: list[PyTree], clock: Clock) -> Evaluation:
        return join(
            [
                jit_evaluate(state.params, seed, clock, hparams)
                for state, (seed, hparams) in zip(states, waves)
            ]
        )

    def fetch(states: list[PyTree]) -> PyTree:
        return join([_key_data(state) for state in states])

    def place(tree: PyTree) -> list[PyTree]:
        return [jax.tree.map(_with_key, wave, member) for wave in split(tree)]

    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((plan.num_members, *leaf.shape), leaf.dtype),
        jax.eval_shape(_key_data, member),
    )
    return Population(plan, init, chunk, evaluate_all, fetch, place, shapes)


def stack_members(lanes: Sequence[HParams], seeds: Sequence[int]) -> tuple[HParams, np.ndarray]:
    """Hyperparameters [M] and seeds [M] of all members, in fixed dtypes.

    Fixed, because a Python float and an array must not be two different programs.
    """
    cast = [
        HParams(**{**_floats(lane), "env_params": jax.tree.map(_number, lane.env_params)})
        for lane in lanes
    ]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *cast)
    hparams = jax.tree.map(lambda leaf: np.repeat(leaf, len(seeds), axis=0), stacked)
    return hparams, np.tile(np.asarray(seeds, np.uint32), len(lanes))


def make_plan(
    num_members: int,
    member: PyTree,
    batch: int | None = None,
    num_devices: int | None = None,
) -> Plan:
    """How to spread members of state ``member`` (arrays or shapes).

    On a CPU as many members are vmapped as fit their learning state into the cache; elsewhere
    all of a device's share.

    Raises:
      ConfigError: the members do not fit in memory.
    """
    check_memory(num_members, tree_bytes(member))
    num_devices = min(num_devices or len(jax.local_devices()), num_members)
    share = math.ceil(num_members / num_devices)
    if batch is None:
        batch = share
        if jax.default_backend() == "cpu":
            learning_bytes = max(1, _COPIES_PER_PARAMETER * tree_bytes(member.params))
            limit = max(1, _CPU_CACHE_BYTES // learning_bytes)
            num_waves = math.ceil(share / limit)
            batch = math.ceil(share / num_waves)
    return Plan(num_members, num_devices, min(batch, share))


def check_memory(num_members: int, member_bytes: int, free_bytes: int | None = None) -> None:
    """Refuse a population that does not fit.

    Raises:
      ConfigError: says how many members would fit.
    """
    free = int(_MEMORY_SHARE * (free_memory() if free_bytes is None else free_bytes))
    if num_members * member_bytes > free:
        raise ConfigError(
            f"members={num_members} (lanes x seeds) need {num_members * member_bytes / 1e9:.1f} GB "
            f"at {member_bytes / 1e6:.1f} MB each and {free / 1e9:.1f} GB are available; at most "
            f"{free // member_bytes} members fit (most of a member is its replay, see capacity)."
        )


def tree_bytes(tree: PyTree) -> int:
    """Bytes of all arrays (or shapes) in a tree."""
    leaves = jax.tree.leaves(tree)
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)


def free_memory() -> int:
    """Bytes free on all local devices together."""
    stats = [device.memory_stats() for device in jax.local_devices()]
    if all(stats):
        return sum(stat["bytes_limit"] - stat["bytes_in_use"] for stat in stats)
    return psutil.virtual_memory().available


def use_cores(limit: int | None = None) -> None:
    """Make every CPU core a device of its own; call it before anything else uses JAX."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    jax.config.update("jax_num_cpu_devices", min(cores, limit or cores))


def _spread(function: Callable, arguments: str, results: str, *, mesh: Mesh, batch: int):
    """``function`` of one member as a function of one wave.

    ``arguments`` and ``results`` say of each value in turn whether it belongs to a member (``m``,
    leading axis) or is common to all (``c``). A batch of one runs without ``vmap``: over an axis
    of length 1 XLA's CPU code is 2.4 times slower than over none.
    """
    specs = {"m": PartitionSpec("members"), "c": PartitionSpec()}
    axes = {"m": 0, "c": None}
    one_result = len(results) == 1

    def local(*values):
        if batch == 1:
            one = [_member(v, 0) if kind == "m" else v for v, kind in zip(values, arguments)]
            outputs = function(*one)
            outputs = (outputs,) if one_result else outputs
            outputs = tuple(_stack_one(o) if k == "m" else o for o, k in zip(outputs, results))
            return outputs[0] if one_result else outputs
        out_axes = axes[results] if one_result else tuple(axes[kind] for kind in results)
        return jax.vmap(function, tuple(axes[k] for k in arguments), out_axes)(*values)

    out_specs = specs[results] if one_result else tuple(specs[kind] for kind in results)
    in_specs = tuple(specs[kind] for kind in arguments)
    return jax.shard_map(local, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)


def _keys(seed: jax.Array) -> jax.Array:
    """The roots of a member's two key streams: training, evaluation."""
    return jax.random.split(jax.random.key(seed))


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _key_data(tree: PyTree) -> PyTree:
    """The tree with its keys as plain integers, which can be saved."""
    return jax.tree.map(lambda x: jax.random.key_data(x) if _is_key(x) else x, tree)


def _with_key(leaf: jax.Array, like: Any) -> jax.Array:
    return jax.random.wrap_key_data(leaf) if _is_key(like) else leaf


def _member(tree: PyTree, index: int) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[index], tree)


def _stack_one(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], tree)


def _floats(lane: HParams) -> dict[str, Any]:
    return {name: np.float32(v) for name, v in lane._asdict().items() if name != "env_params"}


def _number(value: Any) -> np.ndarray:
    array = np.asarray(value)
    return array.astype(np.float32 if array.dtype.kind == "f" else np.int32)
