"""An environment of one's own: what a name like ``module:function`` may stand for.

Accepted is a ``RawEnv`` (see ``episodes``), and whatever, called with the arguments of
``env_kwargs``, gives one of

* a ``RawEnv``: two functions, of which the one tells the end of the task from the limit of steps;
* a gymnax-1.0 environment, as its class does, which is then used with its ``default_params``;
* a pair (gymnax environment, parameters);
* an ``Env`` ready-made, from a function that has a parameter ``num_envs``.

A gymnax environment says itself, with attributes that are strings, what its time limit means
(``time_limit``, by default "bootstrap") and how its observations are shown to networks
(``observations``, by default "auto"; see ``encoding``). Attributes of other types are its own.
Where a reset costs much more than a step, a number ``reset_ratio`` says for how many environments a
step computes one (see ``resetting``).
Where not all actions are legal in every state, its ``reset_env`` and ``step_env`` (of a ``RawEnv``,
``reset`` and ``step``) give in the place of an observation a ``types.ObservationLegalActions``
around one.

A class of before gymnax 1.0 returns one ``done`` for the end of the task and for its limit of
steps, and values bootstrap through the one and not through the other. So it is refused, until an
attribute ``done = "termination"`` says that without ``max_steps_in_episode`` it is the end alone::

    class Mine(old_library.Environment):
        done = "termination"

Then a step ends the task where it does so without a limit, and any other ``done`` is the limit.
"""

import inspect
from collections.abc import Mapping
from typing import Any

from jaxq.config import words_as_values
from jaxq.envs.contract import is_merged, missing_method
from jaxq.envs.episodes import RawEnv, from_raw
from jaxq.envs.forms import own_errors
from jaxq.envs.gymnax import raw_and_forms
from jaxq.envs.probing import Forms, check_count, probe_env
from jaxq.errors import ConfigError
from jaxq.types import Env, PyTree

_ACCEPTED = (
    "accepted: a gymnax-1.0 class, a jaxq RawEnv, a function that returns one of them or a pair of "
    "gymnax environment and parameters, or one with a parameter num_envs that returns a jaxq Env."
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
        check_count(num_envs, name)
        raw, forms = raw_of(thing, name, kwargs, time_limit)
        return from_raw(raw, name, num_envs, time_limit, forms)
    policy = {} if time_limit is None else {"time_limit": time_limit}
    env = _call(thing, name, kwargs, num_envs=num_envs, **policy)
    if not isinstance(env, Env):
        raise ConfigError(
            f"env={name} has a parameter num_envs and gave {_described(env)}; {_ACCEPTED}"
        )
    return probe_env(env, num_envs, name)


def raw_of(
    thing: Any, name: str, kwargs: tuple[str, ...] = (), time_limit: str | None = None
) -> tuple[RawEnv, Forms | None]:
    """What ``thing`` makes, without resets, and what that returns, if it is known.

    Raises:
      ConfigError: as ``from_object``, and where an ``Env`` is ready-made: it hides its own.
    """
    made = _make(thing, name, kwargs)
    if isinstance(made, RawEnv):
        return made, None
    return raw_and_forms(*made, name, time_limit, None)


def gymnax_of(thing: Any, name: str, kwargs: tuple[str, ...] = ()) -> tuple[Any, PyTree]:
    """The gymnax environment that ``thing`` makes and its parameters, as for drawing it.

    Raises:
      ConfigError: as ``raw_of``, and where it makes a ``RawEnv``.
    """
    made = _make(thing, name, kwargs)
    if isinstance(made, RawEnv):
        raise ConfigError(f"env={name} is a RawEnv, which cannot be drawn; a gymnax class can.")
    return made


def is_raw(thing: Any, name: str, kwargs: tuple[str, ...] = ()) -> bool:
    """Whether ``thing`` makes a ``RawEnv``, and so is of no library that is known."""
    if "num_envs" in _parameters_of(thing):
        return False
    return isinstance(_make(thing, name, kwargs), RawEnv)


def form_of(thing: Any, name: str, kwargs: tuple[str, ...] = ()) -> str:
    """What ``thing`` makes, in words."""
    if "num_envs" in _parameters_of(thing):
        return "a jaxq Env, ready-made"
    made = _make(thing, name, kwargs)
    if isinstance(made, RawEnv):
        return "a jaxq RawEnv"
    return "a gymnax class of before 1.0" if is_merged(*made) else "a gymnax-1.0 class"


def _make(thing: Any, name: str, kwargs: tuple[str, ...]) -> RawEnv | tuple[Any, PyTree]:
    """A ``RawEnv``, or a gymnax environment and its parameters."""
    if "num_envs" in _parameters_of(thing):
        raise ConfigError(
            f"env={name} makes an Env ready-made, whose gymnax environment, if any, is not known."
        )
    made = _call(thing, name, kwargs)
    if isinstance(made, RawEnv):
        return made
    with own_errors(f"default_params of env={name}"):
        if _is_gymnax(made) and hasattr(made, "default_params"):
            return made, made.default_params
    if type(made) is tuple and len(made) == 2 and _is_gymnax(made[0]):
        return made
    raise ConfigError(f"env={name} gave {_described(made)}; {_ACCEPTED}")


def _call(thing: Any, name: str, kwargs: tuple[str, ...], **ours: Any) -> Any:
    """``thing`` called with its arguments and ours."""
    if isinstance(thing, RawEnv):
        if kwargs:
            raise ConfigError(
                f"env_kwargs={list(kwargs)} is not accepted by {name}, which is a RawEnv; a "
                f"function that returns one has arguments."
            )
        return thing
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
    with own_errors(f"env={name}"):
        return thing(**arguments)


def _is_gymnax(made: Any) -> bool:
    """Whether it is a gymnax environment, and not its class."""
    return not isinstance(made, type) and missing_method(made) is None


def _described(found: Any) -> str:
    if type(found) is tuple:
        return f"a tuple of {', '.join(type(part).__name__ for part in found) or 'nothing'}"
    if isinstance(found, type):
        return f"the class {found.__name__}"
    if found is None:
        return "None"
    missing = missing_method(found)
    without = f", which has no {missing}" if missing and hasattr(found, "step_env") else ""
    return f"an object of type {type(found).__qualname__}{without}"


def _parameters_of(thing: Any) -> Mapping[str, inspect.Parameter]:
    signature = _signature(thing)
    return signature.parameters if signature else {}


def _signature(thing: Any) -> inspect.Signature | None:
    """None where Python does not know it, as of some built-in functions, or where none can be."""
    try:
        return inspect.signature(thing)
    except (TypeError, ValueError):
        return None
