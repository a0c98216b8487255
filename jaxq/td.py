"""Temporal-difference errors for ONE example, in the notation of the papers.

``_tm1`` is the step before, ``_t`` the step after; ``discount_t`` is ``gamma**n``, or 0 where the
task terminated. Names and argument order follow rlax where it has the same function. No
parameters, no batch: ``jax.vmap`` at the call site.
"""

import chex
import jax
import jax.numpy as jnp


def q_learning(
    q_tm1: jax.Array,
    a_tm1: jax.Array,
    r_t: jax.Array,
    discount_t: jax.Array,
    q_t: jax.Array,
) -> jax.Array:
    """TD error of Q-learning (Watkins & Dayan 1992): ``r + discount max_a q_t - q_tm1[a]``.

    Args:
      q_tm1: [A], values before the step.
      a_tm1: [], the action taken.
      r_t: [], reward.
      discount_t: [].
      q_t: [A], values after the step; the gradient stops at the target.
    """
    chex.assert_rank([q_tm1, a_tm1, r_t, discount_t, q_t], [1, 0, 0, 0, 1])
    target_tm1 = r_t + discount_t * jnp.max(q_t)
    return jax.lax.stop_gradient(target_tm1) - q_tm1[a_tm1]


def double_q_learning(
    q_tm1: jax.Array,
    a_tm1: jax.Array,
    r_t: jax.Array,
    discount_t: jax.Array,
    q_t_value: jax.Array,
    q_t_selector: jax.Array,
) -> jax.Array:
    """TD error of double Q-learning (van Hasselt et al. 2016, equation 4).

    The target network's ``q_t_value [A]`` evaluates the action that the online network's
    ``q_t_selector [A]`` selects; the rest as in ``q_learning``.
    """
    chex.assert_rank([q_tm1, a_tm1, r_t, discount_t, q_t_value, q_t_selector], [1, 0, 0, 0, 1, 1])
    target_tm1 = r_t + discount_t * q_t_value[jnp.argmax(q_t_selector)]
    return jax.lax.stop_gradient(target_tm1) - q_tm1[a_tm1]


def huber_loss(x: jax.Array, delta: jax.Array | float = 1.0) -> jax.Array:
    """``x**2 / 2`` up to ``|x| = delta``, linear beyond (Huber 1964); same shape as ``x``.

    ``delta`` infinite is the squared loss. The gradient is ``x`` clipped to ``[-delta, delta]``.
    """
    clipped = jnp.clip(x, -delta, delta)
    return clipped * (x - 0.5 * clipped)
