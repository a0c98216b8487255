"""The streaming loop: the textbook's rule, what is counted, resuming, members."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tabular
from common import SMALL, SMALL_HPARAMS, cast, host, same_bits, tabular_env

from jaxq.config import Config, HParams
from jaxq.errors import ConfigError
from jaxq.learning.traces import TraceRule
from jaxq.networks.statistics import NAME
from jaxq.recipes.agents import make_agent_from
from jaxq.recipes.experiment import make_env_from, make_experiment, make_trainer_from
from jaxq.recipes.presets import PRESETS
from jaxq.runs import files
from jaxq.runs.policy import load_policy, save_policy
from jaxq.runs.spec import RunSpec

pytestmark = pytest.mark.usefixtures("compiled_quickly")
TABLE = Config(
    agent="stream",
    network="linear",
    trace="accumulating",
    optimizer="sgd",
    chunk_steps=40,
)


def own_cut(done_tm1, exploratory_tm1, exploratory_t):
    return done_tm1 | exploratory_t


@pytest.mark.parametrize("cut", ["after", "watkins", f"{__name__}:own_cut"])
def test_the_loop_is_the_textbook_rule(cut):
    """Q(lambda) with a table in a NumPy loop: terminations, limits and exploratory actions."""
    seen = []
    env = tabular_env(1)

    def step(key, env_state, action, env_params):
        obs, env_state, outcome, episode = env.step(key, env_state, action, env_params)
        record = lambda *x: seen.append([np.asarray(leaf)[0] for leaf in x])  # noqa: E731
        jax.debug.callback(record, action, *outcome, obs, ordered=True)
        return obs, env_state, outcome, episode

    config = replace(TABLE, trace_cut=cut)
    agent = make_agent_from(config, env)
    trainer = make_trainer_from(config, env._replace(step=step), agent)
    numbers = HParams(learning_rate=0.3, gamma=0.9, td_lambda=0.8, reward_scale=0.5)
    mdp = {**tabular.random_mdp(0), "max_steps_in_episode": 7}
    hparams = cast(numbers._replace(epsilon_start=0.4, epsilon_end=0.4, env_params=mdp))
    state, clock = jax.jit(trainer.init)(jax.random.key(0), hparams)
    chunk = jax.jit(trainer.chunk)
    table, trace = np.zeros((16, 4)), np.zeros((16, 4))
    s, done_tm1, exploratory_tm1 = int(state.obs[0].argmax()), True, False
    kinds = set()
    for _ in range(5):
        seen.clear()
        state, clock, metrics = chunk(state, clock, hparams)
        jax.effects_barrier()
        for action, reward, terminated, done, next_obs, obs in seen:
            exploratory = table[s, action] < table[s].max()
            earlier = exploratory_tm1 if cut == "after" else exploratory
            trace *= 0.0 if done_tm1 or earlier else 0.9 * 0.8
            trace[s, action] += 1.0
            future = 0.0 if terminated else table[next_obs.argmax()].max()
            table += 0.3 * (0.5 * reward + 0.9 * future - table[s, action]) * trace
            s, done_tm1, exploratory_tm1 = int(obs.argmax()), done, exploratory
            kinds.add((bool(terminated), bool(done), bool(exploratory)))
        np.testing.assert_allclose(jax.tree.leaves(state.params)[0], table, atol=2e-4)
    assert {(True, True), (False, True), (False, False)} == {kind[:2] for kind in kinds}
    assert {kind[2] for kind in kinds} == {True, False}
    assert int(clock.steps) == int(clock.updates) == 200 and 0 < metrics["exploratory"] < 1


def as_number(done_tm1, exploratory_tm1, exploratory_t):
    return 1.0 * done_tm1


def too_short(done_tm1):
    return done_tm1


def test_a_cut_of_ones_own_fits_its_contract():
    for cut, message in (
        (as_number, "bool is accepted"),
        (too_short, r"called with \(done_tm1, exp"),
    ):
        with pytest.raises(ConfigError, match=message):
            make_experiment(replace(TABLE, trace_cut=f"{__name__}:{cut.__name__}"), HParams())


@cache
def cartpole(**changes):
    """The preset in miniature, its numbers and programs."""
    preset = PRESETS["stream-q-cartpole"]
    config = replace(preset.config, widths=(16,), chunk_steps=60, eval_episodes=2, **changes)
    experiment = make_experiment(config, preset.hparams)
    hparams = cast(preset.hparams._replace(epsilon_steps=100.0))
    return experiment, hparams, jax.jit(experiment.trainer.init), jax.jit(experiment.trainer.chunk)


def test_a_run_that_went_through_the_host_goes_on_with_the_same_bits():
    _, hparams, init, chunk = cartpole()
    state, clock, _ = chunk(*init(jax.random.key(1), hparams), hparams)
    key = jax.random.wrap_key_data(host(state.key))
    saved = host(state._replace(key=state.key))._replace(key=key)
    assert same_bits(chunk(state, clock, hparams), chunk(saved, clock, hparams))


def test_members_are_what_they_are_alone():
    _, hparams, init, chunk = cartpole()
    keys = jax.random.split(jax.random.key(2), 3)
    many = jax.jit(jax.vmap(lambda key: chunk(*init(key, hparams), hparams)[0].params))(keys)
    alone = chunk(*init(keys[1], hparams), hparams)[0].params
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[1], b, atol=2e-3), many, alone)


def test_a_policy_sees_the_same_numbers_in_training_in_evaluation_and_after_it_was_saved(tmp_path):
    """Statistics are parameters: counted once each observation, all of them, in training only."""
    experiment, hparams, init, chunk = cartpole()
    agent, config = experiment.agent, experiment.config
    state, _, metrics = chunk(*init(jax.random.key(3), hparams), hparams)
    statistics = state.params[NAME]
    # One observation at first, one a step, one more for every episode that began anew.
    count = 1 + config.chunk_steps + int(metrics["episodes"])
    assert int(statistics["observations"]["count"]) == count and metrics["episodes"] > 0
    assert int(statistics["rewards"]["count"]) == config.chunk_steps
    assert float(statistics["rewards"]["variance"]) > 1.0  # sums of rewards of 1

    obs = jnp.asarray(np.random.default_rng(0).normal(size=(5, 4)), jnp.float32)
    action, value, _ = agent.act_greedy(state.params, (), obs)  # as in evaluation
    acted, _ = agent.act(state.params, (), jax.random.key(0), obs, 0.0)  # as in training
    stacked = jax.tree.map(lambda x: np.asarray(x)[None, None], state.params)
    document = RunSpec("mine", config, [PRESETS["stream-q-cartpole"].hparams], [0], 60).document()
    save_policy(tmp_path / files.POLICY, document, stacked)
    loaded = load_policy(tmp_path).member(0, 0)
    again, value_again, _ = agent.act_greedy(loaded, (), obs)
    assert same_bits(state.params, loaded) and same_bits((action, value), (again, value_again))
    assert np.array_equal(action, acted)
    without = {**state.params, NAME: init(jax.random.key(3), hparams)[0].params[NAME]}
    assert not np.allclose(agent.act_greedy(without, (), obs)[1], value)
    before = host(state.params)
    jax.eval_shape(experiment.evaluate, state.params, jax.random.key(0), hparams)
    assert same_bits(before, state.params)


@pytest.mark.parametrize(
    "changes",
    [{}, {"agent": "pqn", "rollout_steps": 20, "minibatches": 2, "epochs": 1, "prefill": 0}],
    ids=["dqn", "pqn"],
)
def test_other_loops_count_every_step_once(changes):
    """Observations that were acted on, and rewards; the target network sees by what it has."""
    config = replace(SMALL, **changes, observations="normalized", rewards="scaled")
    env = make_env_from(config, config.num_envs)
    trainer = make_trainer_from(config, env, make_agent_from(config, env))
    hparams = cast(SMALL_HPARAMS)
    start, clock = jax.jit(trainer.init)(jax.random.key(0), hparams)
    state, _, _ = jax.jit(trainer.chunk)(start, clock, hparams)
    for kind in ("observations", "rewards"):
        assert int(state.params[NAME][kind]["count"]) == config.prefill + config.chunk_steps
        if not changes:
            assert int(start.target_params[NAME][kind]["count"]) == config.prefill
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


def test_a_stream_is_one_environment_without_a_batch():
    for changes, message in (
        ({"num_envs": 2}, "num_envs=2 must be 1 for agent=stream, which learns from every step"),
        ({"dense": "noisy"}, "dense=noisy must be plain or spectral for agent=stream"),
        (
            {"replay": "latest"},
            "replay=latest has no effect without an off-policy agent such as dqn",
        ),
        ({"trace": "watkins"}, "trace=watkins does not exist"),
        (
            {"trace": "accumulating", "reset_period": 10_000},
            "reset_period=10000 has no effect without",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            make_experiment(Config(**{"agent": "stream", **changes}), HParams())
    with pytest.raises(
        ConfigError, match="trace=qrc has no effect without a streaming agent such as"
    ):
        make_experiment(Config(trace="qrc"), HParams())
    with pytest.raises(ConfigError, match=r"td_lambda=1.0 must be below 1 for trace=intentional"):
        lane = HParams(gamma=1.0, td_lambda=1.0)
        make_experiment(Config(agent="stream", trace="intentional"), lane)


def sign_rule(config):
    """A rule of one's own: steps of a size that does not depend on the gradient."""
    del config

    def init(key, weights, make_weights, hparams):
        return ()

    def update(state, weights, online, decay, hparams, learning_rate):
        direction = jax.tree.map(jnp.sign, jax.grad(online.value)(weights))
        size = learning_rate * jnp.sign(online.error(weights))
        return jax.tree.map(lambda w, g: w + size * g, weights, direction), ()

    return TraceRule(init, update)


def no_rule(config):
    return lambda *_: config


def test_a_rule_of_ones_own():
    config = replace(TABLE, network="mlp", widths=(4,), optimizer=Config.optimizer)
    made = make_experiment(replace(config, trace=f"{__name__}:sign_rule"), HParams())
    assert made.made_of["trace"]["name"].endswith("sign_rule")
    with pytest.raises(ConfigError, match=r"trace=.*no_rule .*TraceRule"):
        make_experiment(replace(config, trace=f"{__name__}:no_rule"), HParams())
