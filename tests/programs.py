"""Presets as XLA compiles them: for this machine, or for a GPU or TPU that need not be there."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import jax
from common import cast
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding
from jax.stages import Lowered

from jaxq.recipes.experiment import make_experiment
from jaxq.recipes.presets import PRESETS
from jaxq.recipes.reading import period_of
from jaxq.runs.members import batched, leading

# What XLA asks a device about itself, answered as an H100 does (XLA's gpu_specs/h100_sxm).
_H100 = """
platform_name: "CUDA"
device_description_str: "NVIDIA H100 80GB HBM3"
dnn_version_info { major: 9 minor: 10 }
runtime_version { major: 13 }
gpu_device_info {
  cuda_compute_capability { major: 9 }
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: 1.98
  device_memory_size: 84929347584
  memory_bandwidth: 3352320000000
  l2_cache_size: 52428800
  shared_memory_per_core: 233472
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  threads_per_core_limit: 2048
  threads_per_block_limit: 1024
  threads_per_warp: 32
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
}
"""
# Each is one kernel, or more, on a GPU; what else stands in a program only names or groups arrays.
_KERNELS = (
    "fusion custom-call dot convolution copy transpose scatter sort reduce reduce-window "
    "dynamic-slice dynamic-update-slice rng-bit-generator cholesky"
).split()
_OPERATION = re.compile(r" = (?:\(.*?\)|\S+) ([\w\-]+)\(")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_CALLED = re.compile(
    r"(?:body|to_apply|\w+_computation)=%?([\w.\-]+)|branch_computations=\{(.*?)\}"
)


def lower(name: str, batch: int = 1, device: jax.Device | None = None, **changes):
    """The chunk of a preset for a batch of members, lowered with the state donated, and the
    shapes of one member's state.

    A chunk is one target period, or one rollout, unless ``changes`` to the preset say otherwise.
    """
    preset = PRESETS[name]
    config = replace(preset.config, **{"chunk_steps": period_of(preset.config), **changes})
    trainer, hparams = make_experiment(config, preset.hparams).trainer, cast(preset.hparams)
    state, clock = jax.eval_shape(trainer.init, jax.random.key(0), hparams)
    shapes = leading(state, batch), clock, leading(hparams, batch)
    if device is not None:
        sharding = SingleDeviceSharding(device)
        on_device = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)  # noqa: E731
        shapes = jax.tree.map(on_device, shapes)
    chunk = batched(trainer.chunk, batch, in_axes=(0, None, 0), out_axes=(0, None, 0))
    return jax.jit(chunk, donate_argnums=0).lower(*shapes), state


@cache
def h100() -> jax.Device:
    """A device to compile for; needs the extra ``kernels``."""
    topology = topologies.get_topology_desc(platform="cuda", target_config=_H100, topology="1x1x1")
    return topology.devices[0]


@cache
def tpu() -> jax.Device:
    """A TPU v5e to compile for; needs libtpu, see the extra ``kernels``."""
    os.environ["TPU_SKIP_MDS_QUERY"] = "1"  # there is none to ask about itself
    return topologies.get_topology_desc("v5e:2x2", platform="tpu").devices[0]


def compile_for_gpu(lowered: Lowered):
    """Without a device there is nothing to time candidates of a matmul on."""
    return lowered.compile({"xla_gpu_autotune_level": 0})


def lines_that_make(compiled, type_of_array: str) -> list[str]:
    """The operations of a program that result in an array, written like ``f32[2,3]``."""
    return [line for line in compiled.as_text().splitlines() if f"= {type_of_array}" in line]


def launches(text: str) -> Counter[str]:
    """How often a compiled program runs each operation that is a kernel, and how often it waits
    for the device to say which way to go (``wait``).

    Loops count as often as they run; of a conditional's branches all count.
    """
    computations, entry = _computations(text)

    def count(name: str) -> Counter[str]:
        total: Counter[str] = Counter()
        for line in computations[name]:
            operation = _OPERATION.search(line)
            kind = operation and operation[1]
            if kind in _KERNELS:
                total[kind] += 1
            elif kind in ("while", "call", "conditional"):
                known = re.search(r'known_trip_count":\{"n":"(\d+)"', line)
                total["wait"] += kind == "conditional" or (kind == "while" and not known)
                for called in _called(line):
                    for inner, times in count(called).items():
                        total[inner] += times * (int(known[1]) if known else 1)
        return total

    return count(entry)


def _called(line: str) -> Iterator[str]:
    for one, several in _CALLED.findall(line):
        yield from [one] if one else several.replace("%", "").split(", ")


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
    """The lines of every computation, and the name of the first to run."""
    computations, entry, lines = {}, "", []
    for line in text.splitlines():
        if begin := _COMPUTATION.match(line):
            lines = computations[begin[2]] = []
            entry = begin[2] if begin[1] else entry
        else:
            lines.append(line)
    return computations, entry
