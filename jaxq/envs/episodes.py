"""Episodes: any environment as an ``Env``, with exact ends and statistics, once for every library.

What a time limit means is decided here and nowhere else: with ``bootstrap`` the episode would have
gone on, so values do; with ``terminal`` the limit belongs to the task.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxq.envs import resetting
from jaxq.envs.encoding import Observations, make_encoder, strong
from jaxq.envs.forms import check_legal
from jaxq.envs.probing import (
    LIMIT,
    Forms,
    check_count,
    check_limit,
    check_number,
    check_raw,
    probe_raw,
)
from jaxq.errors import ConfigError, unknown
from jaxq.types import Env, Episode, ObservationLegalActions, Outcome, PyTree, observation_of

TIME_LIMITS = ("bootstrap", "terminal")
NEVER = np.iinfo(np.int32).max  # steps; a limit that is none


class Limit(struct.PyTreeNode):
    """Parameters where a library has none that can be traced."""

    max_steps_in_episode: int


class CountedLimit(Limit):
    """A limit of steps that is counted here, for a ``step`` that knows of none.

    What an environment's own numbers are may stand in a class of its own that inherits from this::

        class Params(jaxq.CountedLimit):
            slip: float = 0.1
    """

    max_steps_in_episode: int = NEVER


class Counted(NamedTuple):
    """The state of an environment beside the steps of its episode."""

    state: PyTree
    steps: jax.Array  # [] int32


class NoNumbers(struct.PyTreeNode):
    """Parameters of what has none."""


class RawEnv(NamedTuple):
    """One environment of some library or of one's own, which does not reset itself.

    Two functions are enough: ``RawEnv(num_actions=2, reset=reset, step=step)``.

    ``reset(key, params) -> (obs, state)``
    ``step(key, state, action [], params) -> (obs, state, reward [], terminated [], truncated [])``;
    ``terminated`` says nothing of the time limit, ``truncated`` says nothing else; where both hold
    the step terminates
    ``renew(key, state, action [], params) -> (obs, state, reward, terminated, truncated, final
    obs)`` in place of ``step``, for what can only reset itself: after an episode's end ``obs`` and
    ``state`` are those of the next one, and its limit of steps is its own

    ``sticky_actions`` is how likely the environment itself repeats the last action: it is said with
    the results, and nothing is done about it here. ``reset_ratio`` changes nothing but the speed.
    ``limit`` names the parameter that limits the steps of an episode.

    ``obs`` is an array, several as ``encoding.flattened`` has them, or an
    ``ObservationLegalActions`` around either.
    """

    num_actions: int | None = None
    space: Any = None  # of observations, read for integers: ``low`` and ``high``, inclusive; ``n``
    params: PyTree = CountedLimit()  # the defaults: a ``flax.struct`` dataclass of numbers
    reset: Callable | None = None
    step: Callable | None = None
    renew: Callable | None = None
    limit: str = LIMIT  # what the library calls the parameter that limits an episode's steps
    time_limit: str = "bootstrap"  # what reaching it means, if nobody says
    observations: Observations = "auto"  # see ``encoding``
    sticky_actions: float = 0.0
    reset_ratio: int = 1  # environments for every reset that a step computes, see ``resetting``


class Bounds(NamedTuple):
    """A space of observations between two integers, inclusive."""

    low: int
    high: int


def from_raw(
    raw: RawEnv,
    name: str,
    num_envs: int,
    time_limit: str | None = None,
    forms: Forms | None = None,
) -> Env:
    """A library's environment as an ``Env``.

    Args:
      name: for messages and results.
      num_envs: E.
      time_limit: ``"bootstrap"`` or ``"terminal"``; None takes what ``raw`` says.
      forms: what a reset and a step return, if that is known.

    Raises:
      ConfigError: it breaks the contract of ``RawEnv``, observations that do not fit what is said
        of them, an unknown time-limit policy.
    """
    if not isinstance(raw, RawEnv):
        raise ConfigError(f"env={name} must be a jaxq RawEnv, and is a {type(raw).__name__}.")
    check_count(num_envs, name)
    time_limit = time_limit or raw.time_limit
    if time_limit not in TIME_LIMITS:
        raise unknown("time_limit", time_limit, TIME_LIMITS)
    check_raw(raw, name)
    raw = _without_a_count(raw, name)
    overrides_of = _make_params(name, raw)
    forms = forms or probe_raw(raw, overrides_of({}), name)
    if isinstance(raw.params, CountedLimit):
        raw, forms = _counting(raw, forms)
    encode = _beside_legal_actions(
        make_encoder(name, raw.space, observation_of(forms.obs), raw.observations)
    )
    check_legal(forms.obs, (raw.num_actions,), f"env={name}")
    obs_spec = jax.eval_shape(encode, forms.obs)
    state_dtypes = _stable_dtypes(raw, forms, overrides_of({}))
    renew = _renewed(raw, num_envs)

    def settle(raw_state: PyTree) -> PyTree:
        """The state with the dtypes it keeps: libraries mix weak types, ints and floats."""
        return jax.tree.map(strong, raw_state, state_dtypes)

    def reset(key: jax.Array, env_params: PyTree) -> tuple[jax.Array, PyTree]:
        keys = jax.random.split(key, num_envs)
        obs, raw_state = jax.vmap(raw.reset, in_axes=(0, None))(keys, env_params)
        totals = Episode(
            ended=jnp.zeros(num_envs, bool),
            total_reward=jnp.zeros(num_envs, jnp.float32),
            length=jnp.zeros(num_envs, jnp.int32),
        )
        return jax.vmap(encode)(obs), (settle(raw_state), totals)

    def step(key: jax.Array, env_state: PyTree, action: jax.Array, env_params: PyTree):
        keys = jax.random.split(key, num_envs)
        raw_state, totals = env_state
        obs, raw_state, reward, terminated, truncated, final_obs = renew(
            keys, raw_state, action, env_params
        )
        reward = strong(reward, jnp.float32)  # [E]
        terminated, truncated = strong(terminated, bool), strong(truncated, bool)  # [E]
        done = terminated | truncated  # [E]
        if time_limit == "terminal":
            terminated = done  # bootstrap: a step that both terminates and truncates terminates
        next_obs = jax.vmap(encode)(final_obs)  # [E, *obs], with what is legal there
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
        "num_actions": raw.num_actions,
        "sticky_actions": raw.sticky_actions,
        **limit_of(raw),
    }
    if isinstance(forms.obs, ObservationLegalActions):
        protocol["illegal_actions"] = "never taken"
    return Env(name, num_envs, raw.num_actions, obs_spec, protocol, overrides_of, reset, step)


def limit_of(raw: RawEnv) -> dict[str, dict[str, int | None]]:
    """What protocols say of the limit of steps: its name and its default, None where none is."""
    steps = getattr(raw.params, raw.limit, None)
    return {} if steps is None else {"limit": {raw.limit: int(steps) if steps < NEVER else None}}


def _beside_legal_actions(encode: Callable) -> Callable:
    """``encode`` of the observation alone, with what is legal as it is."""

    def encoded(obs: PyTree) -> PyTree:
        if isinstance(obs, ObservationLegalActions):
            return obs._replace(obs=encode(obs.obs), legal=strong(obs.legal, bool))
        return encode(obs)

    return encoded


def _without_a_count(raw: RawEnv, name: str) -> RawEnv:
    """``raw`` without the limit that is counted here, where it resets itself and none can be."""
    if raw.renew is None or not isinstance(raw.params, CountedLimit):
        return raw
    if raw.params != CountedLimit():
        raise ConfigError(
            f"env={name} resets itself by renew, and its parameters are a CountedLimit, whose "
            f"steps are counted for a step alone; a dataclass whose limit renew reads is accepted."
        )
    return raw._replace(params=NoNumbers())


def _counting(raw: RawEnv, forms: Forms) -> tuple[RawEnv, Forms]:
    """``raw`` with its limit of steps, of which its ``step`` knows nothing."""

    def reset(key: jax.Array, params: PyTree) -> tuple:
        obs, state = raw.reset(key, params)
        return obs, Counted(state, jnp.int32(0))

    def step(key: jax.Array, counted: Counted, action: jax.Array, params: PyTree) -> tuple:
        obs, state, reward, terminated, truncated = raw.step(key, counted.state, action, params)
        steps = counted.steps + 1
        truncated |= steps >= params.max_steps_in_episode
        return obs, Counted(state, steps), reward, terminated, truncated

    count = jax.ShapeDtypeStruct((), jnp.int32)
    states = Counted(forms.state, count), Counted(forms.next_state, count)
    return raw._replace(reset=reset, step=step), Forms(forms.obs, *states)


def _renewed(raw: RawEnv, num_envs: int) -> Callable:
    """``RawEnv.renew`` of all environments."""
    at_once = -(-num_envs // raw.reset_ratio)
    if at_once < num_envs:
        return resetting.renewed_some(raw.reset, raw.step, num_envs, at_once)
    renew = raw.renew or resetting.renewed(raw.reset, raw.step)
    return jax.vmap(renew, in_axes=(0, 0, 0, None))


def _make_params(name: str, raw: RawEnv) -> Callable[[Mapping[str, Any]], PyTree]:
    """``params(overrides)``: the defaults with some replaced, every leaf of one fixed dtype."""
    default = raw.params
    numbers = {
        field.name: getattr(default, field.name)
        for field in dataclasses.fields(default)
        if field.metadata.get("pytree_node", True)
    }

    def params(overrides: Mapping[str, Any]) -> PyTree:
        for field in sorted(overrides.keys() - numbers):
            if hasattr(default, field):
                raise ConfigError(
                    f"env_params.{field} of {name} is fixed by its class (pytree_node=False); "
                    f"accepted: {', '.join(numbers) or 'none'}."
                )
            raise unknown(f"env_params of {name}", field, numbers)
        check_limit(overrides.get(raw.limit, 1), name, raw.limit)
        for field, value in overrides.items():
            check_number(value, numbers[field], f"env_params.{field} of {name}")
        return jax.tree.map(
            lambda value, new: strong(new, jnp.asarray(value).dtype),
            default,
            default.replace(**overrides),
        )

    return params


def _stable_dtypes(raw: RawEnv, forms: Forms, env_params: PyTree) -> PyTree:
    """The dtype of every leaf of the state, the same after a reset and after a step."""
    action = jax.ShapeDtypeStruct((), jnp.int32)
    step, state, next_state = raw.step or raw.renew, forms.state, forms.next_state
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
        next_state = jax.eval_shape(step, jax.random.key(0), state, action, env_params)[1]
