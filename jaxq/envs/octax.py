"""What Octax calls things (Radji et al. 2025): CHIP-8 games, run by an emulator.

An observation is the frames since the last one, shown [height, width, frames] where Octax has
[frames, width, height]. Every game starts in the same state; chance is only what its program draws.
The last action presses no key. Octax's limit of 4,500 steps is a parameter here.
"""

import jax

from jaxq.config import words_as_values
from jaxq.envs.episodes import Bounds, Limit, RawEnv
from jaxq.envs.probing import check_limit
from jaxq.types import PyTree

_GAMES = (
    "airplane blinky brix deep filter flight_runner missile pong rocket shooting_stars spacejam "
    "squash submarine tank tetris ufo vertical_brix wipe_off worm"
).split()
_LEVELS = {"cavern": (1, 2, 3, 5, 6), "space_flight": range(1, 11), "target_shooter": (1, 2, 3)}
_NAMES = (*_GAMES, *(f"{game}{level}" for game, levels in _LEVELS.items() for level in levels))


def names() -> tuple[str, ...]:
    return _NAMES


def make_raw(name: str, kwargs: tuple[str, ...]) -> RawEnv:
    """The game called ``name``.

    Args:
      kwargs: arguments of ``OctaxEnv``, each ``"name=value"``, such as ``"frame_skip=2"``.
    """
    from octax.environments import create_environment

    env, _ = create_environment(name, **words_as_values(kwargs, "env_kwargs"))

    def reset(key: jax.Array, params: PyTree) -> tuple[jax.Array, PyTree]:
        state, obs, _ = env.reset(key)
        return obs.transpose(2, 1, 0), state

    def step(key: jax.Array, state: PyTree, action: jax.Array, params: PyTree) -> tuple:
        state, obs, reward, terminated, *_ = env.step(state, action)
        truncated = state.time >= params.max_steps_in_episode
        return obs.transpose(2, 1, 0), state, reward, terminated, truncated

    check_limit(env.max_num_steps_per_episodes, f"octax/{name}", "max_num_steps_per_episodes")
    params = Limit(env.max_num_steps_per_episodes)
    return RawEnv(env.num_actions, Bounds(0, 1), params, reset, step)
