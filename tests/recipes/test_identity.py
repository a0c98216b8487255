"""What tells functions apart: resume must not go on with another method than it was begun with."""

import linecache
import sys
from functools import partial, wraps
from importlib import import_module

import jax.numpy as jnp
import numpy as np
import pytest

from jaxq.envs.episodes import RawEnv
from jaxq.recipes.identity import description


def build(config, env, *, boost=0.0):
    return config, env, boost


def factory(boost):
    def make(config, env):
        return config, env, boost

    return make


class Maker:
    def __init__(self, boost):
        self.boost = boost

    def __call__(self, config, env):
        return config, env, self.boost


def twice(function):
    @wraps(function)
    def inner(*arguments):
        return function(*arguments)

    return inner


@pytest.mark.parametrize(
    "make",
    [
        lambda boost: partial(build, boost=boost),
        lambda boost: partial(partial(build, None), None, boost=boost),
        factory,
        Maker,
        lambda boost: partial(Maker(boost), None),
        lambda boost: partial(build, boost={"a": [boost]}),
        lambda boost: partial(build, boost=np.full(3, boost)),
        lambda boost: partial(build, boost=jnp.full(3, boost)),
        lambda boost: partial(build, boost=factory(boost)),
        lambda boost: factory(factory(boost)),
        lambda boost: twice(factory(boost)),
        lambda boost: factory(Maker if boost else RawEnv),
        lambda boost: factory([np, jnp][bool(boost)]),
        lambda boost: lambda config, env, boost=boost: (config, env, boost),
        lambda boost: lambda config, env, *, boost=boost: (config, env, boost),
    ],
)
def test_functions_are_told_apart_by_the_values_they_were_made_with(make):
    """Trap: partial and closures were resumed as if their values did not count."""
    first, same, other = description(make(0.0)), description(make(0.0)), description(make(100.0))
    assert first == same and first["name"] == other["name"] and first["source"] != other["source"]


def test_lambdas_of_one_file_are_told_apart():
    first, second = (lambda c, e: 1), (lambda c, e: 2)
    again = lambda c, e: 1  # noqa: E731
    assert description(first) == description(again) != description(second)


def test_an_object_is_known_by_its_class():
    assert description(Maker(1.0))["name"] == f"{__name__}:Maker"


def test_of_several_functions_every_file_counts(tmp_path, monkeypatch):
    """Trap: of an environment only the file of its reset did, so its reward could change."""
    monkeypatch.setattr(sys, "path", [str(tmp_path / "a"), str(tmp_path / "b"), *sys.path])
    files = [tmp_path / "a" / "first_file.py", tmp_path / "b" / "second_file.py"]
    for file in files:
        file.parent.mkdir()
        file.write_text("def act(*arguments):\n    return 1\n")
    first, second = (import_module(file.stem).act for file in files)
    together = RawEnv(2, reset=first, step=partial(second, reward=1))
    before = description(together)
    assert before["name"] == "first_file:act"
    for file in files:
        file.write_text(file.read_text().replace("1", "2"))
        now = description(together)
        assert now["name"] == before["name"] and now["source"] != before["source"]
        before = now


def test_what_is_imported_by_a_relative_name_counts(tmp_path, monkeypatch):
    """Trap: only absolute names were followed, so a package of one's own could change unseen."""
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "related" / "methods"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    texts = {
        package
        / "mine.py": "from .helper import one\nfrom . import other\nfrom ..base import two\n"
        "def act(*arguments):\n    return one, two, other\n",
        package / "helper.py": "one = 1\n",
        package / "other.py": "three = 3\n",
        package.parent / "base.py": "two = 2\n",
    }
    for file, text in texts.items():
        file.write_text(text)
    act = import_module("related.methods.mine").act
    for file in (package / "helper.py", package / "other.py"):
        before = description(act)
        file.write_text(file.read_text() + "more = 4\n")
        assert description(act)["source"] != before["source"], file


def defined(text, name="mine", file=None):
    """A function as a notebook defines it: in a module without a file."""
    scope = {"__name__": "a_notebook"}
    if file:
        linecache.cache[file] = (len(text), None, text.splitlines(True), file)
    exec(compile(text, file or "<string>", "exec"), scope)
    return scope[name]


@pytest.mark.parametrize("file", [None, "<ipython-input-1>"])
def test_without_a_file_the_text_or_the_code_counts(file):
    """Trap: unknown was equal to unknown."""
    make = partial(defined, file=file)
    text = "def mine(config, env):\n    return 1\n"
    first = description(make(text))
    assert first == description(make(text.replace("    return", "    # why\n    return")))
    assert first["source"] != description(make(text.replace("1", "2")))["source"]
    nested = "def mine(config, env):\n    def inner():\n        return 1\n    return inner\n"
    assert description(make(nested)) != description(make(nested.replace("1", "2")))
