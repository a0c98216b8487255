"""Named experiments on the environments of other libraries; each needs the extra of its library.

Two cores are meant to train one in less than an hour; where its numbers are somebody's who had a
GPU, there are fewer environments, and the widths and schedules that go with them.
"""

from dataclasses import replace
from typing import Any

from jaxq.config import Config, HParams, Preset
from jaxq.recipes.methods import METHODS
from jaxq.recipes.minatar import MINATAR


def _preset(
    method: str, summary: str, config: dict[str, Any], hparams: dict[str, Any], steps: int
) -> Preset:
    row = METHODS[method]
    changed, numbers = row.apply(Config(), HParams())
    changed, numbers = replace(changed, **config), numbers._replace(**hparams)
    return Preset(f"{row.paper}: {row.idea}; {summary}", changed, numbers, steps, seeds=2)


def _with_rules(preset: str, summary: str, rules: dict[str, Any], **params: float) -> Preset:
    """A preset of MinAtar in pgx, under the same rules."""
    known = MINATAR[preset]
    return known._replace(
        summary=f"{summary} in pgx, otherwise as {preset}, under the same rules.",
        config=replace(known.config, env="pgx/minatar-breakout", **rules),
        hparams=known.hparams._replace(env_params=params),
    )


# purejaxql, config/alg/pqn_craftax.yaml, for Craftax: 1,024 environments, an update after every
# step, four layers of 1,024, step size and epsilon over 1e9 steps. Here a sixteenth of the
# environments, so 16 times as many updates a step, and two layers of 512. Theirs renormalises
# observations by the batch, ours by all that were seen.
_PQN_CRAFTAX = {
    "env": "craftax/Craftax-Classic-Symbolic-v1",
    "num_envs": 64,
    "observations": "normalized",
    "widths": (512, 512),
    "rollout_steps": 64,
    "minibatches": 1,
    "epochs": 1,
    "chunk_steps": 64_000,
    "eval_period": 256_000,
    "eval_max_steps": 10_000,
}
# pqn_rnn_craftax.yaml: 1,024 environments x 128 steps, 4 minibatches x 4 epochs, a layer and an
# LSTM of 512, which sees the last action. Here a 32nd of the environments, and half the width.
_PQN_LSTM_CRAFTAX = {
    **_PQN_CRAFTAX,
    "num_envs": 32,
    "widths": (256,),
    "memory_width": 256,
    "memory_inputs": "action",
    "sequence_length": 128,
    "rollout_steps": 4_096,
    "minibatches": 4,
    "epochs": 4,
    "chunk_steps": 61_440,
    "eval_period": 245_760,
}
# Octax, conf/config.yaml and agents/pqn.py: 512 environments x 32 steps, 32 minibatches x 4 epochs,
# 5M steps, epsilon over a tenth of them. Here an eighth of the environments, in minibatches of the
# same size, and a fifth of the steps. Where theirs has Adam and lets gradients be, this is PQN with
# RAdam and clipped ones, and convolutions have a LayerNorm, too. Their network takes the columns of
# the screen for channels; ours takes the frames.
_OCTAX_PONG = {"env": "octax/pong", "network": "octax", "widths": (256,)}
_PQN_OCTAX = {
    **_OCTAX_PONG,
    "num_envs": 64,
    "rollout_steps": 2_048,
    "minibatches": 4,
    "epochs": 4,
    "chunk_steps": 20_480,
}
_DQN_OCTAX = {
    **_OCTAX_PONG,
    "num_envs": 8,
    "capacity": 50_000,
    "batch_size": 32,
    "train_every": 8,
    "target_period": 2_000,
    "chunk_steps": 20_000,
}
# Waiting costs a share of 1 - gamma of a value: at 0.99 greedy policies wait for ever.
_PQN_MINIGRID = {
    "env": "xminigrid/MiniGrid-Empty-8x8",
    "num_envs": 32,
    "widths": (128, 128),
    "rollout_steps": 1_024,
    "minibatches": 4,
    "epochs": 2,
    "chunk_steps": 20_480,
}
_R2D2_MINIGRID = {
    "env": "xminigrid/MiniGrid-DoorKey-6x6",
    "num_envs": 16,
    "widths": (128,),
    "memory_inputs": "action",
    "sequence_length": 24,
    "burn_in": 8,
    "n_step": 5,
    "sequence_period": 8,
    "batch_size": 32,
    "capacity": 102_400,
    "train_every": 64,
    "target_period": 2_560,
    "chunk_steps": 51_200,
    "prefill": 10_240,
}

LIBRARIES = {
    "pqn-craftax-classic": _preset(
        "pqn",
        "Craftax-Classic, from the symbols.",
        _PQN_CRAFTAX,
        {
            "learning_rate": 1e-4,
            "learning_rate_steps": 4e6,
            "max_gradient_norm": 1.0,
            "td_lambda": 0.0,
            "epsilon_start": 0.1,
            "epsilon_end": 0.005,
            "epsilon_steps": 8e5,
        },
        steps=4_096_000,
    ),
    "pqn-lstm-craftax-classic": _preset(
        "pqn-lstm",
        "Craftax-Classic, from the symbols.",
        _PQN_LSTM_CRAFTAX,
        {
            "learning_rate": 3e-4,
            "learning_rate_steps": 2e6,
            "max_gradient_norm": 0.5,
            "td_lambda": 0.5,
            "epsilon_end": 0.005,
            "epsilon_steps": 2e5,
        },
        steps=1_966_080,
    ),
    "dqn-pgx-breakout": _with_rules(
        "dqn-breakout",
        "DQN on Breakout",
        {"env_kwargs": ("use_minimal_action_set=False",)},
    ),
    "pqn-pgx-breakout": _with_rules(
        "pqn-breakout",
        "PQN on Breakout",
        {"env_kwargs": ("sticky_action_prob=0.0",)},
        max_steps_in_episode=1_000,
    ),
    "pqn-octax-pong": _preset(
        "pqn",
        "Octax's Pong.",
        _PQN_OCTAX,
        {
            "learning_rate": 5e-4,
            "max_gradient_norm": 10.0,
            "td_lambda": 0.9,
            "epsilon_steps": 1e5,
        },
        steps=1_024_000,
    ),
    "dqn-octax-pong": _preset(
        "dqn",
        "Octax's Pong, numbers of our own.",
        _DQN_OCTAX,
        {"huber_delta": 1.0, "epsilon_end": 0.01, "epsilon_steps": 1e5},
        steps=1_000_000,
    ),
    "pqn-minigrid-empty": _preset(
        "pqn",
        "an empty room of MiniGrid, numbers of our own.",
        _PQN_MINIGRID,
        {
            "learning_rate": 5e-4,
            "learning_rate_steps": 4e5,
            "max_gradient_norm": 10.0,
            "gamma": 0.95,
            "td_lambda": 0.9,
            "epsilon_steps": 1e5,
        },
        steps=409_600,
    ),
    "r2d2-minigrid-doorkey": _preset(
        "r2d2",
        "a key and a door of MiniGrid, numbers of our own.",
        _R2D2_MINIGRID,
        {"learning_rate": 5e-4, "epsilon_steps": 2e5},
        steps=1_024_000,
    ),
}
