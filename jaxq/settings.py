"""Settings: what a lane or a program changes, by name, and how that is put into words.

A setting is a dictionary of the fields it changes: of ``HParams`` (numbers, lanes of one program),
of ``Config`` (structure, a program for every value) or ``env_params.NAME`` (of the environment).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxq.config import Config, HParams, field_names, replace_checked

ENV_PARAM = "env_params."


Setting = dict[str, Any]


def apply(config: Config, hparams: HParams, setting: Setting) -> tuple[Config, HParams]:
    """What ``setting`` makes of a configuration."""
    structure = {name: value for name, value in setting.items() if name in field_names(Config)}
    numbers = {name: value for name, value in setting.items() if name not in structure}
    return replace_checked(config, structure), with_numbers(hparams, numbers)


def with_numbers(hparams: HParams, numbers: Mapping[str, Any]) -> HParams:
    """``hparams`` with some numbers replaced, by the names that a setting gives them."""
    fields = {k: v for k, v in numbers.items() if not k.startswith(ENV_PARAM)}
    params = {k.removeprefix(ENV_PARAM): v for k, v in numbers.items() if k not in fields}
    return replace_checked(hparams, {**fields, "env_params": {**hparams.env_params, **params}})


def flatten(lane: HParams) -> dict[str, float]:
    """All numbers of a lane by the names that a setting gives them; undone by ``with_numbers``."""
    numbers = {name: value for name, value in lane._asdict().items() if name != "env_params"}
    return numbers | {ENV_PARAM + name: value for name, value in lane.env_params.items()}


def differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names under which not all settings hold the same."""
    names = dict.fromkeys(name for setting in settings for name in setting)
    return [name for name in names if len({repr(s.get(name)) for s in settings}) > 1]


def describe(setting: Setting) -> str:
    """A setting in a line, such as ``learning_rate=0.001 widths=120x84``."""
    return " ".join(f"{k.removeprefix(ENV_PARAM)}={format_value(v)}" for k, v in setting.items())


def format_value(value: Any) -> str:
    """A value as ``parse_space`` reads it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return "x".join(map(str, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def as_tuple(value: Any) -> Any:
    """A value that JSON has made a list of, as it was."""
    return tuple(value) if isinstance(value, list) else value
