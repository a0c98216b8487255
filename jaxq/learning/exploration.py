"""How actions are chosen while training: ``select(key, q_values [E, A], amount) -> action [E]``.

What remembers something from step to step is a ``Selection``. Where observations say which actions
are legal, ``legal=[E, A]`` bool is given, too. The values of all others are too low to be chosen
for them (``networks.legal``); who chooses without looking at values has to look.
"""

import inspect
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxq.legal import spread
from jaxq.types import PyTree, Selection


def epsilon_greedy(
    key: jax.Array,
    q_values: jax.Array,
    epsilon: jax.Array,
    *,
    break_ties: bool = False,
    legal: jax.Array | None = None,
) -> jax.Array:
    """A uniform action with probability ``epsilon``, else a greedy one (Sutton & Barto, 2.2).

    Args:
      key: one key; every environment gets its own coin and its own random action from it.
      q_values: [E, A].
      epsilon: [] or [E], in [0, 1].
      break_ties: draw uniformly among equal best actions, instead of taking the first. It matters
        where values start out equal, as in a zero-initialised table.
      legal: [E, A] bool; None is all.

    Returns:
      actions [E], int32.
    """
    if not break_ties:
        return mix_uniform(key, jnp.argmax(q_values, axis=-1), epsilon, q_values.shape[-1], legal)
    key_ties, key_mix = jax.random.split(key)
    greedy = _random_best(key_ties, q_values)
    return mix_uniform(key_mix, greedy, epsilon, q_values.shape[-1], legal)


def mix_uniform(
    key: jax.Array,
    action: jax.Array,
    epsilon: jax.Array,
    num_actions: int,
    legal: jax.Array | None = None,
) -> jax.Array:
    """``action`` [E], each replaced by a uniform one with probability ``epsilon`` ([] or [E]);
    uniform among the ``legal`` ones [E, A]."""
    coin, anything = jax.random.uniform(key, (2, *action.shape))  # one draw for both, below 1
    random_action = spread(anything, num_actions, legal)
    return jnp.where(coin < epsilon, random_action, action.astype(jnp.int32))


def softmax(
    key: jax.Array,
    q_values: jax.Array,
    temperature: jax.Array,
    *,
    legal: jax.Array | None = None,
) -> jax.Array:
    """Actions [E] with probability proportional to ``exp(q / temperature)``.

    Args:
      key: one key; every environment draws for itself.
      q_values: [E, A].
      temperature: [], positive.
      legal: [E, A] bool; the values say it already.
    """
    del legal
    return jax.random.categorical(key, q_values / temperature).astype(jnp.int32)


class Persistence(NamedTuple):
    """The amount of exploration of ``ez_greedy``."""

    epsilon: jax.Array  # [] or [E], probability that a repetition begins
    exponent: jax.Array  # [], minus the power of a duration in its probability


class Repetition(NamedTuple):
    """What ``ez_greedy`` remembers."""

    action: jax.Array  # [E] int32
    remaining: jax.Array  # [E] int32, steps for which it will still be taken


def ez_greedy(max_duration: int, *, break_ties: bool = False) -> Selection:
    """Temporally extended epsilon-greedy actions (Dabney et al. 2020, section 4 and appendix B.1).

    With probability ``epsilon`` a uniform action and a number of steps n are drawn, with
    probability proportional to ``n ** -exponent``, and the action is taken for n steps, unless the
    episode ends before. Otherwise the action is greedy. Read to the letter the pseudocode takes it
    once more, on the step of the draw; with n steps in all a large exponent is epsilon-greedy.
    Where the action is no longer legal it is not repeated, and the step is one like any other.

    Args:
      max_duration: the largest n.
      break_ties: as in ``epsilon_greedy``.

    Returns:
      A ``Selection`` whose amount is a ``Persistence``: what is scheduled, and ``hparams``'
      ``duration_exponent``.
    """

    def init(num_envs: int) -> Repetition:
        return Repetition(*jnp.zeros((2, num_envs), jnp.int32))

    def select(
        state: Repetition,
        key: jax.Array,
        q_values: jax.Array,
        amount: Persistence,
        legal: jax.Array | None = None,
    ) -> tuple[jax.Array, Repetition]:
        num_envs, num_actions = q_values.shape
        key_ties, key_draws = jax.random.split(key)
        best = _random_best(key_ties, q_values) if break_ties else jnp.argmax(q_values, axis=-1)
        coin, anything, length = jax.random.uniform(key_draws, (3, num_envs))
        if legal is not None:
            still = jnp.take_along_axis(legal, state.action[:, None], axis=1)[:, 0]
            state = state._replace(remaining=jnp.where(still, state.remaining, 0))
        begins = (state.remaining == 0) & (coin < amount.epsilon)
        drawn = spread(anything, num_actions, legal)
        duration = zipf(length, amount.exponent, max_duration)
        action = jnp.where(begins, drawn, state.action)
        remaining = jnp.where(begins, duration, state.remaining)
        taken = jnp.where(remaining > 0, action, best.astype(jnp.int32))
        return taken, Repetition(action, jnp.maximum(remaining - 1, 0))

    return Selection(init, select, lambda hparams, x: Persistence(x, hparams.duration_exponent))


def zipf(uniform: jax.Array, exponent: jax.Array, largest: int) -> jax.Array:
    """Numbers n from 1 to ``largest`` with probability proportional to ``n ** -exponent``.

    Args:
      uniform: [...], draws from [0, 1).
      exponent: [], 0 or larger; inf always gives 1.

    Returns:
      [...] int32.
    """
    below = jnp.cumsum((1.0 + jnp.arange(largest)) ** -exponent)
    return 1 + jnp.sum(below[:-1] <= uniform[..., None] * below[-1], axis=-1, dtype=jnp.int32)


def without_state(select: Callable) -> Selection:
    """``select(key, q_values, amount) -> action`` as a ``Selection`` that remembers nothing."""
    if not takes_legal(select):
        return Selection(lambda num_envs: (), lambda state, *now: (select(*now), state))

    def among(state: tuple, *now: PyTree, legal: jax.Array | None = None):
        return select(*now, legal=legal), state

    return Selection(lambda num_envs: (), among)


def takes_legal(select: Callable) -> bool:
    """Whether a function can be told which actions are legal."""
    try:
        return "legal" in inspect.signature(select).parameters
    except (TypeError, ValueError):  # of some built-in functions Python does not know it
        return False


def _random_best(key: jax.Array, q_values: jax.Array) -> jax.Array:
    """One of the best actions of every row, each as likely as another: [E, A] -> [E]."""
    best = q_values == q_values.max(axis=-1, keepdims=True)
    return jnp.argmax(best * (1.0 + jax.random.uniform(key, best.shape)), axis=-1)
