"""A run of functions that were handed over is never taken for one of the names beside them."""

from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import gymnax
import jax
import numpy as np
import pytest
import tabular
from common import SMALL, SMALL_HPARAMS
from rich.console import Console

from jaxq.config import Config, HParams
from jaxq.documents import config_from_dict, hparams_from_dict
from jaxq.envs.libraries import make_env
from jaxq.errors import ConfigError
from jaxq.learning import losses, td
from jaxq.learning.agents import make_agent
from jaxq.networks import ensembles, heads, layers, torsos
from jaxq.recipes.agents import make_agent_from, make_network_from
from jaxq.recipes.experiment import make_experiment, make_schedules, try_env
from jaxq.recipes.identity import same_parts
from jaxq.recipes.validation import validate
from jaxq.runs.policy import load_policy
from jaxq.runs.resuming import check_same
from jaxq.runs.runner import RunSpec, run
from jaxq.runs.spec import compose

QUIET = Console(quiet=True)
pytestmark = pytest.mark.usefixtures("compiled_quickly")
SPEC = RunSpec("mine", SMALL, [SMALL_HPARAMS], [0, 1], 140)


def my_agent(config, env):
    return make_agent(make_network_from(config, env), losses.q_loss)


def test_it_is_continued_and_evaluated_only_with_the_same_functions(tmp_path):
    """Trap: the command line would go on with the stock method that the names stand for."""
    mine = make_experiment(SMALL, SMALL_HPARAMS, make_agent=my_agent)
    run(SPEC, str(tmp_path / "run"), experiment=mine, console=QUIET)
    stock = make_experiment(SMALL, SMALL_HPARAMS)
    with pytest.raises(
        ConfigError, match=r"agent \(test_handed_over:my_agent there, none of one's"
    ):
        check_same(SPEC.document(stock.made_of), tmp_path / "run", None)
    check_same(SPEC.document(mine.made_of), tmp_path / "run", None)
    policy = load_policy(tmp_path / "run")
    assert same_parts(policy.made_of, stock.made_of, accept=True)
    assert not same_parts(policy.made_of, mine.made_of, accept=False)


def test_what_is_recorded_is_what_is_trained():
    """Everything that reaches a compiler is checked, whoever composed it."""
    mine = make_experiment(SMALL, SMALL_HPARAMS, make_agent=my_agent)
    other = SPEC._replace(config=replace(SMALL, widths=(8,)))
    with pytest.raises(ConfigError, match="experiment was made with another widths than"):
        compose(other, mine)
    wild = SPEC._replace(lanes=[SMALL_HPARAMS._replace(gamma=2.0)])
    with pytest.raises(ConfigError, match="must be between 0 and 1"):
        compose(wild, mine)
    with pytest.raises(ConfigError, match="chunk_steps=1001 must be a multiple"):
        make_experiment(Config(chunk_steps=1_001))


def test_parameters_of_the_environment_are_numbers_again_after_json():
    document = {"env_params": {"length": 3, "limit": "inf"}, "extra": {"alpha": "-inf"}}
    lane = hparams_from_dict(document)
    assert lane.env_params == {"length": 3, "limit": np.inf} and lane.extra["alpha"] == -np.inf
    assert type(lane.env_params["length"]) is int
    for params in ({"gravity": float("nan")}, {"gravity": "heavy"}):
        with pytest.raises(ConfigError, match=r"env_params.gravity=.* must be a number"):
            validate(Config(), HParams(env_params=params))
    with pytest.raises(ConfigError, match="gamma=True must be a number"):
        hparams_from_dict({"gamma": True})
    assert config_from_dict({"env_kwargs": ["size=3"]}).env_kwargs == ("size=3",)


def test_under_softmax_the_metric_is_called_a_temperature():
    hparams = HParams(temperature=0.3, epsilon_end=0.2)
    softmax = make_schedules(Config(action_selection="softmax"))
    assert softmax.exploration_name == "temperature"
    assert softmax.exploration(hparams, 0) == 0.3
    assert make_schedules(Config()).exploration_name == "epsilon"


def test_minus_infinity_masks_an_action():
    """Trap: 0 times infinity is NaN."""
    q_tm1, a_tm1, q_t = np.zeros(2), np.int32(0), np.array([-np.inf, 1.0])
    assert td.q_learning(q_tm1, a_tm1, np.float32(1.0), np.float32(0.5), q_t) == 1.5
    assert td.double_q_learning(q_tm1, a_tm1, np.float32(1.0), np.float32(0.5), q_t, q_t) == 1.5
    policy = np.array([0.0, 1.0])
    assert td.expected_sarsa(q_tm1, a_tm1, np.float32(1.0), np.float32(0.5), q_t, policy) == 1.5


def test_an_ensemble_of_noisy_networks_draws_noise():
    """Trap: it was accepted, never drew, and with epsilon 0 never explored."""
    torso = torsos.MLP((4,), dense=layers.NoisyDense)
    module = heads.ValueNetwork(torso, heads.LinearHead(2, 1, layers.NoisyDense))
    network = ensembles.ensemble(module, 3, draws=True)
    obs, carry = np.ones((1, 3), np.float32), network.initial_carry(jax.random.key(0), 1)
    params = network.init(jax.random.key(1), obs)
    values = lambda key: np.asarray(network.apply(params, obs, key, carry)[0].members)  # noqa: E731
    first, second, mean = values(jax.random.key(2)), values(jax.random.key(3)), values(None)
    assert (first != second).any() and (values(None) == mean).all()
    config = Config(agent="bootstrapped", dense="noisy", widths=(4,))
    assert make_network_from(config, make_env("CartPole-v1", 2)).draws


def test_make_agent_from_takes_what_is_given_and_keeps_the_rest():
    config = replace(SMALL, action_selection="softmax", backup="double")
    env = make_env("CartPole-v1", 2)
    agent = make_agent_from(config, env, like="c51")
    params = agent.init(jax.random.key(0), np.zeros((2, 4), np.float32))
    kernels = [leaf.shape for leaf in jax.tree.leaves(params) if leaf.ndim == 2]
    assert (16, 2 * config.num_atoms) in kernels
    assert isinstance(agent.loss, partial)


@contextmanager
def registered(name, kind):
    """An environment that gymnax knows for a while."""
    gymnax.register(name, kind)
    try:
        yield
    finally:
        gymnax.registration._registry.pop(name)
        gymnax.registered_envs.remove(name)


def test_what_was_registered_is_tried_against_its_own_space():
    """Values outside of it are shown as zeros, as of an environment that is named by its file."""

    class Outside(tabular.Tabular):
        def reset_env(self, key, params):
            obs, state = super().reset_env(key, params)
            return obs + tabular.NUM_STATES, state

        def step_env(self, key, state, action, params):
            obs, *rest = super().step_env(key, state, action, params)
            return obs + tabular.NUM_STATES, *rest

    with registered("Outside-v0", Outside):
        experiment = make_experiment(replace(SMALL, env="Outside-v0"), SMALL_HPARAMS)
        with pytest.warns(UserWarning, match="observation_space does not hold"):
            try_env(experiment)


def test_what_was_registered_is_somebodys_own_whatever_its_name():
    """Another class under the same name is another environment."""

    class Other(tabular.Tabular):
        def reset_env(self, key, params):
            return super().reset_env(jax.random.fold_in(key, 1), params)

    made = []
    for kind in (tabular.Tabular, Other):
        with registered("Mine-v0", kind):
            made.append(make_experiment(replace(SMALL, env="Mine-v0"), SMALL_HPARAMS).made_of)
    assert made[0]["env"]["name"] == "tabular:Tabular"
    (change,) = same_parts(*made, False)
    assert change.startswith("env (tabular:Tabular there, ") and "Other here" in change
