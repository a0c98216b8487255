"""Replay on the device: the newest steps, or a uniform or prioritized sample of the past.

A member's replay is ONE matrix ``[slots, words]``: one packed record per step, one gather per batch
and one write per block. With one ring per field XLA copies whole rings at every step. The steps of
all E environments at one moment, a row, lie side by side, so a window of length T is T slots at a
distance of E. The write position follows from the clock, which is the same for every
member.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxq import sumtree
from jaxq.records import Codec, make_codec
from jaxq.types import Clock, PyTree, Replay, Sample, Step


class RingState(NamedTuple):
    ring: jax.Array  # [slots, words] uint32


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
    batch_size = rows_per_block * num_envs
    num_slots = batch_size + (window - 1) * num_envs

    def init() -> RingState:
        return RingState(jnp.zeros((num_slots, codec.num_words), jnp.uint32))

    def add(state: RingState, clock: Clock, steps: Step) -> RingState:
        del clock
        return RingState(jnp.concatenate([state.ring[batch_size:], _slots(codec.pack(steps))]))

    def sample(state: RingState, clock: Clock, key: jax.Array) -> Sample:
        del clock, key
        first = jnp.arange(batch_size)
        slots = first[:, None] + num_envs * jnp.arange(window)  # [B, T]
        steps = _first_carry(codec.unpack(state.ring[slots]))
        return Sample(steps, first, jnp.ones(batch_size))

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

    def init() -> RingState:
        return RingState(jnp.zeros((capacity, codec.num_words), jnp.uint32))

    def add(state: RingState, clock: Clock, steps: Step) -> RingState:
        return RingState(_write(state.ring, clock.steps % capacity, codec.pack(steps)))

    def sample(state: RingState, clock: Clock, key: jax.Array) -> Sample:
        held = jnp.minimum(clock.steps, capacity)
        num_windows = held - (window - 1) * num_envs
        chosen = _below(num_windows, jax.random.bits(key, (batch_size,), jnp.uint32))
        first = (clock.steps - held + chosen) % capacity  # counted from the oldest slot
        slots = (first[:, None] + num_envs * jnp.arange(window)) % capacity  # [B, T]
        steps = _first_carry(codec.unpack(state.ring[slots]))
        probability = 1.0 / num_windows.astype(jnp.float32)
        return Sample(steps, first, jnp.full(batch_size, probability))

    return Replay(init, add, sample, _no_update)


class PrioritizedState(NamedTuple):
    ring: jax.Array  # [slots, words] uint32
    pending: PyTree  # [E, words] uint32, the newest carry with which a window begins; () without
    tree: jax.Array  # of starts x E leaves, the priorities of the windows that begin there
    maximum: jax.Array  # [] the largest priority so far


def prioritized(
    step: Step, *, capacity: int, batch_size: int, window: int = 1, period: int = 1
) -> Replay:
    """A ring sampled in proportion to priorities, proportional variant (Schaul et al. 2016, 3.3).

    Batches are stratified: one window from each of B equal shares of the total. A window whose last
    step has just arrived takes the largest priority so far; one that lacks a step, or has lost one
    to newer steps, is never drawn.

    Only carries with which a window begins are kept, since a recurrent carry is many times the
    rest of a step. Each is spread over the rows of its period, so that there is still one ring: a
    second one, whose write does not depend on the learning, is copied whole at every step.

    Args:
      step: one step of every environment (arrays or shapes), leaves [E, ...].
      capacity: as in ``uniform``, and a multiple of ``period * E``; it holds a block and a window.
      batch_size: B.
      window: T.
      period: rows between the beginnings of windows; at most T.
    """
    num_envs, codec = _layout(step._replace(carry=()))
    carry_codec = _codec(step.carry)
    num_starts = capacity // num_envs // period
    num_slots = num_starts * period * num_envs
    part_words = -(-carry_codec.num_words // period)

    def init() -> PrioritizedState:
        return PrioritizedState(
            ring=jnp.zeros((num_slots, codec.num_words + part_words), jnp.uint32),
            pending=jnp.zeros((num_envs, period * part_words), jnp.uint32) if part_words else (),
            tree=sumtree.make(num_starts * num_envs),
            maximum=jnp.float32(1.0),
        )

    def carry_parts(pending: jax.Array, carry: PyTree, begin: jax.Array):
        """What new rows keep of the carries, [K, E, words], and the newest pending one."""
        packed = carry_codec.pack(carry)  # [K, E, words]
        num_new, padding = len(packed), period * part_words - carry_codec.num_words
        packed = jnp.pad(packed, ((0, 0), (0, 0), (0, padding)))
        candidates = jnp.concatenate([pending[None], packed])  # [1 + K, E, words]
        rows = begin + jnp.arange(num_new)
        since = rows % period  # rows since the beginning of the period
        held = candidates[jnp.maximum(rows - since - begin + 1, 0)]
        parts = held.reshape(num_new, num_envs, period, part_words)
        return parts[jnp.arange(num_new), :, since], held[-1]

    def add(state: PrioritizedState, clock: Clock, steps: Step) -> PrioritizedState:
        num_new = steps.reward.shape[0]
        begin = clock.steps // num_envs  # rows written before, and after
        end = begin + num_new
        block, pending = codec.pack(steps._replace(carry=())), state.pending
        if part_words:
            parts, pending = carry_parts(pending, steps.carry, begin)
            block = jnp.concatenate([block, parts], axis=-1)
        ring = _write(state.ring, clock.steps % num_slots, block)
        # All windows that contain a new row: those that are complete, and those yet to be.
        first = -(-(begin - window + 1) // period)
        starts = first + jnp.arange((num_new + window - 2) // period + 1)
        rows = starts * period
        exists = (rows >= 0) & (rows < end)
        leaves = (starts % num_starts)[:, None] * num_envs + jnp.arange(num_envs)
        indices = jnp.where(exists[:, None], leaves, sumtree.NOWHERE)
        priority = jnp.where(rows + window <= end, state.maximum, 0.0)
        priority = jnp.broadcast_to(priority[:, None], indices.shape)
        tree = sumtree.assign(state.tree, indices.ravel(), priority.ravel())
        return PrioritizedState(ring, pending, tree, state.maximum)

    def sample(state: PrioritizedState, clock: Clock, key: jax.Array) -> Sample:
        del clock
        total = sumtree.total(state.tree)
        shares = (jnp.arange(batch_size) + jax.random.uniform(key, (batch_size,))) / batch_size
        leaves, priority = sumtree.find(state.tree, shares * total)
        start, env = leaves // num_envs, leaves % num_envs
        rows = start[:, None] * period + jnp.arange(window)  # [B, T]
        records = state.ring[(rows * num_envs + env[:, None]) % num_slots]  # [B, T, words]
        steps = codec.unpack(records[..., : codec.num_words])
        if part_words:
            packed = records[:, :period, codec.num_words :].reshape(batch_size, 1, -1)
            steps = steps._replace(carry=carry_codec.unpack(packed[..., : carry_codec.num_words]))
        return Sample(steps, leaves, priority / total)

    def update(state: PrioritizedState, indices: jax.Array, priority: jax.Array):
        # Without a floor a window of no error would never be drawn again; a priority that is not
        # finite would spoil the tree for good.
        priority = jnp.where(jnp.isfinite(priority), priority, state.maximum)
        priority = jnp.maximum(priority, _FLOOR * state.maximum)
        maximum = jnp.maximum(state.maximum, priority.max())
        return state._replace(tree=sumtree.assign(state.tree, indices, priority), maximum=maximum)

    return Replay(init, add, sample, update)


_FLOOR = 1e-6


def _below(limit: jax.Array, words: jax.Array) -> jax.Array:
    """Random ``words`` [B] uint32 as integers below ``limit``: ``limit * word // 2**32``.

    One word each, where ``jax.random.randint`` takes four; probabilities are equal to within
    ``limit / 2**32`` of themselves, 0.02 % for a million (Lemire 2019, without rejection).
    """
    limit, half = limit.astype(jnp.uint32), jnp.uint32(0xFFFF)
    high, low = words >> 16, words & half
    high_limit, low_limit = limit >> 16, limit & half
    middle = high * low_limit + (low * low_limit >> 16)
    carried = (middle & half) + low * high_limit
    return (high * high_limit + (middle >> 16) + (carried >> 16)).astype(jnp.int32)


def _slots(block: jax.Array) -> jax.Array:
    """Records [K, E, words] in the order of the slots, [K * E, words]."""
    return block.reshape(-1, block.shape[-1])


def _write(ring: jax.Array, head: jax.Array, block: jax.Array) -> jax.Array:
    """``ring`` with the records ``block`` [K, E, words] from slot ``head`` on."""
    return jax.lax.dynamic_update_slice(ring, _slots(block), (head, 0))


def _first_carry(steps: Step) -> Step:
    """Windows [B, T, ...] with the carry of their first step only, [B, 1, ...]."""
    return steps._replace(carry=jax.tree.map(lambda leaf: leaf[:, :1], steps.carry))


def _no_update(state: RingState, indices: jax.Array, priority: jax.Array) -> RingState:
    """Sampling that ignores priorities has nothing to update."""
    del indices, priority
    return state


def _layout(step: Step):
    """E and the codec of one environment's step."""
    return step.reward.shape[0], _codec(step)


def _codec(tree: PyTree) -> Codec:
    """The codec of one environment's part of a tree with leaves [E, ...]."""
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), tree)
    return make_codec(one)
