"""Networks equal their textbook versions."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxq import networks
from jaxq.errors import ConfigError


@pytest.mark.parametrize(
    "shape, features, kernel, strides",
    [
        ((10, 10, 4), 16, (3, 3), (1, 1)),  # MinAtar
        ((84, 84, 4), 32, (8, 8), (4, 4)),  # the three layers of the Nature network
        ((20, 20, 32), 64, (4, 4), (2, 2)),
        ((9, 9, 64), 64, (3, 3), (1, 1)),
        ((11, 7, 3), 5, (4, 2), (3, 2)),  # does not divide
    ],
)
def test_patches_and_one_matmul_equal_a_convolution(shape, features, kernel, strides):
    """Same parameters, same values, same gradients as nn.Conv."""
    ours = networks.PatchConv(features, kernel, strides)
    theirs = nn.Conv(features, kernel, strides, padding="VALID")
    x = jax.random.normal(jax.random.key(0), (2, *shape))
    params = theirs.init(jax.random.key(1), x)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(
        jnp.shape, ours.init(jax.random.key(1), x)
    )

    def run(module, params):
        y = module.apply(params, x)
        return jnp.sum(jnp.sin(y)), y

    (_, y_ours), grad_ours = jax.value_and_grad(lambda p: run(ours, p), has_aux=True)(params)
    (_, y_theirs), grad_theirs = jax.value_and_grad(lambda p: run(theirs, p), has_aux=True)(params)
    np.testing.assert_allclose(y_ours, y_theirs, atol=2e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-3), grad_ours, grad_theirs)


def test_no_grouped_convolution_under_vmap():
    """A convolution vmapped over members is a slow grouped convolution; ours is a matmul."""
    torso = networks.MinAtarTorso()
    obs = jnp.zeros((3, 2, 10, 10, 4), bool)
    params = jax.vmap(torso.init)(jax.random.split(jax.random.key(0), 3), obs)
    text = jax.jit(jax.vmap(torso.apply)).lower(params, obs).as_text()
    assert "convolution" not in text and "dot_general" in text


def test_dueling_mean_is_the_state_value():
    value = jnp.array([[3.0], [-1.0]])
    advantage = jnp.array([[1.0, 2.0, 6.0], [0.0, 0.0, 1.0]])
    q_values = networks.dueling(value, advantage)
    np.testing.assert_allclose(q_values.mean(axis=-1), [3.0, -1.0], rtol=1e-6)
    np.testing.assert_allclose(networks.dueling(value, advantage + 5.0), q_values, rtol=1e-5)


def test_a_linear_network_on_one_hot_observations_is_a_table():
    head = networks.LinearHead(4, use_bias=False, kernel_init=nn.initializers.zeros)
    network = networks.from_flax(networks.ValueNetwork(networks.Flatten(), head))
    params = network.init(jax.random.key(0), jnp.zeros((1, 16), bool))
    (table,) = jax.tree.leaves(params)
    assert table.shape == (16, 4) and not table.any()
    table = jnp.arange(64.0).reshape(16, 4)
    params = jax.tree.map(lambda _: table, params)
    output, carry = network.apply(params, jnp.eye(16, dtype=bool), None, (), None)
    np.testing.assert_array_equal(output.q_values, table)
    assert carry == ()


@pytest.mark.parametrize(
    "name, shape", [("mlp", (4,)), ("minatar", (10, 10, 4)), ("nature", (84, 84, 4))]
)
@pytest.mark.parametrize("layer_norm", [False, True])
def test_torsos_take_the_observations_they_are_for(name, shape, layer_norm):
    spec = jax.ShapeDtypeStruct(shape, jnp.float32)
    torso = networks.make_torso(name, spec, (32, 8), layer_norm)
    obs = jnp.ones((2, *shape))
    params = torso.init(jax.random.key(0), obs)
    assert torso.apply(params, obs).shape == (2, 8)
    assert ("LayerNorm" in str(jax.tree.structure(params))) == layer_norm


@pytest.mark.parametrize("name, shape", [("minatar", (4,)), ("nature", (30, 40, 3))])
def test_torsos_refuse_other_observations(name, shape):
    with pytest.raises(ConfigError, match=f"network={name} needs image"):
        networks.make_torso(name, jax.ShapeDtypeStruct(shape, jnp.float32), (8,), False)
