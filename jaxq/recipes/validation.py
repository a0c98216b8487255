"""What a ``Config`` and its ``HParams`` may be; everything is checked before anything compiles."""

from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin, get_type_hints

from jaxq.config import ENSEMBLES, INFINITY, SEQUENCES, Config, HParams
from jaxq.errors import ConfigError, unknown

_QUANTILES = ("qr-dqn", "iqn")
_MAY_BE_ZERO = ("prefill", "burn_in", "reset_period")


def validate(config: Config, hparams: HParams) -> None:
    """Check everything that can be known without the environment.

    Raises:
      ConfigError: one sentence that names the field, its value and what is accepted.
    """
    _check_types(config)
    _check_choices(config)
    _check_counts(config)
    _check_divisibility(config)
    _check_method(config, hparams)
    {
        "uniform": _check_ring,
        "prioritized": _check_ring,
        "latest": _check_latest,
        "none": _check_rollout,
    }[config.replay](config)
    _check_numbers(hparams)
    _check_effects(config, hparams)


def _check_types(config: Config) -> None:
    """A file that was written by hand may hold anything."""
    for name, annotation in get_type_hints(Config).items():
        value = getattr(config, name)
        if get_origin(annotation) is not Literal and not _fits(value, annotation):
            raise ConfigError(f"{name}={value!r} must be {_IN_WORDS[annotation]}.")


_IN_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    tuple[int, ...]: "a list of whole numbers",
    tuple[str, ...]: "a list of texts",
    tuple[float, float]: "a list of two numbers",
}


def _fits(value: Any, annotation: Any) -> bool:
    if get_origin(annotation) is tuple:
        kind, second = get_args(annotation)
        is_right_length = second is Ellipsis or (isinstance(value, tuple) and len(value) == 2)
        return isinstance(value, tuple) and is_right_length and all(_fits(v, kind) for v in value)
    if annotation is bool or isinstance(value, bool):
        return annotation is bool and isinstance(value, bool)
    return isinstance(value, (int, float) if annotation is float else annotation)


def _check_choices(config: Config) -> None:
    for name, annotation in get_type_hints(Config).items():
        if get_origin(annotation) is Literal and getattr(config, name) not in get_args(annotation):
            raise unknown(name, getattr(config, name), get_args(annotation))


def _check_counts(config: Config) -> None:
    for name, annotation in get_type_hints(Config).items():
        value, least = getattr(config, name), int(name not in _MAY_BE_ZERO)
        if annotation is int and value < least:
            raise ConfigError(f"{name}={value} must be a whole number of at least {least}.")
    if any(width < 1 for width in config.widths):
        raise ConfigError(f"widths={list(config.widths)} must all be at least 1.")
    if not config.support[0] < config.support[1]:
        raise ConfigError(f"support={list(config.support)} must be increasing.")
    for name, least in (("num_atoms", 2), ("ensemble_size", 1)):
        if not least <= getattr(config, name) <= 255:
            raise ConfigError(f"{name}={getattr(config, name)} must be between {least} and 255.")
    if not 0.0 < config.mask_probability <= 1.0:
        raise ConfigError(f"mask_probability={config.mask_probability} must be in (0, 1].")
    for name in ("prior_scale", "noise_sigma"):
        if not 0.0 <= getattr(config, name) < INFINITY:
            raise ConfigError(f"{name}={getattr(config, name)} must be 0 or larger.")


def _check_divisibility(config: Config) -> None:
    """Every loop length is a whole number of the loop inside it."""
    multiples = (
        ("train_every", "num_envs"),
        ("target_period", "train_every"),
        ("chunk_steps", "target_period"),
        ("reset_period", "chunk_steps"),
        ("prefill", "train_every"),
    )
    for name, unit in multiples:
        value, divisor = getattr(config, name), getattr(config, unit)
        if value % divisor:
            raise ConfigError(f"{name}={value} must be a multiple of {unit}={divisor}.")


def _check_method(config: Config, hparams: HParams) -> None:
    """Parts that only work together."""
    method, is_pqn = f"agent={config.agent}", config.agent == "pqn"
    entropic = config.backup in ("soft", "munchausen")
    kappa = hparams.huber_delta
    for is_wrong, message in (
        (is_pqn != (config.replay == "none"), f"replay={config.replay} and {method} do not fit; "
         "pqn needs replay=none, and nothing else accepts it"),
        (config.agent in SEQUENCES and config.memory == "none",
         f"memory=none must be lstm for {method}"),
        (config.memory != "none" and config.agent not in (*SEQUENCES, "pqn"),
         f"memory={config.memory} needs agent=drqn, r2d2 or pqn, not {config.agent}"),
        (is_pqn and config.backup != "greedy",
         f"backup={config.backup} must be greedy for {method}"),
        (config.agent in ("c51", "r2d2") and entropic,
         f"backup={config.backup} must be greedy or double for {method}"),
        (entropic and config.agent not in SEQUENCES and config.window > 1,
         f"window={config.window} must be 1 for backup={config.backup}, whose later bonuses a "
         "longer window would lose"),
        (entropic and config.agent in SEQUENCES and config.n_step > 1,
         f"n_step={config.n_step} must be 1 for backup={config.backup}"),
        (config.agent in _QUANTILES and not 0.0 < kappa < INFINITY,
         f"huber_delta={kappa} must be positive and finite for {method}, usually 1"),
        (config.agent == "averaged" and hparams.tau != 1.0,
         f"tau={hparams.tau} must be 1 for {method}, which keeps whole copies"),
        (config.agent in SEQUENCES and config.burn_in + config.n_step > config.window,
         f"window={config.window} must be at least burn_in + n_step = "
         f"{config.burn_in + config.n_step}"),
        ((entropic or config.action_selection == "softmax") and hparams.temperature <= 0.0,
         f"temperature={hparams.temperature} must be positive"),
    ):  # fmt: skip
        if is_wrong:
            raise ConfigError(f"{message}.")


def _check_ring(config: Config) -> None:
    windows_steps = config.window * config.num_envs
    period_steps = config.sequence_period * config.num_envs
    for unit, size in (
        (f"train_every={config.train_every}", config.train_every),
        (f"sequence_period={config.sequence_period} of num_envs={config.num_envs}", period_steps),
    ):
        if config.capacity % size:
            raise ConfigError(f"capacity={config.capacity} must be a multiple of {unit}.")
    window = f"window={config.window} of num_envs={config.num_envs}"
    batch = f"batch_size={config.batch_size}"
    needs = [
        ("capacity", config.batch_size, batch),
        ("capacity", windows_steps, window),
        ("prefill", config.batch_size, batch),
        ("prefill", windows_steps, window),
    ]
    if config.replay == "prioritized":
        if config.sequence_period > config.window:
            raise ConfigError(
                f"sequence_period={config.sequence_period} must be at most window={config.window}."
            )
        block = f"{window} and a block of train_every={config.train_every}"
        needs += [
            ("capacity", windows_steps + config.train_every, block),
            ("prefill", windows_steps + period_steps, window),
        ]
    for name, minimum, reason in needs:
        if getattr(config, name) < minimum:
            raise ConfigError(
                f"{name}={getattr(config, name)} must be at least {minimum}, to hold {reason}."
            )


def _check_latest(config: Config) -> None:
    needed = config.train_every + (config.window - 1) * config.num_envs
    if config.prefill < needed:
        raise ConfigError(
            f"prefill={config.prefill} must be at least {needed} to fill the latest windows "
            f"(train_every={config.train_every}, window={config.window})."
        )


def _check_rollout(config: Config) -> None:
    """A rollout is a whole number of minibatches, and a round a whole number of epochs."""
    minibatch = config.batch_size * config.window
    if config.prefill:
        raise ConfigError(f"prefill={config.prefill} must be 0 for agent=pqn.")
    if config.target_period != config.train_every:
        raise ConfigError(
            f"target_period={config.target_period} must be train_every={config.train_every} for "
            f"agent=pqn, which has no target network."
        )
    if config.train_every % (config.window * config.num_envs) or config.train_every % minibatch:
        raise ConfigError(
            f"train_every={config.train_every} must be a multiple of window x num_envs = "
            f"{config.window * config.num_envs} and of window x batch_size = {minibatch}."
        )
    if config.updates_per_round % (config.train_every // minibatch):
        raise ConfigError(
            f"updates_per_round={config.updates_per_round} must be a multiple of the "
            f"{config.train_every // minibatch} minibatches of a rollout."
        )


# Field -> (lowest, highest) accepted value; fields not listed take any number from 0 up.
_RANGES = {
    "gamma": (0.0, 1.0),
    "tau": (0.0, 1.0),
    "td_lambda": (0.0, 1.0),
    "epsilon_start": (0.0, 1.0),
    "epsilon_end": (0.0, 1.0),
    "eval_epsilon": (0.0, 1.0),
    "adam_beta1": (0.0, 1.0),
    "adam_beta2": (0.0, 1.0),
    "rmsprop_decay": (0.0, 1.0),
    "importance_exponent": (0.0, 1.0),
    "importance_exponent_end": (0.0, 1.0),
}


def _check_numbers(hparams: HParams) -> None:
    for name, value in hparams._asdict().items():
        if name in ("env_params", "extra"):
            continue
        low, high = _RANGES.get(name, (0.0, INFINITY))
        if not low <= value <= high:
            accepted = f"between {low:g} and {high:g}" if high < INFINITY else "0 or larger"
            raise ConfigError(f"{name}={value} must be {accepted}.")


def _choice(field: str, *accepted: str) -> tuple[str, Callable[[Config], bool]]:
    """That ``field`` is one of ``accepted``, in words and as a test."""
    return f"{field}={' or '.join(accepted)}", lambda config: getattr(config, field) in accepted


# Field -> what it needs to have an effect.
_NEEDS = {
    "dueling": ("a network other than linear", lambda config: config.network != "linear"),
    "layer_norm": ("a network other than linear", lambda config: config.network != "linear"),
    "dense": ("a network other than linear", lambda config: config.network != "linear"),
    "noise_sigma": _choice("dense", "noisy"),
    "num_atoms": _choice("agent", "c51", *_QUANTILES),
    "support": _choice("agent", "c51"),
    "ensemble_size": _choice("agent", *ENSEMBLES, "averaged"),
    "prior_scale": _choice("agent", *ENSEMBLES),
    "mask_probability": _choice("agent", "bootstrapped"),
    "memory_width": _choice("memory", "lstm"),
    "burn_in": _choice("agent", *SEQUENCES),
    "n_step": _choice("agent", *SEQUENCES),
    "sequence_period": _choice("replay", "prioritized"),
    "break_ties": _choice("action_selection", "epsilon-greedy"),
    "max_gradient_norm": ("clip_gradients", lambda config: config.clip_gradients),
    "weight_decay": _choice("optimizer", "adamw"),
    "priority_exponent": _choice("replay", "prioritized"),
    "importance_exponent": _choice("replay", "prioritized"),
    "importance_exponent_end": _choice("replay", "prioritized"),
    "importance_exponent_steps": _choice("replay", "prioritized"),
    "td_lambda": _choice("agent", "pqn"),
    "munchausen_alpha": _choice("backup", "munchausen"),
    "munchausen_clip": _choice("backup", "munchausen"),
    "temperature": (
        "backup=soft or munchausen, or action_selection=softmax",
        lambda config: (
            config.backup in ("soft", "munchausen") or config.action_selection == "softmax"
        ),
    ),
}


def _check_effects(config: Config, hparams: HParams) -> None:
    """Refuse what would be recorded and have no effect."""
    for name, (need, holds) in _NEEDS.items():
        target, default = (config, Config()) if hasattr(config, name) else (hparams, HParams())
        if getattr(target, name) != getattr(default, name) and not holds(config):
            raise ConfigError(f"{name} has no effect without {need}; leave it at its default.")
