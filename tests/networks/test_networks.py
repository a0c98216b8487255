"""Networks equal their textbook versions."""

import warnings
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxq.config import Config
from jaxq.errors import ConfigError
from jaxq.networks import fusion, heads, kernels, layers, modules
from jaxq.networks import torsos as networks
from jaxq.recipes.parts import TORSOS, find

pytestmark = pytest.mark.usefixtures("compiled_quickly")


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
    """Same parameters, same values, same gradients as nn.Conv, which has the batch first."""
    ours = kernels.PatchConv(features, kernel, strides)
    theirs = nn.Conv(features, kernel, strides, padding="VALID")
    x = jax.random.normal(jax.random.key(0), (2, *shape))
    params = jax.jit(theirs.init)(jax.random.key(1), x)
    shapes = jax.eval_shape(ours.init, jax.random.key(1), x.transpose(3, 1, 2, 0))
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, shapes)

    def run_ours(params, x):
        y = ours.apply(params, x.transpose(3, 1, 2, 0)).transpose(3, 1, 2, 0)
        return jnp.sum(jnp.sin(y)), y

    def run_theirs(params, x):
        y = theirs.apply(params, x)
        return jnp.sum(jnp.sin(y)), y

    (_, y_ours), grad_ours = jax.jit(jax.value_and_grad(run_ours, (0, 1), has_aux=True))(params, x)
    (_, y_theirs), grad_theirs = jax.jit(jax.value_and_grad(run_theirs, (0, 1), has_aux=True))(
        params, x
    )
    np.testing.assert_allclose(y_ours, y_theirs, atol=2e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-3), grad_ours, grad_theirs)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_the_torso_for_minatar_equals_its_layers_in_flax(layer_norm):
    """Channels are normalised pixel by pixel, and flattened channel by channel."""

    class Plain(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Conv(16, (3, 3), padding="VALID")(x)
            x = nn.relu(nn.LayerNorm()(x) if layer_norm else x)
            x = nn.Dense(128)(x.transpose(0, 3, 1, 2).reshape(len(x), -1))
            return nn.relu(nn.LayerNorm()(x) if layer_norm else x)

    obs = jax.random.bernoulli(jax.random.key(0), 0.2, (5, 10, 10, 4))
    plain, torso = Plain(), networks.MinAtarTorso(layer_norm=layer_norm)
    params = jax.jit(torso.init)(jax.random.key(1), obs)["params"]
    dense = params["MLP_0"]
    theirs = {"Conv_0": params["PatchConv_0"], "Dense_0": dense["Dense_0"]}
    if layer_norm:
        theirs |= {"LayerNorm_0": params["LayerNorm_0"], "LayerNorm_1": dense["LayerNorm_0"]}
    expected = jax.jit(plain.apply)({"params": theirs}, obs.astype(jnp.float32))
    ours = jax.jit(torso.apply)({"params": params}, obs)
    np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize("channels", [4, 32, 33])
def test_booleans_gathered_as_words_equal_numbers(channels):
    """The same patches, so the same bits; the last word's sign is channel 32."""
    x = jax.random.bernoulli(jax.random.key(0), 0.5, (channels, 10, 9, 3))
    conv = kernels.PatchConv(16, (3, 2), (2, 1))
    params = jax.jit(conv.init)(jax.random.key(1), x)
    apply = jax.jit(conv.apply)
    np.testing.assert_array_equal(apply(params, x), apply(params, x.astype(jnp.float32)))


def test_lstm_equals_flax():
    """With the same weights, values and gradients, resets included."""
    steps, rows, inputs, width = 7, 3, 5, 4
    keys = jax.random.split(jax.random.key(0), 5)
    x = jax.random.normal(keys[0], (steps, rows, inputs))
    resets = jax.random.bernoulli(keys[1], 0.3, (steps, rows))
    carry = tuple(jax.random.normal(keys[2], (2, rows, width)))
    lstm, cell = kernels.LSTM(width), nn.OptimizedLSTMCell(width)
    params = jax.jit(lstm.init)(keys[3], carry, x, resets)
    weights = jax.random.normal(keys[4], (2, steps, rows, width))  # of the outputs

    def ours(params, carry, x):
        return jnp.sum(weights * jnp.stack(lstm.apply(params, carry, x, resets)[1]))

    def theirs(params, carry, x):
        params, carries = _flax_lstm(params["params"]), []
        for now, keep in zip(x, ~resets[..., None]):
            carry, _ = cell.apply(params, (keep * carry[0], keep * carry[1]), now)
            carries.append(jnp.stack(carry))
        return jnp.sum(weights * jnp.stack(carries, axis=1))

    value, grads = jax.jit(jax.value_and_grad(ours, (0, 1, 2)))(params, carry, x)
    value_flax, grads_flax = jax.jit(jax.value_and_grad(theirs, (0, 1, 2)))(params, carry, x)
    np.testing.assert_allclose(value, value_flax, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), grads, grads_flax)


def _flax_lstm(params):
    """Our weights in flax's words: eight kernels instead of two."""
    split = lambda leaf: jnp.split(leaf, 4, axis=-1)  # noqa: E731
    dense = params["Dense_0"]
    renamed = {}
    gates = zip("ifgo", split(dense["kernel"]), split(dense["bias"]), split(params["kernel"]))
    for gate, kernel, bias, recurrent in gates:
        renamed["i" + gate] = {"kernel": kernel}
        renamed["h" + gate] = {"kernel": recurrent, "bias": bias}
    return {"params": renamed}


def test_no_grouped_convolution_under_vmap():
    """A convolution vmapped over members is a slow grouped convolution; ours is a matmul."""
    torso = networks.MinAtarTorso()
    obs = jnp.zeros((3, 2, 10, 10, 4), bool)
    params = jax.eval_shape(jax.vmap(torso.init), jax.random.split(jax.random.key(0), 3), obs)
    text = jax.jit(jax.vmap(torso.apply)).lower(params, obs).as_text()
    assert "convolution" not in text and "dot_general" in text


def test_dueling_mean_is_the_state_value():
    value = jnp.array([[3.0], [-1.0]])
    advantage = jnp.array([[1.0, 2.0, 6.0], [0.0, 0.0, 1.0]])
    q_values = heads.dueling(value, advantage)
    np.testing.assert_allclose(q_values.mean(axis=-1), [3.0, -1.0], rtol=1e-6)
    np.testing.assert_allclose(heads.dueling(value, advantage + 5.0), q_values, rtol=1e-5)


def test_a_linear_network_on_one_hot_observations_is_a_table():
    dense = partial(nn.Dense, use_bias=False, kernel_init=nn.initializers.zeros)
    network = modules.from_flax(
        heads.ValueNetwork(networks.Flatten(), heads.LinearHead(4, dense=dense))
    )
    params = network.init(jax.random.key(0), jnp.zeros((1, 16), bool))
    (table,) = jax.tree.leaves(params)
    assert table.shape == (16, 4) and not table.any()
    table = jnp.arange(64.0).reshape(16, 4)
    params = jax.tree.map(lambda _: table, params)
    output, carry = network.apply(params, jnp.eye(16, dtype=bool), None, ())
    np.testing.assert_array_equal(output.q_values, table)
    assert carry == ()


def make_torso(name, obs_spec, **changes):
    return TORSOS[name].make(Config(network=name, **changes), obs_spec)


@pytest.mark.parametrize(
    "name, shape",
    [("mlp", (4,)), ("minatar", (10, 10, 4)), ("nature", (84, 84, 4)), ("octax", (32, 64, 4))],
)
@pytest.mark.parametrize("layer_norm", [False, True])
def test_torsos_take_the_observations_they_are_for(name, shape, layer_norm):
    spec = jax.ShapeDtypeStruct(shape, jnp.float32)
    torso = make_torso(name, spec, widths=(32, 8), layer_norm=layer_norm)
    obs = jnp.ones((2, *shape))
    params = jax.eval_shape(torso.init, jax.random.key(0), obs)
    assert jax.eval_shape(torso.apply, params, obs).shape == (2, 8)
    assert ("LayerNorm" in str(jax.tree.structure(params))) == layer_norm


@pytest.mark.parametrize(
    "name, shape",
    [
        ("linear", (4,)),
        ("mlp", (6, 5)),
        ("minatar", (5, 5, 2)),
        ("nature", (36, 36, 1)),
        ("octax", (18, 36, 1)),
    ],
)
def test_every_torso_reads_bytes_as_brightness(name, shape):
    torso = make_torso(name, jax.ShapeDtypeStruct(shape, jnp.uint8), widths=(4,))
    pixels = jax.random.randint(jax.random.key(0), (2, *shape), 0, 256).astype(jnp.uint8)
    params = jax.jit(torso.init)(jax.random.key(1), pixels)
    apply = jax.jit(torso.apply)
    scaled = apply(params, pixels.astype(jnp.float32) / 255.0)
    np.testing.assert_allclose(apply(params, pixels), scaled, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "name, shape", [("minatar", (4,)), ("nature", (30, 40, 3)), ("octax", (64, 32, 4))]
)
def test_torsos_refuse_other_observations(name, shape):
    with pytest.raises(ConfigError, match=f"network={name} needs image"):
        make_torso(name, jax.ShapeDtypeStruct(shape, jnp.float32))


def test_noise_of_a_noisy_layer_by_hand():
    """Variance 2 / pi sigma^2 x^2 per input and output, plus the bias's; the mean is the mean."""
    layer, x = layers.NoisyDense(3), jnp.array([[1.0, -2.0]])
    params = layer.init(jax.random.key(0), x)
    sigma = 0.5 / np.sqrt(2.0)
    np.testing.assert_allclose(params["params"]["kernel_sigma"], sigma)
    assert np.abs(params["params"]["kernel"]).max() <= 1 / np.sqrt(2.0)
    draw = lambda key: layer.apply(params, x, rngs={"noise": key})[0]  # noqa: E731
    noise = jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(1), 200_000))
    noise -= layer.apply(params, x)
    factor = np.sqrt(2 / np.pi)  # E[f(e)^2] = E|e|
    expected = sigma**2 * factor * (factor * (1.0 + 4.0) + 1.0)
    np.testing.assert_allclose(noise.mean(axis=0), 0.0, atol=0.01)
    np.testing.assert_allclose(noise.var(axis=0), expected, rtol=0.03)
    np.testing.assert_array_equal(draw(jax.random.key(7)), draw(jax.random.key(7)))


@pytest.mark.parametrize("rows", [7, 8])
def test_few_rows_and_many_see_the_same_noise(rows):
    """Of the formula of Fortunato et al. (2018, equation 10), value and gradient."""
    layer, x = layers.NoisyDense(3), jax.random.normal(jax.random.key(0), (rows, 5))
    params = layer.init(jax.random.key(1), x)["params"]
    apply = lambda params, x: layer.apply({"params": params}, x, rngs={"noise": jax.random.key(2)})  # noqa: E731

    def formula(params, x):
        zero = jax.tree.map(jnp.zeros_like, params)
        parts = jnp.eye(5)[:, None]  # each input alone, so that few rows are seen
        noise_of = lambda name: {**zero, name: jnp.ones_like(params[name])}  # noqa: E731
        noise = jnp.concatenate([apply(noise_of("kernel_sigma"), part) for part in parts])
        bias_noise = apply(noise_of("bias_sigma"), parts[0])[0]
        kernel = params["kernel"] + params["kernel_sigma"] * noise
        return x @ kernel + params["bias"] + params["bias_sigma"] * bias_noise

    expected, of_formula = jax.vjp(formula, params, x)
    output, of_layer = jax.vjp(apply, params, x)
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(
        *(jax.tree.leaves(f(jnp.cos(expected))) for f in (of_layer, of_formula))
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_two_noisy_layers_have_noise_of_their_own():
    module = networks.MLP((4, 4), dense=lambda width: layers.NoisyDense(width))
    params = module.init(jax.random.key(0), jnp.ones((1, 4)))
    seen = []
    original = jax.random.normal
    jax.random.normal = lambda key, *x: seen.append(original(key, *x)) or seen[-1]
    try:
        module.apply(params, jnp.ones((1, 4)), rngs={"noise": jax.random.key(0)})
    finally:
        jax.random.normal = original
    assert len(seen) == 2 and not np.allclose(*seen)


def test_spectral_layers_divide_by_the_largest_singular_value():
    layer = layers.SpectralDense(8, iterations=200)
    params = layer.init(jax.random.key(0), jnp.zeros((1, 5)))
    kernel = params["params"]["kernel"]
    expected = kernel / np.linalg.norm(kernel, 2)
    np.testing.assert_allclose(layer.apply(params, jnp.eye(5)), expected, atol=1e-4)


def test_cosines_are_cosines():
    fractions = jnp.linspace(0.0, 1.0, 1_001)
    expected = np.cos(np.pi * np.outer(np.asarray(fractions, np.float64), np.arange(1, 65)))
    np.testing.assert_allclose(kernels.cosines(fractions, 64), expected, atol=2e-5)


def test_implicit_quantiles_at_midpoints_and_at_random():
    """Without a key all fractions are midpoints; with one, selection has fractions of its own."""
    head = heads.LinearHead(3)
    network = modules.from_flax(heads.ImplicitQuantileNetwork(networks.MLP((16,)), head, 8))
    obs = jax.random.normal(jax.random.key(0), (5, 4))
    params = jax.jit(network.init)(jax.random.key(1), obs)
    greedy, _ = jax.jit(network.apply)(params, obs, None, ())
    np.testing.assert_allclose(greedy.fractions[0], (np.arange(8) + 0.5) / 8)
    np.testing.assert_allclose(greedy.q_values, greedy.quantiles.mean(axis=-1), rtol=1e-5)
    drawn, _ = jax.jit(network.apply)(params, obs, jax.random.key(2), ())
    assert drawn.quantiles.shape == (5, 3, 8) and len(np.unique(drawn.fractions)) == 40
    assert not np.allclose(drawn.q_values, drawn.quantiles.mean(axis=-1), atol=1e-6)


def test_categorical_values_are_the_means_of_their_atoms():
    network = heads.CategoricalNetwork(networks.Flatten(), heads.LinearHead(2, 5), (-1.0, 1.0))
    params = network.init(jax.random.key(0), jnp.zeros((1, 3)))
    output = network.apply(params, jnp.eye(3))
    probs = jax.nn.softmax(output.logits)
    np.testing.assert_allclose(output.q_values, probs @ np.linspace(-1, 1, 5), rtol=1e-5)


def test_dueling_means_are_over_actions_for_each_atom():
    head = heads.DuelingHead(4, 6)
    params = jax.jit(head.init)(jax.random.key(0), jnp.ones((2, 3)))
    outputs = head.apply(params, jnp.ones((2, 3)))
    value = jnp.ones((2, 3)) @ params["params"]["Dense_0"]["kernel"]
    np.testing.assert_allclose(outputs.mean(axis=1), value, atol=1e-5)


DENSE = {"plain": layers.Dense, "noisy": lambda width: layers.NoisyDense(width)}


@pytest.mark.parametrize(("dense", "layer_norm"), [("plain", False), ("noisy", True)])
def test_each_stream_has_hidden_layers_of_its_own(dense, layer_norm):
    """Widths 7 and 5 over 3 features, for 4 actions and 2 atoms; all layers learn."""
    head = heads.DuelingHead(4, 2, DENSE[dense], (7, 5), layer_norm)
    features = jax.random.normal(jax.random.key(0), (6, 3))
    params = jax.jit(head.init)(jax.random.key(1), features)["params"]
    kernels_of = [v["kernel"].shape for k, v in sorted(params.items()) if "Dense" in k]
    assert kernels_of == [(3, 7), (7, 5), (5, 2), (3, 7), (7, 5), (5, 8)]
    assert sum("LayerNorm" in name for name in params) == (4 if layer_norm else 0)

    def loss(params):
        outputs = head.apply({"params": params}, features, rngs={"noise": jax.random.key(2)})
        return jnp.sum(jnp.sin(outputs)), outputs

    grads, outputs = jax.jit(jax.grad(loss, has_aux=True))(params)
    assert outputs.shape == (6, 4, 2)
    assert all(np.any(layer["kernel"]) for name, layer in grads.items() if "Dense" in name)


def test_the_mean_over_actions_is_the_value_stream():
    head = heads.DuelingHead(4, stream_widths=(5,))
    features = jax.random.normal(jax.random.key(0), (6, 3))
    params = jax.jit(head.init)(jax.random.key(1), features)
    hidden, output = (params["params"][f"Dense_{layer}"] for layer in (0, 1))
    hidden = nn.relu(features @ hidden["kernel"] + hidden["bias"])
    value = hidden @ output["kernel"] + output["bias"]
    means = head.apply(params, features).mean(axis=1)
    np.testing.assert_allclose(means, value, atol=1e-5)


def test_streams_without_hidden_layers_are_linear_in_the_features():
    """The parameters are those of two dense layers, and so is what they compute."""
    head = heads.DuelingHead(4, stream_widths=())
    features = jax.random.normal(jax.random.key(0), (6, 3))
    params = jax.jit(head.init)(jax.random.key(1), features)
    assert jax.tree.map(jnp.shape, params["params"]) == {
        "Dense_0": {"bias": (1,), "kernel": (3, 1)},
        "Dense_1": {"bias": (4,), "kernel": (3, 4)},
    }
    value, advantage = (
        nn.Dense(width).apply({"params": params["params"][name]}, features)
        for name, width in (("Dense_0", 1), ("Dense_1", 4))
    )
    expected = heads.dueling(value, advantage)
    np.testing.assert_allclose(head.apply(params, features)[..., 0], expected, atol=1e-6)


@pytest.mark.parametrize(
    "name, shape, dtype, message",
    [
        ("minatar", (4, 32, 64), jnp.bool_, r"shape \[4, 32, 64\] look as if channels came first"),
        ("nature", (36, 84, 84), jnp.uint8, "look as if channels came first"),
        (
            "mlp",
            (84, 84, 4),
            jnp.uint8,
            r"takes the 28,224 pixels of images of shape \[84, 84, 4\]",
        ),
        ("mlp", (4, 32, 64), jnp.float32, "takes the 8,192 pixels"),
    ],
)
def test_images_that_a_torso_hardly_means_are_said(name, shape, dtype, message):
    obs_spec = jax.ShapeDtypeStruct(shape, dtype)
    with pytest.warns(UserWarning, match=message):
        find("network", name).make(Config(network=name), obs_spec)


@pytest.mark.parametrize(
    "name, shape, dtype",
    [
        ("minatar", (10, 10, 4), jnp.bool_),
        ("nature", (84, 84, 4), jnp.uint8),
        ("octax", (32, 64, 4), jnp.bool_),
        ("mlp", (10, 10, 4), jnp.bool_),
        ("mlp", (8,), jnp.uint8),
    ],
)
def test_of_other_images_nothing_is_said(name, shape, dtype):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        find("network", name).make(Config(network=name), jax.ShapeDtypeStruct(shape, dtype))


def test_computing_once_changes_no_bit():
    x = jnp.array([1.5, -0.0, 1e-37, 3e38])
    np.testing.assert_array_equal(jax.jit(fusion.once)(x).view(jnp.uint32), x.view(jnp.uint32))
    total = lambda x: jnp.sum(jnp.sin(fusion.once_for_gradients(x)))  # noqa: E731
    value, gradient = jax.value_and_grad(total)(x)
    assert value == jnp.sum(jnp.sin(x))
    np.testing.assert_array_equal(gradient, jnp.cos(x))
    curvature = jax.jvp(jax.grad(total), (x,), (jnp.ones_like(x),))[1]  # forwards, too
    np.testing.assert_array_equal(curvature, -jnp.sin(x))


@pytest.mark.parametrize("rngs", [None, {"noise": jax.random.key(2)}], ids=["midpoints", "drawn"])
def test_implicit_quantiles_by_hand(rngs):
    """Dabney et al. 2018b, equation 4: the head of the features times relu(W cos + b), at the
    fractions that it says it has taken."""
    module = heads.ImplicitQuantileNetwork(networks.Flatten(), heads.LinearHead(3), 8)
    obs = jax.random.normal(jax.random.key(0), (2, 4))
    variables = module.init(jax.random.key(1), obs)
    params, output = variables["params"], module.apply(variables, obs, rngs=rngs)
    cosines = np.cos(np.pi * output.fractions[..., None] * np.arange(1, 65))
    embedding = cosines @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"]
    head = params["head"]["Dense_0"]
    quantiles = (obs[:, None] * np.maximum(embedding, 0.0)) @ head["kernel"] + head["bias"]
    np.testing.assert_allclose(output.quantiles, np.swapaxes(quantiles, 1, 2), atol=1e-4)
