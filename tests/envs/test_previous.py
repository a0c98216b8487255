"""The last action and reward as part of what is observed."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tabular
from common import SMALL, SMALL_HPARAMS, tabular_env

from jaxq.envs.previous import with_previous_action
from jaxq.networks import cells, heads, memory, statistics, torsos
from jaxq.recipes.experiment import make_env_from, make_experiment
from jaxq.types import ObservationActionReward

pytestmark = pytest.mark.usefixtures("compiled_quickly")

KEY = jax.random.key(0)
NUM_ENVS = 3


@pytest.mark.parametrize("reward", [False, True])
@pytest.mark.parametrize("ends", ["time limit", "termination"])
def test_nothing_came_before_an_episode_and_the_last_step_before_all_else(ends, reward):
    """Actions are 0, 1, 2, 3, 0, ...; the limit is 10 steps, or every step ends the task."""
    raw = tabular_env(NUM_ENVS)
    env = with_previous_action(raw, reward)
    mdp = tabular.truncation() if ends == "time limit" else tabular.probes()["action"]
    env_params = env.params(mdp)
    actions = jnp.broadcast_to(jnp.arange(23)[:, None] % 4, (23, NUM_ENVS))

    def play(env):
        def step(loop, x):
            key, action = x
            obs, env_state, outcome, episode = env.step(key, loop[1], action, env_params)
            return (obs, env_state), (loop[0], outcome, episode)

        start = env.reset(KEY, env_params)
        return jax.lax.scan(step, start, (jax.random.split(KEY, 23), actions))[1]

    obs, outcome, episode = jax.jit(partial(play, env))()
    plain_obs, plain_outcome, plain_episode = jax.jit(partial(play, raw))()
    np.testing.assert_array_equal(obs.obs, plain_obs)
    np.testing.assert_array_equal(outcome.next_obs.obs, plain_outcome.next_obs)
    jax.tree.map(np.testing.assert_array_equal, episode, plain_episode)
    jax.tree.map(np.testing.assert_array_equal, outcome[:3], plain_outcome[:3])

    taken = np.eye(4, dtype=bool)[np.asarray(actions)]
    begins = np.concatenate([np.ones((1, NUM_ENVS), bool), np.asarray(outcome.done)[:-1]])
    assert begins[1:].any()
    np.testing.assert_array_equal(outcome.next_obs.action, taken)
    assert not obs.action[begins].any()
    np.testing.assert_array_equal(obs.action[1:][~begins[1:]], taken[:-1][~begins[1:]])
    if reward:
        np.testing.assert_array_equal(outcome.next_obs.reward, outcome.reward)
        expected = np.where(begins[1:], 0.0, outcome.reward[:-1])
        np.testing.assert_array_equal(obs.reward[1:], expected)
        assert not obs.reward[0].any() and outcome.reward.any()
    else:
        assert obs.reward == ()
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[2:], leaf.dtype), obs)
    assert one == env.obs_spec


def test_training_evaluation_and_policies_see_the_same():
    recurrent = {"agent": "drqn", "memory": "gru", "sequence_length": 4, "memory_width": 8}
    config = replace(SMALL, **recurrent, memory_inputs="action-reward")
    experiment = make_experiment(config, SMALL_HPARAMS)
    assert isinstance(experiment.env.obs_spec, ObservationActionReward)
    assert make_env_from(config, 1).obs_spec == experiment.env.obs_spec
    state, _ = jax.eval_shape(experiment.trainer.init, KEY, SMALL_HPARAMS)
    played = jax.eval_shape(experiment.evaluate, state.params, KEY, SMALL_HPARAMS)
    assert played.returns.shape == (config.eval_episodes,)
    plain = make_experiment(replace(config, memory_inputs="observation"), SMALL_HPARAMS)
    shapes = jax.eval_shape(plain.trainer.init, KEY, SMALL_HPARAMS)[0].params["params"]["GRU_0"]
    ours = state.params["params"]["GRU_0"]["Dense_0"]["kernel"]
    assert ours.shape[0] == shapes["Dense_0"]["kernel"].shape[0] + plain.env.num_actions + 1


def test_only_the_observation_is_normalised():
    """With statistics of nothing a network sees what it saw; what came before is not counted."""
    make = lambda: memory.recurrent(  # noqa: E731
        memory.RecurrentNetwork(torsos.MLP((8,)), heads.LinearHead(4), cells.gru(6))
    )
    plain, network = make(), statistics.normalized(make())
    obs = ObservationActionReward(jnp.arange(6.0).reshape(2, 3), jnp.eye(2, 4) > 0, jnp.ones(2))
    params = jax.jit(network.init)(KEY, obs)
    carry = network.initial_carry(KEY, 2)
    seen, _ = jax.jit(network.apply)(params, obs, None, carry)
    weights, counted = statistics.split(params)
    raw, _ = jax.jit(plain.apply)(weights, obs, None, carry)
    np.testing.assert_allclose(seen.q_values, raw.q_values, rtol=1e-5)
    assert counted["observations"]["mean"].shape == (3,)
    again = network.observe(params, obs)[statistics.NAME]["observations"]
    np.testing.assert_allclose(again["mean"], [1.5, 2.5, 3.5])
