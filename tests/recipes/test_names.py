"""A name stands for what it says: functions, layers, shapes, and when something happens."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from common import RECIPES, SMALL, SMALL_HPARAMS, tabular_env
from flax.traverse_util import flatten_dict, unflatten_dict

import jaxq
from jaxq import schedules
from jaxq.config import Config, HParams
from jaxq.envs.previous import with_previous_action
from jaxq.learning import (
    backups,
    optimizers,
    plasticity,
    regularisers,
    returns,
    targets,
    traces,
)
from jaxq.loops import resets
from jaxq.networks import cells, layers
from jaxq.recipes import experiment, parts
from jaxq.recipes.agents import make_agent_from, make_network_from
from jaxq.recipes.experiment import make_env_from, make_experiment, make_target_from
from jaxq.types import Clock, Step

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


def test_names_stand_for_their_functions(monkeypatch):
    """Trap: losses and backups are tested as functions, and a preset trains what a name makes."""
    for field, expected in {
        "backup": {n: getattr(backups, n) for n in "greedy double minto soft munchausen".split()},
        "optimizer": {n: getattr(optimizers, n) for n in "adam adamw radam rmsprop sgd".split()},
        "exploration": {n: getattr(schedules, n) for n in ("linear", "exponential")},
        "learning_rate_schedule": {n: getattr(schedules, n) for n in ("linear", "exponential")},
        "trace_cut": {n: getattr(traces, f"cut_{n}") for n in ("after", "watkins", "episodes")},
        "layer_norm_form": {"affine": layers.affine_norm, "plain": layers.plain_norm},
        "reset": {
            n: getattr(plasticity, n.replace("-", "_"))
            for n in ("head", "shrink-and-perturb", "redo")
        },
    }.items():
        assert {name: parts.TABLES[field][name].make for name in expected} == expected, field
    made = {
        "trace": (traces, {n: n for n in ("obgd", "qrc", "gq2", "intentional")}),
        "target": (targets, {"polyak": "polyak", "stack": "stack"}),
        "regulariser": (
            regularisers,
            {"l2-init": "l2_init", "cql": "conservative", "chain-auto": "chain_auto"},
        ),
    }
    for field, (module, functions) in made.items():
        for name, function in functions.items():
            monkeypatch.setattr(module, function, lambda *_, function=function: function)
            assert parts.TABLES[field][name].make(Config()) == function
    kinds = {"lstm": cells.lstm, "gru": cells.gru, "mingru": cells.min_gru, "lru": cells.lru}
    for name, make in kinds.items():
        ours, theirs = parts.TABLES["memory"][name].make(Config(memory_width=3)), make(3)
        assert type(ours.make()) is type(theirs.make()), name
    env = tabular_env(2)
    for name, reward in (("action", False), ("action-reward", True)):
        spec = parts.TABLES["memory_inputs"][name].make(env).obs_spec
        assert spec == with_previous_action(env, reward=reward).obs_spec
    rescales = [make_agent_from(RECIPES[name], env).rescale for name in ("r2d2", "drqn")]
    assert rescales[0] is returns.rescale and rescales[1](3.0) == 3.0


def test_the_latest_steps_are_all_since_the_last_update():
    config = Config(replay="latest", num_envs=2, train_every=8, n_step=3)
    numbers, flags = jax.ShapeDtypeStruct((2,), jnp.float32), jax.ShapeDtypeStruct((2,), bool)
    obs, action = jax.ShapeDtypeStruct((2, 4), jnp.float32), jax.ShapeDtypeStruct((2,), jnp.uint8)
    replay = parts.find("replay", "latest").make(
        config, Step(obs, action, numbers, flags, flags, obs)
    )
    state = jax.eval_shape(replay.init)
    key, clock = jax.random.key(0), Clock(jnp.int32(0), jnp.int32(0))
    assert jax.eval_shape(replay.sample, state, clock, key, HParams()).steps.reward.shape == (8, 3)


def test_evaluations_are_as_long_and_as_many_as_the_configuration_says(monkeypatch):
    seen = []
    monkeypatch.setattr(
        experiment, "make_evaluator", lambda env, agent, *rest: seen.append((env.num_envs, *rest))
    )
    make_experiment(replace(SMALL, eval_max_steps=77, eval_episodes=5), SMALL_HPARAMS)
    assert seen == [(5, 77, False)]


def walk_reset(key, params):
    return jnp.zeros(3), jnp.int32(0)


def walk_step(key, state, action, params):
    return jnp.ones(3), state + 1, 1.0, state > 5, False


walk = jaxq.RawEnv(num_actions=2, reset=walk_reset, step=walk_step)


def test_an_environment_is_made_as_the_configuration_says():
    """Trap: what is recorded as size=5 or terminal is trained on the default."""
    deep = Config(env="DeepSea-bsuite", env_kwargs=("size=5",))
    assert {*make_env_from(deep, 2).obs_spec.shape} == {5}
    for name in ("CartPole-v1", f"{__name__}:walk"):
        for limit in ("bootstrap", "terminal"):
            env = make_env_from(Config(env=name, time_limit=limit), 1)
            assert env.protocol["time_limit"] == limit, name


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
