"""Composing by name, and with functions of one's own."""

from functools import partial
from pathlib import Path

import pytest
from commands import assert_same_run
from common import SMALL, SMALL_HPARAMS
from rich.console import Console

from jaxq.config import Config, HParams
from jaxq.envs import gymnax as envs
from jaxq.errors import ConfigError
from jaxq.learning.agents import make_agent
from jaxq.learning.losses import q_loss
from jaxq.recipes.agents import make_network_from
from jaxq.recipes.experiment import make_experiment, make_schedules
from jaxq.runs.runner import RunSpec, run

QUIET = Console(quiet=True)
pytestmark = pytest.mark.usefixtures("compiled_quickly")


def test_functions_of_ones_own_train_like_named_ones(tmp_path: Path):
    """The same agent and environment, handed over, give the same bits."""
    my_env = partial(envs.from_gymnax, *envs.make_gymnax("CartPole-v1"), name="CartPole-v1")

    def my_agent(config, env):
        return make_agent(make_network_from(config, env), q_loss)

    composed = make_experiment(
        SMALL,
        SMALL_HPARAMS,
        make_agent=my_agent,
        make_env=lambda config, num_envs: my_env(num_envs),
    )
    spec = RunSpec("mine", SMALL, [SMALL_HPARAMS], range(2), 200)
    run(spec, tmp_path / "named", console=QUIET)
    run(spec, tmp_path / "handed over", experiment=composed, console=QUIET)
    assert_same_run(tmp_path / "named", tmp_path / "handed over")
    with pytest.raises(ConfigError, match="steps=40 must be larger than prefill=40"):
        run(spec._replace(steps=40), tmp_path / "refused", experiment=composed, console=QUIET)
    assert not (tmp_path / "refused").exists()


def test_epsilon_begins_to_fall_after_its_delay():
    epsilon = make_schedules(Config()).exploration
    how = {"epsilon_delay": 100.0, "epsilon_steps": 100.0}
    hparams = HParams(epsilon_start=1.0, epsilon_end=0.0, **how)
    found = [float(epsilon(hparams, step)) for step in (50, 100, 150, 200)]
    assert found == [1.0, 1.0, 0.5, 0.0]
