"""Functions of one's own by name: ``module:function``, and what they were made of.

A name is a string, so it survives config.json, other processes and another day. The module is found
from the current directory, as with ``python -m``. A file never decides what code runs: a name that
was read from one is ``FromFile`` and refused here, until the caller gives the same name.
"""

import ast
import hashlib
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxq.config import Config, FromFile
from jaxq.errors import ConfigError, unknown

OPEN = (
    "env agent backup network replay target optimizer action_selection exploration"
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
    names = " ".join(dict.fromkeys(name for name in values if isinstance(name, FromFile)))
    if names:
        raise ConfigError(
            f"code={names} is named by a file, and a file never decides what code runs; "
            f"--trust {names} says that you want it (in Python, trusted=[...] where it is read)."
        )


def resolve(field: str, name: str) -> Callable:
    """The function that ``name`` stands for; its module is imported.

    Raises:
      ConfigError: a file has named it, there is no such module or function, or importing fails.
    """
    if isinstance(name, FromFile):
        check_trust(Config(**{field: name}))
    module_name, _, path = name.partition(":")
    here = os.getcwd()
    if here not in sys.path:
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
    except Exception as error:
        raise _failed(field, name, error) from error
    thing: Any = module
    for part in path.split("."):
        if not hasattr(thing, part):
            public = [known for known in vars(thing) if not known.startswith("_")]
            raise unknown(f"{field}={module_name}:", path, public)
        thing = getattr(thing, part)
    if not callable(thing):
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
    """

    def mark(function: Callable) -> Callable:
        if reads:
            function.reads = reads
        if loop:
            function.loop = loop
        function.numbers = numbers
        return function

    return mark


def description(thing: Callable) -> dict[str, str]:
    """Name and source of a function or class: what tells whether it is still the same.

    ``source`` is a hash of the syntax of its module and of the modules beside it which that one
    imports; comments and layout do not count.
    """
    while isinstance(thing, partial):
        thing = thing.func
    thing = inspect.unwrap(thing)
    module = inspect.getmodule(thing)
    name = f"{getattr(thing, '__module__', '?')}:{getattr(thing, '__qualname__', repr(thing))}"
    if module is None or not getattr(module, "__file__", None):
        return {"name": name, "source": "unknown"}
    text = hashlib.sha256()
    for path in sorted(_neighbours(module)):
        text.update(ast.dump(ast.parse(path.read_text())).encode())
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


def _neighbours(module: ModuleType) -> set[Path]:
    """The file of a module, and of those that it imports from its own folder or below."""
    folder, found, todo = Path(module.__file__).resolve().parent, set(), [module]
    while todo:
        path = Path(todo.pop().__file__).resolve()
        if path in found:
            continue
        found.add(path)
        for name in _imported(ast.parse(path.read_text())):
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


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _failed(field: str, name: str, error: Exception) -> ConfigError:
    words = (str(error).strip() or "no reason given").splitlines()[0]
    return ConfigError(
        f"{field}={name} cannot be imported: {type(error).__name__}, {words.rstrip('.')}."
    )
