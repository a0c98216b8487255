"""Rings of steps on the device: the newest ones, or a uniform sample of the past.

A member's replay is ONE matrix ``[slots, words]``, on a TPU ``[words, slots]``: one packed record
per step, one gather per batch and one write per block. With one ring per field XLA copies whole
rings at every step. The steps of all E environments at one moment, a row, lie side by side, so a
window of length T is T slots at a distance of E. The write position follows from the clock, which
is the same for every member.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxq.config import HParams
from jaxq.replay.records import Codec, make_codec
from jaxq.types import Clock, PyTree, Replay, Sample, Step

_TILE = 8  # words
_DESCRIBED: ContextVar[str | None] = ContextVar("platform", default=None)


class RingState(NamedTuple):
    ring: jax.Array  # uint32, see ``empty``


def latest(step: Step, *, rows_per_block: int, window: int = 1) -> Replay:
    """Holds only the newest block of steps and returns all of it: learning without a memory.

    Args:
      step: one step of every environment (arrays or shapes), leaves [E, ...].
      rows_per_block: rows that every ``add`` brings.
      window: T.

    ``sample`` returns, in order, the ``rows_per_block * E`` windows that end in a step of the
    newest block.
    """
    num_envs, codec = layout(step)
    batch_size = rows_per_block * num_envs
    num_slots = batch_size + (window - 1) * num_envs

    def init() -> RingState:
        return RingState(jnp.zeros((num_slots, codec.num_words), jnp.uint32))

    def add(state: RingState, clock: Clock, steps: Step) -> RingState:
        del clock
        return RingState(jnp.concatenate([state.ring[batch_size:], _slots(codec.pack(steps))]))

    def sample(state: RingState, clock: Clock, key: jax.Array, hparams: HParams) -> Sample:
        del clock, key, hparams
        first = jnp.arange(batch_size)
        slots = first[:, None] + num_envs * jnp.arange(window)  # [B, T]
        steps = _first_carry(codec.unpack(state.ring[slots]))
        ones = jnp.ones(batch_size)
        return Sample(steps, first, ones, ones)

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
    num_envs, codec = layout(step)

    def init() -> RingState:
        return RingState(empty(capacity, codec.num_words))

    def add(state: RingState, clock: Clock, steps: Step) -> RingState:
        return RingState(write(state.ring, clock.steps % capacity, codec.pack(steps)))

    def sample(state: RingState, clock: Clock, key: jax.Array, hparams: HParams) -> Sample:
        del hparams
        held = jnp.minimum(clock.steps, capacity)
        num_windows = held - (window - 1) * num_envs
        chosen = below(num_windows, jax.random.bits(key, (batch_size,), jnp.uint32))
        first = (clock.steps - held + chosen) % capacity  # counted from the oldest slot
        slots = (first[:, None] + num_envs * jnp.arange(window)) % capacity  # [B, T]
        steps = _first_carry(codec.unpack(read(state.ring, slots, codec.num_words)))
        probability = 1.0 / num_windows.astype(jnp.float32)
        return Sample(steps, first, jnp.full(batch_size, probability), jnp.ones(batch_size))

    def contents(state: RingState, clock: Clock) -> np.ndarray:
        records = unrolled(state.ring, clock, num_envs, codec.num_words)
        if not jax.tree.leaves(step.carry):
            return records
        return np.asarray(_bare(step).pack(codec.unpack(records)._replace(carry=())))

    return Replay(init, add, sample, _no_update, contents)


def below(limit: jax.Array, words: jax.Array) -> jax.Array:
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


def slots_are_last() -> bool:
    """Whether a ring lies as [words, slots].

    A TPU's arrays have tiles of 8 x 128 on their last two axes: records of 27 words, last, would
    take five times their memory. XLA turns a ring so that its slots are last while it works on it;
    one that did not lie so already would be copied at both ends of every chunk.
    """
    return (_DESCRIBED.get() or jax.default_backend()) == "tpu"


@contextmanager
def laid_out_for(platform: str) -> Iterator[None]:
    """Rings that are traced inside lie as on that platform of JAX's, which need not be here."""
    token = _DESCRIBED.set(platform)
    try:
        yield
    finally:
        _DESCRIBED.reset(token)


def empty(num_slots: int, num_words: int) -> jax.Array:
    """A ring of zeros, [slots, words] uint32, or as ``slots_are_last`` says with whole tiles."""
    tiles = (-(-num_words // _TILE) * _TILE, num_slots)
    return jnp.zeros(tiles if slots_are_last() else (num_slots, num_words), jnp.uint32)


def read(ring: jax.Array, slots: jax.Array, num_words: int) -> jax.Array:
    """The records in ``slots`` [...]: [..., words]."""
    if slots_are_last():
        return jnp.moveaxis(ring[:, slots], 0, -1)[..., :num_words]
    return ring[slots]


def unrolled(ring: np.ndarray, clock: Clock, num_envs: int, num_words: int) -> np.ndarray:
    """What a ring on the host holds, the oldest row first: [rows, E, words]."""
    ring = (np.asarray(ring).T if slots_are_last() else np.asarray(ring))[:, :num_words]
    steps, num_slots = int(clock.steps), len(ring)
    head = steps % num_slots
    held = ring[:steps] if steps < num_slots else np.concatenate([ring[head:], ring[:head]])
    return held.reshape(-1, num_envs, num_words)


def _slots(block: jax.Array) -> jax.Array:
    """Records [K, E, words] in the order of the slots, [K * E, words]."""
    return block.reshape(-1, block.shape[-1])


def write(ring: jax.Array, head: jax.Array, block: jax.Array) -> jax.Array:
    """``ring`` with the records ``block`` [K, E, words] from slot ``head`` on."""
    rows = _slots(block)
    if slots_are_last():
        rows = jnp.pad(rows.T, ((0, len(ring) - rows.shape[1]), (0, 0)))
    return _put(ring, rows, head)


@jax.custom_batching.custom_vmap
def _put(ring: jax.Array, rows: jax.Array, head: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_slice_in_dim(
        ring, rows, head, axis=-1 if slots_are_last() else -2
    )


@_put.def_vmap
def _put_batch(size: int, batched: list[bool], *arguments: jax.Array) -> tuple[jax.Array, bool]:
    """All members write at the same place. JAX would make a scatter of it, for which a TPU reads
    the whole ring in another layout at every write."""
    ring_and_rows, head = arguments[:2], arguments[2]
    if batched[2]:
        raise ValueError("members that write at places of their own have no common clock.")
    whole = [
        value if is_batched else jnp.broadcast_to(value, (size, *value.shape))
        for value, is_batched in zip(ring_and_rows, batched)
    ]
    return _put(*whole, head), True


def _first_carry(steps: Step) -> Step:
    """Windows [B, T, ...] with the carry of their first step only, [B, 1, ...]."""
    return steps._replace(carry=jax.tree.map(lambda leaf: leaf[:, :1], steps.carry))


def _no_update(
    state: RingState, indices: jax.Array, priority: jax.Array, hparams: HParams
) -> RingState:
    """Sampling that ignores priorities has nothing to update."""
    del indices, priority, hparams
    return state


def _bare(step: Step) -> Codec:
    """The codec of one environment's step without its carry."""
    return codec_of(step._replace(carry=()))


def layout(step: Step):
    """E and the codec of one environment's step."""
    return step.reward.shape[0], codec_of(step)


def codec_of(tree: PyTree) -> Codec:
    """The codec of one environment's part of a tree with leaves [E, ...]."""
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), tree)
    return make_codec(one)
