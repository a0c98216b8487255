"""Running statistics, and what the streaming networks begin as."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from common import cast

from jaxq.config import HParams
from jaxq.learning.rewards import with_scaled_rewards
from jaxq.networks import cells, layers, memory, modules, statistics, torsos
from jaxq.networks.heads import LinearHead, ValueNetwork
from jaxq.types import Agent

pytestmark = pytest.mark.usefixtures("compiled_quickly")
DRAW = np.random.default_rng(0)


@pytest.mark.parametrize("sizes", [[1] * 9, [4, 1, 5], [12]])
def test_moments_are_those_of_all_samples_however_they_come(sizes):
    """NumPy's with ddof=1, far from 0, where sums of squares would lose everything."""
    seen, samples = statistics.moments((2,)), np.zeros((0, 2))
    for size in sizes:
        x = DRAW.normal((100.0, -3.0), (0.1, 7.0), (size, 2))
        samples = np.concatenate([samples, x])
        seen = statistics.observe(seen, jnp.asarray(x, jnp.float32))
        assert int(seen["count"]) == len(samples)
        np.testing.assert_allclose(seen["mean"], samples.mean(axis=0), rtol=1e-5)
        expected = samples.var(axis=0, ddof=1) if len(samples) > 1 else np.ones(2)
        np.testing.assert_allclose(seen["variance"], expected, rtol=2e-2)
    assert statistics.observe(statistics.moments(), jnp.ones(1))["variance"] == 1.0


def test_what_was_counted_for_long_stays_finite_and_follows():
    """A counter of 24 bits stops; the mean then follows slowly, and the variance does not grow."""
    seen = {**statistics.moments(), "count": jnp.float32(2**24)}
    seen = jax.lax.fori_loop(
        0, 1_000, lambda _, seen: statistics.observe(seen, jnp.ones(1) * 2), seen
    )
    assert float(seen["count"]) == 2**24 and 0 < float(seen["mean"]) < 1e-3
    np.testing.assert_allclose(seen["variance"], 1.0, atol=1e-3)


@pytest.mark.parametrize("size", [1, 10])
def test_what_was_counted_for_long_forgets_as_much_as_comes(size):
    """Trap: the old variance kept all its weight, so that it could only grow."""
    seen = {**statistics.moments(), "count": jnp.float32(2**24)}
    found = statistics.observe(seen, jnp.zeros(size))  # no spread at all
    assert found["count"] == 2**24 and found["variance"] < 1.0


def test_a_normalized_network_sees_what_was_observed_and_learns_no_statistic():
    network = statistics.normalized(
        modules.from_flax(ValueNetwork(torsos.MLP((8,)), LinearHead(2)))
    )
    obs = jnp.asarray(DRAW.normal(5.0, 2.0, (6, 3)), jnp.float32)
    params = network.observe(network.init(jax.random.key(0), obs), obs)
    inside = {k: v for k, v in params.items() if k != statistics.NAME}
    deviation = np.sqrt(np.var(obs, axis=0, ddof=1) + 1e-8)
    seen = (obs - obs.mean(axis=0)) / deviation
    expected = modules.from_flax(ValueNetwork(torsos.MLP((8,)), LinearHead(2))).apply(
        inside, seen, None, ()
    )[0]
    ours = network.apply(params, obs, None, ())[0]
    np.testing.assert_allclose(ours.q_values, expected.q_values, atol=1e-4)
    gradient = jax.grad(lambda p: network.apply(p, obs, None, ())[0].q_values.sum())(params)
    assert not any(jnp.any(x) for x in jax.tree.leaves(gradient[statistics.NAME]))
    assert any(jnp.any(x) for x in jax.tree.leaves(gradient["params"]))


def test_rewards_are_scaled_by_the_spread_of_their_sums():
    """Two environments; the step with done drops the sum before it and keeps its own reward."""
    silent = Agent(lambda key, obs: {}, None, None, None, None)
    agent = with_scaled_rewards(silent)
    hparams = cast(HParams(gamma=0.5))
    params = agent.init(jax.random.key(0), jnp.zeros((2, 3)))
    assert agent.scale_rewards(params, jnp.float32(3.0)) == pytest.approx(3.0)
    reward, done = DRAW.normal(size=(6, 2)), DRAW.random((6, 2)) < 0.4
    sums, every = np.zeros(2), []
    for r, d in zip(reward, done):
        sums = 0.5 * np.where(d, 0.0, sums) + r
        every += [*sums]
    for rows in (slice(0, 1), slice(1, 6)):  # a single step, then a block
        block = jnp.asarray(reward[rows], jnp.float32), jnp.asarray(done[rows])
        params = agent.observe_rewards(params, *block, hparams)
    expected = reward[0] / np.sqrt(np.var(every, ddof=1) + 1e-8)
    np.testing.assert_allclose(agent.scale_rewards(params, reward[0]), expected, rtol=1e-4)


@pytest.mark.parametrize("shape", [(20, 7), (3, 3, 4, 5), (1, 2)])
def test_sparse_weights_are_zero_where_they_should_be(shape):
    """ceil(0.9 inputs) of every output, others for each, and the rest within 1 / sqrt(inputs)."""
    inputs, outputs = math.prod(shape[:-1]), shape[-1]
    weights = layers.sparse_uniform(0.9)(jax.random.key(0), shape).reshape(inputs, outputs)
    zeros = np.asarray(weights == 0.0)
    assert (zeros.sum(axis=0) == math.ceil(0.9 * inputs)).all()
    assert np.abs(weights).max() <= inputs**-0.5
    if inputs > 10:
        assert len({tuple(column) for column in zeros.T}) > 1
        assert np.abs(weights).max() > 0.5 * inputs**-0.5


def test_the_plain_norm_takes_the_whole_feature_map():
    """PyTorch's layer_norm over channels and positions, without parameters, then LeakyReLU."""
    torso = torsos.MinAtarTorso(
        (5,), layer_norm=True, activation=jax.nn.leaky_relu, norm=layers.plain_norm
    )
    obs = DRAW.random((2, 6, 6, 4)) < 0.3
    params = torso.init(jax.random.key(0), jnp.asarray(obs))["params"]
    assert set(params) == {"PatchConv_0", "MLP_0"} and set(params["MLP_0"]) == {"Dense_0"}
    kernel = np.asarray(params["PatchConv_0"]["kernel"])
    x = np.zeros((2, 4, 4, 16))
    for row, column in np.ndindex(4, 4):
        window = obs[:, row : row + 3, column : column + 3].astype(float)
        x[:, row, column] = np.einsum("bijc,ijcf->bf", window, kernel)
    x = normal(x.transpose(0, 3, 1, 2).reshape(2, -1))
    x = normal(x @ np.asarray(params["MLP_0"]["Dense_0"]["kernel"]))
    ours = torso.apply({"params": params}, jnp.asarray(obs))
    np.testing.assert_allclose(ours, x, atol=1e-4)


def normal(x):
    """Rows normalised, then LeakyReLU."""
    x = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
    return np.where(x > 0, x, 0.01 * x)


def test_a_sequence_is_seen_normalised_too():
    """Trap: acting saw normalised observations, and the loss, which unrolls, could see raw ones."""
    module = memory.RecurrentNetwork(torsos.MLP((8,)), LinearHead(4), cells.gru(6))
    plain, key = memory.recurrent(module), jax.random.key(0)
    network, obs = statistics.normalized(plain), 5.0 + 3.0 * jax.random.normal(key, (7, 2, 3))
    params = network.observe(jax.jit(network.init)(key, obs[0]), obs)
    rest = None, plain.initial_carry(key, 2), jnp.zeros((7, 2), bool)
    weights, seen = statistics.split(params)
    shown = statistics.normalize(seen["observations"], obs)
    found = network.unroll(params, obs, *rest)[0].q_values
    np.testing.assert_allclose(found, plain.unroll(weights, shown, *rest)[0].q_values, rtol=1e-5)


def test_bytes_are_counted_as_they_are_seen():
    network = statistics.normalized(
        modules.from_flax(ValueNetwork(torsos.MLP((6,)), LinearHead(2)))
    )
    obs = jax.random.randint(jax.random.key(0), (6, 3), 0, 256).astype(jnp.uint8)
    params = network.observe(network.init(jax.random.key(1), obs), obs)
    mean = params[statistics.NAME]["observations"]["mean"]
    np.testing.assert_allclose(mean, np.asarray(obs).mean(axis=0) / 255.0, rtol=1e-5)
