"""How observations are shown to networks and stored: booleans, one-hot integers, bytes, floats."""

import math
import warnings
from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from jaxq.errors import ConfigError, unknown

Observations = Literal["auto", "binary", "image", "one-hot", "numbers"]
OBSERVATIONS = get_args(Observations)

MAX_ONE_HOT = 65_536  # inputs; beyond, the first layer alone would be most of any network
MAX_CATEGORIES = 32  # values of one byte that ``auto`` takes for categories, not for brightness

_KINDS = (jnp.bool_, jnp.integer, jnp.floating)
_WHAT_ELSE = (
    "accepted in its place: observations='numbers', or 'image' for bytes, given to from_gymnax or "
    "RawEnv or as an attribute of the environment's class."
)


def make_encoder(name: str, space: Any, obs: Any, observations: Observations) -> Callable:
    """How one observation of ``space`` is shown to networks and stored.

    Args:
      name: of the environment, for messages.
      space: gymnax's; its bounds are read for integers only. Without one (None) bytes have their
        own.
      obs: shape and dtype of one observation, as the environment returns it.
      observations: one of

        * ``"binary"``: only zero and not zero count; carried as ``bool``, stored as one bit each;
        * ``"image"``: integers from 0 to 255, carried and stored as ``uint8``, which networks
          divide by 255;
        * ``"one-hot"``: each integer as one ``bool`` for every value from the space's lowest to
          its highest, in one row of at most ``MAX_ONE_HOT``;
        * ``"numbers"``: ``float32``, as they are;
        * ``"auto"``: booleans are ``"binary"`` and floats ``"numbers"``. Integers are an
          ``"image"`` if their dtype is ``uint8``, they have two or more dimensions and the space
          is a box of more than ``MAX_CATEGORIES`` values; else ``"one-hot"``.

        Observations of several arrays are one row of ``"numbers"``, as ``flattened`` has it.

    Raises:
      ConfigError: integers that do not fit what ``observations`` says, or several arrays that are
        to be something else than numbers.
    """
    if observations not in OBSERVATIONS:
        raise unknown(f"observations of {name}", observations, OBSERVATIONS)
    for leaf in jax.tree.leaves(obs):
        if not any(jnp.issubdtype(leaf.dtype, kind) for kind in _KINDS):
            raise ConfigError(
                f"env={name} has an observation of {leaf.dtype}; booleans, integers and floats are "
                f"accepted."
            )
    if not isinstance(obs, jax.ShapeDtypeStruct):
        if observations not in ("auto", "numbers"):
            raise ConfigError(
                f"observations={observations} of env={name} takes one array, and there are "
                f"{len(jax.tree.leaves(obs))}; accepted: auto, numbers."
            )
        return flattened
    is_bounded = hasattr(space, "n") or (hasattr(space, "low") and hasattr(space, "high"))
    if jnp.issubdtype(obs.dtype, jnp.integer) and not (space is None or is_bounded):
        raise ConfigError(
            f"space of env={name} is of type {type(space).__name__}; one with low and high, or n, "
            f"is accepted, such as jaxq.Bounds, or None."
        )
    chosen = observations == "auto"
    if chosen:
        observations = _kind(space, obs)
    if observations in ("image", "one-hot") and not jnp.issubdtype(obs.dtype, jnp.integer):
        raise ConfigError(
            f"observations={observations} of env={name} takes integers, not {obs.dtype}; "
            f"accepted: auto, binary, numbers."
        )
    if observations == "image":
        return _as_image(name, space, obs)
    if observations == "one-hot":
        return _as_one_hot(name, space, obs, chosen)
    if observations == "binary":
        return lambda obs: obs.astype(bool)
    return lambda obs: strong(obs, jnp.float32)


def flattened(obs: Any) -> jax.Array:
    """An observation of several arrays as one row [N] of ``float32``.

    The arrays stand in it as ``jax.tree.leaves`` has them: those of a dictionary by its sorted
    keys, those of a tuple or a dataclass as they are written there; each in its own order.
    """
    return jnp.concatenate([strong(leaf, jnp.float32).ravel() for leaf in jax.tree.leaves(obs)])


def _kind(space: Any, obs: jax.ShapeDtypeStruct) -> Observations:
    """What ``auto`` means for observations like ``obs``."""
    if obs.dtype == bool:
        return "binary"
    if not jnp.issubdtype(obs.dtype, jnp.integer):
        return "numbers"
    low, high = _bounds(space, obs.dtype)
    is_image = obs.dtype == jnp.uint8 and len(obs.shape) >= 2 and high - low >= MAX_CATEGORIES
    return "image" if is_image else "one-hot"


def _as_image(name: str, space: Any, obs: jax.ShapeDtypeStruct) -> Callable:
    low, high = _bounds(space, obs.dtype)
    if obs.dtype != jnp.uint8 and not 0 <= low <= high <= 255:
        raise ConfigError(
            f"observations=image of env={name} takes integers from 0 to 255, not from {low:.10g} "
            f"to {high:.10g}; accepted: numbers, or one-hot for few values."
        )
    return lambda obs: strong(obs, jnp.uint8)


def _as_one_hot(name: str, space: Any, obs: jax.ShapeDtypeStruct, chosen: bool) -> Callable:
    """``chosen``: by this house, for want of anything said of them."""
    low, high = _bounds(space, obs.dtype)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ConfigError(
            f"env={name} has integer observations without finite bounds, as a space or "
            f"jaxq.Bounds has them, which cannot be one-hot; {_WHAT_ELSE}"
        )
    low, high = int(low), int(high)
    if high < low:
        raise ConfigError(f"observation_space of env={name} holds no value; one or more is needed.")
    num_inputs = math.prod(obs.shape) * (high - low + 1)
    if num_inputs > MAX_ONE_HOT:
        raise ConfigError(
            f"env={name} has integer observations of shape {list(obs.shape)} from {low} to {high}, "
            f"which one-hot are {num_inputs:,} inputs, more than {MAX_ONE_HOT:,}; {_WHAT_ELSE}"
        )
    if chosen and obs.shape and high - low >= MAX_CATEGORIES:
        warnings.warn(
            f"env={name} shows integers of shape {list(obs.shape)} from {low} to {high} as "
            f"{num_inputs:,} booleans; {_WHAT_ELSE}",
            stacklevel=5,
        )
    classes = jnp.arange(low, high + 1)
    return lambda obs: (obs[..., None] == classes).reshape(-1)


def _bounds(space: Any, dtype: Any) -> tuple[float, float]:
    """The lowest and the highest value of any element, inclusive; exact below 2^53."""
    if space is None:
        return (0.0, 255.0) if dtype == jnp.uint8 else (-math.inf, math.inf)
    if hasattr(space, "n"):
        return 0.0, float(space.n) - 1.0
    return float(np.min(space.low)), float(np.max(space.high))


def strong(value: Any, dtype: Any) -> jax.Array:
    """``value`` as an array of exactly this dtype, not weakly typed; PRNG keys pass through."""
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return value
    return jax.lax.convert_element_type(jnp.asarray(value), jnp.dtype(dtype))
