"""Learning: exact values on small problems, then whole environments (slow)."""

from dataclasses import replace

import jax
import numpy as np
import pytest
import tabular
from common import RECIPES, recipe, tabular_env

from jaxq import agents
from jaxq.config import HParams
from jaxq.experiment import make_experiment
from jaxq.population import make_population
from jaxq.presets import PRESETS
from jaxq.stats import iqm

ADAM = HParams(learning_rate=1e-2, learning_rate_end=1e-4, learning_rate_steps=30_000.0)
SGD = HParams(learning_rate=2.0)
PROBES = tabular.probes()


def learn(name: str, lanes: list[HParams], chunks: int) -> np.ndarray:
    """Q [H, 16, 4] after training every lane with one seed, acting at random."""
    experiment, config = recipe(name), RECIPES[name]
    members = make_population(experiment.trainer, experiment.evaluate, lanes, [0])
    states, clock = members.init()
    for _ in range(chunks):
        states, clock, _ = members.chunk(states, clock)
    network = agents.make_network_from(config, tabular_env(1))
    every_state = np.eye(16, dtype=bool)

    def q_values(params):
        output, _ = network.apply(params, every_state, jax.random.key(0), (), np.zeros(16, bool))
        return output.q_values

    return np.asarray(jax.jit(jax.vmap(q_values))(members.fetch(states).params))


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_solves_the_probe_environments(name):
    """Constant reward, two observations, delay, action, both, and a time limit at gamma 0.9.

    The last is worth 10 when values bootstrap through the limit, 5.26 when they do not.
    One compiled program a recipe: the environments are lanes.
    """
    numbers = SGD if RECIPES[name].optimizer == "sgd" else ADAM
    numbers = numbers._replace(gamma=0.9, epsilon_start=1.0, epsilon_end=1.0)
    q_values = learn(name, [numbers._replace(env_params=p) for p in PROBES.values()], chunks=4)
    for (probe, params), learned in zip(PROBES.items(), q_values):
        exact = tabular.optimal_values(params, 0.9)
        visited = {"two observations": [0, 1], "action and observation": [0, 1]}.get(probe, [0])
        visited = [0, 1] if probe == "delayed reward" else visited
        message = f"{name} on {probe}"
        np.testing.assert_allclose(learned[visited], exact[visited], atol=0.05, err_msg=message)


def test_dqn_bootstraps_through_a_time_limit():
    """One state, reward 1, limit 10, gamma 0.99: worth 100; treated as terminal it is 9.17."""
    numbers = ADAM._replace(
        gamma=0.99, epsilon_start=1.0, epsilon_end=1.0, learning_rate_steps=100_000.0
    )
    lane = numbers._replace(env_params=PROBES["time limit"])
    q_values = learn("dqn", [lane], chunks=16)
    np.testing.assert_allclose(q_values[0, 0], 100.0, atol=1.0)


def test_the_tabular_lake_is_gymnax_frozen_lake():
    """V*(start) at gamma 0.9, 0.99 and 0.999."""
    lake = {**tabular.frozen_lake(), "max_steps_in_episode": tabular.NO_LIMIT}
    for gamma, value in ((0.9, 0.068891), (0.99, 0.542026), (0.999, 0.785533)):
        assert tabular.optimal_values(lake, gamma)[0].max() == pytest.approx(value, abs=1e-5)


@pytest.mark.slow
def test_q_table_finds_the_value_of_frozen_lake_on_every_seed():
    preset = PRESETS["q-table-frozenlake"]
    experiment = make_experiment(preset.config, preset.hparams)
    members = make_population(
        experiment.trainer, experiment.evaluate, [preset.hparams], range(preset.seeds)
    )
    states, clock = members.init()
    while int(clock.steps) < preset.steps:
        states, clock, _ = members.chunk(states, clock)
    (tables,) = jax.tree.leaves(members.fetch(states).params)
    values = tables[:, 0].max(axis=-1)  # [32]
    print("V(start) over 32 seeds:", values.min(), values.mean(), values.max())
    assert values.shape == (32,)
    np.testing.assert_allclose(values, 0.542026, atol=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dqn-cartpole", "double-dqn-cartpole"])
def test_cartpole_is_solved_and_valued_beyond_its_time_limit(name):
    """Greedy IQM of at least 475, and where it is above 495 the value of a balanced pole is 100.

    The value would be 83.5 if the limit of 500 steps were treated as terminal.
    """
    preset = PRESETS[name]
    config = replace(preset.config, chunk_steps=10_000)
    experiment = make_experiment(config, preset.hparams)
    members = make_population(experiment.trainer, experiment.evaluate, [preset.hparams], range(8))
    states, clock = members.init()
    values = []
    while int(clock.steps) < preset.steps:
        states, clock, _ = members.chunk(states, clock)
        result = members.evaluate(states, clock)
        score = iqm(result.returns.mean(axis=1))
        if int(clock.steps) > 350_000 and score > 495:
            values.append(iqm(result.values.mean(axis=1)))
    print(name, "final IQM", score, "greedy values", np.round(values, 1))
    assert score >= 475
    assert values and 95 <= np.median(values) <= 105
