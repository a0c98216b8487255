"""From steps to targets: what a termination, a time limit and a boundary of episodes mean.

A step that terminated has no future. A step cut by a time limit has one, seen from the
observation before the reset. A window ends at the first ``done`` inside it; what lies behind
belongs to another episode.
"""

import chex
import jax
import jax.numpy as jnp

from jaxq.types import PyTree, Step, Transition


def fold_window(steps: Step, gamma: jax.Array) -> Transition:
    """One window as one n-step transition (Sutton & Barto, equation 7.1).

    Args:
      steps: leaves [T, ...], consecutive steps of one environment, T >= 1.
      gamma: [], discount of one step.

    Returns:
      Transition: ``reward`` sums up to the first ``done``; ``discount`` is ``gamma**n`` over the n
      steps summed, 0 if the last of them terminated; ``next_obs`` follows the last of them.
    """
    chex.assert_rank([steps.reward, steps.done, steps.terminated, gamma], [1, 1, 1, 0])
    window = steps.reward.shape[0]
    ended_before = jnp.cumsum(steps.done) - steps.done  # [T] ends strictly before step k
    weights = jnp.where(ended_before == 0, gamma ** jnp.arange(window), 0.0)  # [T]
    first_end = jnp.where(jnp.any(steps.done), jnp.argmax(steps.done), window - 1)
    last = first_end if window > 1 else 0  # index of the last step summed
    return Transition(
        obs=_at(0, steps.obs),
        action=steps.action[0],
        reward=jnp.sum(jnp.where(ended_before == 0, weights * steps.reward, 0.0)),
        discount=gamma ** (last + 1) * (1.0 - steps.terminated[last]),
        next_obs=_at(last, steps.next_obs),
        carry=_at(0, steps.carry),
    )


def _at(row: jax.Array | int, tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[row], tree)


def lambda_returns(
    rewards: jax.Array,
    discounts: jax.Array,
    values: jax.Array,
    done: jax.Array,
    td_lambda: jax.Array,
) -> jax.Array:
    """Returns of Peng's Q(lambda) (Peng & Williams 1996; Gallici et al. 2024, equation 8): [T].

    ``G_t = r_t + d_t ((1 - lambda) v_t + lambda G_{t+1})``; at the end of an episode, whatever
    ended it, and at the end of the sequence ``G_t = r_t + d_t v_t``.

    Args:
      rewards: [T].
      discounts: [T], gamma, or 0 where the task terminated.
      values: [T], of the observation that followed each step, before any reset.
      done: [T], where an episode ended.
      td_lambda: [], 0 for one-step returns, 1 for returns to the end.
    """
    chex.assert_rank([rewards, discounts, values, done, td_lambda], [1, 1, 1, 1, 0])

    def step(following, x):
        reward, discount, value, ends = x
        future = jnp.where(ends, value, (1.0 - td_lambda) * value + td_lambda * following)
        total = reward + discount * future
        return total, total

    inputs = (rewards, discounts, values, done)
    return jax.lax.scan(step, values[-1], inputs, reverse=True)[1]


def n_step_returns(
    rewards: jax.Array, discounts: jax.Array, values: jax.Array, done: jax.Array, n: int
) -> jax.Array:
    """Returns over at most ``n`` steps, shorter where an episode or the sequence ends: [T].

    Arguments as in ``lambda_returns``. The last ``n - 1`` steps bootstrap from the last value.
    """
    chex.assert_rank([rewards, discounts, values, done], 1)
    length = rewards.shape[0]

    def later(x, steps, beyond):
        """``x`` so many steps later; ``beyond`` after the end of the sequence."""
        return jnp.concatenate([x, jnp.full(n - 1, beyond, x.dtype)])[steps : steps + length]

    total = later(values, n - 1, values[-1])
    for steps in reversed(range(n)):
        future = jnp.where(later(done, steps, False), later(values, steps, 0), total)
        total = later(rewards, steps, 0) + later(discounts, steps, 1) * future
    return total


def rescale(x: jax.Array, epsilon: float = 1e-3) -> jax.Array:
    """``sign(x) (sqrt(|x| + 1) - 1) + epsilon x`` (Pohlen et al. 2018, equation 1)."""
    return jnp.sign(x) * (jnp.sqrt(jnp.abs(x) + 1.0) - 1.0) + epsilon * x


def unscale(x: jax.Array, epsilon: float = 1e-3) -> jax.Array:
    """The inverse of ``rescale`` (Pohlen et al. 2018, proposition A.2)."""
    root = jnp.sqrt(1.0 + 4.0 * epsilon * (jnp.abs(x) + 1.0 + epsilon))
    return jnp.sign(x) * (((root - 1.0) / (2.0 * epsilon)) ** 2 - 1.0)
