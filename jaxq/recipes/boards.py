"""Presets on board games for one player, in which not every move is legal."""

from jaxq.config import Config, HParams, Preset

BOARDS = {
    "dqn-2048": Preset(
        "DQN on 2048 of pgx, where no illegal move is taken or valued; numbers of our own.",
        Config(
            env="pgx/2048",
            num_envs=16,
            widths=(256, 256),
            capacity=100_000,
            train_every=16,
            updates_per_iteration=2,
            target_period=2_000,
            chunk_steps=20_000,
            eval_period=100_000,
        ),
        HParams(
            learning_rate=5e-4,
            reward_scale=0.01,
            epsilon_end=0.01,
            epsilon_steps=100_000.0,
        ),
        steps=1_000_000,
        seeds=4,
    ),
}
