"""Learning: exact values on small problems, then whole environments (slow)."""

from dataclasses import replace
from functools import cache

import exact
import jax
import numpy as np
import pytest
import tabular
from common import RECIPES, cast, recipe, same_bits, seen_env

from jaxq.config import INFINITY, HParams
from jaxq.learning.returns import unscale
from jaxq.recipes import agents
from jaxq.recipes.experiment import make_experiment
from jaxq.recipes.methods import METHODS
from jaxq.recipes.presets import PRESETS
from jaxq.runs.population import Population
from jaxq.scoring.stats import iqm
from jaxq.types import observation_of

ADAM = HParams(
    learning_rate=1e-2,
    learning_rate_end=1e-4,
    learning_rate_steps=30_000.0,
    gamma=0.9,
    epsilon_start=1.0,
    epsilon_end=1.0,
)
SGD = ADAM._replace(learning_rate=2.0, learning_rate_end=0.0, learning_rate_steps=INFINITY)
PROBES = tabular.probes()
TOLERANCE = {"noisy-dqn": 0.15, "rainbow": 0.3, "iqn": 0.1, "munchausen-iqn": 0.1}


def numbers(name: str) -> HParams:
    """The numbers of a recipe, acting at random so that everything is visited."""
    base = SGD if RECIPES[name].optimizer == "sgd" else ADAM
    if name not in METHODS:
        return base
    changes = {k: v for k, v in METHODS[name].hparams.items() if not k.startswith("epsilon")}
    churn = {"churn_weight": 1.0}  # 100 keeps values 2 % from where they are going
    special = {
        "weight-decay-dqn": {"weight_decay": 1e-4},
        "qrc": {"learning_rate": 1e-2},
        "chain-dqn": churn,
        "chain-auto-dqn": churn,
    }
    return base._replace(**{**changes, **special.get(name, {})})


@cache
def population(name: str):
    """Every probe environment is a lane of one compiled program."""
    lanes = [numbers(name)._replace(env_params=params) for params in PROBES.values()]
    experiment = recipe(name)
    traces = []
    chunk = experiment.trainer.chunk
    counted = experiment.trainer._replace(chunk=lambda *x: (traces.append(1), chunk(*x))[1])
    members = Population(counted, experiment.evaluate, lanes, [0], num_devices=1)
    programs = members._programs.programs  # the last optimizations take longer than they save
    programs["chunk"] = programs["chunk"]._replace(options={"xla_backend_optimization_level": 1})
    return members, traces


def q_values(name: str, params) -> np.ndarray:
    """Q [H, 16, 4] of every lane, in units of reward."""
    config = RECIPES[name]
    env = seen_env(config, 16)
    network = agents.make_network_from(config, env)
    obs, _ = env.reset(jax.random.key(0), env.params({}))  # nothing came before it
    states = np.eye(16, dtype=bool)
    every_state = states if obs is observation_of(obs) else obs._replace(obs=states)

    def evaluate(params):
        carry = network.initial_carry(jax.random.key(0), 16)
        output, _ = network.apply(params, every_state, None, carry)
        return unscale(output.q_values) if config.agent == "r2d2" else output.q_values

    return np.asarray(jax.jit(jax.vmap(evaluate))(params))


def exact_values(name: str, params: dict) -> np.ndarray:
    """The fixed point of a recipe: Q*, or with an entropy."""
    backup, number = RECIPES[name].backup, numbers(name)
    if backup not in ("soft", "munchausen"):
        return tabular.optimal_values(params, 0.9)
    alpha = number.munchausen_alpha if backup == "munchausen" else 0.0
    tables = exact.Tables(params["transition"], params["reward"], params["terminal"])
    return exact.soft(tables, 0.9, number.temperature, alpha)


# Of the others every loss is held against its fixed point, and every trainer is traced, in the fast
# tests.
FAST = ("table",)
# Traced in seconds each: one of every loss and of every kind of part.
TRACED = (
    *"table rainbow munchausen-iqn bootstrapped-dqn averaged-dqn pqn-lstm reset-dqn".split(),
    *"hl-gauss redo-dqn chain-auto-dqn qrc ez-greedy-dqn rnd-dqn is-dqn i-dqn".split(),
    "pqn, mingru, last action",
    "r2d2, lru, last action and reward",
)


def marked(names):
    """All recipes, those that are not among ``names`` slow."""
    slow = pytest.mark.slow
    return [name if name in names else pytest.param(name, marks=slow) for name in RECIPES]


@pytest.mark.parametrize("name", marked(FAST))
def test_every_recipe(name):
    """One compiled program a recipe, vmapped over the probe environments as lanes.

    Exact values under constant reward, two observations, delay, action, both, and a time limit (10
    when values bootstrap through it, 5.26 when they do not). On the way: everything finite, the
    state's structure unchanged, traced once, and a state that went through the host continues to
    the same bits.
    """
    members, traces = population(name)
    states, clock = members.init()
    before = jax.tree.map(lambda x: (x.shape, x.dtype), members.shapes)
    for _ in range(3):
        states, clock, metrics = members.chunk(states, clock)
        assert all(np.isfinite(metrics[key]).all() for key in ("loss", "q_value"))
    saved, saved_clock = members.fetch(states), clock
    assert before == jax.tree.map(lambda x: (x.shape, x.dtype), saved)
    assert all(leaf.size for leaf in jax.tree.leaves(saved))  # or a checkpoint could not hold it
    states, clock, _ = members.chunk(states, clock)
    resumed, resumed_clock, _ = members.chunk(members.place(saved), saved_clock)
    final = members.fetch(states)
    assert same_bits((final, clock), (members.fetch(resumed), resumed_clock))
    assert len(traces) == 1

    learned = q_values(name, final.params)
    for (probe, params), values in zip(PROBES.items(), learned):
        expected = exact_values(name, params)
        visited = {"two observations": [0, 1], "action and observation": [0, 1]}.get(probe, [0])
        # With a memory the second state is always seen after the first.
        remembers = RECIPES[name].memory != "none"
        visited = [0, 1] if probe == "delayed reward" and not remembers else visited
        np.testing.assert_allclose(
            values[visited],
            expected[visited],
            atol=TOLERANCE.get(name, 0.05),
            err_msg=f"{name} on {probe}",
        )


@pytest.mark.parametrize("name", marked(TRACED))
def test_every_recipe_consumes_its_keys_once_and_keeps_the_structure_of_its_state(name):
    """Traced only: the checker works on the program, not on numbers."""
    experiment, hparams = recipe(name), cast(numbers(name)._replace(env_params=PROBES["action"]))
    with jax.debug_key_reuse(True):
        start = jax.jit(experiment.trainer.init).trace(jax.random.key(0), hparams).out_info
        after = jax.jit(experiment.trainer.chunk).trace(*start, hparams).out_info
    describe = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)  # noqa: E731
    assert describe(start) == describe(after[:2])


@pytest.mark.slow
def test_dqn_bootstraps_through_a_time_limit():
    """One state, reward 1, limit 10, gamma 0.99: worth 100; treated as terminal it is 9.17."""
    lane = ADAM._replace(gamma=0.99, learning_rate_steps=100_000.0, env_params=PROBES["time limit"])
    experiment = recipe("dqn")
    members = Population(experiment.trainer, experiment.evaluate, [lane], [0])
    states, clock = members.init()
    for _ in range(16):
        states, clock, _ = members.chunk(states, clock)
    learned = q_values("dqn", members.fetch(states).params)
    np.testing.assert_allclose(learned[0, 0], 100.0, atol=1.0)


def test_the_tabular_lake_is_gymnax_frozen_lake():
    """V*(start) at gamma 0.9, 0.99 and 0.999."""
    lake = {**tabular.frozen_lake(), "max_steps_in_episode": tabular.NO_LIMIT}
    for gamma, value in ((0.9, 0.068891), (0.99, 0.542026), (0.999, 0.785533)):
        assert tabular.optimal_values(lake, gamma)[0].max() == pytest.approx(value, abs=1e-5)


@pytest.mark.slow
def test_q_table_finds_the_value_of_frozen_lake_on_every_seed():
    preset = PRESETS["q-table-frozenlake"]
    experiment = make_experiment(preset.config, preset.hparams)
    members = Population(
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
def test_cartpole_is_solved_and_valued_beyond_its_time_limit():
    """Greedy IQM of at least 475, and where it is above 495 the value of a balanced pole is 100.

    The value would be 83.5 if the limit of 500 steps were treated as terminal.
    """
    preset = PRESETS["dqn-cartpole"]
    config = replace(preset.config, chunk_steps=10_000)
    experiment = make_experiment(config, preset.hparams)
    members = Population(experiment.trainer, experiment.evaluate, [preset.hparams], range(8))
    states, clock = members.init()
    values = []
    while int(clock.steps) < preset.steps:
        states, clock, _ = members.chunk(states, clock)
        if int(clock.steps) > 350_000:
            result = members.evaluate(states, clock)
            score = iqm(result.returns.mean(axis=1))
            values += [iqm(result.values.mean(axis=1))] if score > 495 else []
    print("final IQM", score, "greedy values", np.round(values, 1))
    assert score >= 475
    assert values and 95 <= np.median(values) <= 105


@pytest.mark.slow
def test_cartpole_is_solved_from_a_stream():
    returns = final_returns("stream-q-cartpole", seeds=8, steps=150_000, last=3)
    print("returns", returns.mean(axis=(1, 2)))
    assert iqm(returns.mean(axis=(1, 2))) >= 475


def final_returns(name: str, seeds: int, steps: int, last: int = 1) -> np.ndarray:
    """Greedy returns [S, last, K] of the last evaluations of a preset."""
    preset = PRESETS[name]
    experiment = make_experiment(preset.config, preset.hparams)
    members = Population(experiment.trainer, experiment.evaluate, [preset.hparams], range(seeds))
    (states, clock), returns = members.init(), []
    while int(clock.steps) < steps:
        states, clock, _ = members.chunk(states, clock)
        if int(clock.steps) + (last - 1) * preset.config.chunk_steps >= steps:
            returns.append(members.evaluate(states, clock).returns)
    return np.stack(returns, axis=1)


@pytest.mark.slow
def test_memory_is_needed_and_enough_on_memory_chain():
    """Context 20 steps back: 1 with an LSTM, chance without."""
    remembers = final_returns("pqn-lstm-memorychain", seeds=2, steps=200_000)
    forgets = final_returns("pqn-memorychain", seeds=2, steps=200_000)
    print("with memory", remembers.mean(axis=(1, 2)), "without", forgets.mean(axis=(1, 2)))
    assert remembers.mean(axis=(1, 2)).min() >= 0.9
    assert np.abs(forgets.mean(axis=(1, 2))).max() < 0.4


@pytest.mark.slow
def test_randomized_priors_explore_where_epsilon_does_not():
    """DeepSea of size 10, the last 100 greedy episodes of 250."""
    explores = final_returns("bootstrapped-dqn-deepsea", seeds=4, steps=4_000, last=10)
    dithers = final_returns("dqn-deepsea", seeds=4, steps=4_000, last=10)
    solved = (explores > 0.9).all(axis=(1, 2)), (dithers > 0.9).all(axis=(1, 2))
    print("solved with priors", solved[0], "with epsilon", solved[1])
    assert solved[0].mean() >= 0.75 and solved[1].mean() <= 0.25


@pytest.mark.slow
def test_pqn_solves_cartpole_with_its_authors_settings():
    score = iqm(final_returns("pqn-cartpole", seeds=4, steps=500_000).mean(axis=(1, 2)))
    print("PQN on CartPole, 4 seeds:", score)
    assert score >= 475
