"""Configurations: every preset is valid, and round trips through JSON."""

import json
from dataclasses import replace

import pytest

from jaxq.config import Config, HParams, config_from_dict, hparams_from_dict, validate
from jaxq.errors import ConfigError
from jaxq.presets import PRESETS
from jaxq.runner import RunSpec
from jaxq.sweeps import make_lanes, parse_grid


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_valid_and_says_what_it_is(name):
    preset = PRESETS[name]
    validate(preset.config, preset.hparams)
    assert preset.summary.endswith(".") and preset.steps > preset.config.prefill


def test_documents_round_trip():
    hparams = HParams(gamma=0.5, env_params={"gravity": 5.0})
    config = Config(env_kwargs=("size=10",), widths=(3, 4))
    document = RunSpec("x", config, [hparams], [0], 100).document()
    document = json.loads(json.dumps(document, allow_nan=False))  # infinities are strings
    assert config_from_dict(document["config"]) == config
    assert hparams_from_dict(document["lanes"][0]) == hparams


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"train_every": 3, "num_envs": 2}, "train_every=3 must be a multiple of num_envs=2"),
        ({"chunk_steps": 1_001}, "chunk_steps=1001 must be a multiple of target_period=500"),
        ({"capacity": 100}, "capacity=100 must be at least 128, to hold batch_size=128"),
        ({"window": 20_000}, "capacity=10000 must be at least 20000, to hold window=20000"),
        ({"replay": "latest", "window": 20_000}, "prefill=10000 must be at least 20009"),
        ({"agent": "sarsa"}, "agent=sarsa does not exist"),
        ({"network": "linear", "dueling": True}, "dueling has no effect with network=linear"),
        ({"widths": (3, 0)}, "must all be at least 1"),
        ({"eval_episodes": -2}, "eval_episodes=-2 must be a whole number of at least 1"),
    ],
)
def test_bad_structure_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message.replace("(", "\\(")):
        validate(replace(Config(), **changes), HParams())


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"gamma": -0.1}, "gamma=-0.1 must be between 0 and 1"),
        ({"gamma": float("nan")}, "gamma=nan must be between 0 and 1"),
        ({"learning_rate": -1.0}, "learning_rate=-1.0 must be 0 or larger"),
        ({"epsilon_end": 2.0}, "epsilon_end=2.0 must be between 0 and 1"),
        ({"max_gradient_norm": 1.0}, "max_gradient_norm has no effect with clip_gradients=False"),
        ({"priority_exponent": 0.5}, "priority_exponent has no effect with replay=uniform"),
    ],
)
def test_bad_numbers_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        validate(Config(), HParams()._replace(**changes))


def test_grids_become_lanes():
    grid = parse_grid(["learning-rate=1e-4,1e-3", "env_params.gravity=5,9.8"])
    lanes = make_lanes(HParams(), grid)
    assert [(lane.learning_rate, lane.env_params["gravity"]) for lane in lanes] == [
        (1e-4, 5.0),
        (1e-4, 9.8),
        (1e-3, 5.0),
        (1e-3, 9.8),
    ]
