"""What XLand-MiniGrid calls things (Nikulin et al. 2024): grid worlds, and MiniGrid's in JAX.

Tiles and colours of the view are shown one-hot, [view, view, 13 + 12]. A step ends an episode for
good where its discount is 0. A goal pays ``1 - 0.9 * steps / limit``, so a shorter limit is also
another reward; the time is not shown. Without a task the XLand worlds have no goal: ``ruleset``
chooses one of a benchmark's file, which XLand-MiniGrid itself downloads and jaxq does not:
``env_kwargs=("benchmark=trivial-21k", "ruleset=7")`` with the file where its documentation says.
"""

import os
import warnings
from typing import Any

import jax
import jax.numpy as jnp

from jaxq.config import words_as_values
from jaxq.envs.episodes import Bounds, Limit, RawEnv
from jaxq.errors import ConfigError, unknown
from jaxq.types import PyTree


def names() -> tuple[str, ...]:
    import xminigrid

    return xminigrid.registered_environments()


def make_raw(name: str, kwargs: tuple[str, ...]) -> RawEnv:
    """The world called ``name``.

    Args:
      kwargs: fields of its parameters, each ``"name=value"``, such as ``"view_size=5"``; and of the
        XLand worlds ``benchmark`` and ``ruleset``.
    """
    import xminigrid
    from xminigrid.core.constants import NUM_COLORS, NUM_TILES

    arguments = words_as_values(kwargs, "env_kwargs")
    if name.startswith("XLand"):
        arguments = _task(name, arguments)
    env, static = xminigrid.make(name, **arguments)

    def show(obs: jax.Array) -> jax.Array:
        tile, colour = obs[..., :1], obs[..., 1:]
        one_hot = (tile == jnp.arange(NUM_TILES), colour == jnp.arange(NUM_COLORS))
        return jnp.concatenate(one_hot, axis=-1)

    def reset(key: jax.Array, params: PyTree) -> tuple[jax.Array, PyTree]:
        timestep = env.reset(static, key)
        return show(timestep.observation), timestep

    def step(key: jax.Array, timestep: PyTree, action: jax.Array, params: PyTree) -> tuple:
        limited = static.replace(max_steps=params.max_steps_in_episode)
        timestep = env.step(limited, timestep, action)
        truncated = timestep.state.step_num >= params.max_steps_in_episode
        obs = show(timestep.observation)
        return obs, timestep, timestep.reward, timestep.discount == 0, truncated

    return RawEnv(env.num_actions(static), Bounds(0, 1), Limit(static.max_steps), reset, step)


def _task(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The field ``ruleset`` in place of ``benchmark`` and ``ruleset`` among ``arguments``."""
    from xminigrid import benchmarks

    benchmark, index = arguments.pop("benchmark", None), arguments.pop("ruleset", None)
    if benchmark is None:
        if index is not None:
            raise ConfigError(
                f"env_kwargs=ruleset={index} of xminigrid/{name} is one of a benchmark; "
                f"benchmark=NAME beside it is accepted."
            )
        warnings.warn(
            f"env=xminigrid/{name} has no goal without env_kwargs benchmark=NAME and ruleset=NUMBER"
            f", so no reward.",
            stacklevel=4,
        )
        return arguments
    files = benchmarks.NAME2HFFILENAME
    if benchmark not in files:
        raise unknown(f"env_kwargs=benchmark of xminigrid/{name}", benchmark, files)
    path = os.path.join(benchmarks.DATA_PATH, files[benchmark])
    if not os.path.exists(path):
        raise ConfigError(
            f"env_kwargs=benchmark={benchmark} of xminigrid/{name} is not at {path}; "
            f"xminigrid.load_benchmark({benchmark!r}) downloads it there."
        )
    tasks = benchmarks.load_benchmark_from_path(path)
    count, index = tasks.num_rulesets(), index or 0
    if not isinstance(index, int) or not 0 <= index < count:
        raise ConfigError(
            f"env_kwargs=ruleset={index} of xminigrid/{name} must be a whole number from 0 to "
            f"{count - 1}."
        )
    return {**arguments, "ruleset": tasks.get_ruleset(index)}
