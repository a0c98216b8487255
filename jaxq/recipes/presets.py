"""Named experiments: data only, each with the source of its numbers."""

from dataclasses import replace

from jaxq.config import Config, HParams, Preset
from jaxq.recipes.boards import BOARDS
from jaxq.recipes.bsuite import BSUITE
from jaxq.recipes.libraries import LIBRARIES
from jaxq.recipes.methods import METHODS
from jaxq.recipes.minatar import MINATAR

# The defaults of Config and HParams are those of CleanRL's dqn.py. Ten environments at once
# instead of one leave updates per step as they are and cost at most 9 steps of staleness.
_CARTPOLE = Config(env="CartPole-v1", num_envs=10)

_SMALL_VALUES = {"learning_rate": 1e-3, "reward_scale": 0.1}

# What a method needs beside its row to suit CartPole.
_ON_CARTPOLE = {
    # CleanRL's c51.py. Returns lie in [0, 100]; its support reaches to -100 all the same.
    "c51": ({"num_atoms": 101}, {"optimizer_epsilon": 0.01 / 128}),
    # A balanced pole is worth 100; near an edge the mean of a histogram is off.
    "hl-gauss": ({"num_atoms": 60, "support": (-10.0, 110.0)}, {"optimizer_epsilon": 0.01 / 128}),
    # Both papers: the importance exponent grows to 1 in the course of the run.
    "prioritized-dqn": ({}, {"importance_exponent_steps": 500_000.0}),
    # Streams without hidden layers of their own, as Obando-Ceron & Castro (2021) have them.
    "rainbow": ({}, {"importance_exponent_steps": 500_000.0}),
    # One of DQN's two hidden layers stays common, the other one is each stream's own.
    "dueling-dqn": ({"widths": (120,)}, {}),
    # 10 quantiles as in RL Baselines3 Zoo. Losses that are linear in large errors (quantiles, or a
    # Huber loss of delta 1) let values run away at dqn-cartpole's step size: the few steps on which
    # an episode ends do not outweigh the others. A larger one holds (the zoo's is 2.3e-3), and more
    # surely where rewards are a tenth, as purejaxql has them, and values 10 instead of 100.
    # (munchausen-iqn's entropy is not scaled, and weighs ten times as much as munchausen-dqn's.)
    "qr-dqn": ({"num_atoms": 10}, _SMALL_VALUES),
    "iqn": ({}, _SMALL_VALUES),
    "munchausen-iqn": ({}, _SMALL_VALUES),
    "bootstrapped-dqn": ({"ensemble_size": 5}, {}),
    # Five targets that are 500 steps apart would lag 1,250 steps behind on average.
    "averaged-dqn": ({"target_period": 100}, {}),
    # Without a target network values run ahead: at dqn-cartpole's step size, with 9 heads, to twice
    # what they should be, and the IQM is 403.
    "is-dqn": ({"ensemble_size": 5}, {"learning_rate": 1e-4}),
    # 10 updates of the target networks to a shift; in the authors' code it is 20.
    "i-dqn": ({"target_period": 50, "shift_period": 500}, {}),
    # Values that pass through a layer of norm 1 grow slowly; at 2.5e-4 the IQM is 450.
    "spectral-dqn": ({}, {"learning_rate": 1e-3}),
    # One reset in 500,000 steps: with this little replay it takes 200,000 to regain what it loses.
    "reset-dqn": ({"reset_period": 250_000}, {}),
    "shrink-and-perturb-dqn": ({"reset_period": 250_000}, {}),
    # 16 steps learn after 8 of burn-in, a sequence begins every 8: proportions near those of
    # Kapturowski et al. (2019). Updates are five times rarer, and learn from four times as many
    # steps.
    "r2d2": (
        {
            "sequence_length": 24,
            "burn_in": 8,
            "n_step": 5,
            "sequence_period": 8,
            "batch_size": 32,
            "widths": (64,),
            "capacity": 40_000,
            "train_every": 50,
        },
        {},
    ),
    # purejaxql, pqn_cartpole.yaml: 32 environments x 64 steps, 16 minibatches x 4 epochs.
    "pqn": (
        {
            "num_envs": 32,
            "widths": (256, 256),
            "rollout_steps": 2_048,
            "minibatches": 16,
            "epochs": 4,
            "chunk_steps": 20_480,
        },
        {
            "learning_rate": 1e-4,
            "learning_rate_steps": 500_000.0,
            "max_gradient_norm": 10.0,
            "td_lambda": 0.95,
            "reward_scale": 0.1,
            "epsilon_end": 0.2,
            "epsilon_steps": 100_000.0,
        },
    ),
}
# streaming-drl, stream_q.py: two hidden layers of 32, epsilon to 0.01 over 5 % of the steps. Theirs
# also sees the time, and its limit, of 10,000 steps, ends the task.
for _name in ("online-q-adam", "stream-q", "intentional-q"):
    _ON_CARTPOLE[_name] = (
        {"widths": (32, 32)},
        {"epsilon_end": 0.01, "epsilon_steps": 25_000.0},
    )
# Its authors give numbers for MinAtar only; this one needs larger steps here and more exploration.
_ON_CARTPOLE["qrc"] = ({"widths": (32, 32)}, {"learning_rate": 1e-3})
# An LSTM's outputs are below 1: values of 100, which r2d2 rescales to 9, are out of its reach.
_ON_CARTPOLE["drqn"] = (
    {**_ON_CARTPOLE["r2d2"][0], "sequence_length": 16, "burn_in": 0, "n_step": 1},
    _SMALL_VALUES,
)
# Narrower than its authors' 256, so it takes larger steps; theirs leave it at 317.
_ON_CARTPOLE["pqn-lstm"] = (
    {**_ON_CARTPOLE["pqn"][0], "widths": (64,), "sequence_length": 64},
    {**_ON_CARTPOLE["pqn"][1], "learning_rate": 3e-4},
)

# RL Baselines3 Zoo, dqn.yml. Its target periods of 250 and 600 steps are not multiples of its
# training periods of 4 and 16; ours are the next larger multiples.
_ZOO = Config(widths=(256, 256), clip_gradients=True, eval_max_steps=1_000)
_ZOO_HPARAMS = HParams(huber_delta=1.0, max_gradient_norm=10.0)


def _on_cartpole(name: str) -> Preset:
    method = METHODS[name]
    structure, numbers = _ON_CARTPOLE.get(name, ({}, {}))
    config, hparams = method.apply(_CARTPOLE, HParams())
    others = "" if name == "dqn" else ", otherwise as dqn-cartpole"
    summary = f"{method.paper}: {method.idea}; CartPole-v1{others}."
    config, hparams = replace(config, **structure), hparams._replace(**numbers)
    return Preset(summary, config, hparams, steps=500_000, seeds=8)


def _rung(summary: str, **changes) -> Preset:
    return Preset(summary, replace(_CARTPOLE, **changes), HParams(), steps=500_000, seeds=8)


PRESETS = {
    "q-table-frozenlake": Preset(
        "Tabular Q-learning (Watkins 1989) on the slippery 4x4 FrozenLake; V*(start) is 0.542.",
        Config(
            env="FrozenLake-misc",
            network="linear",
            optimizer="sgd",
            # Exponentially, because rarely visited states are still noisy when a linear schedule
            # ends: its worst of 64 seeds is 0.024 off, this one's 0.018.
            learning_rate_schedule="exponential",
            replay="latest",
            prefill=1,
            train_every=1,
            target_period=1,
            chunk_steps=20_000,
            eval_episodes=100,
        ),
        HParams(
            learning_rate=0.05,
            learning_rate_steps=135_000.0,
            epsilon_start=0.3,
            epsilon_end=0.3,
        ),
        steps=400_000,
        seeds=32,
    ),
    "online-q-cartpole": _rung(
        "The first rung: Q-learning with a network, learning from the newest step only.",
        num_envs=1,
        replay="latest",
        prefill=1,
        train_every=1,
        target_period=1,
    ),
    "replay-q-cartpole": _rung(
        "The second rung: experience replay (Lin 1992), still without a target network.",
        target_period=10,
    ),
    **{f"{name}-cartpole": _on_cartpole(name) for name in METHODS},
    "dqn-acrobot": Preset(
        "DQN on Acrobot-v1 with the hyperparameters of RL Baselines3 Zoo.",
        replace(
            _ZOO,
            env="Acrobot-v1",
            num_envs=4,
            capacity=50_000,
            prefill=128,
            train_every=4,
            updates_per_iteration=4,
            target_period=252,
            chunk_steps=5_040,
        ),
        _ZOO_HPARAMS._replace(learning_rate=6.3e-4, epsilon_end=0.1, epsilon_steps=12_000.0),
        steps=100_000,
        seeds=8,
    ),
    "dqn-mountaincar": Preset(
        "DQN on MountainCar-v0 with the hyperparameters of RL Baselines3 Zoo.",
        replace(
            _ZOO,
            env="MountainCar-v0",
            num_envs=16,
            capacity=10_000,
            prefill=1_008,
            train_every=16,
            updates_per_iteration=8,
            target_period=608,
            chunk_steps=6_080,
        ),
        _ZOO_HPARAMS._replace(
            learning_rate=4e-3, gamma=0.98, epsilon_end=0.07, epsilon_steps=24_000.0
        ),
        steps=120_000,
        seeds=8,
    ),
    **BSUITE,
    **BOARDS,
    **LIBRARIES,
    **MINATAR,
}
