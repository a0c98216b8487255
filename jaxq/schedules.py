"""Numbers that change with the clock, counted in environment steps of one member."""

import jax
import jax.numpy as jnp


def linear(start: jax.Array, end: jax.Array, num_steps: jax.Array, step: jax.Array) -> jax.Array:
    """From ``start`` at step 0 to ``end`` at ``num_steps``, constant before and after.

    ``num_steps`` infinite stays at ``start``; zero is at ``end`` from step 0 on.
    """
    fraction = jnp.where(num_steps > 0, step / jnp.where(num_steps > 0, num_steps, 1.0), step >= 0)
    return start + jnp.clip(fraction, 0.0, 1.0) * (end - start)


def exponential(
    start: jax.Array, end: jax.Array, num_steps: jax.Array, step: jax.Array
) -> jax.Array:
    """From ``start`` towards ``end``, the distance falling by a factor e every ``num_steps``.

    ``num_steps`` infinite stays at ``start``; zero is at ``end`` after step 0.
    """
    elapsed = jnp.maximum(step, 0) / jnp.maximum(num_steps, 1e-8)
    return end + (start - end) * jnp.exp(-elapsed)
