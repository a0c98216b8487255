"""Agents act as they say: noise is an environment's own, and nothing is computed row by row without
need."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxq.errors import ConfigError
from jaxq.learning import losses
from jaxq.learning.agents import make_agent
from jaxq.networks import heads, layers, modules
from jaxq.networks import torsos as networks
from jaxq.types import ObservationLegalActions

pytestmark = pytest.mark.usefixtures("compiled_quickly")

OBS = jnp.ones((6, 3))  # the same in every environment


def network_of(dense):
    torso = networks.MLP((8,), dense=dense)
    module = heads.ValueNetwork(torso, heads.LinearHead(4, 1, dense))
    return modules.from_flax(module, draws=dense is layers.NoisyDense)


def test_every_environment_has_noise_of_its_own():
    network = network_of(layers.NoisyDense)
    values = lambda key, q_values, amount: q_values  # noqa: E731
    agent = make_agent(network, losses.q_loss, select_action=values)
    params = jax.jit(network.init)(jax.random.key(0), OBS)
    q_values, _ = jax.jit(agent.act)(params, (), jax.random.key(1), OBS, 0.0)
    assert len(np.unique(q_values[:, 0])) == len(OBS)
    greedy = jax.jit(agent.act_greedy)(params, (), OBS)[1]
    np.testing.assert_array_equal(greedy, greedy[0])


@pytest.mark.parametrize(("dense", "rows"), [(layers.Dense, 6), (layers.NoisyDense, 1)])
def test_a_network_that_draws_nothing_sees_all_environments_at_once(dense, rows):
    """Trap: one call per environment under ``vmap`` is slow where a layer has the batch last."""
    network = network_of(dense)
    seen = []

    def apply(params, obs, *rest):
        seen.append(len(obs))
        return network.apply(params, obs, *rest)

    params = jax.eval_shape(network.init, jax.random.key(0), OBS)
    spy = make_agent(network._replace(apply=apply), losses.q_loss)
    action, _ = jax.eval_shape(spy.act, params, (), jax.random.key(1), OBS, 0.0)
    assert seen[-1] == rows and action.shape == (6,)


def test_who_chooses_actions_without_looking_at_what_is_legal_is_refused():
    obs = ObservationLegalActions(OBS, jnp.ones((6, 4), bool))
    network = network_of(layers.Dense)
    params = jax.eval_shape(network.init, jax.random.key(0), OBS)
    blind = make_agent(network, losses.q_loss, lambda key, q_values, amount: q_values.argmax(-1))
    assert jax.eval_shape(blind.act, params, (), jax.random.key(1), OBS, 0.0)[0].shape == (6,)
    with pytest.raises(ConfigError, match="without a parameter legal, and the environment says"):
        jax.eval_shape(blind.act, params, (), jax.random.key(1), obs, 0.0)


def test_the_greedy_action_is_the_best_and_its_value_is_what_is_said_of_it():
    network = network_of(layers.Dense)
    obs = jax.random.normal(jax.random.key(0), (6, 3))
    params = network.init(jax.random.key(1), obs)
    values = network.apply(params, obs, None, ())[0].q_values
    action, value, _ = make_agent(network, losses.q_loss).act_greedy(params, (), obs)
    np.testing.assert_array_equal(action, values.argmax(axis=1))
    np.testing.assert_array_equal(value, values.max(axis=1))
