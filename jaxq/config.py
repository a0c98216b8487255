"""What a run is made of: ``Config`` (static) and ``HParams`` (traced).

If changing it changes a shape, a loop length or which function runs, it is ``Config``. Every
other number is ``HParams``: a traced scalar, so that a sweep over it is one compiled program.
All counts are in environment steps of one member, whatever ``num_envs`` is, so that adding
environments changes the speed of an algorithm and not the algorithm.
"""

import dataclasses
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import tyro

from jaxq.errors import ConfigError, unknown

INFINITY = float("inf")
ENSEMBLES = ("bootstrapped", "rem", "maxmin")  # agents whose network has several members
SEQUENCES = ("drqn", "r2d2")  # agents that learn from sequences in a replay


class HParams(NamedTuple):
    """Numbers; each may differ between the lanes of a population."""

    learning_rate: float = 2.5e-4
    """Step size of the optimizer."""
    learning_rate_end: float = 0.0
    """Step size at the end of its schedule."""
    learning_rate_steps: float = INFINITY
    """Environment steps of the schedule of the step size; inf keeps it constant."""
    optimizer_epsilon: float = 1e-8
    """Added to the denominator of Adam or RMSprop."""
    adam_beta1: float = 0.9
    """Adam: decay of the mean of gradients."""
    adam_beta2: float = 0.999
    """Adam: decay of the mean of squared gradients."""
    rmsprop_decay: float = 0.95
    """RMSprop: decay of the means of gradients and of squared gradients."""
    weight_decay: float = 0.0
    """AdamW: share of the weights taken off per update, times the step size."""
    max_gradient_norm: float = INFINITY
    """Gradients of a larger global norm are scaled down to it (needs clip_gradients)."""
    gamma: float = 0.99
    """Discount per step."""
    reward_scale: float = 1.0
    """Rewards are multiplied by it before learning; reported returns are not."""
    tau: float = 1.0
    """Share of the online parameters in a target update; 1 copies them."""
    huber_delta: float = INFINITY
    """TD errors beyond it weigh linearly; inf is the squared loss."""
    td_lambda: float = 0.65
    """pqn: weight of longer returns; 0 is one step, 1 the whole rollout."""
    temperature: float = 0.03
    """Entropy temperature of soft and munchausen backups and of softmax actions."""
    munchausen_alpha: float = 0.9
    """munchausen: weight of the log-probability that is added to the reward."""
    munchausen_clip: float = 1.0
    """munchausen: size at which that log-probability, times the temperature, is clipped."""
    epsilon_start: float = 1.0
    """Probability of a random action at the start."""
    epsilon_end: float = 0.05
    """Probability of a random action at the end of the schedule."""
    epsilon_delay: float = 0.0
    """Environment steps before the schedule of epsilon begins."""
    epsilon_steps: float = 250_000.0
    """Environment steps of the schedule of epsilon."""
    eval_epsilon: float = 0.0
    """Probability of a random action in evaluation; 0 is greedy."""
    priority_exponent: float = 0.0
    """Power of the priorities in a prioritized replay; 0 samples uniformly."""
    importance_exponent: float = 0.0
    """Power of the importance weights of a prioritized replay; 1 undoes the sampling."""
    importance_exponent_end: float = 1.0
    """That power at the end of its schedule."""
    importance_exponent_steps: float = INFINITY
    """Environment steps of the schedule of that power; inf keeps it constant."""
    env_params: dict[str, float] = {}
    """Parameters of the environment that differ from its defaults."""
    extra: dict[str, float] = {}
    """Numbers of one's own parts."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Structure; one compiled program each."""

    env: str = "CartPole-v1"
    """Environment: a gymnax id; MinAtar ids with -original follow Young & Tian (2019)."""
    env_kwargs: tuple[str, ...] = ()
    """Arguments of the environment's class, such as size=10."""
    time_limit: Literal["default", "bootstrap", "terminal"] = "default"
    """Whether values bootstrap through a time limit; default is the environment's own policy."""
    num_envs: int = 1
    """Environments per member."""
    agent: Literal[
        "dqn",
        "c51",
        "qr-dqn",
        "iqn",
        "bootstrapped",
        "rem",
        "maxmin",
        "averaged",
        "drqn",
        "r2d2",
        "pqn",
    ] = "dqn"
    """Method: what is learned and by which loss."""
    backup: Literal["greedy", "double", "soft", "munchausen"] = "greedy"
    """How the state after a step is valued."""
    network: Literal["linear", "mlp", "minatar", "nature"] = "mlp"
    """Torso of the network; linear on one-hot observations is a table."""
    widths: tuple[int, ...] = (120, 84)
    """Widths of the dense layers."""
    layer_norm: bool = False
    """Normalise every hidden layer."""
    dense: Literal["plain", "noisy", "spectral"] = "plain"
    """Dense layers: noisy ones explore by themselves; spectral has norm 1 before the head."""
    noise_sigma: float = 0.5
    """Initial noise of noisy layers, times 1 / sqrt(inputs)."""
    dueling: bool = False
    """Split the head into state value and advantages."""
    num_atoms: int = 51
    """Atoms (c51), quantiles (qr-dqn) or sampled fractions (iqn) per action."""
    support: tuple[float, float] = (-100.0, 100.0)
    """c51: the returns at the first and the last atom."""
    ensemble_size: int = 10
    """Members of an ensemble; for averaged, the target networks that are averaged."""
    prior_scale: float = 0.0
    """Weight of the random prior that is added to every member of an ensemble; 0 has none."""
    mask_probability: float = 1.0
    """bootstrapped: probability of a member to learn from a step."""
    memory: Literal["none", "lstm"] = "none"
    """Memory between torso and head, for drqn, r2d2 and pqn."""
    memory_width: int = 64
    """Width of the LSTM."""
    optimizer: Literal["adam", "adamw", "radam", "rmsprop", "sgd"] = "adam"
    """Optimizer; rmsprop is centred."""
    clip_gradients: bool = False
    """Apply max_gradient_norm."""
    learning_rate_schedule: Literal["linear", "exponential"] = "linear"
    """Shape of the step size; exponential takes learning_rate_steps as its time constant."""
    action_selection: Literal["epsilon-greedy", "softmax"] = "epsilon-greedy"
    """How actions are chosen while training; softmax uses the temperature."""
    exploration: Literal["linear", "exponential"] = "linear"
    """Schedule of epsilon."""
    break_ties: bool = False
    """While training, choose at random among equal best actions instead of the first."""
    replay: Literal["uniform", "prioritized", "latest", "none"] = "uniform"
    """Memory; latest holds only the newest steps, none is for pqn."""
    capacity: int = 10_000
    """Steps a replay holds."""
    batch_size: int = 128
    """Windows per update; a replay of the latest steps uses all it holds."""
    window: int = 1
    """Length of the windows that are learned from: the n of n-step targets, or with memory the
    sequence that is unrolled, burn_in included."""
    burn_in: int = 0
    """drqn, r2d2: steps of a window that only bring the memory up to date."""
    n_step: int = 1
    """drqn, r2d2: n of the targets inside a window."""
    sequence_period: int = 1
    """Vector steps between the beginnings of windows in a prioritized replay."""
    prefill: int = 10_000
    """Environment steps before the first update."""
    train_every: int = 10
    """Environment steps between rounds of updates; for pqn, of a rollout."""
    updates_per_round: int = 1
    """Updates per round; for pqn, minibatches times epochs."""
    target_period: int = 500
    """Environment steps between target updates; train_every is "no target network" with tau 1."""
    reset_period: int = 0
    """Environment steps between resets of the head, a multiple of chunk_steps; 0 never resets."""
    chunk_steps: int = 10_000
    """Environment steps between two evaluations; a multiple of target_period."""
    eval_episodes: int = 10
    """Whole episodes per member and evaluation."""
    eval_max_steps: int = 5_000
    """Evaluation episodes longer than this are cut, and counted as cut."""
    extra: Annotated[tuple[str, ...], tyro.conf.arg(name="extra-structure")] = ()
    """Structure of one's own parts, each name=value."""


class Preset(NamedTuple):
    """A complete experiment; everything in it can be overridden."""

    summary: str  # what it is and where its numbers come from
    config: Config
    hparams: HParams
    steps: int  # environment steps per member
    seeds: int


def replace_checked(target, changes: dict):
    """``target`` (a ``Config`` or ``HParams``) with the named fields replaced.

    Raises:
      ConfigError: a field that does not exist, with the nearest ones that do.
    """
    fields = field_names(target)
    for name in changes:
        if name not in fields:
            raise unknown(f"field of {type(target).__name__}", name, fields)
    if isinstance(target, HParams):
        return target._replace(**changes)
    return dataclasses.replace(target, **changes)


def field_names(target) -> tuple[str, ...]:
    """The names of the fields of a ``Config`` or of ``HParams``."""
    if isinstance(target, HParams) or target is HParams:
        return HParams._fields
    return tuple(field.name for field in dataclasses.fields(target))


def config_from_dict(document: dict) -> Config:
    """A ``Config`` from what JSON made of it; fields that are missing take their defaults."""
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in document.items()}
    return replace_checked(Config(), values)


def plain_numbers(hparams: HParams) -> dict:
    """``HParams`` as a dictionary of plain floats, the same for 1 and 1.0."""
    return {
        name: {k: np.asarray(v).tolist() for k, v in value.items()}
        if isinstance(value, dict)
        else float(value)
        for name, value in hparams._asdict().items()
    }


def hparams_from_dict(document: dict) -> HParams:
    """``HParams`` from what JSON made of them; infinities are strings there.

    Raises:
      ConfigError: a name that does not exist, or a value that is no number.
    """

    def number(name: str, value: Any) -> float:
        try:
            return float(value)
        except (TypeError, ValueError):
            raise ConfigError(f"{name}={value!r} must be a number.") from None

    numbers = dict(document)
    named = {name: numbers.pop(name, {}) for name in ("env_params", "extra")}
    values = {name: number(name, value) for name, value in numbers.items()}
    return replace_checked(HParams(), {**values, **named})
