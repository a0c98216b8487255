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
from jaxq.errors import ConfigError
from jaxq.loops.evaluation import Evaluation
from jaxq.runs.placement import Plan, check_temporaries, free_memory, make_plan, tree_bytes
from jaxq.types import Clock, PyTree, Trainer

LEARNER = ("params", "target_params", "opt_state")  # of a state, what learning has made
_PROGRAMS = ("chunk", "evaluate", "init")


class Population(NamedTuple):
    """M members as host functions; ``states`` is one tree per group, on the groups' devices.

    ``prepare(names) -> bytes`` compiles the named programs side by side, else each on first use;
    returns what a running chunk needs beside the states on each device
    ``init() -> (states, clock)``
    ``chunk(states, clock, hparams) -> (states, clock, metrics)``, metrics NumPy [M]; donates the
    states
    ``evaluate(states, clock, hparams) -> Evaluation`` in NumPy, leaves [M, K]
    ``gather(states, sources, fields) -> states``: every member goes on with ``fields`` of member
    ``sources`` [M], by default with all that it has learned; donates the states
    ``fetch(states) -> tree``, NumPy leaves [M, ...], and its inverse ``place``
    ``shapes``: the tree that ``fetch`` returns, as shapes
    ``hparams``: those of all members, NumPy [M]; what ``chunk`` and ``evaluate`` use unless told
    """

    plan: Plan
    prepare: Callable
    init: Callable
    chunk: Callable
    evaluate: Callable
    fetch: Callable
    place: Callable
    gather: Callable
    shapes: PyTree
    hparams: HParams


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

    def prepare(names: Iterable[str] = _PROGRAMS) -> int:
        state = _leading(member, plan.batch)
        seed, numbers = _leading((seeds_of[0], _member(hparams, 0)), plan.batch)
        arguments = {
            "init": (seed, numbers),
            "chunk": (state, clock_shape, numbers),
            "evaluate": (state.params, seed, clock_shape, numbers),
        }
        # The longest first: while it compiles, the next is traced. Making members takes less time
        # than compiling that for every device, or with every optimization, would.
        missing = [name for name in _PROGRAMS if name in names and name not in compiled]
        jobs = {}
        with ThreadPoolExecutor(len(_PROGRAMS) * len(devices)) as compilers:
            for name in missing:
                homes, options = devices, None
                if name == "init":
                    homes, options = devices[:1], {"xla_backend_optimization_level": 1}
                jobs[name] = [
                    compilers.submit(
                        functions[name].lower(*_on(home, arguments[name])).compile, options
                    )
                    for home in homes
                ]
        compiled.update({name: [job.result() for job in jobs[name]] for name in missing})
        analysis = compiled["chunk"][0].memory_analysis() if "chunk" in compiled else None
        temporaries = analysis.temp_size_in_bytes if analysis else 0
        if "chunk" in names:
            check_temporaries(plan, tree_bytes(member), temporaries, free_memory(plan.num_devices))
        return temporaries

    def run(name: str, arguments: Sequence[tuple]) -> list[PyTree]:
        """The program ``name`` on every group: all devices at once, each group after group."""
        prepare([name])
        programs = compiled[name]

        def work(index: int) -> list[PyTree]:
            mine = arguments[index :: len(programs)]
            return jax.block_until_ready([programs[index](*values) for values in mine])

        try:
            results = list(pool.map(work, range(len(programs))))
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise ConfigError(
                f"batch={plan.batch} ran out of the device's memory; start again with --batch "
                f"{max(1, plan.batch // 2)} in a new directory."
            ) from error
        return [results[g % len(programs)][g // len(programs)] for g in range(len(arguments))]

    rows = np.minimum(np.arange(plan.num_groups * plan.batch), plan.num_members - 1)

    def split(tree: PyTree) -> list[PyTree]:
        """One tree per group; the last is filled up with copies of the last member."""
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

    def of_groups(numbers: HParams | None) -> list[HParams]:
        if numbers is None or numbers is hparams:
            return [group for _, group in groups]
        return split(numbers)

    def chunk(
        states: list[PyTree], clock: Clock, numbers: HParams | None = None
    ) -> tuple[list[PyTree], Clock, PyTree]:
        arguments = [(state, clock, mine) for state, mine in zip(states, of_groups(numbers))]
        states, clocks, metrics = map(list, zip(*run("chunk", arguments)))
        return states, jax.device_get(clocks[0]), join(metrics)

    def evaluate_all(
        states: list[PyTree], clock: Clock, numbers: HParams | None = None
    ) -> Evaluation:
        arguments = [
            (state.params, seed, clock, mine)
            for state, (seed, _), mine in zip(states, groups, of_groups(numbers))
        ]
        return join(run("evaluate", arguments))

    def fetch(states: list[PyTree]) -> PyTree:
        return join([_key_data(state) for state in states])

    def place(tree: PyTree) -> list[PyTree]:
        return [jax.tree.map(_with_key, group, member) for group in split(tree)]

    take_row = jax.jit(_member)
    put_row = jax.jit(_with_member, donate_argnums=0)

    def gather(
        states: list[PyTree], sources: np.ndarray, fields: Sequence[str] | None = None
    ) -> list[PyTree]:
        fields = [name for name in fields or LEARNER if hasattr(states[0], name)]
        if "key" in fields:
            raise ValueError("members that share a key would see the same random numbers.")

        def part(group: int) -> dict[str, PyTree]:
            return {name: getattr(states[group], name) for name in fields}

        states = list(states)
        moves = [(row, int(s)) for row, s in enumerate(np.asarray(sources)[rows]) if s != rows[row]]
        # All are read before any is written, so that a member may give and take.
        taken = {s: take_row(part(s // plan.batch), s % plan.batch) for _, s in moves}
        for row, source in moves:
            group = row // plan.batch
            here = jax.device_put(taken[source], home(group))
            states[group] = states[group]._replace(**put_row(part(group), here, row % plan.batch))
        return states

    shapes = _leading(jax.eval_shape(_key_data, member), plan.num_members)
    host = (prepare, init, chunk, evaluate_all, fetch, place, gather)
    return Population(plan, *host, shapes, hparams)


def stack_members(lanes: Sequence[HParams], seeds: Sequence[int]) -> tuple[HParams, np.ndarray]:
    """Hyperparameters [M] and seeds [M] of all members, in fixed dtypes.

    Fixed, because a Python float and an array must not be two different programs.
    """
    cast = [
        HParams(
            **_floats(lane),
            env_params=jax.tree.map(_number, lane.env_params),
            extra={name: np.float32(value) for name, value in lane.extra.items()},
        )
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


def _with_member(tree: PyTree, member: PyTree, index: int) -> PyTree:
    return jax.tree.map(lambda leaf, row: leaf.at[index].set(row), tree, member)


def _stack_one(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], tree)


def _floats(lane: HParams) -> dict[str, Any]:
    return {k: np.float32(v) for k, v in lane._asdict().items() if not isinstance(v, dict)}


def _number(value: Any) -> np.ndarray:
    array = np.asarray(value)
    return array.astype(np.float32 if array.dtype.kind == "f" else np.int32)
