"""What an environment does on one reset and one step, found out by tracing, before it is used.

What cannot be trained on is refused in a sentence that names the environment, what was found and
what is accepted. An error raised by somebody's own code stays as it is.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxq.envs.forms import (
    check_flags,
    check_is,
    check_legal,
    check_not_empty,
    check_numbers,
    check_same,
    check_told,
    is_number,
    place,
    shapes,
)
from jaxq.errors import ConfigError
from jaxq.types import (
    Env,
    Episode,
    ObservationActionReward,
    Outcome,
    PyTree,
    observation_of,
)

LIMIT = "max_steps_in_episode"  # what gymnax calls a time limit
_METHODS = ("reset", "step", "action_space", "observation_space")  # of a gymnax environment
_FIELDS = (  # of an ``Env``, each with its type
    ("name", str, "a text"),
    ("protocol", Mapping, "a mapping"),
    ("params", Callable, "a function of what is replaced"),
    ("reset", Callable, "a function"),
    ("step", Callable, "a function"),
)
_STEP = "obs, state, reward, terminated, truncated"


class Forms(NamedTuple):
    """Shapes and dtypes of what an environment returns."""

    obs: Any
    state: PyTree  # after a reset
    next_state: PyTree  # after a step from there


def probe_raw(reset: Callable, step: Callable, params: PyTree, name: str) -> Forms:
    """What ``reset`` and ``step`` of an ``episodes.RawEnv`` return.

    Raises:
      ConfigError: something else than its contract says.
    """
    key, action = jax.random.key(0), jax.ShapeDtypeStruct((), jnp.int32)
    obs, state = shapes(f"reset of env={name}", "obs, state", reset, key, params)
    check_not_empty(obs, name)
    next_obs, next_state, *flags = shapes(
        f"step of env={name}", _STEP, step, key, state, action, params
    )
    check_same(obs, next_obs, f"the observation of env={name}")
    check_same(state, next_state, f"the state of env={name}", dtypes=False)
    check_flags(dict(zip(("reward", "terminated", "truncated"), flags)), (), name)
    return Forms(obs, state, next_state)


def probe_gymnax(env: Any, params: PyTree, name: str) -> Forms:
    """What a reset and a step of a gymnax-1.0 environment return.

    Args:
      params: its parameters, as ``check_gymnax`` accepts them.
      name: for messages.

    Raises:
      ConfigError: it is none, or returns what gymnax's contract does not say.
    """
    check_limit(getattr(params, LIMIT, 1), name)
    _space(env.observation_space, params, f"observation_space of env={name}")
    key, action = jax.random.key(0), jax.ShapeDtypeStruct((), jnp.int32)
    with _explained(_explain_reset, env, name, params):
        obs, state = shapes(f"reset of env={name}", "obs, state", env.reset, key, params)
    check_not_empty(obs, name)
    state = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), state)
    with _explained(_explain_step, env, name, params, obs, state):
        next_obs, next_state, *flags, info = shapes(
            f"step of env={name}", f"{_STEP}, info", env.step, key, state, action, params
        )
    check_same(obs, next_obs, f"the observation of env={name}")
    check_same(state, next_state, f"the state of env={name}", dtypes=False)
    check_flags(dict(zip(("reward", "terminated", "truncated"), flags)), (), name)
    if not isinstance(info, Mapping) or "final_observation" not in info:
        raise ConfigError(
            f"step of env={name} has no info['final_observation'], what an episode showed last; "
            f"gymnax 1.0's own step is accepted, which calls step_env."
        )
    check_same(obs, info["final_observation"], f"the final observation of env={name}")
    return Forms(obs, state, next_state)


def num_actions_of(env: Any, params: PyTree, name: str) -> int:
    """How many actions a gymnax environment has.

    Raises:
      ConfigError: its action space is missing, not discrete, or empty.
    """
    space = _space(env.action_space, params, f"action_space of env={name}")
    count = getattr(space, "n", None)
    if count is None or np.ndim(count):
        dtype = getattr(space, "dtype", None)
        is_integer = dtype is not None and jnp.issubdtype(dtype, jnp.integer)
        kind = f"actions from a {type(space).__name__} of integers" if is_integer else None
        if hasattr(space, "spaces"):
            kind = f"actions from a {type(space).__name__} of spaces"
        raise ConfigError(
            f"env={name} has {kind or 'continuous actions'}; discrete ones are accepted."
        )
    if int(count) != count or count < 1:
        raise ConfigError(f"env={name} has {count} actions; 1 or more are accepted.")
    return int(count)


def missing_method(env: Any) -> str | None:
    """What it takes to be a gymnax environment and ``env`` has not; gymnasium's spaces are no
    methods."""
    return next((name for name in _METHODS if not callable(getattr(env, name, None))), None)


def check_gymnax(env: Any, params: PyTree, name: str) -> None:
    """Refuse what is no gymnax environment, and parameters that cannot be replaced, or traced.

    Raises:
      ConfigError: names what is missing, or the parameter.
    """
    if method := missing_method(env):
        raise ConfigError(
            f"env={name} has no method {method}; a gymnax-1.0 environment is accepted."
        )
    is_dataclass = dataclasses.is_dataclass(params) and not isinstance(params, type)
    if not (is_dataclass and callable(getattr(params, "replace", None))):
        kind = "None" if params is None else f"of type {type(params).__name__}"
        raise ConfigError(
            f"env={name} has parameters that are {kind}; a flax.struct dataclass is accepted."
        )
    for path, leaf in jax.tree.leaves_with_path(params):
        if not is_number(leaf):
            raise ConfigError(
                f"env={name} has a parameter {place(path)} of type {type(leaf).__name__}; numbers "
                f"and arrays are accepted, and other fields with pytree_node=False."
            )


def check_count(num_envs: Any, name: str) -> None:
    """Refuse a number of environments that is none, or below 1."""
    if not isinstance(num_envs, int | np.integer) or num_envs < 1:
        raise ConfigError(
            f"num_envs={num_envs!r} of env={name} must be a whole number of at least 1."
        )


def check_number(value: Any, default: Any, what: str) -> None:
    """Refuse a number that is not of the kind of a parameter's default, in whose type it is used;
    one that is traced is not known."""
    if isinstance(value, jax.core.Tracer):
        return
    given, kind = np.asarray(value), np.asarray(default)
    if given.shape != kind.shape or given.dtype.kind not in "biuf":
        form = list(kind.shape) if kind.shape else "a number"
        raise ConfigError(f"{what}={value} must be {form}, as {default} is.")
    if kind.dtype.kind in "iu" and not (
        np.all(given == np.floor(given)) and np.all(np.abs(given) < 2**31)
    ):
        raise ConfigError(f"{what}={value} must be a whole number that fits into 31 bits.")


def check_limit(limit: Any, name: str, field: str = LIMIT) -> None:
    """Refuse a limit after which every episode has one step; one that is traced is not known."""
    if isinstance(limit, jax.core.Tracer):
        return
    if limit is not None and not isinstance(limit, str) and np.all(np.asarray(limit) >= 1):
        return
    raise ConfigError(
        f"env={name} has {field}={limit}; 1 or more is accepted, and {np.iinfo(np.int32).max} is "
        f"no limit."
    )


def probe_env(env: Any, num_envs: int, name: str) -> Env:
    """An ``Env`` that somebody has made, if it keeps the contract of ``types.Env``.

    Raises:
      ConfigError: it is none, has another number of environments, or a reset or a step returns
        other values, shapes or dtypes than the contract says.
    """
    if not isinstance(env, Env):
        raise ConfigError(f"env={name} is of type {type(env).__name__}; a jaxq Env is accepted.")
    if env.num_envs != num_envs:
        raise ConfigError(
            f"env={name} made {env.num_envs} environments where num_envs={num_envs} was asked for."
        )
    if not isinstance(env.num_actions, int | np.integer) or env.num_actions < 1:
        raise ConfigError(f"env={name} has num_actions={env.num_actions}; 1 or more is accepted.")
    alone = observation_of(env.obs_spec)
    if isinstance(env.obs_spec, ObservationActionReward) or not _is_spec(alone):
        raise ConfigError(f"env={name} has an obs_spec without shape and dtype; both are needed.")
    check_legal(env.obs_spec, (env.num_actions,), f"the obs_spec of env={name}")
    for field, kind, accepted in _FIELDS:
        if not isinstance(value := getattr(env, field), kind):
            found = f"{field} of env={name} is of type {type(value).__name__}"
            raise ConfigError(f"{found}; {accepted} is accepted.")
    check_told(env.protocol, f"protocol of env={name}")
    key, params = jax.random.key(0), env.params({})
    check_numbers(params, f"params of env={name}")
    actions = jax.ShapeDtypeStruct((num_envs,), jnp.int32)
    obs, state = shapes(f"reset of env={name}", "obs, env_state", env.reset, key, params)
    spec = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((num_envs, *leaf.shape), leaf.dtype), env.obs_spec
    )
    check_is(obs, spec, f"the observation of env={name} after a reset")
    check_not_empty(obs, name)
    names = "obs, env_state, Outcome, Episode"
    next_obs, next_state, outcome, episode = shapes(
        f"step of env={name}", names, env.step, key, state, actions, params
    )
    for value, kind in ((outcome, Outcome), (episode, Episode)):
        if not isinstance(value, kind):
            raise ConfigError(
                f"step of env={name} returns a {type(value).__name__} in the place of {names}; "
                f"a jaxq {kind.__name__} is accepted there."
            )
    check_is(next_obs, spec, f"the observation of env={name} after a step")
    check_is(outcome.next_obs, spec, f"next_obs of env={name}")
    check_same(state, next_state, f"the state of env={name}")
    flags = {**outcome._asdict(), **episode._asdict()}
    del flags["next_obs"]
    check_flags(flags, (num_envs,), name)
    return env


def _is_spec(spec: Any) -> bool:
    return all(hasattr(spec, field) for field in ("shape", "dtype"))


def _space(method: Callable, params: PyTree, what: str) -> Any:
    try:
        space = method(params)
    except NotImplementedError:
        space = None
    if space is None:
        raise ConfigError(f"{what} is missing; gymnax's spaces are accepted.")
    return space


@contextmanager
def _explained(explain: Callable, *what: Any) -> Iterator[None]:
    """Refuse what makes gymnax's own methods fail, if the parts of it that they call show it."""
    try:
        yield
    except ConfigError:
        raise
    except (TypeError, ValueError, AttributeError):
        with suppress(NotImplementedError):  # it has no such parts
            explain(*what)
        raise


def _explain_reset(env: Any, name: str, params: PyTree) -> None:
    if callable(getattr(env, "reset_env", None)):
        key = jax.random.key(0)
        shapes(f"reset_env of env={name}", "obs, state", env.reset_env, key, params)


def _explain_step(env: Any, name: str, params: PyTree, obs: Any, state: PyTree) -> None:
    if not callable(getattr(env, "step_env", None)):
        return
    key, action = jax.random.key(0), jax.ShapeDtypeStruct((), jnp.int32)
    names = "obs, state, reward, terminated, info"
    next_obs, next_state, reward, terminated, _ = shapes(
        f"step_env of env={name}", names, env.step_env, key, state, action, params
    )
    check_same(obs, next_obs, f"the observation of env={name}")
    check_same(state, next_state, f"the state of env={name}")
    check_flags({"reward": reward, "terminated": terminated}, (), name)
    try:
        truncated = jax.eval_shape(env.is_truncated, next_state, params)
    except AttributeError as error:
        raise ConfigError(
            f"env={name} has a time limit that cannot be read ({error}); accepted: a state with "
            f"time and parameters with {LIMIT}, or an is_truncated of its own."
        ) from error
    check_flags({"truncated": truncated}, (), name)
