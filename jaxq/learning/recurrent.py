"""Learning from sequences with a memory: unrolling from a stored carry, and R2D2's loss."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxq.config import HParams
from jaxq.learning import backups, returns, td
from jaxq.learning.backups import Values, honours
from jaxq.networks.legal import mean_value
from jaxq.types import LossOutput, Network, PyTree, Step, where

_MAX_SHARE = 0.9  # of the largest TD error in the priority (Kapturowski et al. 2019, section 2.3)


class Rescaling(NamedTuple):
    """A transformation of returns and its inverse."""

    forth: Callable[[jax.Array], jax.Array]
    back: Callable[[jax.Array], jax.Array]


IDENTITY = Rescaling(lambda x: x, lambda x: x)
SIGNED_HYPERBOLIC = Rescaling(returns.rescale, returns.unscale)


def unroll(
    network: Network, params: PyTree, key: jax.Array, carry: PyTree, steps: Step, burn_in: int = 0
) -> tuple[jax.Array, PyTree]:
    """The values of the steps of a sequence, seen from its beginning.

    Args:
      carry: [B, ...], the memory before the first step.
      steps: leaves [B, T, ...]; memory is erased after every ``done``.
      burn_in: steps at the beginning that only bring the memory up to date, without gradient.

    Returns:
      For the T' = T - burn_in later steps: q_values [B, T', A], and the memory AFTER each step,
      leaves [B, T', ...].
    """
    first = jnp.zeros_like(steps.done[:, :1])
    resets = jnp.concatenate([first, steps.done[:, :-1]], axis=1)  # [B, T] a new episode begins
    run = network.unroll or partial(_one_by_one, network)
    key_early, key_late = jax.random.split(key)
    obs, resets = _swap((steps.obs, resets))  # [T, B]
    if burn_in:
        early = jax.tree.map(lambda x: x[:burn_in], obs)
        _, carries = run(params, early, key_early, carry, resets[:burn_in])
        carry = jax.lax.stop_gradient(jax.tree.map(lambda x: x[-1], carries))
    late = jax.tree.map(lambda x: x[burn_in:], obs)
    output, carries = run(params, late, key_late, carry, resets[burn_in:])
    return _swap((output.q_values, carries))


def _one_by_one(
    network: Network,
    params: PyTree,
    obs: PyTree,
    key: jax.Array,
    carry: PyTree,
    resets: jax.Array,
) -> tuple[PyTree, PyTree]:
    """``Network.unroll`` of a network without one."""

    def step(carry, x):
        obs, reset, key = x
        key_apply, key_carry = jax.random.split(key)
        fresh = network.initial_carry(key_carry, len(reset))
        carry = jax.tree.map(lambda new, old: where(reset, new, old), fresh, carry)
        output, carry = network.apply(params, obs, key_apply, carry)
        return carry, (output, carry)

    return jax.lax.scan(step, carry, (obs, resets, jax.random.split(key, len(resets))))[1]


def _swap(tree: PyTree) -> PyTree:
    """Leaves [B, T, ...] as [T, B, ...], or back."""
    return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), tree)


@honours("policy", "entropy", "bonus", "online")
def recurrent_q_loss(
    network: Network,
    params: PyTree,
    target_params: PyTree,
    key: jax.Array,
    steps: Step,
    hparams: HParams,
    backup: Callable = backups.greedy,
    *,
    burn_in: int = 0,
    n_step: int = 1,
    rescaling: Rescaling = IDENTITY,
) -> LossOutput:
    """DRQN (Hausknecht & Stone 2015) and R2D2 (Kapturowski et al. 2019, equation 1).

    Sequences may span several episodes. The value after a step comes from the observation before
    the reset, with the memory of the episode that it belongs to. The priority mixes the largest
    and the mean error of a sequence.

    Args:
      steps: sequences, leaves [B, T, ...], with the carry before each step.
      burn_in: steps at the beginning that only bring the memory up to date, without gradient.
      n_step: n of the targets, shortened where an episode or the sequence ends.
      rescaling: of the values that are learned.

    Returns:
      LossOutput: all [B]; the loss is the mean over the T - burn_in steps that are learned from.
    """
    carry, steps = jax.tree.map(lambda x: x[:, 0], steps.carry), steps._replace(carry=())
    late = jax.tree.map(lambda x: x[:, burn_in:], steps)

    def values(params, key):
        """[B, T', A], of the steps and of what followed them."""
        key_unroll, key_next = jax.random.split(key)
        q_tm1, carries = unroll(network, params, key_unroll, carry, steps, burn_in)
        obs, carries = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (late.next_obs, carries))
        output, _ = network.apply(params, obs, key_next, carries)
        return q_tm1, output.q_values.reshape(q_tm1.shape)

    key_online, key_target = jax.random.split(key)
    online_tm1, online_t = values(params, key_online)
    target_tm1, target_t = values(target_params, key_target)
    ahead = jax.vmap(jax.vmap(backup, (0, 0, None)), (0, 0, None))(
        Values(online_tm1, online_t, target_tm1, target_t), late.action, hparams
    )
    q_t = backups.after(ahead, target_t, online_t)
    possible = jnp.where(ahead.policy > 0.0, rescaling.back(q_t), 0.0)
    value_t = jnp.sum(ahead.policy * possible, axis=-1) + ahead.entropy
    rewards = hparams.reward_scale * late.reward + ahead.bonus
    discounts = hparams.gamma * (1.0 - late.terminated)
    totals = jax.vmap(lambda *x: returns.n_step_returns(*x, n_step))(
        rewards, discounts, value_t, late.done
    )
    targets = jax.lax.stop_gradient(rescaling.forth(totals))
    return sequence_output(targets - taken(online_tm1, late.action), online_tm1, late.obs, hparams)


def sequence_output(
    errors: jax.Array, q_values: jax.Array, obs: PyTree, hparams: HParams
) -> LossOutput:
    """The output of a loss on TD errors [B, T] of values [B, T, A] of ``obs`` [B, T, *obs]."""
    size = jnp.abs(errors)
    return LossOutput(
        loss=td.huber_loss(errors, hparams.huber_delta).mean(axis=1),
        priority=_MAX_SHARE * size.max(axis=1) + (1.0 - _MAX_SHARE) * size.mean(axis=1),
        aux={"q_value": mean_value(q_values, obs, rows=2), "td_error": size.mean(axis=1)},
    )


def taken(q_values: jax.Array, action: jax.Array) -> jax.Array:
    """Of values [B, T, A] those of the actions taken: [B, T]."""
    return jnp.take_along_axis(q_values, action[..., None].astype(jnp.int32), axis=-1)[..., 0]


# R2D2 learns rescaled values, in which an entropy or a bonus in units of reward has no meaning.
r2d2_loss = honours("policy", "online")(partial(recurrent_q_loss, rescaling=SIGNED_HYPERBOLIC))
