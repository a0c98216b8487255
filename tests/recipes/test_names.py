"""A name stands for what it says: functions, layers, shapes, and when something happens."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from common import RECIPES, SMALL, SMALL_HPARAMS, tabular_env
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxq import schedules
from jaxq.config import Config, HParams
from jaxq.learning import backups, optimizers, plasticity, returns, traces
from jaxq.learning.traces import Online
from jaxq.loops import resets
from jaxq.networks import layers
from jaxq.recipes import parts
from jaxq.recipes.agents import make_agent_from, make_network_from
from jaxq.recipes.experiment import make_experiment, make_target_from
from jaxq.recipes.layers import NORMS
from jaxq.types import Clock

pytestmark = pytest.mark.usefixtures("compiled_quickly")

KEY = jax.random.key(0)
ENV = tabular_env(2)
STATES = jnp.eye(16)[:2]


def test_a_chain_of_networks_is_shifted_when_the_configuration_says():
    config = Config(agent="i-dqn", target="shift-networks", shift_period=40, target_period=20)
    shift, old = make_target_from(config).shift, {"members": jnp.arange(3.0)}
    moved = [
        float(shift(old, old, Clock(jnp.int32(steps), 0), None)[0]["members"][0]) > 0.0
        for steps in (20, 40, 60, 80)
    ]
    assert moved == [False, True, False, True]


def test_resets_come_when_the_configuration_says(monkeypatch):
    seen = []
    monkeypatch.setattr(resets, "with_resets", lambda *args: seen.append(args[-3:]) or args[0])
    make_experiment(replace(SMALL, reset="redo", reset_period=300), SMALL_HPARAMS)
    assert seen == [(plasticity.redo, 300, 100)]


def test_who_acts_of_an_ensemble():
    """Of maxmin the minimum, of REM a mixture; IQN and noisy networks draw."""
    made = {}
    for name in ("maxmin", "rem"):
        config = Config(agent=name, network="linear", ensemble_size=3)
        network = make_network_from(config, ENV)
        params = jax.tree.map(
            lambda leaf: jax.random.normal(KEY, leaf.shape), network.init(KEY, STATES)
        )
        carry = network.initial_carry(jax.random.key(1), 2)
        made[name] = network.apply(params, STATES, jax.random.key(2), carry)[0], carry
    output, _ = made["maxmin"]
    np.testing.assert_array_equal(output.q_values, output.members.min(axis=1))
    output, carry = made["rem"]
    mixed = (carry.weights[..., None] * output.members).sum(axis=1)
    np.testing.assert_allclose(output.q_values, mixed, rtol=1e-5)


@pytest.mark.parametrize("agent", ["dqn", "c51", "hl-gauss", "qr-dqn", "rem", "drqn", "rnd"])
def test_noise_is_drawn_by_every_layer_and_for_every_environment(agent):
    config = Config(agent=agent, widths=(4,), stream_widths=(4,), dueling=True, num_atoms=2)
    config = replace(config, memory="gru" if agent == "drqn" else "none")
    noisy, plain = (
        make_network_from(replace(config, dense=dense), ENV) for dense in ("noisy", "plain")
    )
    assert noisy.draws and not plain.draws
    params = flatten_dict(jax.eval_shape(noisy.init, KEY, STATES))
    heads_of = [path[:-1] for path in params if "head" in path and path[-1] == "kernel"]
    assert len(heads_of) >= 4 and all((*path, "kernel_sigma") in params for path in heads_of)


def test_iqn_draws_its_fractions():
    draws = {name: make_network_from(Config(agent=name), ENV).draws for name in ("iqn", "qr-dqn")}
    assert draws == {"iqn": True, "qr-dqn": False}


def test_all_weights_are_sparse_at_first():
    env = ENV._replace(obs_spec=jax.ShapeDtypeStruct((5, 5, 4), bool))
    config = Config(network="minatar", widths=(40, 30), dueling=True, stream_widths=(20,))
    network = make_network_from(replace(config, initialization="sparse", sparsity=0.8), env)
    params = flatten_dict(jax.jit(network.init)(KEY, jnp.zeros((1, 5, 5, 4), bool)))
    shares = [float((leaf == 0.0).mean()) for path, leaf in params.items() if path[-1] == "kernel"]
    assert len(shares) == 7 and min(shares) > 0.79 and max(shares) < 0.85


@pytest.mark.parametrize(("network", "shape"), [("mlp", (6,)), ("minatar", (4, 4, 2))])
def test_the_layer_before_the_head_is_spectral(network, shape):
    """Twice its matrix is the same layer; twice that of any other layer is not."""
    env = ENV._replace(obs_spec=jax.ShapeDtypeStruct(shape, jnp.float32))
    made = make_network_from(Config(network=network, widths=(5, 4), dense="spectral"), env)
    obs = jax.random.normal(KEY, (3, *shape))
    params = flatten_dict(made.init(jax.random.key(1), obs))

    def values(path):
        doubled = {p: 2.0 * leaf if p == path else leaf for p, leaf in params.items()}
        return made.apply(unflatten_dict(doubled), obs, None, ())[0].q_values

    plain, kernels = values(None), [path for path in params if path[-1] == "kernel"]
    (same,) = [path for path in kernels if np.allclose(values(path), plain, rtol=1e-4, atol=1e-6)]
    assert params[same].shape == (5, 4)


def test_a_spectral_layer_has_norm_1_and_no_gradient_along_its_matrix():
    """Its output does not depend on the matrix's size (Miyato et al. 2018, equation 12). Two values
    of 1 and 0.9 take all the iterations that there are."""
    layer, x = layers.SpectralDense(5), jax.random.normal(KEY, (3, 5))
    of = lambda kernel, x: layer.apply({"params": {"kernel": kernel, "bias": jnp.zeros(5)}}, x)  # noqa: E731
    kernel = jnp.diag(jnp.array([1.0, 0.9, 0.5, 0.5, 0.5]))
    assert 0.999 < np.linalg.norm(of(kernel, jnp.eye(5)), 2) < 1.005
    slope = jax.grad(lambda kernel: jnp.sum(jnp.sin(of(kernel, x))))(kernel)
    assert jnp.abs(slope).max() > 0.1 and abs(float(jnp.sum(slope * kernel))) < 1e-4


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("nature", (84, 84, 4), [(8, 8, 4, 32), (4, 4, 32, 64), (3, 3, 64, 64), (3_136, 512)]),
        ("octax", (32, 64, 4), [(4, 8, 4, 32), (4, 4, 32, 64), (3, 3, 64, 64), (1_024, 512)]),
    ],
)
def test_convolutions_are_those_of_the_papers(name, shape, expected):
    """Of Mnih et al. (2015) 7 x 7 places are left, of Radji et al. (2025) 4 x 4."""
    torso = parts.TORSOS[name].make(
        Config(network=name, widths=(512,)), jax.ShapeDtypeStruct(shape, jnp.float32)
    )
    params = flatten_dict(jax.eval_shape(torso.init, KEY, jnp.zeros((1, *shape))))
    kernels = {path[-2]: leaf.shape for path, leaf in params.items() if path[-1] == "kernel"}
    assert [kernels[layer] for layer in sorted(kernels, key=lambda n: (n[0] == "D", n))] == expected


def test_a_name_is_the_function_of_that_name():
    """Trap: of those that read the same numbers, what is declared does not tell them apart."""
    assert all(row.make is getattr(backups, name) for name, row in parts.BACKUPS.items())
    assert all(row.make is getattr(optimizers, name) for name, row in parts.OPTIMIZERS.items())
    for rows in (parts.EXPLORATIONS, parts.LEARNING_RATES):
        assert all(row.make is getattr(schedules, name) for name, row in rows.items())
    assert all(row.make is getattr(traces, f"cut_{n}") for n, row in parts.TRACE_CUTS.items())
    assert all(row.make is getattr(layers, f"{n}_norm") for n, row in NORMS.items())
    config = Config(memory_width=2)
    made = {
        n: type(row.make(config).make()).__name__.lower()
        for n, row in parts.MEMORIES.items()
        if n != "none"
    }
    assert made == {name: name for name in made}
    weights, moved = {"w": jnp.array([0.5, -0.25])}, {}
    online = Online(lambda w: w["w"][0], lambda w: 1.0 + 0.9 * w["w"][1] - w["w"][0])
    for name in ("qrc", "gq2"):
        found = []
        for rule in (parts.TRACES[name].make(config), getattr(traces, name)()):
            state = rule.init(KEY, weights, lambda key: {"w": jnp.ones(2)}, HParams())
            found.append(rule.update(state, weights, online, 0.5, HParams(), 0.1)[0]["w"])
        np.testing.assert_array_equal(*found)
        moved[name] = found[0]
    assert (moved["qrc"] != moved["gq2"]).any()
    rescales = [make_agent_from(RECIPES[name], ENV).rescale for name in ("r2d2", "drqn")]
    assert rescales[0] is returns.rescale and rescales[1](3.0) == 3.0


def test_the_form_of_a_hidden_layer_is_the_one_that_is_named():
    """CReLU has twice the features, plain normalisation no parameters."""

    def shapes(**changes):
        network = make_network_from(Config(widths=(8,), layer_norm=True, **changes), ENV)
        params = flatten_dict(jax.eval_shape(network.init, KEY, STATES))
        return {path[1:]: leaf.shape for path, leaf in params.items()}

    assert ("torso", "LayerNorm_0", "scale") in shapes(layer_norm_form="affine")
    assert not [path for path in shapes(layer_norm_form="plain") if "scale" in path]
    for activation, inputs in (("relu", 8), ("crelu", 16)):
        assert shapes(activation=activation)["head", "Dense_0", "kernel"] == (inputs, 4)
