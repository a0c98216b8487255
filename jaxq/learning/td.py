"""Temporal-difference errors and losses for ONE example, in the notation of the papers.

``_tm1`` is the step before, ``_t`` the step after; ``discount_t`` is ``gamma**n``, or 0 where the
task terminated. Names and argument order follow rlax where it has the same function. No
parameters, no batch: ``jax.vmap`` at the call site. Gradients stop at every target, except where a
docstring says that they do not. Products that select or average values ask for the highest
precision: by default a GPU keeps 10 bits (TF32).
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
      q_t: [A], values after the step.
    """
    chex.assert_rank([q_tm1, a_tm1, r_t, discount_t, q_t], [1, 0, 0, 0, 1])
    target_tm1 = r_t + discount_t * jnp.max(q_t)
    return jax.lax.stop_gradient(target_tm1) - q_tm1[a_tm1]


def q_error(
    q_tm1: jax.Array,
    a_tm1: jax.Array,
    r_t: jax.Array,
    discount_t: jax.Array,
    q_t: jax.Array,
) -> jax.Array:
    """``q_learning``, but its gradient goes through ``q_t``, too, as gradient methods need it."""
    chex.assert_rank([q_tm1, a_tm1, r_t, discount_t, q_t], [1, 0, 0, 0, 1])
    return r_t + discount_t * jnp.max(q_t) - q_tm1[a_tm1]


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


def expected_sarsa(
    q_tm1: jax.Array,
    a_tm1: jax.Array,
    r_t: jax.Array,
    discount_t: jax.Array,
    q_t: jax.Array,
    probs_a_t: jax.Array,
) -> jax.Array:
    """TD error against the value of a policy (van Seijen et al. 2009, equation 5).

    ``probs_a_t [A]`` are the policy's probabilities after the step; an action without probability
    counts for nothing, even at a value of -inf. The rest as in ``q_learning``.
    """
    chex.assert_rank([q_tm1, a_tm1, r_t, discount_t, q_t, probs_a_t], [1, 0, 0, 0, 1, 1])
    possible = jnp.where(probs_a_t > 0.0, q_t, 0.0)
    target_tm1 = r_t + discount_t * jnp.dot(possible, probs_a_t, precision="highest")
    return jax.lax.stop_gradient(target_tm1) - q_tm1[a_tm1]


def huber_loss(x: jax.Array, delta: jax.Array | float = 1.0) -> jax.Array:
    """``x**2 / 2`` up to ``|x| = delta``, linear beyond (Huber 1964); same shape as ``x``.

    ``delta`` infinite is the squared loss. The gradient is ``x`` clipped to ``[-delta, delta]``.
    """
    clipped = jnp.clip(x, -delta, delta)
    return clipped * (x - 0.5 * clipped)


def categorical_projection(z_p: jax.Array, probs: jax.Array, z_q: jax.Array) -> jax.Array:
    """The distribution on ``z_q`` nearest to one on other atoms (Bellemare et al. 2017, eq. 7).

    Every atom's probability goes to its two neighbours, in proportion to nearness; beyond the ends
    to the last atom. Nothing is lost, and where nothing lies beyond, the mean is kept.

    Args:
      z_p: [K'], atoms of the distribution, in any order.
      probs: [K'], its probabilities.
      z_q: [K], increasing, equally spaced atoms to project onto.
    """
    chex.assert_rank([z_p, probs, z_q], 1)
    probs, z_q = jnp.asarray(probs), jnp.asarray(z_q)
    z_p = jnp.clip(z_p, z_q[0], z_q[-1])
    return jax.lax.platform_dependent(z_p, probs, z_q, cpu=_atom_by_atom, default=_all_pairs)


def _all_pairs(z_p: jax.Array, probs: jax.Array, z_q: jax.Array) -> jax.Array:
    shares = jax.vmap(_shares, in_axes=(0, None), out_axes=1)(z_p, z_q)  # [K, K']
    return jnp.dot(shares, probs, precision="highest")


def _atom_by_atom(z_p: jax.Array, probs: jax.Array, z_q: jax.Array) -> jax.Array:
    """All pairs would be written to memory, a hundred times what is left of them: for many members
    a core took three to six times as long."""
    add = lambda j, total: total + _shares(z_p[j], z_q) * probs[j]  # noqa: E731
    return jax.lax.fori_loop(0, z_p.size, add, jnp.zeros_like(z_q))


def _shares(atom: jax.Array, z_q: jax.Array) -> jax.Array:
    """What each of ``z_q`` [K] receives of one atom []: 1 at its own place, 0 from the next on."""
    return jnp.clip(1.0 - jnp.abs(atom - z_q) / (z_q[1] - z_q[0]), 0.0, 1.0)


def categorical_td(
    logits_tm1: jax.Array,
    atoms: jax.Array,
    r_t: jax.Array,
    discount_t: jax.Array,
    probs_t: jax.Array,
) -> jax.Array:
    """Cross-entropy of the projected target (Bellemare et al. 2017, algorithm 1).

    Args:
      logits_tm1: [K], of the action taken.
      atoms: [K].
      r_t: [].
      discount_t: [].
      probs_t: [K], the distribution after the step, on the same atoms.
    """
    chex.assert_rank([logits_tm1, atoms, r_t, discount_t, probs_t], [1, 1, 0, 0, 1])
    target = categorical_projection(r_t + discount_t * atoms, probs_t, atoms)
    return -jnp.sum(jax.lax.stop_gradient(target) * jax.nn.log_softmax(logits_tm1))


def gaussian_histogram(mean: jax.Array, centers: jax.Array, sigma_ratio: jax.Array) -> jax.Array:
    """A Gaussian as the probabilities of bins (Imani & White 2018; Farebrother et al. 2024, 3.2).

    What would lie beyond the outer edges is shared out in proportion. A mean beyond them counts as
    the edge itself: otherwise far outside nothing would be left to share out.

    Args:
      mean: [].
      centers: [K], the middles of the bins, increasing, equally spaced.
      sigma_ratio: [], standard deviation in widths of a bin, positive.
    """
    chex.assert_rank([mean, centers, sigma_ratio], [0, 1, 0])
    width = centers[1] - centers[0]
    edges = jnp.append(centers - 0.5 * width, centers[-1] + 0.5 * width)  # [K + 1]
    mean = jnp.clip(mean, edges[0], edges[-1])
    below = jax.scipy.special.erf((edges - mean) / (jnp.sqrt(2.0) * sigma_ratio * width))
    return jnp.diff(below) / (below[-1] - below[0])


def hl_gauss(
    logits_tm1: jax.Array, centers: jax.Array, target_tm1: jax.Array, sigma_ratio: jax.Array
) -> jax.Array:
    """Cross-entropy with the Gaussian around a target (HL-Gauss; Farebrother et al. 2024, eq. 3).

    Args:
      logits_tm1: [K], of the action taken.
      centers: [K], of the bins.
      target_tm1: [], the value to learn, whatever backup has made it.
      sigma_ratio: [], standard deviation in widths of a bin.
    """
    chex.assert_rank([logits_tm1, centers, target_tm1, sigma_ratio], [1, 1, 0, 0])
    target = gaussian_histogram(target_tm1, centers, sigma_ratio)
    return -jnp.sum(jax.lax.stop_gradient(target) * jax.nn.log_softmax(logits_tm1))


def quantile_regression(
    dist_src: jax.Array, tau_src: jax.Array, dist_target: jax.Array, huber_param: jax.Array
) -> jax.Array:
    """Quantile Huber loss (Dabney et al. 2018a, equation 10), of QR-DQN and IQN alike.

    Args:
      dist_src: [K], the quantiles to learn.
      tau_src: [K], their fractions.
      dist_target: [K'], samples or quantiles of the target.
      huber_param: [], the kappa beyond which errors weigh linearly; positive and finite.

    Returns:
      [], the sum over ``dist_src`` of the mean over ``dist_target``.
    """
    chex.assert_rank([dist_src, tau_src, dist_target, huber_param], [1, 1, 1, 0])
    errors = jax.lax.stop_gradient(dist_target) - dist_src[:, None]  # [K, K']
    weights = jnp.abs(tau_src[:, None] - (errors < 0))
    return jnp.sum(jnp.mean(weights * huber_loss(errors, huber_param) / huber_param, axis=1))
