"""Shapes and dtypes of what somebody's functions return, held against what is accepted.

All of them raise ``ConfigError``, with what was found.
"""

import contextlib
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxq.errors import ConfigError
from jaxq.types import ObservationLegalActions, PyTree

_HOUSE = Path(__file__).parents[1]
_PYTHON = Path(sysconfig.get_path("stdlib"))  # through which others call
_NOT_TRACED = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)
_NUMBERS = (bool, int, float, np.generic, np.ndarray)


def shapes(what: str, names: str, function: Callable, *args: Any) -> tuple:
    """Shapes and dtypes of what ``function`` returns: numbers, under so many names."""

    def checked(*args: Any) -> tuple:
        result, count = function(*args), names.count(",") + 1
        if not (isinstance(result, tuple | list) and len(result) == count):
            found = "an array" if isinstance(result, jax.Array) else type(result).__name__
            found = f"{len(result)} values" if type(result) in (tuple, list) else found
            raise ConfigError(f"{what} returns {found}; {count} are accepted: {names}.")
        for name, value in zip(names.split(", "), result):
            check_numbers(value, f"{name} from {what}")
        return tuple(result)

    with own_errors(what):
        return jax.eval_shape(checked, *args)


@contextlib.contextmanager
def own_errors(what: str) -> Iterator[None]:
    """What somebody's own code raises becomes a sentence: which function, what, and where.

    Raises:
      ConfigError: in its place, raised from it; an error of other code stays as it is.
    """
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        sentence = own_error(error, what)
        if sentence is None:
            raise
        raise ConfigError(sentence) from error


@contextlib.contextmanager
def accepted(kwargs: tuple[str, ...], name: str) -> Iterator[None]:
    """What a library raises where it is given arguments becomes a sentence about them.

    Raises:
      ConfigError: in its place; without arguments the error stays as it is.
    """
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        if not kwargs:
            raise
        found = str(error).strip().partition("\n")[0].rstrip(".")
        raise ConfigError(
            f"env_kwargs={list(kwargs)} is not accepted by {name}: {found}."
        ) from error


def own_error(error: Exception, what: str = "", script: str = "") -> str | None:
    """What somebody's own code has raised, as one sentence; of any other error None.

    Args:
      what: the function that was called, in words; by default that in which it arose.
      script: a file that is not somebody's own, and stands on the way.
    """
    frames = traceback.extract_tb(error.__traceback__)
    places = [(Path(frame.filename), frame) for frame in frames if frame.filename != script]
    places = [(path, frame) for path, frame in places if is_somebodys(path)]
    if not places:
        return None
    path, frame = places[-1]
    what, where = what or f"{path.stem}:{frame.name}", f"{path.name}, line {frame.lineno}"
    if isinstance(error, _NOT_TRACED):
        return (
            f"{what} decides in Python or NumPy what is only known when it runs ({where}); "
            f"jnp.where, jax.lax.cond and functions of jax.numpy are accepted there."
        )
    found = "".join(traceback.format_exception_only(error)).splitlines()[0].rstrip(".")
    return f"{what} raised {found} ({where})."


def is_somebodys(path: Path) -> bool:
    """Whether a file is neither Python's, nor of this house or an installed package."""
    return "site-packages" not in path.parts and not {_HOUSE, _PYTHON} & {*path.parents}


def check_numbers(values: PyTree, what: str) -> None:
    """Refuse texts and other objects of Python's, which no program holds."""
    for path, leaf in jax.tree.leaves_with_path(values):
        if not is_number(leaf):
            where = f" at {place(path)}" if path else ""
            found = f"{what}{where} is of type {type(leaf).__name__}"
            raise ConfigError(f"{found}; numbers and arrays are accepted.")


def is_number(leaf: Any) -> bool:
    """Whether a leaf is what a program takes."""
    if isinstance(leaf, jax.Array):  # also one that is traced, and keys
        return True
    return isinstance(leaf, _NUMBERS) and np.asarray(leaf).dtype.kind not in "OUSmM"


def check_told(values: Mapping[str, Any], what: str) -> None:
    """Refuse what results cannot hold as JSON."""
    for path, leaf in jax.tree.leaves_with_path(dict(values)):
        if not (isinstance(leaf, str) or (is_number(leaf) and not isinstance(leaf, jax.Array))):
            raise ConfigError(
                f"{what} at {place(path)} is of type {type(leaf).__name__}; texts and numbers are "
                f"accepted."
            )


def check_flags(values: Mapping[str, Any], shape: tuple[int, ...], name: str) -> None:
    """Numbers have one element per environment, and what is yes or no is ``bool``."""
    for field, value in values.items():
        is_real = field in ("reward", "total_reward", "length")
        dtype = getattr(value, "dtype", None)
        if dtype is None or value.shape != shape:
            found = f"of shape {list(value.shape)}" if dtype is not None else "no array"
            raise ConfigError(
                f"{field} of env={name} is {found}; one of shape {list(shape)} is accepted."
            )
        found = jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)
        if not (found if is_real else jnp.issubdtype(dtype, jnp.bool_)):
            accepted = "a real number" if is_real else "bool"
            raise ConfigError(f"{field} of env={name} is {dtype}; {accepted} is accepted.")


def check_same(first: PyTree, second: PyTree, what: str, dtypes: bool = True) -> None:
    """After a step everything has the form that it has after a reset."""
    forms = jax.tree.structure(first), jax.tree.structure(second)
    if forms[0] != forms[1]:
        raise ConfigError(f"{what} is nested in one way after a reset, in another after a step.")
    for (path, a), b in zip(jax.tree.leaves_with_path(first), jax.tree.leaves(second)):
        if a.shape != b.shape or (dtypes and a.dtype != b.dtype):
            where = f" at {place(path)}" if path else ""
            raise ConfigError(
                f"{what}{where} is {_form(a)} after a reset and {_form(b)} after a step; the same "
                f"is accepted."
            )


def check_legal(obs: Any, shape: tuple[int, ...], what: str) -> None:
    """What an observation says of actions is one ``bool`` for each, around all the rest."""
    is_said = _says_legal(obs)
    inside = jax.tree.leaves(obs.obs if is_said else obs, is_leaf=_says_legal)
    if any(map(_says_legal, inside)):
        raise ConfigError(
            f"the legal actions of {what} are inside of its observation; an "
            f"ObservationLegalActions around all of it is accepted."
        )
    if not is_said:
        return
    found = obs.legal
    if not (hasattr(found, "dtype") and found.shape == shape and found.dtype == jnp.bool_):
        form = _form(found) if hasattr(found, "dtype") else "nested"
        raise ConfigError(
            f"the legal actions of {what} are {form}; bool{list(shape)} is accepted, one for every "
            f"action."
        )


def _says_legal(obs: Any) -> bool:
    return isinstance(obs, ObservationLegalActions)


def check_is(found: Any, spec: PyTree, what: str) -> None:
    """Refuse what is not of the form that a specification says."""
    if isinstance(spec, ObservationLegalActions):
        if not isinstance(found, ObservationLegalActions):
            raise ConfigError(
                f"{what} is of type {type(found).__name__}; by its obs_spec an "
                f"ObservationLegalActions is accepted."
            )
        for name in spec._fields:
            check_is(getattr(found, name), getattr(spec, name), f"{name} of {what}")
        return
    if not hasattr(found, "dtype") or (found.shape, found.dtype) != (spec.shape, spec.dtype):
        form = _form(found) if hasattr(found, "dtype") else "nested"
        raise ConfigError(f"{what} is {form}; by its obs_spec {_form(spec)} is accepted.")


def check_not_empty(obs: Any, name: str) -> None:
    leaves = jax.tree.leaves(obs)
    if not leaves or any(0 in leaf.shape for leaf in leaves):
        raise ConfigError(
            f"the observation of env={name} has no elements; at least one is accepted."
        )


def _form(leaf: Any) -> str:
    return f"{leaf.dtype}{list(leaf.shape)}"


def place(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")
