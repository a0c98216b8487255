"""Functions of one's own by name: ``module:function``.

A name is a string, so it survives config.json, other processes and another day. The module is found
from the current directory, as with ``python -m``. A file never decides what code runs: a name that
was read from one is ``FromFile`` and refused here, until the caller gives the same name.
"""

import importlib
import os
import sys
from collections.abc import Callable, Iterable
from numbers import Real
from types import ModuleType
from typing import Any

from jaxq.config import Config
from jaxq.documents import FromFile
from jaxq.envs.episodes import RawEnv
from jaxq.errors import ConfigError, unknown

OPEN = (
    "env agent backup network activation memory replay target optimizer learning_rate_schedule "
    "regulariser reset trace trace_cut action_selection exploration"
).split()  # fields that accept functions of one's own


def is_own(name: Any) -> bool:
    """Whether a name stands for a function of somebody's own."""
    return isinstance(name, str) and ":" in name


def own_fields(config: Config) -> dict[str, str]:
    """Field -> the function of somebody's own that ``config`` names there."""
    named = {field: getattr(config, field) for field in OPEN}
    return {field: name for field, name in named.items() if is_own(name)}


def own_names(config: Config) -> list[str]:
    """The functions of somebody's own that ``config`` names, each once."""
    return list(dict.fromkeys(own_fields(config).values()))


def check_trust(config: Config) -> None:
    """Refuse a configuration from a file that names code nobody has asked for.

    Raises:
      ConfigError: says how to ask for it.
    """
    refuse_untrusted(vars(config).values())


def refuse_untrusted(values: Iterable[Any]) -> None:
    """The same for any values of fields.

    Raises:
      ConfigError: as ``check_trust``.
    """
    values = list(dict.fromkeys(value for value in values if is_own(value)))
    names = " ".join(name for name in values if isinstance(name, FromFile))
    if names:
        raise ConfigError(
            f"code={names} is named by a file, and a file never decides what code runs; --trust "
            f"{' '.join(values)} says that you want it (in Python, trusted=[...] where it is read)."
        )


def resolve(field: str, name: str) -> Callable:
    """The function or ``RawEnv`` that ``name`` stands for; its module is imported.

    Args:
      field: which of ``Config`` names it, or ``study`` for any of them.

    Raises:
      ConfigError: a file has named it, there is no such module or function, or importing fails.
    """
    if isinstance(name, FromFile):
        check_trust(Config(**{field: name}))
    module_name, _, path = name.partition(":")
    if not all(part.isidentifier() for part in f"{module_name}.{path}".split(".")):
        raise ConfigError(
            f"{field}={name} must be module:function, as in package.module:function; a file "
            f"method.py is the module method."
        )
    here = os.getcwd()
    if sys.path[:1] != [here]:  # before the folder of the script
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if not error.name or not f"{module_name}.".startswith(f"{error.name}."):
            raise _failed(field, name, error) from error
        raise ConfigError(
            f"{field}={name} is not found: there is no module {error.name} in {here} or among the "
            f"installed packages."
        ) from None
    except (Exception, SystemExit) as error:
        raise _failed(field, name, error) from error
    thing: Any = module
    for part in path.split("."):
        if not hasattr(thing, part):
            known = _written_in(module) or [part for part in vars(module) if part[0] != "_"]
            raise unknown(field, name, [f"{module_name}:{part}" for part in known])
        thing = getattr(thing, part)
    if not (callable(thing) or (field in ("env", "study") and isinstance(thing, RawEnv))):
        raise ConfigError(f"{field}={name} is {type(thing).__name__}, not a function or a class.")
    return thing


def declares(
    *reads: str,
    loop: str | None = None,
    **numbers: tuple[float, float],
) -> Callable[[Callable], Callable]:
    """Marks a part of one's own with what it reads; a part need not say so.

    Args:
      reads: fields of ``Config`` and ``HParams``. What nothing else reads is then refused; without
        any, the part may read what a part of its kind can.
      loop: of an agent, the loop that trains it, ``off-policy`` by default.
      numbers: names of ``HParams.extra`` with the lowest and the highest value accepted.

    Raises:
      ConfigError: what is declared is no name of a field, or no lowest and highest number.
    """
    for name in reads:
        if not isinstance(name, str):
            raise ConfigError(f"declares {name!r}; names of fields are accepted.")
    for name, bounds in numbers.items():
        kinds = [isinstance(x, Real) for x in bounds] if isinstance(bounds, tuple | list) else []
        if kinds != [True, True] or not bounds[0] <= bounds[1]:
            raise ConfigError(
                f"declares {name}={bounds!r}; the lowest and the highest value is accepted."
            )

    def mark(function: Callable) -> Callable:
        if reads:
            function.reads = reads
        if loop:
            function.loop = loop
        function.numbers = numbers
        return function

    return mark


def _written_in(module: ModuleType) -> list[str]:
    """The functions, classes and environments that a module defines, and does not only import."""
    name = module.__name__
    return [
        known
        for known, thing in vars(module).items()
        if isinstance(thing, RawEnv) or getattr(thing, "__module__", "") == name
    ]


def _failed(field: str, name: str, error: BaseException) -> ConfigError:
    words = (str(error).strip() or "no reason given").splitlines()[0]
    return ConfigError(
        f"{field}={name} cannot be imported: {type(error).__name__}, {words.rstrip('.')}."
    )
