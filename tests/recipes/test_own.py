"""Functions of one's own by name: found, described, and never run because a file says so."""

import sys
from pathlib import Path

import pytest

from jaxq.config import Config
from jaxq.documents import FromFile, config_from_dict
from jaxq.errors import ConfigError
from jaxq.recipes.identity import description, same_parts, with_history
from jaxq.recipes.own import check_trust, resolve
from jaxq.recipes.validation import validate


@pytest.fixture
def here(tmp_path: Path, monkeypatch):
    """An empty directory, in which modules are found as with ``python -m``."""
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_name_is_a_function_of_the_current_directory(here):
    (here / "mine_a.py").write_text("def loss(): return 7\nnumber = 3\n")
    assert resolve("agent", "mine_a:loss")() == 7
    for name, message in (
        ("mine_a:lost", "agent=mine_a:lost does not exist; did you mean mine_a:loss"),
        ("jax.nn:sillu", "agent=jax.nn:sillu does not exist; did you mean jax.nn:silu"),
        ("mine_a:number", "agent=mine_a:number is int, not a function or a class"),
        ("nothing_here:loss", "there is no module nothing_here in"),
    ):
        with pytest.raises(ConfigError, match=message):
            resolve("agent", name)


def test_what_fails_while_it_is_imported_is_named(here):
    (here / "mine_b.py").write_text("import not_installed\n")
    (here / "mine_c.py").write_text("1 / 0\n")
    for name, message in (
        ("mine_b:f", "cannot be imported: ModuleNotFoundError, No module named 'not_installed'"),
        ("mine_c:f", "cannot be imported: ZeroDivisionError, division by zero"),
    ):
        with pytest.raises(ConfigError, match=message):
            resolve("agent", name)


def test_a_file_never_decides_what_code_runs(here):
    (here / "mine_d.py").write_text("open('ran', 'w')\ndef make(): pass\n")
    config = config_from_dict({"agent": "mine_d:make", "backup": "mine_d:other"})
    assert isinstance(config.agent, FromFile)
    for refuse in (check_trust, validate):
        with pytest.raises(ConfigError, match="--trust mine_d:make mine_d:other"):
            refuse(config)
    with pytest.raises(ConfigError, match="--trust mine_d:make"):
        resolve("agent", config.agent)
    assert not (here / "ran").exists()
    trusted = config_from_dict({"agent": "mine_d:make"}, ["mine_d:make"])
    check_trust(trusted)
    resolve("agent", trusted.agent)
    assert (here / "ran").exists()


def test_a_description_changes_with_the_code_and_not_with_its_comments(here):
    (here / "beside_e.py").write_text("scale = 2\n")
    text = "import beside_e\nimport numpy\ndef loss(): return beside_e.scale\n"
    (here / "mine_e.py").write_text(text)
    loss = resolve("agent", "mine_e:loss")
    first = description(loss)
    assert first["name"] == "mine_e:loss" and first == description(loss)
    (here / "mine_e.py").write_text("# a comment\n\n" + text)
    assert description(loss) == first
    (here / "beside_e.py").write_text("scale = 3\n")
    assert description(loss)["source"] != first["source"]


def test_what_differs_is_said_and_what_is_accepted_is_remembered():
    part = lambda name, source: {"agent": {"name": name, "source": source}}  # noqa: E731
    assert same_parts(part("m:f", "1"), part("m:f", "1"), accept=False) == []
    (change,) = same_parts(part("m:f", "1"), part("m:f", "2"), accept=False)
    assert "source of agent m:f (1 there, 2 here; --accept-changed-code" in change
    assert same_parts(part("m:f", "1"), part("m:f", "2"), accept=True) == []
    (change,) = same_parts(part("m:f", "1"), {}, accept=True)
    assert change == "agent (m:f there, none of one's own here)"
    twice = with_history(with_history(part("m:f", "1"), part("m:f", "2")), part("m:f", "3"))
    assert twice["agent"]["earlier"] == ["1", "2"] and twice["agent"]["source"] == "3"


def test_plain_names_are_no_code():
    assert type(config_from_dict({"agent": "dqn"}).agent) is str
    check_trust(Config(agent="m:f"))  # by the caller


def test_a_raw_env_is_an_environment_and_known_by_its_functions(here):
    text = "import jaxq\ndef reset(key, params): return 0.0, 0\ndef step(*now): pass\n"
    (here / "mine_f.py").write_text(f"{text}walk = jaxq.RawEnv(2, reset=reset, step=step)\n")
    walk = resolve("env", "mine_f:walk")
    assert description(walk)["name"] == "mine_f:reset"
    assert description(walk) == description(walk._replace())
    assert description(walk) != description(walk._replace(step=walk.reset))
    assert description(walk) != description(walk._replace(num_actions=3))
    with pytest.raises(ConfigError, match="agent=mine_f:walk is RawEnv, not a function"):
        resolve("agent", "mine_f:walk")
