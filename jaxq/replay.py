"""Replay on the device: the newest steps, or a uniform sample of the past.

A member's replay is ONE byte matrix ``[rows, E, bytes]``: one packed record per step, one gather
per batch and one write per block. With one ring per field XLA copies whole rings at every step.
A row holds the step of every environment at one moment, so a window of length T is T consecutive
rows of one environment. The write position follows from the clock, which is the same for every
member.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxq.records import make_codec
from jaxq.types import Clock, Replay, Sample, Step


class RingState(NamedTuple):
    ring: jax.Array  # [rows, E, bytes] uint8


def latest(step: Step, *, rows_per_block: int, window: int = 1) -> Replay:
    """Holds only the newest block of steps and returns all of it: learning without a memory.

    Args:
      step: one step of every environment (arrays or shapes), leaves [E, ...].
      rows_per_block: rows that every ``add`` brings.
      window: T.

    ``sample`` returns, in order, the ``rows_per_block * E`` windows that end in a step of the
    newest block.
    """
    num_envs, codec = _layout(step)
    num_rows = rows_per_block + window - 1
    batch_size = rows_per_block * num_envs

    def init() -> RingState:
        return RingState(jnp.zeros((num_rows, num_envs, codec.num_bytes), jnp.uint8))

    def add(state: RingState, clock: Clock, steps: Step) -> RingState:
        del clock
        kept = state.ring[rows_per_block:]
        return RingState(jnp.concatenate([kept, codec.pack(steps)]))

    def sample(state: RingState, clock: Clock, key: jax.Array) -> Sample:
        del clock, key
        rows = jnp.arange(rows_per_block)[:, None] + jnp.arange(window)  # [rows_per_block, T]
        windows = jnp.swapaxes(state.ring[rows], 1, 2)  # [rows_per_block, E, T, bytes]
        steps = codec.unpack(windows.reshape(batch_size, window, -1))
        return Sample(steps, jnp.arange(batch_size), jnp.ones(batch_size))

    return Replay(init, add, sample, _no_update)


def uniform(step: Step, *, capacity: int, batch_size: int, window: int = 1) -> Replay:
    """A ring of the last ``capacity`` steps, sampled uniformly with replacement (Lin 1992).

    Args:
      step: one step of every environment (arrays or shapes), leaves [E, ...].
      capacity: steps held over all E environments; a multiple of the steps that every ``add``
        brings, so that a block never wraps around.
      batch_size: B.
      window: T. Every window of T consecutive steps that the ring holds is equally likely; none
        crosses the write position or contains an unwritten row.
    """
    num_envs, codec = _layout(step)
    num_rows = capacity // num_envs

    def init() -> RingState:
        return RingState(jnp.zeros((num_rows, num_envs, codec.num_bytes), jnp.uint8))

    def add(state: RingState, clock: Clock, steps: Step) -> RingState:
        head = (clock.steps // num_envs) % num_rows
        block = codec.pack(steps)  # [K, E, bytes]
        return RingState(jax.lax.dynamic_update_slice(state.ring, block, (head, 0, 0)))

    def sample(state: RingState, clock: Clock, key: jax.Array) -> Sample:
        written = clock.steps // num_envs
        held = jnp.minimum(written, num_rows)
        num_starts = held - window + 1
        limits = jnp.stack([num_starts, jnp.full_like(num_starts, num_envs)])
        start, env = jax.random.randint(key, (batch_size, 2), 0, limits).T  # [B], [B]
        first = (written - held + start) % num_rows  # the ring's oldest row, plus start
        rows = (first[:, None] + jnp.arange(window)) % num_rows  # [B, T]
        steps = codec.unpack(state.ring[rows, env[:, None]])
        probability = 1.0 / (num_starts * num_envs).astype(jnp.float32)
        return Sample(steps, first * num_envs + env, jnp.full(batch_size, probability))

    return Replay(init, add, sample, _no_update)


def _no_update(state: RingState, indices: jax.Array, priority: jax.Array) -> RingState:
    """Sampling that ignores priorities has nothing to update."""
    del indices, priority
    return state


def _layout(step: Step):
    """E and the codec of one environment's step."""
    num_envs = step.reward.shape[0]
    record = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), step)
    return num_envs, make_codec(record)
