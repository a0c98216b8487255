"""A network that values legal actions only."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxq.legal import legal_actions, spread, uniform, without_legal_actions
from jaxq.networks import cells, ensembles, heads, memory, modules, torsos
from jaxq.networks.legal import ILLEGAL, masked, mean_value, of_legal_actions
from jaxq.networks.statistics import normalized
from jaxq.types import ObservationActionReward, ObservationLegalActions, observation_of, unchanged

pytestmark = pytest.mark.usefixtures("compiled_quickly")

KEY = jax.random.key(0)
OBS = jnp.linspace(-1.0, 1.0, 12).reshape(4, 3)
LEGAL = np.array([[1, 0, 1], [0, 0, 1], [1, 1, 1], [0, 0, 0]], bool)
SHOWN = ObservationLegalActions(OBS, jnp.asarray(LEGAL))
COUNTS = LEGAL | ~LEGAL.any(axis=1, keepdims=True)  # in a state without any all do
MODULE = heads.ValueNetwork(torsos.MLP((5,)), heads.LinearHead(3))


def test_legal_actions_are_found_beside_whatever_else_is_shown():
    around = ObservationActionReward(SHOWN, jnp.zeros((4, 3)), ())
    for obs in (SHOWN, around):
        np.testing.assert_array_equal(legal_actions(obs), COUNTS)
        assert observation_of(obs) is OBS
    assert legal_actions(OBS) is None and legal_actions(around._replace(obs=OBS)) is None
    assert without_legal_actions(SHOWN) is OBS and without_legal_actions(OBS) is OBS
    assert without_legal_actions(around) == around._replace(obs=OBS)


@pytest.mark.parametrize("kind", ["plain", "ensemble", "normalized"])
def test_legal_values_are_those_of_the_network_and_the_others_are_the_worst(kind):
    network = modules.from_flax(MODULE)
    if kind == "ensemble":
        network = ensembles.ensemble(MODULE, 2)
    if kind == "normalized":
        network = normalized(network)
    legal = of_legal_actions(network)
    params = network.init(KEY, OBS)
    jax.tree.map(np.testing.assert_array_equal, params, legal.init(KEY, SHOWN))
    plain, shown = network.apply(params, OBS, None, ())[0], legal.apply(params, SHOWN, None, ())[0]
    np.testing.assert_array_equal(shown.q_values, np.where(COUNTS, plain.q_values, ILLEGAL))
    if kind == "ensemble":
        expected = np.where(COUNTS[:, None], plain.members, ILLEGAL)
        np.testing.assert_array_equal(shown.members, expected)
    same = legal.apply(params, OBS, None, ())[0]
    jax.tree.map(np.testing.assert_array_equal, same, plain)
    if kind == "normalized":
        counted = network.observe(params, OBS), legal.observe(params, SHOWN)
        jax.tree.map(np.testing.assert_array_equal, *counted)
    else:
        assert legal.observe is unchanged  # so that loops know that nothing is counted
    np.testing.assert_array_equal(
        *(one.features for one in (network.inside(params, OBS), legal.inside(params, SHOWN)))
    )


def test_a_network_with_memory_sees_no_mask_over_a_sequence():
    module = memory.RecurrentNetwork(torsos.MLP((5,)), heads.LinearHead(3), cells.gru(4))
    network = memory.recurrent(module)
    legal, resets = of_legal_actions(network), jnp.zeros((6, 4), bool)
    params, carry = network.init(KEY, OBS), network.initial_carry(KEY, 4)
    sequence = jax.tree.map(lambda x: jnp.stack([x] * 6), SHOWN)
    plain, carries = network.unroll(params, sequence.obs, None, carry, resets)
    shown, others = legal.unroll(params, sequence, None, carry, resets)
    jax.tree.map(np.testing.assert_array_equal, carries, others)
    np.testing.assert_array_equal(shown.q_values, np.where(COUNTS, plain.q_values, ILLEGAL))


def test_means_are_those_of_legal_actions():
    values = jax.random.normal(KEY, (4, 3))
    expected = [row[legal].mean() for row, legal in zip(np.asarray(values), COUNTS)]
    hidden = jnp.asarray(np.where(COUNTS, values, ILLEGAL))
    np.testing.assert_allclose(mean_value(hidden, SHOWN), expected, rtol=1e-6)
    np.testing.assert_array_equal(mean_value(values, OBS), values.mean(axis=-1))
    members = jnp.stack([hidden, hidden + 1.0], axis=1)  # [B, N, A]
    np.testing.assert_allclose(mean_value(members, SHOWN), np.add(expected, 0.5), rtol=1e-5)
    quantiles = jnp.stack([values, values + 1.0], axis=2)  # [B, A, K], of which none is hidden
    found = mean_value(quantiles, SHOWN, axis=1)
    np.testing.assert_allclose(found, np.add(expected, 0.5), rtol=1e-5)
    sequence = jax.tree.map(lambda x: jnp.stack([x, x], axis=1), SHOWN)  # [B, T, ...]
    found = mean_value(jnp.stack([hidden, hidden + 1.0], axis=1), sequence, rows=2)
    np.testing.assert_allclose(found, np.add(expected, 0.5), rtol=1e-5)


@pytest.mark.parametrize("temperature", [1e-8, 0.03, 1e6])
def test_an_illegal_action_has_no_probability_and_no_entropy(temperature):
    """Trap: at -inf the product of probability and logarithm is NaN."""
    q_values = masked(heads.QOutput(jnp.array([0.5, 1.0, 0.7])), jnp.array([True, False, True]))
    log_policy = jax.nn.log_softmax(q_values.q_values / temperature)
    policy = jnp.exp(log_policy)
    assert policy[1] == 0.0 and np.isfinite(jnp.sum(policy * log_policy))
    np.testing.assert_allclose(policy.sum(), 1.0, rtol=1e-6)


def test_random_actions_are_uniform_among_legal_ones():
    draws = (jnp.arange(600) + 0.5) / 600
    for legal, expected in zip(COUNTS, ([300, 0, 300], [0, 0, 600], [200] * 3, [200] * 3)):
        found = spread(draws, 3, jnp.broadcast_to(legal, (600, 3)))
        np.testing.assert_array_equal(np.bincount(found, minlength=3), expected)
    every = jnp.ones((600, 3), bool)
    np.testing.assert_array_equal(spread(draws, 3, every), spread(draws, 3))  # the same draws
    assert int(spread(jnp.float32([1 - 2**-24]), 7, jnp.ones((1, 7), bool))[0]) == 6
    chosen = uniform(KEY, 4, 3, COUNTS)
    assert COUNTS[np.arange(4), chosen].all()
