"""An environment of one's own: what a name like ``module:function`` may stand for.

Accepted is whatever, called with the arguments of ``env_kwargs``, gives one of

* a gymnax-1.0 environment, as its class does, which is then used with its ``default_params``;
* a pair (gymnax environment, parameters);
* an ``Env`` ready-made, from a function that has a parameter ``num_envs``.

A gymnax environment says itself, with attributes that are strings, what its time limit means
(``time_limit``, by default "bootstrap") and how its observations are shown to networks
(``observations``, by default "auto"; see ``encoding``). Attributes of other types are its own.
Where not all actions are legal in every state, its ``reset_env`` and ``step_env`` give in the place
of an observation a ``types.ObservationLegalActions`` around one.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from jaxq.config import words_as_values
from jaxq.envs.gymnax import adapt
from jaxq.envs.probing import missing_method, probe_env
from jaxq.errors import ConfigError
from jaxq.types import Env, PyTree

_ACCEPTED = (
    "accepted: a gymnax-1.0 class, a function that returns its environment or a pair of "
    "environment and parameters, or one with a parameter num_envs that returns a jaxq Env."
)


def from_object(
    thing: Any,
    name: str,
    num_envs: int,
    kwargs: tuple[str, ...] = (),
    time_limit: str | None = None,
) -> Env:
    """What ``thing`` makes, as an ``Env`` of ``num_envs`` copies.

    Args:
      thing: the object behind the name; what is accepted is said above.
      name: for messages and results, such as ``"package.module:function"``.
      num_envs: E.
      kwargs: arguments of ``thing``, each ``"name=value"``.
      time_limit: ``"bootstrap"`` or ``"terminal"``; None takes what the environment says. Of what
        makes an ``Env`` ready-made it is an argument, if given.

    Raises:
      ConfigError: anything else than is accepted, or arguments that ``thing`` does not take.
    """
    if "num_envs" not in _parameters_of(thing):
        raw, params = raw_of(thing, name, kwargs)
        return adapt(raw, params, name, num_envs, time_limit)
    policy = {} if time_limit is None else {"time_limit": time_limit}
    env = _call(thing, name, kwargs, num_envs=num_envs, **policy)
    if not isinstance(env, Env):
        raise ConfigError(
            f"env={name} has a parameter num_envs and gave {_described(env)}; {_ACCEPTED}"
        )
    return probe_env(env, num_envs, name)


def raw_of(thing: Any, name: str, kwargs: tuple[str, ...] = ()) -> tuple[Any, PyTree]:
    """The gymnax environment that ``thing`` makes and its parameters, as for drawing it.

    Raises:
      ConfigError: as ``from_object``, and where an ``Env`` is ready-made: it hides its own.
    """
    if "num_envs" in _parameters_of(thing):
        raise ConfigError(
            f"env={name} makes an Env ready-made, whose gymnax environment, if any, is not known."
        )
    made = _call(thing, name, kwargs)
    if _is_gymnax(made) and hasattr(made, "default_params"):
        return made, made.default_params
    if type(made) is tuple and len(made) == 2 and _is_gymnax(made[0]):
        return made
    raise ConfigError(f"env={name} gave {_described(made)}; {_ACCEPTED}")


def _call(thing: Callable, name: str, kwargs: tuple[str, ...], **ours: Any) -> Any:
    """``thing`` called with its arguments and ours; errors from inside it are its own."""
    if not callable(thing):
        raise ConfigError(f"env={name} is {_described(thing)}; {_ACCEPTED}")
    arguments = words_as_values(kwargs, "env_kwargs")
    for argument in ours:
        if argument in arguments:
            raise ConfigError(
                f"env_kwargs={argument}=... is not accepted; the run gives it itself."
            )
    arguments |= ours
    if signature := _signature(thing):
        try:
            signature.bind(**arguments)
        except TypeError as error:
            given = ", ".join(arguments) or "no arguments"
            raise ConfigError(f"env={name} cannot be called with {given}: {error}.") from error
    return thing(**arguments)


def _is_gymnax(made: Any) -> bool:
    """Whether it is a gymnax environment, and not its class."""
    return not isinstance(made, type) and missing_method(made) is None


def _described(found: Any) -> str:
    if type(found) is tuple:
        return f"a tuple of {', '.join(type(part).__name__ for part in found) or 'nothing'}"
    if isinstance(found, type):
        return f"the class {found.__name__}"
    return "None" if found is None else f"an object of type {type(found).__qualname__}"


def _parameters_of(thing: Any) -> Mapping[str, inspect.Parameter]:
    signature = _signature(thing)
    return signature.parameters if signature else {}


def _signature(thing: Any) -> inspect.Signature | None:
    """None where Python does not know it, as of some built-in functions, or where none can be."""
    try:
        return inspect.signature(thing)
    except (TypeError, ValueError):
        return None
