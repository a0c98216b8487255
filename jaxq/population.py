"""Many members at once: seeds x hyperparameter lanes, in batches, over devices.

Members are numbered lane by lane: member ``h * S + s`` is lane ``h`` with seed ``s``. They are cut
into groups of one batch, which is vmapped; group ``g`` lives on device ``g % D``, and devices work
side by side. Every device runs the same single-device program. A program partitioned over several
devices goes through other compiler passes than one for a single device, and rounds differently;
so a member's bits depend on its seed, its numbers and the batch, and on nothing else: not on the
number of members, of devices, or on its place among them.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding

from jaxq.config import HParams
from jaxq.evaluation import Evaluation
from jaxq.placement import Plan, make_plan
from jaxq.types import Clock, PyTree, Trainer

_PROGRAMS = ("init", "chunk", "evaluate")


class Population(NamedTuple):
    """M members as host functions; ``states`` is one tree per group, on the groups' devices.

    ``prepare(names)`` compiles the named programs side by side; else each on first use
    ``init() -> (states, clock)``
    ``chunk(states, clock) -> (states, clock, metrics)``, metrics NumPy [M]; donates the states
    ``evaluate(states, clock) -> Evaluation`` in NumPy, leaves [M, K]
    ``fetch(states) -> tree``, NumPy leaves [M, ...], and its inverse ``place``
    ``shapes``: the tree that ``fetch`` returns, as shapes
    """

    plan: Plan
    prepare: Callable
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
    """Programs for ``len(lanes) * len(seeds)`` members.

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
    member, clock_shape = jax.eval_shape(trainer.init, jax.random.key(0), _member(hparams, 0))
    plan = make_plan(len(seeds_of), member, batch, num_devices)
    devices = jax.local_devices()[: plan.num_devices]
    pool = ThreadPoolExecutor(plan.num_devices)

    def home(group: int) -> jax.Device:
        return devices[group % plan.num_devices]

    def init_member(seed, hparams):
        return trainer.init(_keys(seed)[0], hparams)

    def evaluate_member(params, seed, clock, hparams):
        return evaluate(params, jax.random.fold_in(_keys(seed)[1], clock.steps), hparams)

    functions = {
        "init": jax.jit(_batched(init_member, "mm", "mc", plan.batch)),
        "chunk": jax.jit(_batched(trainer.chunk, "mcm", "mcm", plan.batch), donate_argnums=0),
        "evaluate": jax.jit(_batched(evaluate_member, "mmcm", "m", plan.batch)),
    }
    compiled: dict[str, list[Callable]] = {}

    def prepare(names: Iterable[str] = _PROGRAMS) -> None:
        state = _leading(member, plan.batch)
        seed, numbers = _leading((seeds_of[0], _member(hparams, 0)), plan.batch)
        arguments = {
            "init": (seed, numbers),
            "chunk": (state, clock_shape, numbers),
            "evaluate": (state.params, seed, clock_shape, numbers),
        }
        # Making members takes less time than compiling that for every device would.
        lowered = [
            (name, functions[name].lower(*_on(device, arguments[name])))
            for name in names
            if name not in compiled
            for device in (devices[:1] if name == "init" else devices)
        ]
        with ThreadPoolExecutor(max(1, len(lowered))) as compilers:
            for name, program in compilers.map(lambda job: (job[0], job[1].compile()), lowered):
                compiled.setdefault(name, []).append(program)

    def run(name: str, arguments: Sequence[tuple]) -> list[PyTree]:
        """The program ``name`` on every group: all devices at once, each group after group."""
        prepare([name])
        programs = compiled[name]

        def work(index: int) -> list[PyTree]:
            mine = arguments[index :: len(programs)]
            return jax.block_until_ready([programs[index](*values) for values in mine])

        results = list(pool.map(work, range(len(programs))))
        return [results[g % len(programs)][g // len(programs)] for g in range(len(arguments))]

    def split(tree: PyTree) -> list[PyTree]:
        """One tree per group; the last is filled up with copies of the last member."""
        rows = np.minimum(np.arange(plan.num_groups * plan.batch), plan.num_members - 1)
        return [
            jax.device_put(jax.tree.map(lambda leaf, r=r: leaf[r], tree), home(g))
            for g, r in enumerate(rows.reshape(plan.num_groups, plan.batch))
        ]

    def join(results: Sequence[PyTree]) -> PyTree:
        """The results of all groups as NumPy arrays [M, ...]."""
        results = jax.device_get(results)
        return jax.tree.map(lambda *leaves: np.concatenate(leaves)[: plan.num_members], *results)

    groups = split((seeds_of, hparams))

    def init() -> tuple[list[PyTree], Clock]:
        prepare(["init"])
        states = []
        for group, values in enumerate(groups):  # one at a time: the first device may not hold all
            state, clock = compiled["init"][0](*jax.device_put(values, devices[0]))
            states.append(jax.device_put(state, home(group)))
        return states, jax.device_get(clock)

    def chunk(states: list[PyTree], clock: Clock) -> tuple[list[PyTree], Clock, PyTree]:
        arguments = [(state, clock, numbers) for state, (_, numbers) in zip(states, groups)]
        states, clocks, metrics = map(list, zip(*run("chunk", arguments)))
        return states, jax.device_get(clocks[0]), join(metrics)

    def evaluate_all(states: list[PyTree], clock: Clock) -> Evaluation:
        arguments = [
            (state.params, seed, clock, numbers) for state, (seed, numbers) in zip(states, groups)
        ]
        return join(run("evaluate", arguments))

    def fetch(states: list[PyTree]) -> PyTree:
        return join([_key_data(state) for state in states])

    def place(tree: PyTree) -> list[PyTree]:
        return [jax.tree.map(_with_key, group, member) for group in split(tree)]

    shapes = _leading(jax.eval_shape(_key_data, member), plan.num_members)
    return Population(plan, prepare, init, chunk, evaluate_all, fetch, place, shapes)


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


def _batched(function: Callable, arguments: str, results: str, batch: int) -> Callable:
    """``function`` of one member as a function of ``batch`` members.

    ``arguments`` and ``results`` say of each value in turn whether it belongs to a member (``m``,
    leading axis) or is common to all (``c``). A batch of one runs without ``vmap``: over an axis
    of length 1 XLA's CPU code is 2.4 times slower than over none.
    """
    axes = {"m": 0, "c": None}
    one_result = len(results) == 1
    if batch > 1:
        out_axes = axes[results] if one_result else tuple(axes[kind] for kind in results)
        return jax.vmap(function, tuple(axes[kind] for kind in arguments), out_axes)

    def alone(*values):
        outputs = function(
            *(_member(value, 0) if kind == "m" else value for value, kind in zip(values, arguments))
        )
        if one_result:
            return _stack_one(outputs)
        return tuple(_stack_one(o) if kind == "m" else o for o, kind in zip(outputs, results))

    return alone


def _leading(tree: PyTree, size: int) -> PyTree:
    """The shapes of a tree's leaves with a leading axis."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((size, *x.shape), x.dtype), tree)


def _on(device: jax.Device, tree: PyTree) -> PyTree:
    """The shapes of a tree's leaves, on a device."""
    sharding = SingleDeviceSharding(device)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


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
