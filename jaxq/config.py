"""What a run is made of: ``Config`` (static), ``HParams`` (traced) and their validation.

If changing it changes a shape, a loop length or which function runs, it is ``Config``. Every
other number is ``HParams``: a traced scalar, so that a sweep over it is one compiled program.
All counts are in environment steps of one member, whatever ``num_envs`` is, so that adding
environments changes the speed of an algorithm and not the algorithm.
"""

import dataclasses
from typing import Literal, NamedTuple, get_args, get_origin, get_type_hints

import numpy as np

from jaxq.errors import ConfigError, unknown

INFINITY = float("inf")


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
    max_gradient_norm: float = INFINITY
    """Gradients of a larger global norm are scaled down to it (needs clip_gradients)."""
    gamma: float = 0.99
    """Discount per step."""
    tau: float = 1.0
    """Share of the online parameters in a target update; 1 copies them."""
    huber_delta: float = INFINITY
    """TD errors beyond it weigh linearly; inf is the squared loss."""
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
    env_params: dict[str, float] = {}
    """Parameters of the environment that differ from its defaults."""


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
    agent: Literal["dqn", "double-dqn"] = "dqn"
    """Method."""
    network: Literal["linear", "mlp", "minatar", "nature"] = "mlp"
    """Torso of the network; linear on one-hot observations is a table."""
    widths: tuple[int, ...] = (120, 84)
    """Widths of the dense layers."""
    layer_norm: bool = False
    """Normalise every hidden layer."""
    dueling: bool = False
    """Split the head into state value and advantages."""
    optimizer: Literal["adam", "rmsprop", "sgd"] = "adam"
    """Optimizer; rmsprop is centred."""
    clip_gradients: bool = False
    """Apply max_gradient_norm."""
    learning_rate_schedule: Literal["linear", "exponential"] = "linear"
    """Shape of the step size; exponential takes learning_rate_steps as its time constant."""
    exploration: Literal["linear", "exponential"] = "linear"
    """Schedule of epsilon."""
    break_ties: bool = False
    """While training, choose at random among equal best actions instead of the first."""
    replay: Literal["uniform", "latest"] = "uniform"
    """Memory; latest holds only the newest steps."""
    capacity: int = 10_000
    """Steps a uniform replay holds."""
    batch_size: int = 128
    """Windows per update drawn from a uniform replay; latest uses all it holds."""
    window: int = 1
    """Length of the sampled windows, the n of n-step targets."""
    prefill: int = 10_000
    """Environment steps before the first update."""
    train_every: int = 10
    """Environment steps between rounds of updates."""
    updates_per_round: int = 1
    """Updates per round."""
    target_period: int = 500
    """Environment steps between target updates; train_every is "no target network" with tau 1."""
    chunk_steps: int = 10_000
    """Environment steps between two evaluations; a multiple of target_period."""
    eval_episodes: int = 10
    """Whole episodes per member and evaluation."""
    eval_max_steps: int = 5_000
    """Evaluation episodes longer than this are cut, and counted as cut."""


def validate(config: Config, hparams: HParams) -> None:
    """Check everything that can be known without the environment.

    Raises:
      ConfigError: one sentence that names the field, its value and what is accepted.
    """
    _check_choices(config)
    _check_counts(config)
    _check_divisibility(config)
    _check_replay(config)
    _check_numbers(hparams)
    _check_effects(config, hparams)


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


def _check_choices(config: Config) -> None:
    for name, annotation in get_type_hints(Config).items():
        if get_origin(annotation) is Literal and getattr(config, name) not in get_args(annotation):
            raise unknown(name, getattr(config, name), get_args(annotation))


def _check_counts(config: Config) -> None:
    for name, annotation in get_type_hints(Config).items():
        value = getattr(config, name)
        if annotation is int and (not isinstance(value, int) or value < 1):
            raise ConfigError(f"{name}={value} must be a whole number of at least 1.")
    if any(width < 1 for width in config.widths):
        raise ConfigError(f"widths={list(config.widths)} must all be at least 1.")


def _check_divisibility(config: Config) -> None:
    """Every loop length is a whole number of the loop inside it."""
    multiples = (
        ("train_every", "num_envs"),
        ("target_period", "train_every"),
        ("chunk_steps", "target_period"),
        ("prefill", "train_every"),
    )
    for name, unit in multiples:
        value, divisor = getattr(config, name), getattr(config, unit)
        if value % divisor:
            raise ConfigError(f"{name}={value} must be a multiple of {unit}={divisor}.")


def _check_replay(config: Config) -> None:
    if config.replay == "latest":
        needed = config.train_every + (config.window - 1) * config.num_envs
        if config.prefill < needed:
            raise ConfigError(
                f"prefill={config.prefill} must be at least {needed} to fill the latest windows "
                f"(train_every={config.train_every}, window={config.window})."
            )
        return
    if config.capacity % config.train_every:
        raise ConfigError(
            f"capacity={config.capacity} must be a multiple of train_every={config.train_every}."
        )
    windows_steps = config.window * config.num_envs
    for name, minimum, reason in (
        ("capacity", config.batch_size, f"batch_size={config.batch_size}"),
        ("capacity", windows_steps, f"window={config.window} of num_envs={config.num_envs}"),
        ("prefill", config.batch_size, f"batch_size={config.batch_size}"),
        ("prefill", windows_steps, f"window={config.window} of num_envs={config.num_envs}"),
    ):
        if getattr(config, name) < minimum:
            raise ConfigError(
                f"{name}={getattr(config, name)} must be at least {minimum}, to hold {reason}."
            )


# Field -> (lowest, highest) accepted value; fields not listed take any number from 0 up.
_RANGES = {
    "gamma": (0.0, 1.0),
    "tau": (0.0, 1.0),
    "epsilon_start": (0.0, 1.0),
    "epsilon_end": (0.0, 1.0),
    "eval_epsilon": (0.0, 1.0),
    "adam_beta1": (0.0, 1.0),
    "adam_beta2": (0.0, 1.0),
    "rmsprop_decay": (0.0, 1.0),
    "importance_exponent": (0.0, 1.0),
}


def _check_numbers(hparams: HParams) -> None:
    for name, value in hparams._asdict().items():
        if name == "env_params":
            continue
        low, high = _RANGES.get(name, (0.0, INFINITY))
        if not low <= value <= high:
            accepted = f"between {low:g} and {high:g}" if high < INFINITY else "0 or larger"
            raise ConfigError(f"{name}={value} must be {accepted}.")


def config_from_dict(document: dict) -> Config:
    """A ``Config`` from what JSON made of it; fields that are missing take their defaults."""
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in document.items()}
    return replace_checked(Config(), values)


def plain_numbers(hparams: HParams) -> dict:
    """``HParams`` as a dictionary of plain floats, the same for 1 and 1.0."""
    numbers = hparams._asdict()
    env_params = {name: np.asarray(value).tolist() for name, value in hparams.env_params.items()}
    return {k: float(v) for k, v in numbers.items() if k != "env_params"} | {
        "env_params": env_params
    }


def hparams_from_dict(document: dict) -> HParams:
    """``HParams`` from what JSON made of them; infinities are strings there."""
    values = {k: v if isinstance(v, dict) else float(v) for k, v in document.items()}
    return replace_checked(HParams(), values)


def _check_effects(config: Config, hparams: HParams) -> None:
    """Refuse what would be recorded and have no effect."""
    for name, is_set, condition, holds in (
        ("dueling", config.dueling, "network=linear", config.network == "linear"),
        ("layer_norm", config.layer_norm, "network=linear", config.network == "linear"),
        (
            "max_gradient_norm",
            hparams.max_gradient_norm < INFINITY,
            "clip_gradients=False",
            not config.clip_gradients,
        ),
        ("priority_exponent", hparams.priority_exponent > 0, f"replay={config.replay}", True),
        ("importance_exponent", hparams.importance_exponent > 0, f"replay={config.replay}", True),
    ):
        if is_set and holds:
            raise ConfigError(f"{name} has no effect with {condition}; leave it at its default.")
