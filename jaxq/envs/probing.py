"""What an environment does on one reset and one step, found out by tracing, before it is used.

What cannot be trained on is refused in a sentence that names the environment, what was found and
what is accepted. An error raised by somebody's own code is told with its place.
"""

import dataclasses
from collections.abc import Callable, Mapping
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
from jaxq.errors import ConfigError, check_call
from jaxq.types import (
    Env,
    Episode,
    ObservationActionReward,
    Outcome,
    PyTree,
    observation_of,
)

MOST_ENVS = 1_000_000  # that are stepped together
LIMIT = "max_steps_in_episode"  # what gymnax calls a time limit
_FIELDS = (  # of an ``Env``, each with its type
    ("name", str, "a text"),
    ("protocol", Mapping, "a mapping"),
    ("params", Callable, "a function of what is replaced"),
    ("reset", Callable, "a function"),
    ("step", Callable, "a function"),
)
STEP = "obs, state, reward, terminated, truncated"


class Forms(NamedTuple):
    """Shapes and dtypes of what an environment returns."""

    obs: Any
    state: PyTree  # after a reset
    next_state: PyTree  # after a step from there


def check_raw(raw: Any, name: str) -> None:
    """Refuse an ``episodes.RawEnv`` that lacks something, and a reset or step called otherwise.

    Raises:
      ConfigError: names what is missing, or the field.
    """
    if not _is_count(raw.num_actions):
        raise ConfigError(
            f"env={name} has num_actions={raw.num_actions}; a whole number of 1 or more is "
            f"accepted."
        )
    if not _is_count(raw.reset_ratio) or (raw.renew is not None and raw.reset_ratio > 1):
        accepted = "a whole number of 1 or more" if raw.renew is None else "with renew only 1"
        raise ConfigError(f"env={name} has reset_ratio={raw.reset_ratio}; {accepted} is accepted.")
    if not (is_number(raw.sticky_actions) and 0.0 <= raw.sticky_actions <= 1.0):
        raise ConfigError(
            f"env={name} has sticky_actions={raw.sticky_actions!r}; a probability is accepted."
        )
    calls = {"reset": "key, params", "step": "key, state, action, params"}
    if raw.renew is not None:
        calls["renew"] = calls.pop("step")
    for field, arguments in calls.items():
        if not callable(function := getattr(raw, field)):
            found = "None" if function is None else f"of type {type(function).__name__}"
            raise ConfigError(
                f"{field} of env={name} is {found}; a function {field}({arguments}) is accepted."
            )
        check_call(f"{field} of env={name}", function, arguments.split(", "))
    check_params(raw.params, name)
    is_name = isinstance(raw.limit, str)
    if not is_name or (raw.limit != LIMIT and not hasattr(raw.params, raw.limit)):
        raise ConfigError(
            f"env={name} has limit={raw.limit!r}, and its parameters have none of that name."
        )
    check_limit(getattr(raw.params, raw.limit, 1), name, raw.limit)


def check_params(params: Any, name: str) -> None:
    """Refuse parameters that cannot be replaced, or traced.

    Raises:
      ConfigError: says what they are, or names the parameter.
    """
    is_dataclass = dataclasses.is_dataclass(params) and not isinstance(params, type)
    if not (is_dataclass and callable(getattr(params, "replace", None))):
        kind = "None" if params is None else f"of type {type(params).__name__}"
        kind = f"the class {params.__name__}" if isinstance(params, type) else kind
        raise ConfigError(
            f"env={name} has parameters that are {kind}; a flax.struct dataclass is accepted."
        )
    for path, leaf in jax.tree.leaves_with_path(params):
        if not is_number(leaf):
            raise ConfigError(
                f"env={name} has a parameter {place(path)} of type {type(leaf).__name__}; numbers "
                f"and arrays are accepted, and other fields with pytree_node=False."
            )


def probe_raw(raw: Any, params: PyTree, name: str) -> Forms:
    """What an ``episodes.RawEnv`` returns.

    Raises:
      ConfigError: something else than its contract says.
    """
    key, action = jax.random.key(0), jax.ShapeDtypeStruct((), jnp.int32)
    obs, state = shapes(f"reset of env={name}", "obs, state", raw.reset, key, params)
    check_not_empty(obs, name)
    what, names, step = ("step", STEP, raw.step)
    if raw.renew is not None:
        what, names, step = "renew", f"{STEP}, final obs", raw.renew
    next_obs, next_state, *flags = shapes(
        f"{what} of env={name}", names, step, key, state, action, params
    )
    check_same(obs, flags[-1] if raw.renew else next_obs, f"the observation of env={name}")
    check_same(state, next_state, f"the state of env={name}", dtypes=False)
    check_flags(dict(zip(("reward", "terminated", "truncated"), flags)), (), name)
    return Forms(obs, state, next_state)


def check_count(num_envs: Any, name: str) -> None:
    """Refuse a number of environments that is none, below 1, or more than are stepped together."""
    if not isinstance(num_envs, int | np.integer) or num_envs < 1:
        raise ConfigError(
            f"num_envs={num_envs!r} of env={name} must be a whole number of at least 1."
        )
    if num_envs > MOST_ENVS:
        raise ConfigError(
            f"num_envs={num_envs} of env={name} must be at most {MOST_ENVS:,}, side by side."
        )


def check_number(value: Any, default: Any, what: str) -> None:
    """Refuse a number that a parameter's default, in whose type it is used, could not be; one that
    is traced is not known."""
    if isinstance(value, jax.core.Tracer):
        return
    if not is_number(default):
        raise ConfigError(f"{what} is of type {type(default).__name__}; only numbers are replaced.")
    given, dtype = np.asarray(value), jnp.result_type(default)
    if given.shape != (shape := np.shape(default)) or given.dtype.kind not in "biuf":
        form = list(shape) if shape else "a number"
        raise ConfigError(f"{what}={value} must be {form}, as {default} is.")
    given = given.astype(np.float64)
    if jnp.issubdtype(dtype, jnp.bool_):
        held, accepted = (given == 0) | (given == 1), "true or false"
    elif jnp.issubdtype(dtype, jnp.integer):
        low, high = jnp.iinfo(dtype).min, jnp.iinfo(dtype).max
        held = (given == np.floor(given)) & (low <= given) & (given <= high)
        accepted = f"a whole number from {low} to {high}"
    else:
        held = np.isinf(given) | ~(abs(given) > float(jnp.finfo(dtype).max))
        accepted = f"a number that {dtype} holds"
    if not held.all():
        raise ConfigError(f"{what}={value} must be {accepted}.")


def check_limit(limit: Any, name: str, field: str = LIMIT) -> None:
    """Refuse what is no number of steps; one that is traced is not known."""
    if isinstance(limit, jax.core.Tracer):
        return
    if is_number(limit) and np.ndim(limit) == 0 and 1 <= limit == np.floor(limit):
        return
    raise ConfigError(
        f"env={name} has {field}={limit}; a whole number of 1 or more is accepted, and "
        f"{np.iinfo(np.int32).max} is no limit."
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
    if not _is_count(env.num_actions):
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


def _is_count(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= 1
