"""Evaluation: exactly K whole episodes, without a bias towards short ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tabular
from common import cast, small, tabular_env

from jaxq.config import HParams
from jaxq.loops.evaluation import make_evaluator
from jaxq.types import Agent

pytestmark = pytest.mark.usefixtures("compiled_quickly")

KEY = jax.random.key(0)


def constant_agent(num_actions=4):
    """Always action 0, whose value it believes to be 7."""

    def act_greedy(params, carry, obs):
        del params
        return jnp.zeros(len(obs), jnp.int32), jnp.full(len(obs), 7.0), carry

    return Agent(None, lambda key, num_envs: (), None, act_greedy, None)


# One program for all: what differs are the parameters of one environment.
NUM_EPISODES, MAX_STEPS = 2_000, 17
play = jax.jit(make_evaluator(tabular_env(NUM_EPISODES), constant_agent(), MAX_STEPS))


def evaluate(env_params, **hparams):
    numbers = cast(HParams(env_params=env_params, **hparams))
    return jax.device_get(play((), KEY, numbers))


def test_no_bias_towards_short_episodes():
    """Half of the episodes last 1 step with return 0, half 50 steps with return 50.

    Counting the episodes that end within a fixed number of steps would find almost only short
    ones; the mean return over whole episodes is 25.
    """
    length = 50  # one state with a coin at the first step needs a chain: encoded in 14 states
    states = 15
    transition = np.zeros((states, 4, states))
    transition[0, :, 14] = transition[0, :, 1] = 0.5
    for state in range(1, 13):
        transition[state, :, state + 1] = 1.0
    transition[13, :, 14] = transition[14, :, 14] = 1.0
    reward = np.zeros((states, 4))
    reward[1:14] = length / 13.0
    params = tabular.make_params(transition, reward, terminal=[14])
    result = evaluate(params)
    assert result.returns.shape == (NUM_EPISODES,) and result.finished.all()
    assert set(result.lengths) == {1, 14}
    assert abs(result.returns.mean() - length / 2) < 2.0


def test_episodes_cut_by_the_cap_are_reported_as_cut():
    endless = tabular.make_params(np.ones((1, 4, 1)), np.ones((1, 4)))
    result = evaluate(endless)
    assert not result.finished.any()
    np.testing.assert_array_equal(result.lengths, MAX_STEPS)
    np.testing.assert_array_equal(result.returns, float(MAX_STEPS))


def test_only_the_first_episode_of_an_environment_counts():
    result = evaluate(tabular.truncation())
    np.testing.assert_array_equal(result.returns, 10.0)
    np.testing.assert_array_equal(result.values, 7.0)
    # Half of the environments are long in their second episode while the others end their first.
    transition = np.zeros((3, 4, 3))
    transition[0, :, 1] = transition[0, :, 0] = 0.5
    transition[1:, :, 2] = 1.0
    result = evaluate(tabular.make_params(transition, np.ones((3, 4)), terminal=[1]))
    finished = result.finished
    np.testing.assert_array_equal(result.returns[finished], result.lengths[finished])
    assert len(set(result.lengths[finished])) > 3 and result.returns.mean() < 2.5


def test_overestimation_is_the_first_value_minus_the_discounted_return():
    """Ten steps with reward 1, doubled; the agent believes in 7. A return may be rescaled."""
    numbers = cast(HParams(env_params=tabular.truncation(), gamma=0.5, reward_scale=2.0))
    agent = constant_agent()
    discounted = 2.0 * sum(0.5**step for step in range(10))
    for rescale, expected in ((agent.rescale, discounted), (jnp.sqrt, discounted**0.5)):
        env = tabular_env(3)
        made = make_evaluator(env, agent._replace(rescale=rescale), MAX_STEPS, diagnose=True)
        result = jax.jit(made)((), KEY, numbers)
        np.testing.assert_allclose(result.overestimation, 7.0 - expected, rtol=1e-6)
        np.testing.assert_array_equal(result.returns, 10.0)
    assert evaluate(tabular.truncation()).overestimation == ()


def test_epsilon_mixes_in_random_actions():
    """Action 0 pays 1 and the others -1, one step: 1 when greedy, -0.5 when random."""
    params = tabular.probes()["action"]
    assert evaluate(params).returns.mean() == 1.0
    random = evaluate(params, eval_epsilon=1.0).returns.mean()
    assert abs(random + 0.5) < 0.06


def test_the_key_decides():
    experiment = small()
    params = jax.jit(experiment.agent.init)(KEY, jnp.zeros((1, 4)))
    play = jax.jit(experiment.evaluate)
    hparams = cast(HParams())
    first, again = (play(params, jax.random.key(1), hparams) for _ in range(2))
    np.testing.assert_array_equal(first.values, again.values)
    other = play(params, jax.random.key(2), hparams)
    assert not np.array_equal(first.values, other.values)


def test_memory_and_values_are_followed_to_the_end_of_every_episode():
    """An agent whose memory counts the steps, and whose value is 3 and that count; episodes of
    every length end with a coin. After n steps the mean of its values is 3 + (n - 1) / 2, and its
    first one exceeds the return, as it is learned, by 3 - 20 (1 - gamma^n)."""
    act = lambda params, carry, obs: (jnp.zeros(len(obs), jnp.int32), 3.0 + carry, carry + 1.0)  # noqa: E731
    agent = Agent(
        None,
        lambda key, num_envs: jnp.zeros(num_envs),
        None,
        act,
        None,
        scale_rewards=lambda params, reward: 2.0 * reward,
    )
    transition = np.zeros((2, 4, 2))
    transition[0], transition[1, :, 1] = 0.5, 1.0
    mdp = tabular.make_params(transition, np.ones((2, 4)), terminal=[1])
    follow = jax.jit(make_evaluator(tabular_env(50), agent, 40, diagnose=True))
    result = follow((), KEY, cast(HParams(env_params=mdp, gamma=0.5, reward_scale=5.0)))
    assert result.finished.all() and len(set(np.asarray(result.lengths))) > 3
    np.testing.assert_allclose(result.values, 3.0 + (result.lengths - 1) / 2, rtol=1e-6)
    learned = 5.0 * 2.0 * 2.0 * (1.0 - 0.5**result.lengths)
    np.testing.assert_allclose(result.overestimation, 3.0 - learned, rtol=1e-5)
