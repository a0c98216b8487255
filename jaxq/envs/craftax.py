"""What Craftax calls things (Matthews et al. 2024).

Craftax ends episodes with one ``done``: the time limit is told apart from death, lava and victory
by its clock. The classes without automatic resets are used. Pixels are rounded to bytes, which
networks divide by 255. Drawing pixels needs textures, which Craftax prepares once, in minutes.

On a CPU jaxlib 0.10 computes its worlds wrongly in a batch: from the ninth on they mix with others
(the noise of which they are made, in a fusion for the YNN library). jaxlib 0.11 does not.
"""

import functools

import jax
import jax.numpy as jnp

from jaxq.config import words_as_values
from jaxq.envs.episodes import NEVER, Bounds, RawEnv
from jaxq.errors import ConfigError
from jaxq.types import PyTree

_NAMES = tuple(
    f"{game}-{kind}-v1"
    for game in ("Craftax-Classic", "Craftax")
    for kind in ("Symbolic", "Pixels")
)
_RATIO = 16  # as purejaxql has it: a world takes far longer to make than a step


def names() -> tuple[str, ...]:
    return _NAMES


def make_raw(name: str, kwargs: tuple[str, ...]) -> RawEnv:
    """The environment called ``name``.

    Args:
      kwargs: fields of Craftax's static parameters, each ``"name=value"``.
    """
    from craftax.craftax_env import make_craftax_env_from_name

    _check_worlds()
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
        unlimited = params.replace(max_timesteps=NEVER)
        obs, state, reward, terminated, _ = env.step(key, state, action, unlimited)
        return show(obs), state, reward, terminated, state.timestep >= params.max_timesteps

    params = env.default_params
    space = Bounds(0, 255) if is_image else env.observation_space(params)
    return RawEnv(
        env.num_actions, space, params, reset, step, limit="max_timesteps", reset_ratio=_RATIO
    )


@functools.cache
def _check_worlds() -> None:
    """Refuse a JAX that makes another world of a key in a batch than of the key alone.

    Raises:
      ConfigError: says what to set.
    """
    from craftax.craftax_classic.util.noise import generate_perlin_noise_2d

    def noise(key: jax.Array) -> jax.Array:
        return generate_perlin_noise_2d(key, (64, 64), (4, 4))

    keys = jax.random.split(jax.random.key(0), 16)
    together, alone = jax.jit(jax.vmap(noise))(keys)[-1], jax.jit(noise)(keys[-1])
    if jnp.abs(together - alone).max() > 1e-3:
        raise ConfigError(
            f"env=craftax/... is computed wrongly by jaxlib {jax.lib.__version__} on this device: "
            f"most worlds of a batch are mixed with others; jaxlib 0.11 is accepted, or the "
            f"environment variable XLA_FLAGS=--xla_cpu_experimental_ynn_fusion_type=, with nothing "
            f"behind the last sign."
        )
