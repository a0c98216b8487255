"""From windows of steps to targets; the only file that knows how episodes end.

A step that terminated has no future. A step cut by a time limit has one, seen from the
observation before the reset. A window ends at the first ``done`` inside it; what lies behind
belongs to another episode.
"""

import chex
import jax
import jax.numpy as jnp

from jaxq.types import Step, Transition


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
    last = jnp.argmax(steps.done) if window > 1 else 0  # index of the first end ...
    if window > 1:
        last = jnp.where(jnp.any(steps.done), last, window - 1)  # ... or of the last step
    return Transition(
        obs=steps.obs[0],
        action=steps.action[0],
        reward=jnp.sum(jnp.where(ended_before == 0, weights * steps.reward, 0.0)),
        discount=gamma ** (last + 1) * (1.0 - steps.terminated[last]),
        next_obs=steps.next_obs[last],
    )
