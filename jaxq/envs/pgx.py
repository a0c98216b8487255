"""What pgx calls things (Koyamada et al. 2023): its games for one player.

Its MinAtar games are those of Young & Tian (2019), with sticky actions (0.1) and, other than those,
with the minimal set of actions; ``env_kwargs`` change both. They are licensed under the GPL 3.0,
where pgx itself is Apache 2.0. In 2048 a move that would change nothing is illegal; observations
say so (``types.ObservationLegalActions``).

pgx has no time limit: ``max_steps_in_episode`` is ours, and by default none. The 2,500 frames of
Freeway belong to the game, which terminates there.
"""

import jax

from jaxq.config import words_as_values
from jaxq.envs.episodes import NEVER, Bounds, Limit, RawEnv
from jaxq.errors import ConfigError
from jaxq.types import ObservationLegalActions, PyTree

_MINATAR = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")
_NAMES = ("2048", *(f"minatar-{game}" for game in _MINATAR))
_SOME_ILLEGAL = ("2048",)  # in the others all actions are legal everywhere


def names() -> tuple[str, ...]:
    return _NAMES


def refuse(name: str) -> None:
    """Refuse games for several players.

    Raises:
      ConfigError: it is one.
    """
    import pgx

    if name in (f"pgx/{known}" for known in pgx.available_envs()):
        raise ConfigError(
            f"env={name} is played by several; a game for one player is accepted: "
            f"{', '.join(f'pgx/{known}' for known in _NAMES)}."
        )


def make_raw(name: str, kwargs: tuple[str, ...]) -> RawEnv:
    """The game called ``name``.

    Args:
      kwargs: arguments of its class, each ``"name=value"``.
    """
    import pgx

    env = type(pgx.make(name))(**words_as_values(kwargs, "env_kwargs"))

    def shown(state: PyTree) -> PyTree:
        if name not in _SOME_ILLEGAL:
            return state.observation
        return ObservationLegalActions(state.observation, state.legal_action_mask)

    def reset(key: jax.Array, params: PyTree) -> tuple[PyTree, PyTree]:
        state = env.init(key)
        return shown(state), state

    def step(key: jax.Array, state: PyTree, action: jax.Array, params: PyTree) -> tuple:
        state = env.step(state, action, key)
        truncated = state._step_count >= params.max_steps_in_episode
        return shown(state), state, state.rewards[0], state.terminated, truncated

    sticky = float(getattr(env, "sticky_action_prob", 0.0))
    params = Limit(NEVER)
    return RawEnv(env.num_actions, Bounds(0, 1), params, reset, step, sticky_actions=sticky)
