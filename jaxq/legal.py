"""Which actions are legal, where observations say it, and random ones among them.

Nothing is computed where they do not.
"""

import jax
import jax.numpy as jnp

from jaxq.types import ObservationActionReward, ObservationLegalActions, PyTree


def legal_actions(obs: PyTree) -> jax.Array | None:
    """Which actions are legal, [..., A] bool, at least one; None where observations do not say."""
    return at_least_one(said_legal(obs))


def said_legal(obs: PyTree) -> jax.Array | None:
    """Which actions observations say are legal, [..., A] bool, also where that is none of them."""
    if isinstance(obs, ObservationActionReward):
        return said_legal(obs.obs)
    return obs.legal if isinstance(obs, ObservationLegalActions) else None


def at_least_one(said: jax.Array | None) -> jax.Array | None:
    """What is said to be legal [..., A], or everything where that is nothing."""
    return None if said is None else said | ~said.any(axis=-1, keepdims=True)


def without_legal_actions(obs: PyTree) -> PyTree:
    """What a network sees of an observation."""
    if isinstance(obs, ObservationActionReward):
        return obs._replace(obs=without_legal_actions(obs.obs))
    return obs.obs if isinstance(obs, ObservationLegalActions) else obs


def uniform(
    key: jax.Array, num_envs: int, num_actions: int, legal: jax.Array | None = None
) -> jax.Array:
    """Actions [E], each of those that are ``legal`` [E, A] as likely as another."""
    if legal is None:
        return jax.random.randint(key, (num_envs,), 0, num_actions)
    return spread(jax.random.uniform(key, (num_envs,)), num_actions, legal)


def spread(draws: jax.Array, num_actions: int, legal: jax.Array | None = None) -> jax.Array:
    """Uniform numbers [E] below 1 as actions [E], each of the ``legal`` ones [E, A] as likely."""
    if legal is None:
        return (draws * num_actions).astype(jnp.int32)
    counted = jnp.cumsum(legal, axis=-1)  # [E, A] legal ones up to and with each
    chosen = (draws * counted[:, -1]).astype(jnp.int32)
    return jnp.argmax(counted > chosen[:, None], axis=-1).astype(jnp.int32)
