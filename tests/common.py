"""Small configurations that tests share, so that they share compiled programs."""

import io
from dataclasses import replace
from functools import cache

import jax
import numpy as np
import tabular
from rich.console import Console

from jaxq.config import Config, HParams
from jaxq.envs import gymnax as envs
from jaxq.loops.evaluation import make_evaluator
from jaxq.recipes import agents
from jaxq.recipes.experiment import Experiment, make_experiment, make_trainer_from
from jaxq.recipes.methods import METHODS
from jaxq.recipes.parts import find
from jaxq.recipes.presets import PRESETS
from jaxq.runs.members import stack_members
from jaxq.runs.population import Population
from jaxq.types import Trainer

# CartPole in miniature: every loop of the real program, a few steps each.
SMALL = Config(
    num_envs=2,
    widths=(16,),
    capacity=200,
    batch_size=16,
    prefill=40,
    train_every=4,
    target_period=20,
    chunk_steps=100,
    eval_episodes=3,
)
SMALL_HPARAMS = HParams(learning_rate=1e-3, epsilon_steps=400.0)

# Every recipe, on the tabular environment: the structure a preset does not fix.
TABLE = Config(
    num_envs=4,
    network="linear",
    optimizer="sgd",
    capacity=2_000,
    batch_size=64,
    prefill=400,
    train_every=4,
    target_period=40,
    chunk_steps=8_000,
    eval_episodes=4,
    eval_max_steps=60,
)
_NETWORK = replace(TABLE, network="mlp", widths=(32,), optimizer="adam")
_SEQUENCES = {"sequence_length": 8, "sequence_period": 4, "batch_size": 8, "memory_width": 16}
_ROLLOUTS = {"rollout_steps": 80, "minibatches": 4, "epochs": 2}
_STREAM = {"observations": "raw", "rewards": "raw"}  # values in units of reward
_ON_TABLE = {  # what a row needs beside its own names to suit these environments
    "c51": {"support": (-15.0, 15.0), "num_atoms": 31},
    "hl-gauss": {"support": (-15.0, 15.0), "num_atoms": 31},
    "rainbow": {"support": (-15.0, 15.0), "num_atoms": 31, "batch_size": 32},
    "iqn": {"num_atoms": 4, "batch_size": 32},
    "munchausen-iqn": {"num_atoms": 4, "batch_size": 32},
    "qr-dqn": {"num_atoms": 9},
    "bootstrapped-dqn": {"ensemble_size": 3},
    "soft-q": {"action_selection": "epsilon-greedy"},  # to visit everything
    "is-dqn": {"ensemble_size": 3},
    "i-dqn": {"shift_period": 400},
    "drqn": _SEQUENCES,
    "r2d2": _SEQUENCES,
    "pqn": _ROLLOUTS,
    "pqn-lstm": {
        **_ROLLOUTS,
        "sequence_length": 20,
        "memory_width": 16,
        "epochs": 5,
    },
    "reset-dqn": {"reset_period": 24_000},
    "shrink-and-perturb-dqn": {"reset_period": 24_000},
    "redo-dqn": {"reset_period": 8_000},
    **{name: _STREAM for name in ("online-q-adam", "stream-q", "qrc", "intentional-q")},
}
RECIPES = {
    "table": TABLE,
    "table, newest steps": replace(TABLE, replay="latest", num_envs=8, train_every=8),
    **{
        name: replace(method.apply(_NETWORK, HParams())[0], **_ON_TABLE.get(name, {}))
        for name, method in METHODS.items()
    },
}
RECIPES |= {
    "pqn, gru": replace(RECIPES["pqn-lstm"], memory="gru"),
    "pqn, mingru, last action": replace(
        RECIPES["pqn-lstm"], memory="mingru", memory_inputs="action"
    ),
    "r2d2, lru, last action and reward": replace(
        RECIPES["r2d2"], memory="lru", memory_inputs="action-reward"
    ),
}


def cast(hparams: HParams) -> HParams:
    """One member's numbers as arrays, as a population gives them to a trainer."""
    return jax.tree.map(lambda leaf: leaf[0], stack_members([hparams], [0])[0])


@cache
def small(**changes) -> Experiment:
    """The experiment of ``SMALL`` with some fields changed."""
    return make_experiment(replace(SMALL, **changes), SMALL_HPARAMS)


@cache
def preset(name: str, **changes) -> Experiment:
    chosen = PRESETS[name]
    return make_experiment(replace(chosen.config, **changes), chosen.hparams)


def tabular_env(num_envs: int):
    env = tabular.Tabular()
    return envs.from_gymnax(env, env.default_params, num_envs, name="Tabular")


def seen_env(config: Config, num_envs: int):
    """The tabular environment as the agent of ``config`` sees it."""
    return find("memory_inputs", config.memory_inputs).make(tabular_env(num_envs))


@cache
def recipe(name: str) -> Experiment:
    """A recipe on the tabular environment, whose MDP comes with ``hparams.env_params``."""
    config = RECIPES[name]
    env = seen_env(config, config.num_envs)
    agent = agents.make_agent_from(config, env)
    trainer = make_trainer_from(config, env, agent)
    evaluate = make_evaluator(seen_env(config, config.eval_episodes), agent, config.eval_max_steps)
    return Experiment(config, env, agent, trainer, evaluate)


class SharedPopulation(Population):
    """Its programs are those of all others in a file with the same trainer and batch: what is
    common to them is traced and compiled once."""

    def __init__(self, trainer, evaluate, *arguments, **spread):
        super().__init__(trainer, evaluate, *arguments, **spread)
        numbers = jax.tree.structure(self.hparams)
        diagnostics = spread.get("diagnostics")
        key = trainer, evaluate, diagnostics, self.plan.batch, self.plan.num_devices, numbers
        self._programs = _known().setdefault(key, self._programs)


def shared_experiment(config, *lanes):
    """``make_experiment`` that checks all lanes, and gives the same experiment every time."""
    made = make_experiment(config, *lanes)
    return _known().setdefault(config, made)


@cache
def _known() -> dict:
    return {}


def train_small(lanes, seeds, chunks=2, evaluate=False, **spread):
    """The population of ``small`` after some chunks: it, its state, last metrics and evaluation."""
    experiment = small()
    members = SharedPopulation(experiment.trainer, experiment.evaluate, lanes, seeds, **spread)
    states, clock = members.init()
    for _ in range(chunks):
        states, clock, metrics = members.chunk(states, clock)
        result = members.evaluate(states, clock) if evaluate else None
    return members, members.fetch(states), metrics, result


def member(tree, index):
    """One member of a tree with leaves [M, ...]."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


@cache
def programs(trainer: Trainer):
    """``(init, chunk)`` of one member, jitted; the chunk donates its state."""
    return jax.jit(trainer.init), jax.jit(trainer.chunk, donate_argnums=0)


def host(tree):
    """NumPy leaves; keys as their integers."""

    def fetch(leaf):
        is_key = jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(leaf) if is_key else leaf)

    return jax.tree.map(fetch, tree)


def same_bits(a, b) -> bool:
    """Whether two trees hold the same bits."""
    leaves_a, leaves_b = jax.tree.leaves(host(a)), jax.tree.leaves(host(b))
    return len(leaves_a) == len(leaves_b) and all(
        x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()
        for x, y in zip(leaves_a, leaves_b)
    )


def words_of(show, *arguments) -> str:
    """What ``show(console, *arguments)`` prints, 200 letters wide."""
    console = Console(file=io.StringIO(), width=200)
    show(console, *arguments)
    return console.file.getvalue()
