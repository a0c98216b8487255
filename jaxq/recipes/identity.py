"""What tells whether a function of somebody's own is still the same: its name, source and values.

The source is a hash of syntax, so comments and layout do not count. A function that was made by
another one, or with some of its arguments fixed, is told apart by the values that it holds.
"""

import ast
import hashlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import jax
import numpy as np

from jaxq.envs.forms import is_somebodys

_DEEPEST = 6  # values inside values that are looked at


def description(thing: Callable) -> dict[str, str]:
    """Name and source of a function, a class, or an object that can be called.

    ``source`` is a hash of the syntax of its module and of the modules beside it which that one
    imports; of a function without a file, such as in a notebook, of its own text or code; and of
    the values that it was made with. A tuple of functions, such as a ``RawEnv``, has the name of
    the first one, and the source of all that are not of this house or a library's.
    """
    inner = _inside(thing)
    parts = [inner]
    if isinstance(inner, tuple):
        parts = [_inside(part) for part in inner if callable(part)] or parts
    named = [part if hasattr(part, "__qualname__") else type(part) for part in parts]
    name = f"{named[0].__module__}:{named[0].__qualname__}"
    text = hashlib.sha256("".join(_syntax([*filter(_is_somebodys, named)] or named)).encode())
    values = "".join(_values(thing))
    if values:
        text.update(values.encode())
    return {"name": name, "source": text.hexdigest()[:16]}


def same_parts(there: Mapping[str, Any], here: Mapping[str, Any], accept: bool) -> list[str]:
    """In what parts of one's own differ: those that made a run and those of now, field by field.

    Args:
      accept: whether a part may have the same name and another source.
    """
    changes = []
    for field in sorted(set(there) | set(here)):
        before, now = there.get(field), here.get(field)
        if before is None or now is None or before["name"] != now["name"]:
            names = [part["name"] if part else "none of one's own" for part in (before, now)]
            changes.append(f"{field} ({names[0]} there, {names[1]} here)")
        elif before["source"] != now["source"] and not accept:
            name = now["name"] if field == now["name"] else f"{field} {now['name']}"
            changes.append(
                f"source of {name} ({before['source']} there, {now['source']} here; "
                f"--accept-changed-code goes on all the same)"
            )
    return changes


def with_history(there: Mapping[str, Any], here: Mapping[str, Any]) -> dict[str, Any]:
    """Parts of now, each with the sources that it had before."""
    made_of = {}
    for field, part in here.items():
        old = there.get(field, part)
        earlier = [*old.get("earlier", []), old["source"]]
        earlier = [source for source in dict.fromkeys(earlier) if source != part["source"]]
        made_of[field] = {**part, **({"earlier": earlier} if earlier else {})}
    return made_of


def _inside(thing: Any) -> Any:
    """What wrappers and fixed arguments are around."""
    inner = inspect.unwrap(thing)
    while isinstance(inner, partial):
        inner = inspect.unwrap(inner.func)
    return inner


def _is_somebodys(thing: Any) -> bool:
    file = _file(thing)
    return file is None or is_somebodys(Path(file))


def _file(thing: Any) -> str | None:
    return getattr(inspect.getmodule(thing), "__file__", None)


def _syntax(things: Sequence[Any]) -> Iterator[str]:
    """The syntax that functions and classes are written in, every file once."""
    modules = [inspect.getmodule(thing) for thing in things if _file(thing)]
    for path in sorted(set().union(*map(_neighbours, modules))):
        yield ast.dump(ast.parse(path.read_text()))
    for thing in things:
        if not _file(thing):
            yield from _text(thing)
        elif "<lambda>" in getattr(thing, "__qualname__", ""):  # one of several, perhaps
            yield from _code(thing.__code__)


def _text(thing: Any) -> Iterator[str]:
    """What is written of a function or class without a file."""
    try:
        yield ast.dump(ast.parse(inspect.cleandoc(inspect.getsource(thing))))
    except (OSError, TypeError, SyntaxError):
        for function in vars(thing).values() if isinstance(thing, type) else (thing,):
            if isinstance(function, FunctionType):
                yield from _code(function.__code__)


def _code(code: CodeType) -> Iterator[str]:
    """What a function does, without the lines where it stands."""
    yield f"{code.co_code.hex()} {code.co_names} {code.co_varnames}"
    for constant in code.co_consts:
        yield from _code(constant) if isinstance(constant, CodeType) else [repr(constant)]


def _values(value: Any, depth: int = 0) -> Iterator[str]:
    """The values that a function or an object was made with, in words; none is nothing."""
    if depth > _DEEPEST:
        return
    if isinstance(value, type | ModuleType):
        if depth:  # which one, as a function below
            name = getattr(value, "__qualname__", value.__name__)  # a module has the second only
            yield f"{getattr(value, '__module__', '')}:{name};"
        return
    if isinstance(value, partial):
        inside = {"": value.func, **dict(enumerate(value.args)), **value.keywords}
    elif isinstance(value, FunctionType):
        wrapped = inspect.unwrap(value)
        cells = zip(wrapped.__code__.co_freevars, wrapped.__closure__ or ())
        inside = {name: _content(cell) for name, cell in cells}
        if "<" in wrapped.__qualname__:  # made by another, or one of several
            inside |= {f"default {i}": given for i, given in enumerate(wrapped.__defaults__ or ())}
            inside |= wrapped.__kwdefaults__ or {}
    elif isinstance(value, Mapping):
        inside = dict(value)
    elif isinstance(value, list | tuple):
        inside = dict(enumerate(value))
    elif isinstance(value, np.ndarray | np.generic | jax.Array):
        array = np.asarray(value)
        yield f"{array.dtype}{array.shape}{hashlib.sha256(array.tobytes()).hexdigest()};"
        return
    elif value is None or isinstance(value, bool | int | float | complex | str | bytes):
        yield f"{value!r};"
        return
    else:
        inside = getattr(value, "__dict__", {})
        if depth:
            yield f"{type(value).__qualname__} {re.sub(r' at 0x[0-9a-f]+', '', repr(value))};"
    for name, item in inside.items():
        words = "".join(_values(item, depth + 1))
        if isinstance(item, FunctionType):  # which one, beside what it holds
            words = f"{item.__module__}:{item.__qualname__} {words}"
        if words:
            yield f"{name}={words}"


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # empty
        return None


def _neighbours(module: ModuleType) -> set[Path]:
    """The file of a module, and of those that it imports from its own folder or below."""
    folder, found, todo = Path(module.__file__).resolve().parent, set(), [module]
    while todo:
        this = todo.pop()
        path, package = Path(this.__file__).resolve(), getattr(this, "__package__", None) or ""
        if path in found:
            continue
        found.add(path)
        for name in _imported(ast.parse(path.read_text()), package):
            other = sys.modules.get(name)
            file = getattr(other, "__file__", None)
            if file and _is_beside(Path(file).resolve(), folder):
                todo.append(other)
    return found


def _is_beside(path: Path, folder: Path) -> bool:
    """Whether a file belongs to the same work: below ``folder``, and not an installed package."""
    if path.suffix != ".py" or folder not in path.parents:
        return False
    return not {"site-packages", "jaxq"} & set(path.relative_to(folder).parts[:-1])


def _imported(tree: ast.Module, package: str) -> Iterator[str]:
    """The names of all modules that a module of a package may import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in node.names)
