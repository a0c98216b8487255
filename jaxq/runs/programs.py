"""Functions compiled for several devices, each with a program of its own, which work side by side.

Every device runs the same single-device program. A program partitioned over several devices goes
through other compiler passes than one for a single device, and rounds differently.
"""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
from jax.sharding import SingleDeviceSharding
from jax.stages import Compiled, Wrapped

from jaxq.types import PyTree


class Program(NamedTuple):
    """What is compiled."""

    function: Wrapped  # jitted
    arguments: tuple  # as shapes
    devices: Sequence[jax.Device]
    options: Mapping[str, Any] | None = None  # of the compiler


class Programs:
    """Programs by name, those that take longest to compile first."""

    def __init__(self, programs: Mapping[str, Program]):
        self.programs = programs
        self._compiled: dict[str, list[Compiled]] = {}
        most = max(len(program.devices) for program in programs.values())
        self._workers = ThreadPoolExecutor(most)

    def compile(self, names: Iterable[str]) -> None:
        """Compile side by side those of ``names`` that are not yet."""
        # While one compiles, the next is traced.
        missing = [name for name in self.programs if name in names and name not in self._compiled]
        jobs = {}
        with ThreadPoolExecutor(sum(len(p.devices) for p in self.programs.values())) as compilers:
            for name in missing:
                function, arguments, devices, options = self.programs[name]
                jobs[name] = [
                    compilers.submit(function.lower(*_on(device, arguments)).compile, options)
                    for device in devices
                ]
        self._compiled |= {name: [job.result() for job in jobs[name]] for name in missing}

    def temporary_bytes(self, name: str) -> int:
        """What a compiled program needs on a device while it runs, beside arguments and results."""
        analysis = self._compiled[name][0].memory_analysis()
        return analysis.temp_size_in_bytes if analysis else 0

    def run(self, name: str, arguments: Sequence[tuple]) -> list[PyTree]:
        """A program on every element of ``arguments``, of which number ``g`` is on device
        ``g % D``: all devices at once, each one element after the other."""
        self.compile([name])
        programs = self._compiled[name]
        count = len(programs)

        def work(device: int) -> list[PyTree]:
            mine = arguments[device::count]
            return jax.block_until_ready([programs[device](*values) for values in mine])

        results = list(self._workers.map(work, range(count)))
        return [results[g % count][g // count] for g in range(len(arguments))]


def _on(device: jax.Device, tree: PyTree) -> PyTree:
    """The shapes of a tree's leaves, on a device."""
    sharding = SingleDeviceSharding(device)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)
