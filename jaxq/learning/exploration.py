"""How actions are chosen while training: ``select(key, q_values [E, A], amount) -> action [E]``."""

import jax
import jax.numpy as jnp


def epsilon_greedy(
    key: jax.Array, q_values: jax.Array, epsilon: jax.Array, *, break_ties: bool = False
) -> jax.Array:
    """A uniform action with probability ``epsilon``, else a greedy one (Sutton & Barto, 2.2).

    Args:
      key: one key; every environment gets its own coin and its own random action from it.
      q_values: [E, A].
      epsilon: [] or [E], in [0, 1].
      break_ties: draw uniformly among equal best actions, instead of taking the first. It matters
        where values start out equal, as in a zero-initialised table.

    Returns:
      actions [E], int32.
    """
    if not break_ties:
        return mix_uniform(key, jnp.argmax(q_values, axis=-1), epsilon, q_values.shape[-1])
    key_ties, key_mix = jax.random.split(key)
    best = q_values == q_values.max(axis=-1, keepdims=True)  # [E, A]
    greedy = jnp.argmax(best * (1.0 + jax.random.uniform(key_ties, best.shape)), axis=-1)
    return mix_uniform(key_mix, greedy, epsilon, q_values.shape[-1])


def mix_uniform(
    key: jax.Array, action: jax.Array, epsilon: jax.Array, num_actions: int
) -> jax.Array:
    """``action`` [E], each replaced by a uniform one with probability ``epsilon`` ([] or [E])."""
    coin, anything = jax.random.uniform(key, (2, *action.shape))  # one draw for both, below 1
    random_action = (anything * num_actions).astype(jnp.int32)
    return jnp.where(coin < epsilon, random_action, action.astype(jnp.int32))


def softmax(key: jax.Array, q_values: jax.Array, temperature: jax.Array) -> jax.Array:
    """Actions [E] with probability proportional to ``exp(q / temperature)``.

    Args:
      key: one key; every environment draws for itself.
      q_values: [E, A].
      temperature: [], positive.
    """
    return jax.random.categorical(key, q_values / temperature).astype(jnp.int32)
