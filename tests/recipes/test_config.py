"""Configurations: every preset is valid, and round trips through JSON."""

import json
import re
from dataclasses import replace

import pytest

from jaxq.config import Config, HParams
from jaxq.documents import config_from_dict, hparams_from_dict
from jaxq.errors import ConfigError
from jaxq.recipes.presets import PRESETS
from jaxq.recipes.validation import validate
from jaxq.runs.runner import RunSpec

LSTM = {"agent": "drqn", "memory": "lstm"}
ON_POLICY = {"agent": "pqn", "rollout_steps": 40, "minibatches": 4, "chunk_steps": 80}


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
        ({"n_step": 20_000}, "capacity=10000 must be at least 20000, to hold n_step=20000"),
        ({"replay": "latest", "n_step": 20_000}, "prefill=10000 must be at least 20009"),
        ({"agent": "sarsa"}, "agent=sarsa does not exist"),
        ({"agent": "cql"}, "agent=cql does not exist; regulariser=cql does."),
        (
            {**ON_POLICY, "replay": "latest"},
            "replay=latest has no effect without an off-policy agent",
        ),
        ({"replay": "none"}, "replay=none does not exist"),
        ({"updates_per_iteration": 2**31}, "updates_per_iteration=2147483648 must fit into 31"),
        ({"target": "stack"}, "target=stack keeps several networks, of which agent=dqn reads one"),
        ({"agent": "r2d2"}, "memory=none must be one of lstm, gru, mingru, lru for agent=r2d2"),
        ({"memory": "lstm"}, "memory=lstm has no effect without agent=drqn or r2d2 or pqn"),
        ({**LSTM, "memory": "lstmm"}, "memory=lstmm does not exist"),
        (
            {"memory_inputs": "action"},
            "memory_inputs=action has no effect without agent=drqn or r2d2 or",
        ),
        (
            {**ON_POLICY, "memory_inputs": "action"},
            "memory_inputs=action must be observation with memory=none, or memory one of lstm, gru",
        ),
        ({**LSTM, "memory_inputs": "reward"}, "memory_inputs=reward does not exist"),
        ({"agent": "c51", "backup": "soft"}, "backup=soft sets entropy, which agent=c51 does not"),
        ({"backup": "munchausen", "n_step": 3}, "n_step=3 must be 1 for backup=munchausen"),
        ({"agent": "qr-dqn"}, "huber_delta=inf must be positive and finite for agent=qr-dqn"),
        (
            {"agent": "bootstrapped", "network": "linear", "prior_scale": 3.0},
            "prior_scale=3.0 must be 0 with network=linear, whose weights are 0",
        ),
        ({"prefill": 10_005}, "prefill=10005 must be a multiple of train_every=10"),
        (
            {"n_step": 20_000, "capacity": 20_000},
            "prefill=10000 must be at least 20000, to hold n_step=20000",
        ),
        (
            {"replay": "prioritized", "n_step": 130, "prefill": 130},
            "prefill=130 must be at least 131, to hold n_step=130",
        ),
        (
            {"replay": "prioritized", "sequence_period": 2},
            "sequence_period=2 must be at most sequence_length=1",
        ),
        (
            {"replay": "prioritized", "capacity": 20, "batch_size": 4, "n_step": 15},
            "capacity=20 must be at least 25, to hold n_step=15 of num_envs=1 and a block",
        ),
        (
            {**LSTM, "burn_in": 4, "sequence_length": 4},
            "sequence_length=4 must be at least",
        ),
        ({**ON_POLICY, "prefill": 40}, "prefill=40 has no effect without an off-policy agent"),
        ({**ON_POLICY, "num_envs": 3}, "rollout_steps=40 must be a multiple of sequence_length x"),
        ({**ON_POLICY, "minibatches": 3}, "minibatches=3 must divide the 40 segments of a rollout"),
        ({**ON_POLICY, "chunk_steps": 100}, "chunk_steps=100 must be a multiple of rollout_steps"),
        ({"extra": ("depth",)}, "extra=depth must be name=value, every name once"),
        ({"reset_period": 1_000}, "reset_period=1000 must be a multiple of chunk_steps=10000"),
        ({"reset": "redo"}, "reset=redo has no effect with reset_period=0"),
        (
            {"reset": "redo", "reset_period": 10_000, "network": "linear"},
            "network=linear has no hidden units for reset=redo to recycle",
        ),
        *(
            (
                {"reset": "redo", "reset_period": 10_000, "agent": agent},
                "reset=redo recycles units of one network without memory",
            )
            for agent in ("rem", "rnd")
        ),
        (
            {**ON_POLICY, "regulariser": "chain"},
            "regulariser=chain has no effect without an off-policy",
        ),
        (
            {**LSTM, "sequence_length": 4, "regulariser": "chain"},
            "regulariser=chain looks at values of single states",
        ),
        (
            {"replay": "latest", "regulariser": "chain"},
            "regulariser=chain looks at states that are not learned from, and replay=latest holds",
        ),
        ({"num_atoms": 11}, "num_atoms=11 has no effect without agent=c51 or hl-gauss or qr-dqn"),
        ({"support": (1.0, 1.0)}, "support=[1.0, 1.0] must be increasing"),
        ({"mask_probability": 0.0}, "mask_probability=0.0 must be in (0, 1]"),
        (
            {"network": "linear", "dueling": True},
            "dueling=true has no effect without network=mlp or minatar or nature",
        ),
        ({"widths": (3, 0)}, "must all be at least 1"),
        *(
            ({"widths": (), **change}, f"{words} has no effect with widths= and no hidden layer")
            for change, words in (
                ({"layer_norm": True}, "layer_norm=true"),
                ({"activation": "crelu"}, "activation=crelu"),
                ({"dense": "spectral"}, "dense=spectral"),
            )
        ),
        ({"dueling": "false"}, "dueling='false' must be true or false"),
        ({"support": (-10.0,)}, "support=(-10.0,) must be a list of two numbers"),
        ({"widths": (True,)}, "widths=(True,) must be a list of whole numbers"),
        ({"noise_sigma": None}, "noise_sigma=None must be a number"),
        ({"capacity": "many"}, "capacity='many' must be a whole number"),
        ({"eval_episodes": -2}, "eval_episodes=-2 must be a whole number of at least 1"),
    ],
)
def test_bad_structure_is_refused(changes, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        validate(replace(Config(), **changes), HParams())


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"gamma": -0.1}, "gamma=-0.1 must be between 0 and 1"),
        ({"gamma": float("nan")}, "gamma=nan must be between 0 and 1"),
        ({"learning_rate": -1.0}, "learning_rate=-1.0 must be 0 or larger, and finite"),
        ({"learning_rate": float("inf")}, "learning_rate=inf must be 0 or larger, and finite"),
        ({"optimizer_epsilon": 0.0}, "optimizer_epsilon=0.0 must be positive"),
        ({"huber_delta": 0.0}, "huber_delta=0.0 must be positive"),
        ({"adam_beta2": 1.0}, "adam_beta2=1.0 must be between 0 and 1, 1 excluded"),
        ({"epsilon_end": 2.0}, "epsilon_end=2.0 must be between 0 and 1"),
        ({"churn_share": 0.1}, "churn_share=0.1 has no effect without regulariser=chain-auto"),
        (
            {"max_gradient_norm": 1.0},
            "max_gradient_norm=1 has no effect without clip_gradients=true",
        ),
        (
            {"priority_exponent": 0.5},
            "priority_exponent=0.5 has no effect without replay=prioritized",
        ),
    ],
)
def test_bad_numbers_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        validate(Config(), HParams()._replace(**changes))
