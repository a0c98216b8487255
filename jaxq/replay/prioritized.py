"""A prioritized replay: a ring whose windows are drawn in proportion to their last TD errors."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxq import schedules
from jaxq.config import HParams
from jaxq.replay import sumtree
from jaxq.replay.rings import codec_of, empty, layout, read, unrolled, write
from jaxq.types import Clock, PyTree, Replay, Sample, Step


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
    num_envs, codec = layout(step._replace(carry=()))
    carry_codec = codec_of(step.carry)
    num_starts = capacity // num_envs // period
    num_slots = num_starts * period * num_envs
    part_words = -(-carry_codec.num_words // period)
    num_words = codec.num_words + part_words

    def init() -> PrioritizedState:
        return PrioritizedState(
            ring=empty(num_slots, num_words),
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
        ring = write(state.ring, clock.steps % num_slots, block)
        # All windows that contain a new row: those that are complete, and those yet to be. A window
        # that is overwritten began a lap earlier at the same leaf, and so is lost with it.
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

    def sample(state: PrioritizedState, clock: Clock, key: jax.Array, hparams: HParams) -> Sample:
        total = sumtree.total(state.tree)
        shares = (jnp.arange(batch_size) + jax.random.uniform(key, (batch_size,))) / batch_size
        leaves, priority = sumtree.find(state.tree, shares * total)
        start, env = leaves // num_envs, leaves % num_envs
        rows = start[:, None] * period + jnp.arange(window)  # [B, T]
        slots = (rows * num_envs + env[:, None]) % num_slots  # [B, T]
        records = read(state.ring, slots, num_words)  # [B, T, words]
        steps = codec.unpack(records[..., : codec.num_words])
        if part_words:
            packed = records[:, :period, codec.num_words :].reshape(batch_size, 1, -1)
            steps = steps._replace(carry=carry_codec.unpack(packed[..., : carry_codec.num_words]))
        start, end = hparams.importance_exponent, hparams.importance_exponent_end
        exponent = schedules.linear(start, end, hparams.importance_exponent_steps, clock.steps)
        probabilities = priority / total
        weights = importance_weights(probabilities, exponent)
        return Sample(steps, leaves, probabilities, weights)

    def update(
        state: PrioritizedState, indices: jax.Array, priority: jax.Array, hparams: HParams
    ) -> PrioritizedState:
        priority = priority**hparams.priority_exponent
        # Without a floor a window of no error would never be drawn again; a priority that is not
        # finite would spoil the tree for good.
        priority = jnp.where(jnp.isfinite(priority), priority, state.maximum)
        priority = jnp.maximum(priority, _FLOOR * state.maximum)
        maximum = jnp.maximum(state.maximum, priority.max())
        return state._replace(tree=sumtree.assign(state.tree, indices, priority), maximum=maximum)

    def contents(state: PrioritizedState, clock: Clock) -> np.ndarray:
        return unrolled(state.ring, clock, num_envs, codec.num_words)

    return Replay(init, add, sample, update, contents)


_FLOOR = 1e-6


def importance_weights(probabilities: jax.Array, exponent: jax.Array) -> jax.Array:
    """Weights [B] that undo non-uniform sampling, the largest 1 (Schaul et al. 2016, 3.4).

    ``(N P)**-exponent`` over its maximum; N cancels. Equal probabilities give weights of 1.
    """
    return (probabilities / probabilities.min()) ** -exponent
