"""experiments/check_env.py: what an environment is, and the sentence for what is wrong with it."""

import sys
from functools import partial

import pytest
from conftest import ROOT
from rich.console import Console

from jaxq.cli import main
from jaxq.envs.trying import measure_speed
from jaxq.errors import ConfigError

sys.path.insert(0, str(ROOT / "experiments"))

import check_env

pytestmark = pytest.mark.usefixtures("compiled_quickly")

MINE = """
import jax, jax.numpy as jnp, jaxq

def reset(key, params):
    return jnp.zeros(1), jnp.int32(0)

def step(key, state, action, params):
    return jnp.ones(1), state + action, 1.0, state > 3, False

def far(*now):
    return jnp.full(1, jnp.nan), *step(*now)[1:]

walk = jaxq.RawEnv(num_actions=2, reset=reset, step=step)
nan = walk._replace(step=far)
none = walk._replace(num_actions=None)

def several(*now):
    obs, *others = step(*now) if len(now) == 4 else reset(*now)
    legal = jnp.array([True, False, True])
    return jaxq.types.ObservationLegalActions({"b": obs, "a": jnp.int8(3)}, legal), *others

def ending(key, state, action, params):
    return jnp.ones(1), state + 1, 1.0, False, state >= 3

ends = walk._replace(step=ending)
legal = jaxq.RawEnv(num_actions=3, reset=several, step=several)

def bytes_of(*now):
    obs, *others = step(*now) if len(now) == 4 else reset(*now)
    return jnp.zeros(2, jnp.int8), *others

wide = walk._replace(reset=bytes_of, step=bytes_of, space=jaxq.Bounds(0, 99))

def ready(num_envs):
    return jaxq.from_raw(made(7), "Ready", num_envs)

def made(limit=3):
    return walk._replace(params=jaxq.CountedLimit(limit))
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(check_env, "measure_speed", partial(measure_speed, seconds=0.0))
    monkeypatch.setattr(main, "say_error", lambda sentence: print("error:", sentence))
    (tmp_path / "mine_checked.py").write_text(MINE)
    yield
    sys.modules.pop("mine_checked", None)


def checked(*words) -> tuple[int, str]:
    """The exit code, and what is printed on 80 columns."""
    console = Console(width=80, record=True, quiet=False)
    with pytest.raises(SystemExit) as ended:
        check_env.check_env([*words, "--num-envs", "4"], console)
    return ended.value.code, console.export_text()


def test_an_environment_is_described(here):
    code, text = checked("mine_checked:made", "--env-kwargs", "limit=5")
    lines = {line[:15].strip(): line[15:].strip() for line in text.splitlines()}
    assert code == 0
    assert lines["form"] == "a jaxq RawEnv" and lines["actions"] == "2"
    assert lines["observation"] == "float32[1]"
    assert lines["time limit"] == "5 steps; values bootstrap through it"
    assert lines["replay"] == "16 bytes a step"
    assert lines["their lengths"] == lines["their returns"] == "5"
    assert lines["episodes"] == "800 ended in 4,000 random steps: 40 terminated, 760 truncated"
    assert "steps a second, 4 copies on one" in lines["speed"]


def test_several_arrays_and_legal_actions_are_told(here):
    code, text = checked("mine_checked:legal")
    assert code == 0
    assert "observation    float32[2], from a int8[] and b float32[1]" in text
    assert "actions        3, and observations say which are legal" in text


def test_a_limit_that_a_step_keeps_to_itself_is_told(here):
    code, text = checked("mine_checked:ends")
    assert code == 0 and "what its step says; values bootstrap through it; train.py sets" in text
    assert "0 terminated" in text


def test_of_an_env_ready_made_its_limit_is_known(here):
    code, text = checked("mine_checked:ready")
    assert code == 0 and "a jaxq Env, ready-made" in text and " 7 steps; values" in text


def test_so_is_one_of_a_library(here):
    code, text = checked("CartPole-v1", "--time-limit", "terminal")
    assert code == 0 and "gymnax 1" in text and "500 steps; the task ends there" in text


def test_parameters_are_those_of_training(here, capsys):
    code, text = checked("mine_checked:walk", "--env-params", "max_steps_in_episode", "3")
    assert code == 0 and "3 steps; values bootstrap through it" in text
    assert "their lengths  3" in text
    code, text = checked("CartPole-v1", "--env-params", "max_steps_in_episode", "7")
    assert code == 0 and " 7 steps; values" in text and "truncated" in text
    assert checked("CartPole-v1", "--env-params", "limit", "7") == (1, "")
    assert "env_params of CartPole-v1=limit does not exist" in capsys.readouterr().out


def test_what_is_warned_of_before_is_said_once_and_is_something_to_mend(here):
    message = "env=mine_checked:wide shows integers of shape .* as 200 booleans"
    with pytest.warns(UserWarning, match=message) as told:
        code, text = checked("mine_checked:wide")
    assert code == 1 and "observation    bool[200]" in text and len(told) == 1


def test_what_is_wrong_is_one_sentence_and_exit_code_1(here, capsys):
    with pytest.warns(UserWarning, match="env=mine_checked:nan showed an observation that is not"):
        assert checked("mine_checked:nan")[0] == 1
    for name, message in (
        ("mine_checked:none", "has num_actions=None; a whole number of 1 or more"),
        ("mine_checked:walks", "did you mean mine_checked:walk"),
        ("CartPole-v2", "env=CartPole-v2 does not exist"),
    ):
        assert checked(name) == (1, "")
        assert message in capsys.readouterr().out
    with pytest.raises(ConfigError, match="option=size does not exist"):  # exit code 2, as ever
        check_env.check_env(["mine_checked:walk", "--size", "3"], Console())
