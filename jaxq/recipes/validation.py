"""What a ``Config`` and its ``HParams`` may be; everything is checked before anything compiles.

What fits to which part is said in the rows of ``parts`` and ``agents``; here stands what is true of
all: types, ranges, and loops that are whole numbers of the loops inside them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from jaxq.config import INFINITY, Config, HParams, words_as_values
from jaxq.envs.probing import MOST_ENVS
from jaxq.errors import ConfigError, unknown
from jaxq.recipes.agents import AGENTS, check_backup
from jaxq.recipes.own import check_trust, is_own, own_names
from jaxq.recipes.parts import Row, window_of
from jaxq.recipes.ranges import check_numbers, check_own_numbers
from jaxq.recipes.reading import (
    chosen,
    loop_of,
    readers,
    reads,
    target_period_of,
    value_of,
    without_effect,
)
from jaxq.settings import format_value

_LARGEST = 2**31 - 1  # of what is counted on a device
_SIDE_BY_SIDE = ("num_envs", "eval_episodes")
_LONGEST = 100_000  # of what is weighed at every step
_MAY_BE_ZERO = ("prefill", "burn_in", "reset_period", "eval_period")


def validate(config: Config, *lanes: HParams, handed_over: bool = False) -> None:
    """Check everything that can be known without the environment.

    Args:
      lanes: numbers, any of which must fit.
      handed_over: that functions take the place of named parts, and may read any number.

    Raises:
      ConfigError: one sentence that names the field, its value and what is accepted.
    """
    _check_structure(config)
    parts = chosen(config)
    for hparams in lanes:
        _check_lane(config, hparams, parts)
        for field in without_effect(config, HParams() if handed_over else hparams):
            raise _no_effect(config, hparams, field)


def _no_effect(
    config: Config, hparams: HParams, field: str, advice: str = "leave it at its default"
) -> ConfigError:
    """The error that says so of a field that nothing reads."""
    value = value_of(config, hparams, field)
    words = "" if isinstance(value, dict) else f"={format_value(value)}"
    return ConfigError(f"{field}{words} has no effect {_where(field, config, advice)}.")


def check_asked(config: Config, hparams: HParams, asked: Iterable[str]) -> None:
    """Refuse fields that were asked for and nothing reads, though they say what a default says.

    Raises:
      ConfigError: names the field.
    """
    found = reads(config)
    for field in sorted(asked):
        if field not in (*found, "extra"):
            raise _no_effect(config, hparams, field, "leave it out")


def _where(field: str, config: Config, advice: str) -> str:
    """Without which choice a field has no effect, and what to do."""
    if config.dataset and field in reads(replace(config, dataset="")):
        return f"with dataset={config.dataset}, from which is learned without acting"
    return f"without {readers(field, config) or 'acting'}; {advice}"


def _check_lane(config: Config, hparams: HParams, parts: Mapping[str, Row]) -> None:
    """Numbers by themselves, and what the ``parts`` in use make of them."""
    if type(hparams) is not HParams:
        raise ConfigError(
            f"hparams={type(hparams).__name__} must be HParams; numbers of your own go into its "
            f"field extra."
        )
    check_numbers(hparams)
    for label, part in parts.items():
        if wrong := part.check(config, hparams):
            raise ConfigError(f"{wrong}.")
        check_own_numbers(label, part.numbers, hparams.extra)
    takes_backup = "backup" in parts[f"agent {config.agent}"].reads
    if takes_backup and not is_own(config.agent) and not is_own(config.backup):
        check_backup(config, hparams, AGENTS[config.agent].make.loss.honours)


def _check_structure(config: Config) -> None:
    """What does not depend on numbers."""
    if not isinstance(config, Config):
        raise ConfigError(f"config={type(config).__name__} must be a jaxq Config.")
    check_trust(config)
    _check_types(config)
    _check_counts(config)
    words_as_values(config.env_kwargs, "env_kwargs")
    words_as_values(config.extra, "extra")
    if config.extra and not own_names(config):
        raise ConfigError(f"extra={' '.join(config.extra)} has no effect without your own parts.")
    chosen(config)  # every name stands for something
    if config.reset != Config.reset and not config.reset_period:
        raise ConfigError(f"reset={config.reset} has no effect with reset_period=0.")
    _check_multiples(config, ("reset_period", "chunk_steps"), ("eval_period", "chunk_steps"))
    if config.dataset and loop_of(config) != "offline":
        raise ConfigError(
            f"dataset={config.dataset} has no effect on agent={config.agent}, which learns from "
            f"what it has just done; an agent with a replay such as dqn, or bc is accepted."
        )
    _CHECKS[loop_of(config)](config)


def _check_types(config: Config) -> None:
    """A file that was written by hand may hold anything."""
    for name, annotation in get_type_hints(Config).items():
        value = getattr(config, name)
        if get_origin(annotation) is Literal:
            if value not in get_args(annotation):
                raise unknown(name, value, get_args(annotation))
        elif not _fits(value, annotation):
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


def _check_counts(config: Config) -> None:
    for name, annotation in get_type_hints(Config).items():
        value, least = getattr(config, name), int(name not in _MAY_BE_ZERO)
        if annotation is int and value < least:
            raise ConfigError(f"{name}={value} must be a whole number of at least {least}.")
        if annotation is int and value > _LARGEST:
            raise ConfigError(f"{name}={value} must fit into 31 bits.")
        if name in _SIDE_BY_SIDE and value > MOST_ENVS:
            raise ConfigError(f"{name}={value} must be at most {MOST_ENVS:,}, side by side.")
    for name in ("widths", "stream_widths"):
        widths = getattr(config, name)
        if any(width < 1 for width in widths):
            raise ConfigError(f"{name}={list(widths)} must all be at least 1.")
    if config.max_duration > _LONGEST:
        raise ConfigError(f"max_duration={config.max_duration} must be at most {_LONGEST:,}.")
    if not -INFINITY < config.support[0] < config.support[1] < INFINITY:
        raise ConfigError(f"support={list(config.support)} must be increasing and finite.")
    for name, least in (("num_atoms", 2), ("ensemble_size", 1)):
        if not least <= getattr(config, name) <= 255:
            raise ConfigError(f"{name}={getattr(config, name)} must be between {least} and 255.")
    if not 0.0 <= config.sparsity < 1.0:
        raise ConfigError(f"sparsity={config.sparsity} must be in [0, 1).")
    if not 0.0 < config.mask_probability <= 1.0:
        raise ConfigError(f"mask_probability={config.mask_probability} must be in (0, 1].")
    for name in ("prior_scale", "noise_sigma"):
        if not 0.0 <= getattr(config, name) < INFINITY:
            raise ConfigError(f"{name}={getattr(config, name)} must be 0 or larger.")


def _check_multiples(config: Config, *pairs: tuple[str, str]) -> None:
    """Every loop length is a whole number of the loop inside it."""
    for name, unit in pairs:
        value, divisor = getattr(config, name), getattr(config, unit)
        if value % divisor:
            raise ConfigError(f"{name}={value} must be a multiple of {unit}={divisor}.")


def _check_off_policy(config: Config) -> None:
    _check_multiples(
        config,
        ("train_every", "num_envs"),
        ("target_period", "train_every"),
        ("chunk_steps", "target_period"),
        ("prefill", "train_every"),
    )
    if config.replay == "latest":
        _check_latest(config)
    elif not is_own(config.replay):
        _check_ring(config)


def _check_stream(config: Config) -> None:
    if config.num_envs != 1:
        raise ConfigError(
            f"num_envs={config.num_envs} must be 1 for agent={config.agent}, which learns from "
            f"every step of one environment as it comes."
        )


def _check_offline(config: Config) -> None:
    if not config.dataset:
        raise ConfigError(
            f"dataset= must be a run directory for agent={config.agent}, which does not act; a run "
            f"that train.py has trained with --keep-replay is accepted."
        )
    if ":" in config.dataset:  # a file names functions so
        raise ConfigError(f"dataset={config.dataset} must be a path without a colon.")
    if target_period_of(config):
        _check_multiples(config, ("chunk_steps", "target_period"))


def _check_rollout(config: Config) -> None:
    """A rollout is a whole number of segments of every environment, and of minibatches of them."""
    _check_multiples(config, ("chunk_steps", "rollout_steps"))
    segments = f"sequence_length x num_envs = {config.sequence_length * config.num_envs}"
    if config.rollout_steps % (config.sequence_length * config.num_envs):
        raise ConfigError(f"rollout_steps={config.rollout_steps} must be a multiple of {segments}.")
    count = config.rollout_steps // config.sequence_length
    if count % config.minibatches:
        raise ConfigError(
            f"minibatches={config.minibatches} must divide the {count} segments of a rollout "
            f"(rollout_steps={config.rollout_steps}, sequence_length={config.sequence_length})."
        )


def _check_ring(config: Config) -> None:
    window = window_of(config)
    windows_steps = window * config.num_envs
    period_steps = config.sequence_period * config.num_envs
    for unit, size in (
        (f"train_every={config.train_every}", config.train_every),
        (f"sequence_period={config.sequence_period} of num_envs={config.num_envs}", period_steps),
    ):
        if config.capacity % size:
            raise ConfigError(f"capacity={config.capacity} must be a multiple of {unit}.")
    windows = f"{_window_words(config)} of num_envs={config.num_envs}"
    batch = f"batch_size={config.batch_size}"
    needs = [
        ("capacity", config.batch_size, batch),
        ("capacity", windows_steps, windows),
        ("prefill", config.batch_size, batch),
        ("prefill", windows_steps, windows),
    ]
    if config.replay == "prioritized":
        if config.sequence_period > window:
            raise ConfigError(
                f"sequence_period={config.sequence_period} must be at most {_window_words(config)}."
            )
        block = f"{windows} and a block of train_every={config.train_every}"
        needs += [
            ("capacity", windows_steps + config.train_every, block),
            ("prefill", windows_steps + period_steps, windows),
        ]
    for name, minimum, reason in needs:
        if getattr(config, name) < minimum:
            raise ConfigError(
                f"{name}={getattr(config, name)} must be at least {minimum}, to hold {reason}."
            )


def _check_latest(config: Config) -> None:
    needed = config.train_every + (window_of(config) - 1) * config.num_envs
    if config.prefill < needed:
        raise ConfigError(
            f"prefill={config.prefill} must be at least {needed} to fill the latest windows "
            f"(train_every={config.train_every}, {_window_words(config)})."
        )


_CHECKS = {
    "off-policy": _check_off_policy,
    "on-policy": _check_rollout,
    "streaming": _check_stream,
    "offline": _check_offline,
}


def _window_words(config: Config) -> str:
    name = "sequence_length" if config.sequence_length >= config.n_step else "n_step"
    return f"{name}={window_of(config)}"
