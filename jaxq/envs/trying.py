"""A few random steps of somebody's environment, and a warning for what is legal and hardly meant.

What ``probing`` finds cannot be trained on. What is found here can: values that no network expects,
and episodes whose end says another thing than it should.
"""

import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxq.envs.probing import LIMIT
from jaxq.legal import legal_actions, uniform
from jaxq.types import Env, PyTree, observation_of

NUM_ENVS, NUM_STEPS = 8, 500
_EPISODES = 10  # of one length, before that is taken for a rule
_FAR = 1_000_000  # steps; a limit beyond it is none
_STEPS = f"in {NUM_ENVS * NUM_STEPS:,} random steps"


class Seen(NamedTuple):
    """What random steps have shown, leaves [T, E]."""

    lowest: jax.Array  # of the observation after each step, before any reset
    highest: jax.Array
    outside: jax.Array  # whether it leaves the declared space
    reward: jax.Array
    terminated: jax.Array
    done: jax.Array


def warn_of_random_steps(env: Env, raw: tuple[Any, PyTree] | None = None) -> None:
    """Warn of values that are not finite or outside of the declared space, of a limit that arrives
    as a termination, and of episodes that never end; each once.

    Args:
      env: as it is trained on, of any number of environments.
      raw: the gymnax environment behind it and its parameters, if it is known; without it spaces
        and limits are not.
    """
    if raw is None:
        params = env.params({})
        seen = _play(
            lambda key: env.reset(key, params),
            lambda key, state, action: _of_env(env.step(key, state, action, params)),
            env.num_envs,
            env.num_actions,
            (-np.inf, np.inf),
        )
        limit = 0
    else:
        made, params = raw
        space = made.observation_space(params)
        reset = jax.vmap(lambda key: made.reset(key, params))
        step = jax.vmap(lambda key, *now: _of_gymnax(made.step(key, *now, params)))
        seen = _play(
            lambda key: reset(jax.random.split(key, NUM_ENVS)),
            lambda key, state, action: step(jax.random.split(key, NUM_ENVS), state, action),
            NUM_ENVS,
            env.num_actions,
            _bounds(space),
        )
        limit = getattr(params, LIMIT, np.inf)
        first, _ = jax.eval_shape(reset, jax.random.split(jax.random.key(0), 1))
        shape = list(observation_of(first).shape[1:])
        declared = np.atleast_1d(getattr(space, "shape", shape)).tolist()
        if declared != shape:
            warnings.warn(
                f"env={env.name} shows observations of shape {shape}, and its observation_space "
                f"is of shape {declared}.",
                stacklevel=3,
            )
    one_hot = observation_of(env.obs_spec).dtype == jnp.bool_
    for sentence in _odd(seen, env.protocol.get("time_limit"), float(np.max(limit)), one_hot):
        warnings.warn(f"env={env.name} {sentence}", stacklevel=3)


def _odd(
    seen: Seen, time_limit: str | None, limit: float, is_one_hot: bool = False
) -> Iterator[str]:
    lowest, highest = float(seen.lowest.min()), float(seen.highest.max())
    if not np.isfinite([lowest, highest]).all():
        yield f"showed an observation that is not finite {_STEPS}."
    elif seen.outside.any():
        one_hot = "; as integers they are shown as nothing at all" if is_one_hot else ""
        yield (
            f"showed values from {lowest:g} to {highest:g} {_STEPS}, which its observation_space "
            f"does not hold{one_hot}."
        )
    if not np.isfinite(seen.reward).all():
        yield f"gave a reward that is not finite {_STEPS}."
    lengths = _lengths(seen)
    ends = seen.terminated.sum()
    is_rule = len(lengths) >= _EPISODES and lengths.min() == lengths.max() > 1
    if is_rule and time_limit == "bootstrap" and ends == seen.done.sum():
        yield (
            f"terminated after {lengths[0]} steps in all of {len(lengths)} episodes {_STEPS}; a "
            f"time limit belongs to is_truncated, or nothing is bootstrapped through it."
        )
    if not len(lengths) and not seen.done.any() and limit > _FAR:
        yield (
            f"ended no episode in {NUM_STEPS} random steps and has no time limit; evaluation "
            f"cuts episodes, and training never sees an end."
        )


def _lengths(seen: Seen) -> np.ndarray:
    """Of all episodes that ended."""
    found = []
    for done in seen.done.T:
        ends = np.flatnonzero(done)
        found += np.diff(ends, prepend=-1).tolist()
    return np.asarray(found, int)


def _play(
    reset: Callable,
    step: Callable,
    num_envs: int,
    num_actions: int,
    bounds: tuple[Any, Any],
) -> Seen:
    """Random actions, in one small program."""
    low, high = bounds

    def one(playing: PyTree, key: jax.Array) -> tuple[PyTree, Seen]:
        legal, state = playing
        key_step, key_action = jax.random.split(key)
        action = uniform(key_action, num_envs, num_actions, legal)
        playing, obs, reward, terminated, done = step(key_step, state, action)
        flat = obs.astype(jnp.float32).reshape(num_envs, -1)
        outside = ((obs < low) | (obs > high)).reshape(num_envs, -1).any(axis=1)
        return playing, Seen(flat.min(axis=1), flat.max(axis=1), outside, reward, terminated, done)

    def play(key: jax.Array) -> Seen:
        key_reset, key_steps = jax.random.split(key)
        obs, state = reset(key_reset)
        playing = legal_actions(obs), state
        return jax.lax.scan(one, playing, jax.random.split(key_steps, NUM_STEPS))[1]

    # It runs once: what optimizing it takes is more than it saves, above all where an observation
    # is constant, as that of an image still to be drawn.
    compiled = jax.jit(play).lower(jax.random.key(0)).compile(_QUICKLY)
    return Seen(*map(np.asarray, compiled(jax.random.key(0))))


_QUICKLY = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_disable_hlo_passes": "constant_folding",
}


def _of_env(result: tuple) -> tuple:
    """What acting goes on from, and what is seen."""
    obs, state, outcome, _ = result
    next_obs = observation_of(outcome.next_obs)
    return (legal_actions(obs), state), next_obs, outcome.reward, outcome.terminated, outcome.done


def _of_gymnax(result: tuple) -> tuple:
    obs, state, reward, terminated, truncated, info = result
    final_obs = observation_of(info["final_observation"])
    return (legal_actions(obs), state), final_obs, reward, terminated, terminated | truncated


def _bounds(space: Any) -> tuple[Any, Any]:
    """The lowest and highest values of a space, with the room that rounding needs."""
    if hasattr(space, "n"):
        return 0, space.n - 1
    if not (hasattr(space, "low") and hasattr(space, "high")):
        return -np.inf, np.inf
    low, high = np.asarray(space.low, np.float64), np.asarray(space.high, np.float64)
    low, high = low - 1e-5 * abs(low), high + 1e-5 * abs(high)
    most = float(np.finfo(np.float32).max)
    return tuple(np.clip(end, -most, most).astype(np.float32) for end in (low, high))
