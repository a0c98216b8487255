"""Episodes: any environment as an ``Env``, with exact ends and statistics, once for every library.

What a time limit means is decided here and nowhere else: with ``bootstrap`` the episode would have
gone on, so values do; with ``terminal`` the limit belongs to the task.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxq.envs.encoding import Observations, make_encoder, strong
from jaxq.envs.probing import (
    LIMIT,
    check_count,
    check_gymnax,
    check_limit,
    check_number,
    num_actions_of,
    probe_gymnax,
)
from jaxq.errors import unknown
from jaxq.types import Env, Episode, Outcome, PyTree

TIME_LIMITS = ("bootstrap", "terminal")


def from_gymnax(
    env: Any,
    params: PyTree,
    num_envs: int,
    *,
    time_limit: str = "bootstrap",
    observations: Observations = "auto",
    name: str | None = None,
) -> Env:
    """Anyone's gymnax-1.0 environment as an ``Env``.

    Args:
      env: a gymnax environment (or wrapper) with a discrete action space.
      params: its default parameters.
      num_envs: E.
      time_limit: what reaching gymnax's ``truncated`` means: ``"bootstrap"`` or ``"terminal"``.
      observations: how they are shown to networks and stored, as ``encoding.make_encoder`` says:
        ``"auto"`` follows from dtype and space, ``"binary"`` is for floats that are all 0 or 1.
      name: for messages and results; the environment's own by default.

    Raises:
      ConfigError: it breaks gymnax's contract (see ``probing``), continuous actions, observations
        that are nested or do not fit what is said of them, an unknown time-limit policy.
    """
    name = name or getattr(env, "name", type(env).__name__)
    check_count(num_envs, name)
    if time_limit not in TIME_LIMITS:
        raise unknown("time_limit", time_limit, TIME_LIMITS)
    check_gymnax(env, params, name)
    overrides_of = _make_params(name, params)
    num_actions = num_actions_of(env, params, name)
    raw_obs, raw_state, next_state = probe_gymnax(env, overrides_of({}), name)
    encode = make_encoder(name, env.observation_space(params), raw_obs, observations)
    obs_spec = jax.eval_shape(encode, raw_obs)
    state_dtypes = _stable_dtypes(env, raw_state, next_state, overrides_of({}))

    def settle(raw_state: PyTree) -> PyTree:
        """The state with the dtypes it keeps: gymnax mixes weak types, ints and floats."""
        return jax.tree.map(strong, raw_state, state_dtypes)

    def reset(key: jax.Array, env_params: PyTree) -> tuple[jax.Array, PyTree]:
        keys = jax.random.split(key, num_envs)
        obs, raw_state = jax.vmap(env.reset, in_axes=(0, None))(keys, env_params)
        totals = Episode(
            ended=jnp.zeros(num_envs, bool),
            total_reward=jnp.zeros(num_envs, jnp.float32),
            length=jnp.zeros(num_envs, jnp.int32),
        )
        return jax.vmap(encode)(obs), (settle(raw_state), totals)

    def step(key: jax.Array, env_state: PyTree, action: jax.Array, env_params: PyTree):
        keys = jax.random.split(key, num_envs)
        raw_state, totals = env_state
        obs, raw_state, reward, terminated, truncated, info = jax.vmap(
            env.step, in_axes=(0, 0, 0, None)
        )(keys, raw_state, action, env_params)
        reward = strong(reward, jnp.float32)  # [E]
        done = terminated | truncated  # [E]
        if time_limit == "terminal":
            terminated = done  # bootstrap: a step that both terminates and truncates terminates
        next_obs = jax.vmap(encode)(info["final_observation"])  # [E, *obs]
        # The episode that a step belongs to includes that step; the next one starts from zero.
        running = ~totals.ended
        totals = Episode(
            ended=done,
            total_reward=jnp.where(running, totals.total_reward, 0.0) + reward,
            length=jnp.where(running, totals.length, 0) + 1,
        )
        outcome = Outcome(reward, terminated, done, next_obs)
        return jax.vmap(encode)(obs), (settle(raw_state), totals), outcome, totals

    protocol = {
        "environment": name,
        "time_limit": time_limit,
        "num_actions": num_actions,
        "sticky_actions": 0.0,
    }
    return Env(name, num_envs, num_actions, obs_spec, protocol, overrides_of, reset, step)


def _make_params(name: str, default: PyTree) -> Callable[[Mapping[str, Any]], PyTree]:
    """``params(overrides)``: the defaults with some replaced, every leaf of one fixed dtype."""

    def params(overrides: Mapping[str, Any]) -> PyTree:
        fields = vars(default)
        for field in overrides:
            if field not in fields:
                raise unknown(f"env_params of {name}", field, fields)
        check_limit(overrides.get(LIMIT, 1), name)
        for field, value in overrides.items():
            check_number(value, fields[field], f"env_params.{field} of {name}")
        return jax.tree.map(
            lambda value, new: strong(new, jnp.asarray(value).dtype),
            default,
            default.replace(**overrides),
        )

    return params


def _stable_dtypes(env: Any, state: PyTree, next_state: PyTree, env_params: PyTree) -> PyTree:
    """The dtype of every leaf of the state, the same after a reset and after a step.

    Args:
      state, next_state: shapes after a reset, and after a step from there.
    """
    action = jax.ShapeDtypeStruct((), jnp.int32)
    dtypes = jax.tree.map(lambda leaf: leaf.dtype, state)
    while True:
        wider = jax.tree.map(
            lambda d, leaf: d if d == leaf.dtype else jnp.promote_types(d, leaf.dtype),
            dtypes,
            next_state,
        )
        if wider == dtypes:
            return dtypes
        dtypes = wider
        state = jax.tree.map(lambda s, d: jax.ShapeDtypeStruct(s.shape, d), state, dtypes)
        next_state = jax.eval_shape(env.step, jax.random.key(0), state, action, env_params)[1]
