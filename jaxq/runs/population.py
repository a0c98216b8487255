"""Many members at once: seeds x hyperparameter lanes, in batches, over devices.

Members are numbered lane by lane: member ``h * S + s`` is lane ``h`` with seed ``s``. They are cut
into groups of one batch, which is vmapped; group ``g`` lives on device ``g % D``, and devices work
side by side, each with a program of its own. So a member's bits depend on its seed, its numbers and
the batch, and on nothing else: not on the number of members, of devices, or on its place among
them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import jax
import numpy as np

from jaxq.config import HParams
from jaxq.errors import ConfigError
from jaxq.loops.diagnostics import Diagnostics
from jaxq.loops.evaluation import Evaluation
from jaxq.runs.members import batched, key_data, leading, row, stack_members, with_keys, with_row
from jaxq.runs.placement import check_temporaries, free_memory, make_plan, tree_bytes
from jaxq.runs.programs import Program, Programs
from jaxq.types import Clock, PyTree, Trainer

# Of a state, what learning has made.
LEARNER = ("params", "target_params", "opt_state", "regulariser")


class Population:
    """M members as host functions; ``states`` is one tree per group, on the groups' devices.

    Attributes:
      plan: how members are spread.
      shapes: the tree that ``fetch`` returns, as shapes.
      hparams: those of all members, NumPy [M]; what ``chunk`` and ``evaluate`` use unless told.
    """

    def __init__(
        self,
        trainer: Trainer,
        evaluate: Callable[[PyTree, jax.Array, HParams], Evaluation],
        lanes: Sequence[HParams],
        seeds: Sequence[int],
        batch: int | None = None,
        num_devices: int | None = None,
        diagnostics: Diagnostics | None = None,
    ):
        """``len(lanes) * len(seeds)`` members; nothing is compiled yet.

        Args:
          trainer: of one member.
          evaluate: of one member.
          lanes: H hyperparameter settings, which may differ in every number.
          seeds: S seeds, used in every lane: lanes differ in nothing but their numbers.
          batch: members vmapped together on a device; chosen from their size by default.
          num_devices: chosen from the devices there are by default.
          diagnostics: of one member, see ``begin`` and ``measure``.

        Raises:
          ConfigError: the members do not fit in memory.
        """
        self.hparams, seeds_of = stack_members(lanes, seeds)
        numbers, data = row(self.hparams, 0), trainer.data()
        self._member, clock = jax.eval_shape(trainer.init, jax.random.key(0), numbers, *data)
        self.plan = make_plan(len(seeds_of), self._member, batch, num_devices)
        self.shapes = leading(jax.eval_shape(key_data, self._member), self.plan.num_members)
        self._devices = jax.local_devices()[: self.plan.num_devices]
        self._data = [jax.device_put(data, device) for device in self._devices]
        common = (None,) * len(data)
        self._rows = np.minimum(  # of every place in every group, the member that is there
            np.arange(self.plan.num_groups * self.plan.batch), self.plan.num_members - 1
        )
        self._groups = self._split((seeds_of, self.hparams))
        self._take_row = jax.jit(row)
        self._put_row = jax.jit(with_row, donate_argnums=0)

        def init_member(seed, hparams, *data):
            return trainer.init(_keys(seed)[0], hparams, *data)

        def key_of(seed, clock):
            return jax.random.fold_in(_keys(seed)[1], clock.steps)

        def evaluate_member(params, seed, clock, hparams):
            return evaluate(params, key_of(seed, clock), hparams)

        def begin_member(params, seed, clock, hparams):
            return diagnostics.begin(params, key_of(seed, clock), hparams)

        def measure_member(state, seed, clock, beginning, hparams, *data):
            key = jax.random.fold_in(key_of(seed, clock), 1)
            return diagnostics.measure(state, clock, beginning, key, hparams, *data)

        size = self.plan.batch
        states = leading(self._member, size)
        seed, numbers = leading((seeds_of[0], numbers), size)
        self._beginnings: list[PyTree] = []  # of every group
        self._diagnoses = diagnostics is not None
        looking = {}
        if diagnostics:
            begin = jax.jit(batched(begin_member, size, in_axes=(0, 0, None, 0)))
            measure = jax.jit(batched(measure_member, size, (0, 0, None, 0, 0, *common)))
            arguments = states.params, seed, clock, numbers
            beginning = jax.eval_shape(begin, *arguments)
            looking = {
                "begin": Program(begin, arguments, self._devices),
                "measure": Program(
                    measure, (states, seed, clock, beginning, numbers, *data), self._devices
                ),
            }
        self._programs = Programs(
            {
                "chunk": Program(
                    jax.jit(
                        batched(trainer.chunk, size, (0, None, 0, *common), (0, None, 0)),
                        donate_argnums=0,
                    ),
                    (states, clock, numbers, *data),
                    self._devices,
                ),
                "evaluate": Program(
                    jax.jit(batched(evaluate_member, size, in_axes=(0, 0, None, 0))),
                    (states.params, seed, clock, numbers),
                    self._devices,
                ),
                # Making members takes less time than compiling that for every device, or with
                # every optimization, would.
                "init": Program(
                    jax.jit(batched(init_member, size, (0, 0, *common), (0, None))),
                    (seed, numbers, *data),
                    self._devices[:1],
                    {"xla_backend_optimization_level": 1},
                ),
                **looking,
            }
        )

    def prepare(
        self, names: Iterable[str] = ("chunk", "evaluate", "init", "begin", "measure")
    ) -> int:
        """Compile the named programs side by side; each is compiled on its first use otherwise.

        Without diagnostics the last two are none.

        Returns:
          Bytes that a running chunk needs on each device beside the states; 0 unless it is named.

        Raises:
          ConfigError: that does not fit beside the members.
        """
        names = tuple(names)
        with self._in_memory():
            self._programs.compile(names)
        if "chunk" not in names:
            return 0
        temporaries = self._programs.temporary_bytes("chunk")
        free = free_memory(self.plan.num_devices)
        check_temporaries(self.plan, tree_bytes(self._member), temporaries, free)
        return temporaries

    def init(self) -> tuple[list[PyTree], Clock]:
        """The states of all members at the end of their prefill, and the clock."""
        first, states = self._devices[0], []
        with self._in_memory():
            for group, values in enumerate(self._groups):  # the first device may not hold all
                here = *jax.device_put(values, first), *self._data[0]
                ((state, clock),) = self._programs.run("init", [here])
                states.append(jax.device_put(state, self._home(group)))
            return jax.block_until_ready(states), jax.device_get(clock)

    def chunk(
        self, states: list[PyTree], clock: Clock, hparams: HParams | None = None
    ) -> tuple[list[PyTree], Clock, PyTree]:
        """One chunk later: states, clock, and metrics in NumPy [M]; donates the states."""
        numbers = self._numbers(hparams)
        with self._in_memory():
            results = self._programs.run(
                "chunk",
                [
                    (state, clock, mine, *self._data[group % self.plan.num_devices])
                    for group, (state, mine) in enumerate(zip(states, numbers))
                ],
            )
        states, clocks, metrics = map(list, zip(*results))
        return states, jax.device_get(clocks[0]), self._join(metrics)

    def evaluate(
        self, states: list[PyTree], clock: Clock, hparams: HParams | None = None
    ) -> Evaluation:
        """The evaluation of all members in NumPy, leaves [M, K]."""
        arguments = [
            (state.params, seed, clock, mine)
            for state, (seed, _), mine in zip(states, self._groups, self._numbers(hparams))
        ]
        with self._in_memory():
            return self._join(self._programs.run("evaluate", arguments))

    def begin(self, states: list[PyTree], clock: Clock) -> None:
        """Take note of members at step 0, as ``init`` makes them, with which later ones will be
        compared; nothing without diagnostics."""
        if self._diagnoses:
            arguments = [
                (state.params, seed, clock, mine)
                for state, (seed, mine) in zip(states, self._groups)
            ]
            with self._in_memory():
                self._beginnings = self._programs.run("begin", arguments)

    def measure(
        self, states: list[PyTree], clock: Clock, hparams: HParams | None = None
    ) -> dict[str, np.ndarray]:
        """What the diagnostics of all members say, in NumPy [M]; nothing without diagnostics."""
        if not self._diagnoses:
            return {}
        arguments = [
            (state, seed, clock, beginning, mine, *self._data[group % self.plan.num_devices])
            for group, (state, (seed, _), beginning, mine) in enumerate(
                zip(states, self._groups, self._beginnings, self._numbers(hparams), strict=True)
            )
        ]
        with self._in_memory():
            return self._join(self._programs.run("measure", arguments))

    def gather(
        self, states: list[PyTree], sources: np.ndarray, fields: Sequence[str] | None = None
    ) -> list[PyTree]:
        """Every member goes on with ``fields`` of member ``sources`` [M]; donates the states.

        Args:
          fields: all that it has learned by default.
        """
        fields = [name for name in fields or LEARNER if hasattr(states[0], name)]
        if "key" in fields:
            raise ValueError("members that share a key would see the same random numbers.")

        def part(group: int) -> dict[str, PyTree]:
            return {name: getattr(states[group], name) for name in fields}

        states, size = list(states), self.plan.batch
        sources = np.asarray(sources)[self._rows]
        moves = [(place, int(s)) for place, s in enumerate(sources) if s != self._rows[place]]
        # All are read before any is written, so that a member may give and take.
        taken = {s: self._take_row(part(s // size), s % size) for _, s in moves}
        for place, source in moves:
            group = place // size
            here = jax.device_put(taken[source], self._home(group))
            states[group] = states[group]._replace(**self._put_row(part(group), here, place % size))
        return states

    def fetch(self, states: list[PyTree]) -> PyTree:
        """The members as plain NumPy leaves [M, ...], which can be saved."""
        return self._join([key_data(state) for state in states])

    def place(self, tree: PyTree) -> list[PyTree]:
        """The inverse of ``fetch``."""
        return [with_keys(group, self._member) for group in self._split(tree)]

    def _home(self, group: int) -> jax.Device:
        return self._devices[group % self.plan.num_devices]

    def _numbers(self, hparams: HParams | None) -> list[HParams]:
        """Hyperparameters of every group."""
        if hparams is None or hparams is self.hparams:
            return [group for _, group in self._groups]
        return self._split(hparams)

    def _split(self, tree: PyTree) -> list[PyTree]:
        """One tree per group; the last is filled up with copies of the last member."""
        return [
            jax.device_put(row(tree, rows), self._home(group))
            for group, rows in enumerate(self._rows.reshape(-1, self.plan.batch))
        ]

    def _join(self, groups: Sequence[PyTree]) -> PyTree:
        """The results of all groups as NumPy arrays [M, ...]."""
        groups, count = jax.device_get(groups), self.plan.num_members
        return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:count], *groups)

    @contextmanager
    def _in_memory(self) -> Iterator[None]:
        """Say how to go on when a device runs out of memory.

        Raises:
          ConfigError: it did.
        """
        try:
            yield
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise ConfigError(
                f"batch={self.plan.batch} ran out of the device's memory; start again with "
                f"--batch {max(1, self.plan.batch // 2)} in a new directory."
            ) from error


def _keys(seed: jax.Array) -> jax.Array:
    """The roots of a member's two key streams: training, evaluation."""
    return jax.random.split(jax.random.key(seed))
