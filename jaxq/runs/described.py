"""Devices that need not be here: what XLA compiles for one, from its description.

Needs the extra ``kernels``: XLA's compilers for a GPU and a TPU, without a driver.
"""

import os
from functools import cache
from typing import NamedTuple

import jax
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding
from jax.stages import Compiled, Lowered

from jaxq.config import Config, HParams
from jaxq.errors import ConfigError, require, unknown
from jaxq.recipes.experiment import make_experiment
from jaxq.replay.rings import laid_out_for
from jaxq.runs.members import batched, leading, row, stack_members
from jaxq.types import PyTree, Trainer


class Device(NamedTuple):
    """What is known of a device without having one."""

    platform: str  # as JAX calls it
    gigabytes: int  # 10**9 bytes of memory
    description: str  # a topology, or what XLA asks a GPU about itself


# Asked of an H100 (XLA's gpu_specs/h100_sxm); an H200 differs in its memory.
_HOPPER = """
platform_name: "CUDA"
device_description_str: "NVIDIA {name}"
dnn_version_info {{ major: 9 minor: 10 }}
runtime_version {{ major: 13 }}
gpu_device_info {{
  cuda_compute_capability {{ major: 9 }}
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: 1.98
  device_memory_size: {memory_bytes}
  memory_bandwidth: {bandwidth}
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
}}
"""
_H100 = _HOPPER.format(
    name="H100 80GB HBM3", memory_bytes=84_929_347_584, bandwidth=3_352_320_000_000
)
_H200 = _HOPPER.format(name="H200", memory_bytes=141 * 10**9, bandwidth=4_800_000_000_000)
_PACKAGES = {"tpu": "libtpu", "cuda": "jax_cuda13_plugin"}

DEVICES = {
    "v4": Device("tpu", 32, "v4:2x2x1"),
    "v5e": Device("tpu", 16, "v5e:2x2"),
    "v5p": Device("tpu", 95, "v5p:2x2x1"),
    "v6e": Device("tpu", 32, "v6e:2x2"),
    "h100": Device("cuda", 80, _H100),
    "h200": Device("cuda", 141, _H200),
}
"""Memory of one chip as its maker says: cloud.google.com/tpu/docs/v4, /v5e, /v5p and /v6e, HBM
capacity per chip; nvidia.com/en-us/data-center/h100 and /h200, GPU memory of the SXM module."""


@cache
def device(name: str) -> jax.Device:
    """A device to compile for.

    Raises:
      ConfigError: it is none of ``DEVICES``, or its compiler is not installed, or was given up.
    """
    if name not in DEVICES:
        raise unknown("for", name, DEVICES)
    platform, _, description = DEVICES[name]
    require(f"for={name}", _PACKAGES[platform], extra="kernels")
    how = {"topology_name": description}
    if platform == "tpu":
        os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # there is none to ask about itself
    else:
        how = {"topology_name": "", "target_config": description, "topology": "1x1x1"}
    try:
        return topologies.get_topology_desc(**how, platform=platform).devices[0]
    except (NotImplementedError, RuntimeError) as error:
        raise ConfigError(
            f"for={name} needs jax_platforms=cpu here; without it JAX gives up a compiler that "
            f"finds no driver."
        ) from error


def use_no_accelerator() -> None:
    """Before JAX is used: look for none, and keep the compilers of those that are not here."""
    jax.config.update("jax_platforms", "cpu")


def lower(
    config: Config, lane: HParams, batch: int = 1, name: str | None = None
) -> tuple[Lowered, PyTree]:
    """The chunk of a batch of members, lowered with the states donated, and one member's state as
    shapes.

    Args:
      name: of ``DEVICES``; the default device here if there is none.

    Raises:
      ConfigError: bad input, or as ``device``.
    """
    on = {"sharding": SingleDeviceSharding(device(name))} if name else {}
    with laid_out_for(DEVICES[name].platform if name else jax.default_backend()):
        trainer, state, clock, hparams, data = _member(config, lane)
        shapes = leading(state, batch), clock, leading(hparams, batch), *data
        shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, **on), shapes)
        common = (None,) * len(data)
        chunk = batched(trainer.chunk, batch, (0, None, 0, *common), (0, None, 0))
        return jax.jit(chunk, donate_argnums=0).lower(*shapes), state


def state_on(name: str, config: Config, lane: HParams) -> PyTree:
    """One member's state as shapes, as it lies on a device of ``DEVICES``."""
    with laid_out_for(DEVICES[name].platform):
        return _member(config, lane)[1]


def _member(config: Config, lane: HParams) -> tuple[Trainer, PyTree, PyTree, HParams, tuple]:
    """A trainer, the shapes of its state and clock, the numbers of a member and the data."""
    trainer = make_experiment(config, lane).trainer
    data, hparams = trainer.data(), row(stack_members([lane], [0])[0], 0)
    state, clock = jax.eval_shape(trainer.init, jax.random.key(0), hparams, *data)
    return trainer, state, clock, hparams, data


def compile_for(name: str, lowered: Lowered) -> Compiled:
    """Without a GPU there is nothing to time candidates of a matmul on."""
    options = {"xla_gpu_autotune_level": 0} if DEVICES[name].platform == "cuda" else None
    return lowered.compile(options)
