"""What the benchmark measures: each kind of work in the words of every program that can do it."""

from typing import Any, NamedTuple

from jaxq.cli.main import load_preset


class Workload(NamedTuple):
    """One kind of work, in the words of every program that can do it."""

    title: str
    preset: str
    network: str
    chunk_steps: int  # per turn
    config: dict[str, Any] = {}
    peers: dict[str, dict[str, Any]] = {}  # name -> arguments
    peer_steps: int = 0  # per turn, over all members; made a multiple of
    peer_round: int = 1  # steps of every member


def _dqn(env: str, envs: int, every: int, capacity: int, batch: int, target: int):
    """purejaxrl, rejax and jaxnasium on the same DQN; all learn from the first steps on."""
    purejaxrl = {
        "ENV_NAME": env,
        "NUM_ENVS": envs,
        "BUFFER_SIZE": capacity,
        "BUFFER_BATCH_SIZE": batch,
        "LEARNING_STARTS": batch,
        "TRAINING_INTERVAL": every,
        "TARGET_UPDATE_INTERVAL": target,
        "EPSILON_START": 1.0,
        "EPSILON_FINISH": 0.05,
        "EPSILON_ANNEAL_TIME": 100_000,
        "LR": 2.5e-4,
        "LR_LINEAR_DECAY": False,
        "GAMMA": 0.99,
        "TAU": 1.0,
    }
    rejax = {  # which learns once per step of all its environments
        "env": env,
        "num_envs": every,
        "buffer_size": capacity,
        "batch_size": batch,
        "fill_buffer": batch,
        "target_update_freq": target,
        "polyak": 0.0,
        "ddqn": False,
        "learning_rate": 2.5e-4,
        "eval_freq": 100,
        "skip_initial_evaluation": True,
    }
    jaxnasium = {  # which moves its target a little at every update
        "algorithm": "DQN",
        "env": f"gymnax:{env}",
        "num_envs": envs,
        "update_every": every,
        "num_updates": 1,
        "replay_buffer_size": capacity,
        "batch_size": batch,
        "warmup_steps": batch,
        "max_grad_norm": None,
        "normalize_observations": False,
    }
    return {"purejaxrl": purejaxrl, "rejax": rejax, "jaxnasium": jaxnasium}


def _pqn(env: str, envs: int, rows: int, minibatches: int, epochs: int):
    arguments = {
        "ENV_NAME": env,
        "NUM_ENVS": envs,
        "NUM_STEPS": rows,
        "NUM_MINIBATCHES": minibatches,
        "NUM_EPOCHS": epochs,
        "TOTAL_TIMESTEPS_DECAY": 10_000_000,
        "EPS_START": 1.0,
        "EPS_FINISH": 0.05,
        "EPS_DECAY": 0.1,
        "NORM_TYPE": "layer_norm",
        "HIDDEN_SIZE": 256,
        "NUM_LAYERS": 2,
        "LR": 1e-4,
        "LR_LINEAR_DECAY": True,
        "MAX_GRAD_NORM": 10,
        "GAMMA": 0.99,
        "LAMBDA": 0.65,
        "WANDB_MODE": "disabled",
    }
    jaxnasium = {  # which has Adam for RAdam, and normalises no convolution
        "algorithm": "PQN",
        "env": f"gymnax:{env}",
        "num_envs": envs,
        "num_steps": rows,
        "num_minibatches": minibatches,
        "num_epochs": epochs,
        "warmup_steps": 0,
        "normalize_observations": False,
        "normalize_rewards": False,
    }
    return {"purejaxql": arguments, "jaxnasium": jaxnasium}


# gymnax's own protocol and the optimizer that the peers have.
_BREAKOUT = {"env": "Breakout-MinAtar", "optimizer": "adam"}

WORKLOADS = {
    "cartpole-dqn": Workload(
        "CartPole DQN, one update per 10 steps",
        "dqn-cartpole",
        "mlp",
        chunk_steps=10_000,
        peers={
            **_dqn("CartPole-v1", 10, 10, 10_000, 128, 500),
            "stable_baselines3": {
                "num_envs": 10,
                "train_freq": 1,
                "buffer_size": 10_000,
                "batch_size": 128,
                "learning_starts": 128,
                "target_update_interval": 500,
                "learning_rate": 2.5e-4,
                "policy_kwargs": {"net_arch": [120, 84]},
                "steps": 10_000,
            },
        },
        peer_steps=160_000,
        peer_round=1_000,
    ),
    "breakout-dqn": Workload(
        "Breakout DQN, one update per step",
        "dqn-breakout",
        "minatar",
        chunk_steps=2_000,
        config=_BREAKOUT,
        peers=_dqn("Breakout-MinAtar", 1, 1, 100_000, 32, 1_000),
        peer_steps=4_000,
        peer_round=100,
    ),
    "breakout-dqn-4": Workload(
        "Breakout DQN, one update per 4 steps",
        "dqn-breakout",
        "minatar",
        chunk_steps=8_000,
        config={**_BREAKOUT, "train_every": 4},
        peers=_dqn("Breakout-MinAtar", 1, 4, 100_000, 32, 1_000),
        peer_steps=8_000,
        peer_round=400,
    ),
    "breakout-rainbow": Workload(
        "Breakout Rainbow, one update per 4 steps",
        "rainbow-breakout",
        "minatar",
        chunk_steps=4_000,
        config=_BREAKOUT,
    ),
    "breakout-stream-q": Workload(
        "Breakout Stream Q, one update per step",
        "original-stream-q-breakout",
        "minatar",
        chunk_steps=2_000,
        peers={
            "gtd_algos": {"env": "MinAtar/Breakout-v1", "steps": 1_000},
            "streaming_drl": {"env": "MinAtar/Breakout-v1", "steps": 500},
        },
        peer_steps=1_000,
    ),
    "cartpole-pqn": Workload(
        "CartPole PQN",
        "pqn-cartpole",
        "mlp",
        chunk_steps=20_480,
        peers=_pqn("CartPole-v1", 32, 64, 16, 4),
        peer_steps=160_000,
        peer_round=2_048,
    ),
    "breakout-pqn": Workload(
        "Breakout PQN",
        "pqn-breakout",
        "minatar",
        chunk_steps=8_192,
        peers=_pqn("Breakout-MinAtar", 128, 32, 32, 2),
        peer_steps=16_384,
        peer_round=4_096,
    ),
}


def workload_of(name: str) -> Workload:
    """The workload called ``name``, or that of a preset or of a run's config.json, for which no
    peer is known.

    Raises:
      ConfigError: it is none of these.
    """
    if name in WORKLOADS:
        return WORKLOADS[name]
    label, preset, _ = load_preset(name)
    return Workload(label, name, preset.config.network, preset.config.chunk_steps)
