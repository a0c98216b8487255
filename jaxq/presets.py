"""Named experiments: data only, each with the source of its numbers."""

from dataclasses import replace
from typing import NamedTuple

from jaxq.config import Config, HParams


class Preset(NamedTuple):
    """A complete experiment; everything in it can be overridden."""

    summary: str  # what it is and where its numbers come from
    config: Config
    hparams: HParams
    steps: int  # environment steps per member
    seeds: int


# The defaults of Config and HParams are those of CleanRL's dqn.py. Ten environments at once
# instead of one leave updates per step as they are and cost at most 9 steps of staleness.
_CARTPOLE = Config(env="CartPole-v1", num_envs=10)

# RL Baselines3 Zoo, dqn.yml. Its target periods of 250 and 600 steps are not multiples of its
# training periods of 4 and 16; ours are the next larger multiples.
_ZOO = Config(widths=(256, 256), clip_gradients=True, eval_max_steps=1_000)
_ZOO_HPARAMS = HParams(huber_delta=1.0, max_gradient_norm=10.0)

# MinAtar, examples/dqn.py. Two differences: batches are drawn with replacement (of 100,000), and
# layers start from flax's default initialisation instead of PyTorch's.
_YOUNG_TIAN = Config(
    network="minatar",
    widths=(128,),
    optimizer="rmsprop",
    capacity=100_000,
    batch_size=32,
    prefill=5_000,
    train_every=1,
    target_period=1_000,
    chunk_steps=20_000,
)
_YOUNG_TIAN_HPARAMS = HParams(
    optimizer_epsilon=0.01,
    huber_delta=1.0,
    epsilon_end=0.1,
    epsilon_delay=5_000.0,
    epsilon_steps=100_000.0,
)


def _cartpole(summary: str, **changes) -> Preset:
    return Preset(summary, replace(_CARTPOLE, **changes), HParams(), steps=500_000, seeds=8)


def _young_tian(game: str, learning_rate: float) -> Preset:
    summary = (
        f"DQN on {game}, protocol and hyperparameters of Young & Tian (2019), with the best step "
        f"size of their sensitivity study."
    )
    config = replace(_YOUNG_TIAN, env=f"{game}-MinAtar-original")
    hparams = _YOUNG_TIAN_HPARAMS._replace(learning_rate=learning_rate)
    return Preset(summary, config, hparams, steps=5_000_000, seeds=2)


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
    "online-q-cartpole": _cartpole(
        "The first rung: Q-learning with a network, learning from the newest step only.",
        num_envs=1,
        replay="latest",
        prefill=1,
        train_every=1,
        target_period=1,
    ),
    "replay-q-cartpole": _cartpole(
        "The second rung: experience replay (Lin 1992), still without a target network.",
        target_period=10,
    ),
    "dqn-cartpole": _cartpole(
        "DQN (Mnih et al. 2015) with the hyperparameters of CleanRL's dqn.py.",
    ),
    "double-dqn-cartpole": _cartpole(
        "Double DQN (van Hasselt et al. 2016), everything else as dqn-cartpole.",
        agent="double-dqn",
    ),
    "dqn-acrobot": Preset(
        "DQN on Acrobot-v1 with the hyperparameters of RL Baselines3 Zoo.",
        replace(
            _ZOO,
            env="Acrobot-v1",
            num_envs=4,
            capacity=50_000,
            prefill=128,
            train_every=4,
            updates_per_round=4,
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
            updates_per_round=8,
            target_period=608,
            chunk_steps=6_080,
        ),
        _ZOO_HPARAMS._replace(
            learning_rate=4e-3, gamma=0.98, epsilon_end=0.07, epsilon_steps=24_000.0
        ),
        steps=120_000,
        seeds=8,
    ),
    "dqn-asterix": _young_tian("Asterix", 2.0**-13),
    "dqn-breakout": _young_tian("Breakout", 2.0**-9),
    "dqn-freeway": _young_tian("Freeway", 2.0**-11),
    "dqn-seaquest": _young_tian("Seaquest", 2.0**-13),
    "dqn-spaceinvaders": _young_tian("SpaceInvaders", 2.0**-12),
}
