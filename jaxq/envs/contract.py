"""gymnax's contract: what an environment of it has and returns, of 1.0 and of before.

Before 1.0 a step returned one ``done`` for two things, the end of the task and the limit of steps.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxq.envs.forms import check_flags, check_not_empty, check_same, own_errors, shapes
from jaxq.envs.probing import LIMIT, STEP, Forms, check_params
from jaxq.errors import ConfigError, check_call, unknown
from jaxq.types import PyTree

_METHODS = ("reset", "step", "action_space", "observation_space")
_PARTS = ("reset_env", "step_env")  # of them, without automatic resets
_CALLED_WITH = {
    "reset": "key, params",
    "step": "key, state, action, params",
    "action_space": "params",
    "observation_space": "params",
    "reset_env": "key, params",
    "step_env": "key, state, action, params",
    "is_truncated": "state, params",
}
_SAID = ("termination",)  # by an attribute ``done``


def probe_gymnax(env: Any, params: PyTree, name: str) -> Forms:
    """What a reset and a step of a gymnax-1.0 environment return.

    Args:
      params: its parameters, as ``check_gymnax`` accepts them.
      name: for messages.

    Raises:
      ConfigError: it is none, or returns what gymnax's contract does not say.
    """
    key, action = jax.random.key(0), jax.ShapeDtypeStruct((), jnp.int32)
    with _explained(_explain_reset, env, name, params):
        obs, state = shapes(f"reset of env={name}", "obs, state", env.reset, key, params)
    check_not_empty(obs, name)
    state = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), state)
    with _explained(_explain_step, env, name, params, obs, state):
        next_obs, next_state, *flags, info = shapes(
            f"step of env={name}", f"{STEP}, info", env.step, key, state, action, params
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
    space = space_of(env.action_space, params, f"action_space of env={name}")
    if isinstance(space, int):
        raise ConfigError(f"action_space of env={name} is {space}; Discrete({space}) is accepted.")
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
      ConfigError: names what is missing, or cannot be called, or the parameter.
    """
    if method := missing_method(env):
        raise ConfigError(
            f"env={name} has no method {method}; a gymnax-1.0 environment is accepted."
        )
    check_params(params, name)
    for method, arguments in _CALLED_WITH.items():
        if callable(function := getattr(env, method, None)):
            check_call(f"{method} of env={name}", function, arguments.split(", "))


def is_merged(env: Any, params: PyTree) -> bool:
    """Whether the ``done`` of its ``step_env`` holds the limit of steps, as before gymnax 1.0.

    That is so where nothing else does, and where ``done`` is made of it; not in gymnax itself.
    """
    if not all(callable(getattr(env, part, None)) for part in _PARTS):
        return False
    if not callable(getattr(env, "is_truncated", None)):
        return True
    is_gymnax = getattr(env.step_env, "__module__", "").startswith("gymnax.")
    return not is_gymnax and hasattr(params, LIMIT) and _reads_limit(env, params)


def _reads_limit(env: Any, params: PyTree) -> bool:
    """Whether ``done`` is made of the limit of steps: a batch of limits makes a batch of it."""

    def done(limit: jax.Array) -> jax.Array:
        limited, key = params.replace(**{LIMIT: limit}), jax.random.key(0)
        _, state = env.reset_env(key, limited)
        return env.step_env(key, state, jnp.int32(0), limited)[3]

    try:
        jax.eval_shape(jax.vmap(done, out_axes=None), jnp.full(2, getattr(params, LIMIT)))
    except ValueError as error:
        return "out_axes" in str(error)
    except Exception:  # of somebody's own code; a probe meets it again
        return False
    return False


def is_split(env: Any, params: PyTree, time_limit: str, name: str) -> bool:
    """Whether an environment's one ``done`` is to be told apart, and may be.

    It may if its attribute ``done`` says so, or if both of its meanings are one to who learns, as
    with ``time_limit="terminal"``.

    Raises:
      ConfigError: it is one and may not, or its attribute says something else.
    """
    said = getattr(env, "done", None)
    if isinstance(said, str) and said not in _SAID:
        raise unknown(f"done of {name}", said, _SAID)
    if not is_merged(env, params):
        return False
    is_old = not callable(getattr(env, "is_truncated", None))
    has_parts = all(callable(getattr(type(env), part, None)) for part in _PARTS)  # no wrapper
    if has_parts and (isinstance(said, str) or (is_old and time_limit == "terminal")):
        return True
    if time_limit == "terminal":
        return False
    raise ConfigError(
        f"env={name} has one done for the end of the task and for its limit of steps, as before "
        f"gymnax 1.0; accepted: the end alone, beside a method is_truncated(state, params), or the "
        f"attribute done='termination' where the limit in it is params.{LIMIT}, which is then told "
        f"apart."
    )


def probe_parts(env: Any, params: PyTree, name: str) -> None:
    """Refuse what ``reset_env`` and ``step_env`` may not return, with ``done`` as their end.

    Raises:
      ConfigError: as ``probe_gymnax``.
    """
    obs, state = _probe_reset_env(env, name, params)
    check_not_empty(obs, name)
    _probe_step_env(env, name, params, obs, state, "done")


def space_of(method: Callable, params: PyTree, what: str) -> Any:
    try:
        with own_errors(what):
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
        _probe_reset_env(env, name, params)


def _probe_reset_env(env: Any, name: str, params: PyTree) -> tuple:
    key = jax.random.key(0)
    return shapes(f"reset_env of env={name}", "obs, state", env.reset_env, key, params)


def _explain_step(env: Any, name: str, params: PyTree, obs: Any, state: PyTree) -> None:
    if not callable(getattr(env, "step_env", None)):
        return
    next_state = _probe_step_env(env, name, params, obs, state, "terminated")
    try:
        truncated = jax.eval_shape(env.is_truncated, next_state, params)
    except AttributeError as error:
        raise ConfigError(
            f"env={name} has a time limit that cannot be read ({error}); accepted: a state with "
            f"time and parameters with {LIMIT}, or an is_truncated of its own."
        ) from error
    check_flags({"truncated": truncated}, (), name)


def _probe_step_env(
    env: Any, name: str, params: PyTree, obs: Any, state: PyTree, end: str
) -> PyTree:
    """The state after a step, whose fourth value is called ``end``."""
    key, action = jax.random.key(0), jax.ShapeDtypeStruct((), jnp.int32)
    names = f"obs, state, reward, {end}, info"
    next_obs, next_state, reward, ended, _ = shapes(
        f"step_env of env={name}", names, env.step_env, key, state, action, params
    )
    check_same(obs, next_obs, f"the observation of env={name}")
    check_same(state, next_state, f"the state of env={name}")
    check_flags({"reward": reward, end: ended}, (), name)
    return next_state
