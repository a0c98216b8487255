"""Named experiments on bsuite's tasks (Osband et al. 2020), small enough for minutes on a core.

They are gymnax's versions; a limit of steps is part of the task, as it is in bsuite.
"""

from dataclasses import replace

from jaxq.config import Config, HParams, Preset
from jaxq.recipes.methods import METHODS

# bsuite, baselines/jax/dqn. As many steps as its episodes take: 10,000, of DiscountingChain 1,000.
_BASELINE = Config(
    widths=(64, 64),
    capacity=10_000,
    batch_size=32,
    prefill=100,
    train_every=1,
    target_period=4,
)


def _of_baseline(summary: str, env: str, steps: int, env_params=None, **structure) -> Preset:
    config = replace(_BASELINE, env=env, chunk_steps=steps // 100, **structure)
    hparams = HParams(learning_rate=1e-3, epsilon_start=0.05, env_params=env_params or {})
    return Preset(f"DQN on {summary}; all else as bsuite's DQN.", config, hparams, steps, seeds=8)


# bsuite, baselines/jax/boot_dqn: 50-50 networks, Adam 1e-3, batches of 128 of the last 10,000
# steps, a target network of 4 updates; prior scale and masks as in its baselines/tf, with half of
# the 20 members. dqn-deepsea differs in nothing but the method. 2,000 episodes of 10 steps; 10
# greedy ones every 20.
_DEEP_SEA = replace(
    _BASELINE,
    env="DeepSea-bsuite",
    env_kwargs=("size=10",),
    widths=(50, 50),
    batch_size=128,
    prefill=200,
    chunk_steps=200,
)


def _on_deep_sea(name: str, **numbers) -> Preset:
    method = METHODS[name]
    config, hparams = method.apply(_DEEP_SEA, HParams(learning_rate=1e-3))
    summary = (
        f"{method.paper}: {method.idea}; exploration in DeepSea of size 10; network as bsuite's."
    )
    return Preset(summary, config, hparams._replace(**numbers), steps=20_000, seeds=16)


# Context in the first two of 21 observations, question in the last; -1 or 1, chance is 0.
_MEMORY_CHAIN = Config(env="MemoryChain-bsuite", widths=(64,), eval_episodes=100)
_MEMORY_CHAIN_HPARAMS = HParams(env_params={"memory_length": 20})
_ON_MEMORY_CHAIN = {
    "dqn": ({"num_envs": 8, "train_every": 16, "target_period": 1_600, "chunk_steps": 16_000}, {}),
    "r2d2": (
        {
            "num_envs": 8,
            "sequence_length": 42,
            "burn_in": 0,
            "n_step": 3,
            "sequence_period": 21,
            "batch_size": 32,
            "capacity": 42_000,
            "train_every": 40,
            "target_period": 1_600,
            "chunk_steps": 16_000,
        },
        {"learning_rate": 1e-3, "epsilon_steps": 50_000.0},
    ),
    # purejaxql, pqn_rnn_memory_chain.yaml: 32 environments x 128 steps, 16 minibatches x 4 epochs.
    "pqn-lstm": (
        {
            "num_envs": 32,
            "sequence_length": 128,
            "rollout_steps": 4_096,
            "minibatches": 16,
            "epochs": 4,
            "chunk_steps": 16_384,
        },
        {
            "learning_rate": 1e-3,
            "max_gradient_norm": 10.0,
            "td_lambda": 0.95,
            "epsilon_end": 0.01,
            "epsilon_steps": 30_000.0,
        },
    ),
}
_ON_MEMORY_CHAIN["drqn"] = (
    {**_ON_MEMORY_CHAIN["r2d2"][0], "n_step": 1},
    _ON_MEMORY_CHAIN["r2d2"][1],
)
_ON_MEMORY_CHAIN["pqn"] = (
    {**_ON_MEMORY_CHAIN["pqn-lstm"][0], "sequence_length": 1},
    _ON_MEMORY_CHAIN["pqn-lstm"][1],
)


_CELLS = {
    "gru": ("Cho et al. 2014", "a gated recurrent unit"),
    "mingru": ("Feng et al. 2024", "a minimal gated recurrent unit"),
    "lru": ("Orvieto et al. 2023", "a linear recurrent unit"),
}


def _on_memory_chain(name: str) -> Preset:
    method = METHODS[name]
    structure, numbers = _ON_MEMORY_CHAIN[name]
    config, hparams = method.apply(_MEMORY_CHAIN, _MEMORY_CHAIN_HPARAMS)
    config, hparams = replace(config, **structure), hparams._replace(**numbers)
    summary = f"{method.paper}: {method.idea}; MemoryChain, context 20 steps back."
    return Preset(summary, config, hparams, steps=300_000, seeds=8)


def _with_cell(method: str, cell: str) -> Preset:
    """A preset on MemoryChain with another memory, and nothing else changed."""
    preset, (paper, what) = _on_memory_chain(method), _CELLS[cell]
    summary = f"{paper}: {what} instead of the LSTM of {method}-memorychain."
    return preset._replace(summary=summary, config=replace(preset.config, memory=cell))


BSUITE = {
    "dqn-catch": _of_baseline(
        "Catch, ten rows by five columns; 1 is perfect, -1 the worst",
        "Catch-bsuite",
        90_000,
        eval_episodes=100,
    ),
    # After 3 steps, since a policy that discounts by 0.99 rightly leaves 1.1 after 30 or 100 steps
    # for 1 after the first.
    "dqn-discountingchain": _of_baseline(
        "DiscountingChain with the bonus after 3 of 100 steps; 1.1 is perfect, the others pay 1",
        "DiscountingChain-bsuite",
        100_000,
        env_kwargs=("mapping_seed=1",),
    ),
    # The steps between pay 1 or -1 by chance, so that it takes many episodes to see the last one.
    "dqn-umbrellachain": _of_baseline(
        "UmbrellaChain: the first of 20 actions decides the last reward; 1 is perfect, chance is 0",
        "UmbrellaChain-bsuite",
        200_000,
        {"chain_length": 20},
        env_kwargs=("n_distractor=20",),
        eval_episodes=1_000,
    ),
    **{f"{name}-memorychain": _on_memory_chain(name) for name in _ON_MEMORY_CHAIN},
    **{f"pqn-{cell}-memorychain": _with_cell("pqn-lstm", cell) for cell in _CELLS},
    **{f"r2d2-{cell}-memorychain": _with_cell("r2d2", cell) for cell in _CELLS},
    "bootstrapped-dqn-deepsea": _on_deep_sea("bootstrapped-dqn"),
    "rnd-dqn-deepsea": _on_deep_sea("rnd-dqn", epsilon_start=0.05, intrinsic_scale=3.0),
    "dqn-deepsea": _on_deep_sea("dqn", epsilon_start=0.05),
}
