"""Environments by name, whatever library they are from: ``craftax/Craftax-Classic-Symbolic-v1``.

A name begins with its library's, and with nothing where it is gymnax's or somebody's own. A library
is imported when one of its environments is made; which of them need an extra says ``LIBRARIES``.
"""

from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

from jaxq.envs import gymnax
from jaxq.envs.episodes import RawEnv, from_raw
from jaxq.envs.forms import accepted
from jaxq.envs.probing import Forms, check_count
from jaxq.errors import ConfigError, require, unknown
from jaxq.types import Env

LIBRARIES = {  # library, and so extra and adapter -> packages that must be there to import it
    "craftax": ("craftax",),
    "octax": ("octax", "cv2"),  # which it imports without declaring it
    "pgx": ("pgx",),
    "xminigrid": ("xminigrid",),
}


def library_of(name: str) -> str:
    """The library of an environment's name; that of gymnax is in none, as somebody's own."""
    library = name.partition("/")[0]
    return library if library in LIBRARIES else "gymnax"


def check_installed(names: Iterable[str]) -> None:
    """Refuse environments whose libraries are not all installed.

    Raises:
      ConfigError: says what to install for all of them.
    """
    for_all = [library for library in dict.fromkeys(map(library_of, names)) if library in LIBRARIES]
    packages = [package for library in for_all for package in LIBRARIES[library]]
    option = ", ".join(f"env={library}/..." for library in for_all)
    require(option, *packages, extra=",".join(for_all))


def version_of(library: str) -> dict[str, str]:
    """A library with its version, as protocols say it."""
    try:
        return {library: version(library)}
    except PackageNotFoundError:  # it is not there, or nobody installed it
        return {library: "unknown"}


def make_env(
    name: str,
    num_envs: int,
    kwargs: tuple[str, ...] = (),
    time_limit: str | None = None,
) -> Env:
    """The environment called ``name``, ``num_envs`` times.

    Args:
      name: a gymnax id, or that of another library behind the library's name and a slash.
      num_envs: E.
      kwargs: arguments of the environment's class, each ``"name=value"``; what is accepted say the
        adapters.
      time_limit: ``"bootstrap"`` or ``"terminal"``; None takes the environment's own policy.

    Raises:
      ConfigError: unknown name, a library that is not installed, actions that are continuous or
        chosen by several players, or arguments the class does not take.
    """
    if not isinstance(name, str) or ":" in name:
        raise ConfigError(
            f"name={name} must be a name such as CartPole-v1; environments of your own are made "
            f"by jaxq.from_raw and jaxq.from_gymnax."
        )
    check_count(num_envs, name)
    raw, forms = raw_of(name, kwargs, time_limit)
    with accepted(kwargs, name):
        return from_raw(raw, name, num_envs, time_limit, forms)


def raw_of(
    name: str, kwargs: tuple[str, ...] = (), time_limit: str | None = None
) -> tuple[RawEnv, Forms | None]:
    """The environment called ``name`` without resets, and what it returns, if that is known.

    Args:
      name, kwargs, time_limit: as ``make_env`` has them.

    Raises:
      ConfigError: as ``make_env``.
    """
    library = library_of(name)
    if library == "gymnax":
        return gymnax.raw_of(name, kwargs, time_limit)
    adapter, known = adapter_of(library), name.removeprefix(f"{library}/")
    if known not in adapter.names():
        getattr(adapter, "refuse", lambda name: None)(name)
        raise unknown("env", name, [f"{library}/{known}" for known in adapter.names()])
    with accepted(kwargs, name):
        return adapter.make_raw(known, kwargs), None


def registered(name: str) -> Callable | None:
    """What makes an environment that this process gave to ``gymnax.register``; None of others."""
    return gymnax.registered(name) if library_of(name) == "gymnax" else None


def adapter_of(library: str) -> ModuleType:
    """The module that says what a library calls things.

    Raises:
      ConfigError: the library is not installed.
    """
    check_installed([f"{library}/..."])
    return import_module(f"jaxq.envs.{library}")
