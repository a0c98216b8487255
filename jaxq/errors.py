"""The one exception for bad input, raised before anything compiles."""

import difflib
import importlib.util
import inspect
from collections.abc import Callable, Iterable, Sequence

_SHOWN = 32  # names in a message


class ConfigError(ValueError):
    """Bad input. The message is one sentence: the field, its value and what is accepted."""


def unknown(field: str, value: object, accepted: Iterable[str], also: str = "") -> ConfigError:
    """A ``ConfigError`` for a name that does not exist, with the nearest names that do.

    Args:
      also: the end of the sentence, about what is accepted beside names.
    """
    in_order = list(accepted)
    accepted = sorted(in_order)
    by_lower = {name.lower(): name for name in accepted}
    near = difflib.get_close_matches(str(value).lower(), by_lower, n=3, cutoff=0.5)
    close = [by_lower[name] for name in near]
    if str(value).lower() in by_lower:
        close = [by_lower[str(value).lower()]]
    elif begun := [name for name in in_order if name.startswith(f"{value}-")]:
        close = begun[:3]  # a method without its environment
    if not close and str(value):
        inside = [name for name in accepted if str(value) in name]
        close = sorted(inside, key=lambda name: not name.startswith(str(value)))[:3]
    if close:
        return ConfigError(
            f"{field}={value} does not exist; did you mean {' or '.join(close)}{also}?"
        )
    others = f", and {len(accepted) - _SHOWN} more" if len(accepted) > _SHOWN else ""
    names = ", ".join(accepted[:_SHOWN])
    return ConfigError(f"{field}={value} does not exist; accepted: {names}{others}{also}.")


def missing_number(name: str, who: str) -> ConfigError:
    """A ``ConfigError`` for a number of ``HParams.extra`` that a part reads and nobody gave.

    Args:
      who: in words, up to the verb: ``which the backup reads``.
    """
    return ConfigError(
        f"extra.{name} is missing, {who}; --extra {name} NUMBER gives it, where {name}=NUMBER "
        f"would be structure."
    )


def wrong_object(what: str, found: object, accepted: str) -> ConfigError:
    """A ``ConfigError`` for a function of one's own that made something else than it should.

    Args:
      what: the part, such as ``agent=mine:agent``.
      accepted: what it may make, in words.
    """
    kind = type(found).__name__
    return ConfigError(f"{what} gave an object of type {kind}; {accepted} is accepted.")


def check_call(what: str, function: Callable, arguments: Sequence[str]) -> None:
    """Refuse a function that cannot be called with what its contract says.

    Args:
      what: whose it is, in words, such as ``agent=mine:agent``.
      arguments: names of what it is called with, in turn.

    Raises:
      ConfigError: it takes something else.
    """
    if not callable(function):
        raise ConfigError(
            f"{what} is of type {type(function).__name__}; a function of "
            f"({', '.join(arguments)}) is accepted."
        )
    try:
        signature = inspect.signature(function, follow_wrapped=False)  # it is what is called
    except (TypeError, ValueError):  # of some built-in functions Python does not know it
        return
    try:
        signature.bind(*arguments)
    except TypeError as error:
        raise ConfigError(
            f"{what} takes {signature}, but it is called with ({', '.join(arguments)}): {error}."
        ) from error


def require_devices() -> None:
    """Refuse a platform of JAX's that has no device here.

    Raises:
      ConfigError: names it.
    """
    import jax  # here: importing jaxq imports no JAX

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # or trips over it in its own code
        raise ConfigError(
            f"jax_platforms={jax.config.jax_platforms} has no device on this machine; cpu is "
            f"accepted, or no setting at all."
        ) from error


def require(option: str, *packages: str, extra: str) -> None:
    """Refuse an option whose packages are not all installed.

    Raises:
      ConfigError: says how to install them.
    """
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        names, are = " and ".join(missing), "is" if len(missing) == 1 else "are"
        raise ConfigError(f"{option} needs {names}, which {are} not installed; {how_to_get(extra)}")


def how_to_get(extra: str) -> str:
    """The end of a sentence about a package that is missing."""
    return (
        f"pip install -e '.[{extra}]', where jaxq's pyproject.toml lies, installs what is missing."
    )
