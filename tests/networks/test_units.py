"""What is inside of a network: the features that its head gets, and how active its units are."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxq.networks import ensembles, heads, modules, statistics, torsos, units

pytestmark = pytest.mark.usefixtures("compiled_quickly")

KEY = jax.random.key(0)
OBS = jax.random.normal(jax.random.key(1), (5, 3))
TORSO = torsos.MLP((8, 4))
PLAIN = heads.ValueNetwork(TORSO, heads.LinearHead(2))


def features_of(params):
    return TORSO.apply({"params": params["params"]["torso"]}, OBS)


@pytest.mark.parametrize(
    "module",
    [
        PLAIN,
        heads.ValueNetwork(TORSO, heads.DuelingHead(2, stream_widths=(6,))),
        heads.CategoricalNetwork(TORSO, heads.LinearHead(2, 3), (-1.0, 1.0)),
        heads.QuantileNetwork(TORSO, heads.LinearHead(2, 3)),
    ],
)
def test_features_are_what_the_torso_gives(module):
    network = modules.from_flax(module)
    params = jax.jit(network.init)(KEY, OBS)
    features, activity = network.inside(params, OBS)
    np.testing.assert_allclose(features, features_of(params), rtol=1e-6)
    sizes = {layer.size: layer for layer in activity}
    np.testing.assert_allclose(sizes[4], jnp.abs(features).mean(axis=0), rtol=1e-6)
    assert len(activity) == (2 if module.head.__class__ is heads.LinearHead else 4)


def test_features_of_implicit_quantiles_are_a_mean_over_fractions():
    module = heads.ImplicitQuantileNetwork(TORSO, heads.LinearHead(2), num_fractions=3)
    network = modules.from_flax(module, draws=True)
    params = network.init(KEY, OBS)
    features, _ = network.inside(params, OBS)
    embedding = features / features_of(params)  # the same for every observation
    assert features.shape == (5, 4)
    rows = np.asarray(embedding)[:, np.asarray(features_of(params)).all(axis=0)]
    np.testing.assert_allclose(rows, rows[:1].repeat(5, 0), rtol=1e-4)


def test_a_head_that_is_called_twice_has_one_activity():
    """Trap: IQN draws two sets of fractions; ReDo then could not read its streams."""
    head = heads.DuelingHead(2, stream_widths=(6,))
    network = modules.from_flax(heads.ImplicitQuantileNetwork(TORSO, head, 3), draws=True)
    params = jax.jit(network.init)(KEY, OBS)
    _, activity = network.inside(params, OBS)
    assert sorted(layer.size for layer in activity) == [4, 6, 6, 8]
    layers = units.hidden_layers(network, params, lambda: OBS)
    assert [layer.activity.shape for layer in layers] == [(8,), (4,), (6,), (6,)]


def test_an_ensemble_has_the_features_of_every_member():
    network = ensembles.ensemble(PLAIN, 3, prior_scale=1.0)
    params = network.init(KEY, OBS)
    features, activity = network.inside(params, OBS)
    assert features.shape == (3, 5, 4) and [layer.shape for layer in activity] == [(3, 8), (3, 4)]
    one = jax.tree.map(lambda leaf: leaf[1], params["members"])
    np.testing.assert_allclose(features[1], features_of(one), rtol=1e-5)


def test_what_is_inside_sees_observations_as_the_network_does():
    plain = modules.from_flax(PLAIN)
    network = statistics.normalized(plain)
    params = network.observe(network.init(KEY, OBS), 3.0 * OBS)
    weights, seen = statistics.split(params)
    expected = plain.inside(weights, statistics.normalize(seen["observations"], OBS))
    np.testing.assert_array_equal(network.inside(params, OBS).features, expected.features)


def test_a_module_without_a_head_has_no_features():
    class Own(nn.Module):
        @nn.compact
        def __call__(self, obs):
            return heads.QOutput(nn.Dense(2)(obs))

    own = Own()
    assert units.inside_of(own)(own.init(KEY, OBS), OBS) == (None, [])
