"""Exported policies: what a README shows for their use elsewhere is what jaxq computes."""

import re
from dataclasses import replace

import flax
import flax.linen as nn
import jax
import numpy as np
import pytest
from common import SMALL, SMALL_HPARAMS
from conftest import ROOT
from safetensors.numpy import load_file

from jaxq.errors import ConfigError
from jaxq.recipes.experiment import make_experiment
from jaxq.runs import files
from jaxq.runs.policy import Policy, load_policy, save_policy
from jaxq.runs.spec import RunSpec

pytestmark = pytest.mark.usefixtures("compiled_quickly")

_TEXT = (ROOT / "experiments" / "README.md").read_text()
(_CODE,) = re.findall(r"```python\n(.*?)```", _TEXT, re.S)
WITH_FLAX, WITH_NUMPY = _CODE.split("\n\n")
WITH = {"flax": flax, "nn": nn, "jax": jax, "np": np, "load_file": load_file}
LANE, SEED, ROWS = 1, 0, 5
CHANGES = {
    "mlp": {"widths": (16, 8)},
    "deep": {"widths": (8,) * 12},  # Dense_10 is sorted before Dense_2
    "linear": {"widths": ()},
    "normalised": {"widths": (16, 8), "layer_norm": True},
    "image": {"env": "Breakout-MinAtar", "network": "minatar"},
    "normalised image": {"env": "Breakout-MinAtar", "network": "minatar", "layer_norm": True},
    "recurrent": {
        "memory": "lstm",
        "memory_width": 8,
        "agent": "drqn",
        "sequence_length": 8,
        "replay": "prioritized",
    },
    "ensemble": {"agent": "rem", "ensemble_size": 3},
}


def exported(kind, path):
    """A policy of two lanes and two seeds whose parameters are all different, and its network."""
    config = replace(SMALL, **CHANGES[kind])
    experiment = make_experiment(config, SMALL_HPARAMS)
    spec, network = experiment.env.obs_spec, experiment.agent.network
    draw = np.random.default_rng(0)
    obs = draw.integers(2, size=(ROWS, *spec.shape)).astype(spec.dtype)
    shapes = jax.eval_shape(network.init, jax.random.key(0), obs)
    params = jax.tree.map(lambda x: draw.normal(size=(2, 2, *x.shape)).astype(x.dtype), shapes)
    document = RunSpec("mine", config, [SMALL_HPARAMS] * 2, [0, 1], 400).document()
    save_policy(path / files.POLICY, document, params)
    mine = load_policy(path).member(LANE, SEED)
    return config, network, mine, obs, path / files.POLICY


def elsewhere(code, folder, obs, **names):
    """What the README's code computes, which has no more than that to go by."""
    known = {**WITH, "path": folder / files.PARAMS, "lane": LANE, "seed": SEED}
    scope = {**known, "obs": np.asarray(obs, np.float32), **names}
    exec(code, scope)
    return scope


@pytest.mark.parametrize(
    "kind, code",
    [
        *((kind, code) for kind in ("mlp", "deep", "linear") for code in (WITH_FLAX, WITH_NUMPY)),
        *((kind, WITH_FLAX) for kind in ("image", "normalised", "normalised image")),
    ],
)
def test_values_are_those_of_jaxq(kind, code, tmp_path):
    _, network, params, obs, folder = exported(kind, tmp_path)
    theirs = elsewhere(code, folder, obs)["q_values"]
    ours = network.apply(params, obs, None, ())[0].q_values
    np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-4)
    assert theirs.shape == (ROWS, ours.shape[1]) and np.std(ours) > 0.01


def test_a_member_is_named_by_whole_numbers():
    params = {"w": np.arange(4).reshape(2, 2)}
    policy = Policy(SMALL, [SMALL_HPARAMS] * 2, [7, 8], params)
    assert policy.member(np.int64(1), 0)["w"] == 2 and policy.member(1.0, 1)["w"] == 3
    for index in ("0", True, 0.5, None, 2, -1):
        with pytest.raises(ConfigError, match=f"^lane={index!r} must be "):
            policy.member(index, 0)
        with pytest.raises(ConfigError, match=f"^seed_index={index!r} must be "):
            policy.member(0, index)


def test_a_memory_is_carried_from_step_to_step(tmp_path):
    config, network, params, obs, folder = exported("recurrent", tmp_path)
    carry, names = network.initial_carry(jax.random.key(0), ROWS), {}
    cell = hidden = np.zeros((ROWS, config.memory_width), np.float32)
    names = {"cell": cell, "hidden": hidden}
    for _ in range(3):
        output, carry = network.apply(params, obs, None, carry)
        scope = elsewhere(WITH_NUMPY, folder, obs, **names)
        np.testing.assert_allclose(scope["q_values"], output.q_values, rtol=1e-4, atol=1e-4)
        names = {name: scope[name] for name in names}


@pytest.mark.parametrize("code", [WITH_FLAX, WITH_NUMPY])
def test_an_ensemble_acts_by_the_mean_of_its_members(code, tmp_path):
    config, network, params, obs, folder = exported("ensemble", tmp_path)
    everything, values = load_file(folder / files.PARAMS), []
    for member in range(config.ensemble_size):
        one = {
            name.removeprefix("members/"): array[:, :, member] for name, array in everything.items()
        }
        values.append(elsewhere(code, folder, obs, load_file=lambda _, one=one: one)["q_values"])
    ours = network.apply(params, obs, None, ())[0].q_values
    np.testing.assert_allclose(np.mean(values, axis=0), ours, rtol=1e-4, atol=1e-4)


def test_the_order_of_features_is_said_where_there_is_one(tmp_path):
    *_, folder = exported("image", tmp_path / "image")
    order = files.read_json(folder / files.CONFIG)["order_of_features"]
    assert order == ["channels", "rows", "columns"]
    *_, folder = exported("mlp", tmp_path / "mlp")
    assert "order_of_features" not in files.read_json(folder / files.CONFIG)


@pytest.mark.parametrize("document", [[1], None, {"seeds": None}, {"seeds": ["x"]}])
def test_a_description_that_was_edited_by_hand_is_one_sentence(document, tmp_path):
    *_, policy = exported("mlp", tmp_path)
    path = policy / files.CONFIG
    changed = {**files.read_json(path), **document} if isinstance(document, dict) else document
    files.write_json(path, changed)
    with pytest.raises(ConfigError, match=f"run={tmp_path} holds a damaged policy: "):
        load_policy(tmp_path)
