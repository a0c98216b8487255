"""What Craftax calls things (Matthews et al. 2024).

Craftax ends episodes with one ``done``: the time limit is told apart from death, lava and victory
by its clock. The classes without automatic resets are used. Pixels are rounded to bytes, which
networks divide by 255. Drawing pixels needs textures, which Craftax prepares once, in minutes.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxq.config import words_as_values
from jaxq.envs.episodes import Bounds, RawEnv
from jaxq.types import PyTree

_NAMES = tuple(
    f"{game}-{kind}-v1"
    for game in ("Craftax-Classic", "Craftax")
    for kind in ("Symbolic", "Pixels")
)
_NEVER = np.int32(np.iinfo(np.int32).max)


def names() -> tuple[str, ...]:
    return _NAMES


def make_raw(name: str, kwargs: tuple[str, ...]) -> RawEnv:
    """The environment called ``name``.

    Args:
      kwargs: fields of Craftax's static parameters, each ``"name=value"``.
    """
    from craftax.craftax_env import make_craftax_env_from_name

    env = make_craftax_env_from_name(name, auto_reset=False)
    arguments = words_as_values(kwargs, "env_kwargs")
    env = type(env)(env.default_static_params().replace(**arguments))
    is_image = name.endswith("Pixels-v1")

    def show(obs: jax.Array) -> jax.Array:
        return jnp.round(obs * 255).astype(jnp.uint8) if is_image else obs

    def reset(key: jax.Array, params: PyTree) -> tuple[jax.Array, PyTree]:
        obs, state = env.reset(key, params)
        return show(obs), state

    def step(key: jax.Array, state: PyTree, action: jax.Array, params: PyTree) -> tuple:
        unlimited = params.replace(max_timesteps=_NEVER)
        obs, state, reward, terminated, _ = env.step(key, state, action, unlimited)
        return show(obs), state, reward, terminated, state.timestep >= params.max_timesteps

    params = env.default_params
    space = Bounds(0, 255) if is_image else env.observation_space(params)
    return RawEnv(env.num_actions, space, params, reset, step, limit="max_timesteps")
