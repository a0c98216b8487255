"""What is handed over in Python: taken where it can mean one thing, refused in a sentence else."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from common import SMALL, SMALL_HPARAMS
from rich.console import Console

from jaxq.config import Config
from jaxq.errors import ConfigError
from jaxq.recipes.presets import PRESETS
from jaxq.runs.runner import run
from jaxq.runs.spec import MAX_MEMBERS, RunSpec, compose, name_of, protocol_of
from jaxq.runs.spreading import Spread, settled_spread
from jaxq.runs.stopping import Stop
from jaxq.studies.asking import make_study

SPEC = RunSpec("small", SMALL, [SMALL_HPARAMS], [0, 1], steps=440)


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 4.4e2},
        {"steps": np.int64(440)},
        {"steps": np.float32(440)},
        {"steps": jnp.int32(440)},
        {"seeds": 2},
        {"seeds": range(2)},
        {"seeds": np.arange(2)},
        {"seeds": (0.0, np.uint8(1))},
        {"lanes": SMALL_HPARAMS},
        {"lanes": (SMALL_HPARAMS,)},
        {"lanes": SMALL_HPARAMS._asdict()},
        {"config": vars(SMALL)},
    ],
)
def test_what_can_mean_one_thing_only_is_taken_as_that(changes):
    spec = SPEC._replace(**changes).settled()
    assert spec == SPEC and spec.document() == SPEC.document()
    assert type(spec.steps) is int and all(type(seed) is int for seed in spec.seeds)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"steps": 440.5}, r"steps=440\.5 must be a whole number"),
        ({"steps": "440"}, "steps='440' must be a whole number"),
        ({"steps": None}, "steps=None must be a whole number"),
        ({"steps": float("inf")}, "steps=inf must be a whole number"),
        ({"steps": True}, "steps=True"),
        ({"seeds": "12"}, "seeds='12' must be a"),
        ({"seeds": ["1"]}, "seeds='1' must be a whole number"),
        ({"seeds": None}, "seeds=None must be a"),
        ({"seeds": {1, 2}}, "seeds={1, 2} must be a list"),
        ({"seeds": []}, "seeds="),
        ({"seeds": 100_000_000}, "seeds=100,000,000 in lanes=1 are more than 1,000,000 members"),
        ({"lanes": [], "seeds": 2}, "lanes is empty"),
        ({"lanes": None}, "lanes=None must be a list"),
        ({"lanes": [3]}, "hparams=int must be HParams"),
        ({"lanes": [{"gama": 0.9}]}, "gama does not exist; did you mean gamma"),
        ({"lanes": SMALL_HPARAMS._replace(gamma="high")}, "gamma='high' must be a number"),
        ({"lanes": SMALL_HPARAMS._replace(gamma=True)}, "gamma=True must be a number"),
        ({"config": {"widhts": (3,)}}, "widhts does not exist; did you mean widths"),
        ({"config": None}, "config=NoneType must be a jaxq Config"),
        ({"preset": None}, "preset=None must be a text"),
    ],
)
def test_anything_else_is_refused_in_one_sentence(changes, message):
    with pytest.raises(ConfigError, match=message):
        compose(SPEC._replace(**changes).settled())


@pytest.mark.parametrize("spec", ["dqn-cartpole", None, tuple(SPEC)])
def test_a_run_is_asked_for_by_a_run_spec(spec, tmp_path):
    with pytest.raises(ConfigError, match=r"spec=.* must be a jaxq RunSpec"):
        run(spec, tmp_path / "run", console=Console(quiet=True))
    assert not (tmp_path / "run").exists()


def test_a_configuration_holds_plain_values_wherever_they_come_from():
    given = {"widths": [64, np.int64(32)], "capacity": 1e5, "num_envs": np.int32(8)}
    given |= {"support": [np.float32(-1), 1.0], "env_kwargs": ["size=10"], "env": np.str_("x")}
    config = Config(**given)
    plain = {"widths": (64, 32), "capacity": 100_000, "num_envs": 8, "support": (-1.0, 1.0)}
    assert config == Config(**plain, env_kwargs=("size=10",), env="x")
    assert type(config.capacity) is int and type(config.num_envs) is int and type(config.env) is str
    assert Config(capacity=0.5).capacity == 0.5  # refused where it is checked, by its own value


def test_a_sweep_takes_the_same_and_counts_before_it_builds():
    study = make_study("dqn-cartpole", seeds=np.int64(2), steps=2e4, grid={"gamma": [0.9]})
    assert study.seeds == (0, 1) and type(study.steps) is int and study.steps == 20_000
    with pytest.raises(ConfigError, match="more than 1,000,000 members"):
        make_study("dqn-cartpole", seeds=MAX_MEMBERS + 1, grid={"gamma": [0.9]})
    with pytest.raises(ConfigError, match="fresh_seeds=1,000,001 must be at most 1,000,000"):
        make_study("dqn-cartpole", fresh_seeds=MAX_MEMBERS + 1, grid={"gamma": [0.9, 0.8]})
    with pytest.raises(ConfigError, match="seeds='x' must be a whole number"):
        make_study("dqn-cartpole", seeds=["x"], grid={"gamma": [0.9]})


def test_updates_are_counted_before_they_overflow():
    config = replace(SMALL, updates_per_iteration=50)
    spec = SPEC._replace(config=config, steps=180_000_000)
    with pytest.raises(ConfigError, match="make 2,250,000,000 updates"):
        compose(spec)


@pytest.mark.parametrize(
    "how, message",
    [
        ({"stop": 5}, "stop=5 must be a jaxq Stop"),
        ({"stop": Stop(until_return="high")}, "until_return=high must be a number"),
        ({"stop": Stop(episodes=0)}, "episodes=0 must be a whole number of at least 1"),
        ({"spread": 3}, "spread=3 must be a jaxq Spread"),
        ({"spread": {"bach": 3}}, "must be a jaxq Spread"),
        ({"spread": {"batch": "2"}}, "batch='2' must be a whole number"),
        ({"spread": Spread(num_devices=-1)}, "num_devices=-1 must be a whole number of at least 1"),
        ({"spread": Spread(save_every="often")}, "save_every=often must be seconds"),
        ({"spread": Spread(track=3)}, "track=3 must be a list of names"),
        ({"spread": Spread(track="tensorbord")}, "track=tensorbord does not exist; did you mean"),
        ({"console": True}, "console=True must be a rich Console"),
        ({"experiment": 5}, "experiment=5 must be a jaxq Experiment"),
        ({"start": None}, r"start is of type NoneType; a function of \(\) is accepted"),
        ({"evolve": 3}, r"evolve.decide is of type int; a function of \(history\) is accepted"),
        ({"directory": 5}, "directory=5 must be a path"),
        ({"directory": None}, "directory=None must be a path"),
        ({"directory": ""}, "directory= must be a path"),
    ],
)
def test_how_a_run_is_carried_out_is_checked_as_well(how, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        run(SPEC, **{"directory": tmp_path / "run", "console": Console(quiet=True), **how})
    assert not (tmp_path / "run").exists()


def test_how_a_run_is_carried_out_is_taken_where_it_can_mean_one_thing_only():
    asked = {"batch": 2.0, "track": "wandb", "save_every": 5}
    assert settled_spread(asked) == Spread(batch=2, track=("wandb",), save_every=5.0)
    assert settled_spread(Spread(track=None)) == Spread()


def test_what_would_take_all_memory_is_refused_by_its_own_name(tmp_path):
    many = SPEC._replace(config=replace(SMALL, eval_episodes=10**9))
    with pytest.raises(ConfigError, match="eval_episodes=1000000000 must be at most 1,000,000"):
        compose(many)
    wide = SPEC._replace(config=replace(SMALL, widths=(10**6, 10**6)))
    with pytest.raises(ConfigError, match=r"most of a member is its networks, see widths"):
        run(wide, tmp_path / "run", console=Console(quiet=True))
    with pytest.raises(ConfigError, match="more than 1,000,000 members"):
        make_study("dqn-cartpole", space={"gamma": "0.9..0.99"}, random=10**8)
    with pytest.raises(ConfigError, match="at most 100,000 values of a range"):
        make_study("dqn-cartpole", grid={"gamma": "0.9..0.99/100000000"})
    values = {name: "0.1..0.9/1000" for name in ("gamma", "tau", "learning_rate")}
    with pytest.raises(ConfigError, match="more than 1,000,000 members"):
        make_study("dqn-cartpole", grid=values)


def test_a_protocol_names_the_library_only_where_it_is_known(tmp_path, monkeypatch):
    (tmp_path / "two_functions.py").write_text(
        "import jax.numpy as jnp\n"
        "import jaxq\n"
        "reset = lambda key, params: (jnp.zeros(3), 0)\n"
        "step = lambda key, state, action, params: (jnp.ones(3), 1, 1.0, action == 0, False)\n"
        "own = jaxq.RawEnv(num_actions=2, reset=reset, step=step)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    own = SPEC._replace(config=replace(SMALL, env="two_functions:own")).settled()
    assert "gymnax" not in protocol_of(own, compose(own))
    assert "gymnax" in protocol_of(SPEC, compose(SPEC))


@pytest.mark.parametrize("seeds", [[1, 1], [0, 1, 0], [-1], [2**32]])
def test_seeds_are_different_numbers(seeds):
    """Trap: a seed that comes twice makes an interval too narrow."""
    with pytest.raises(ConfigError, match="must be different numbers from 0 to"):
        compose(SPEC._replace(seeds=seeds))


def test_a_figure_names_what_was_changed_in_a_preset():
    preset = PRESETS["dqn-cartpole"]
    lane = preset.hparams._replace(gamma=0.98, extra={"alpha": 0.5}, env_params={"length": 1})
    config = replace(preset.config, env="Acrobot-v1", backup="mine:f", eval_episodes=3)
    spec = RunSpec("dqn-cartpole", config, [lane, lane._replace(tau=0.5)], [0], 400)
    assert name_of(spec) == "dqn-cartpole, backup=mine:f gamma=0.98 length=1 alpha=0.5"
    assert name_of(spec._replace(preset="mine")) == "mine"
    assert name_of(spec._replace(config=preset.config, lanes=[preset.hparams])) == "dqn-cartpole"
    lane = lane._replace(learning_rate=1.0, epsilon_end=0.5, epsilon_steps=9.0)
    assert name_of(spec._replace(lanes=[lane])).endswith(" and 1 more")
