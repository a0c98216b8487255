"""How observations are shown to networks and stored: booleans, one-hot integers, bytes, floats."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxq.errors import ConfigError


def make_encoder(name: str, space: Any, obs: Any, binary: bool) -> Callable:
    """How one observation of ``space`` is shown to networks and stored."""
    if not isinstance(obs, jax.ShapeDtypeStruct):
        raise ConfigError(f"env={name} has a nested observation; a single array is accepted.")
    if jnp.issubdtype(obs.dtype, jnp.integer):
        is_discrete = hasattr(space, "n")
        low = 0 if is_discrete else int(np.min(space.low))
        high = int(space.n) - 1 if is_discrete else int(np.max(space.high))
        classes = jnp.arange(low, high + 1)
        return lambda obs: (obs[..., None] == classes).reshape(-1)  # one-hot per element
    if binary or obs.dtype == bool:
        return lambda obs: obs.astype(bool)
    return lambda obs: strong(obs, jnp.float32)


def strong(value: Any, dtype: Any) -> jax.Array:
    """``value`` as an array of exactly this dtype, not weakly typed; PRNG keys pass through."""
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return value
    return jax.lax.convert_element_type(jnp.asarray(value), jnp.dtype(dtype))
