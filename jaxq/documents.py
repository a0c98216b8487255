"""A ``Config`` and its numbers as documents of JSON, and back."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxq.config import Config, HParams, replace_checked
from jaxq.errors import ConfigError

_DICTS = ("env_params", "extra")  # fields of HParams that hold numbers by name


class FromFile(str):
    """A ``module:function`` that a file names; it is not resolved unless a caller says the same."""


def config_from_dict(document: dict, trusted: Sequence[str] = ()) -> Config:
    """A ``Config`` from what JSON made of it; fields that are missing take their defaults.

    Functions of somebody's own that it names are ``FromFile``, except those that are ``trusted``.
    """
    return replace_checked(Config(), {k: from_file(v, trusted) for k, v in document.items()})


def from_file(value: Any, trusted: Sequence[str] = ()) -> Any:
    """A value as it was before JSON: lists are tuples, names of code are ``FromFile``."""
    trusted = (trusted,) if isinstance(trusted, str) else trusted
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, str) and ":" in value and value not in trusted:
        return FromFile(value)
    return value


def plain_numbers(hparams: HParams) -> dict:
    """``HParams`` as a dictionary of plain floats, the same for 1 and 1.0; of an environment's
    parameters whole numbers stay whole, since they may be counts."""
    numbers = {k: float(v) for k, v in hparams._asdict().items() if k not in _DICTS}
    env_params = {name: np.asarray(value).tolist() for name, value in hparams.env_params.items()}
    extra = {name: float(value) for name, value in hparams.extra.items()}
    return numbers | {"env_params": env_params, "extra": extra}


def hparams_from_dict(document: dict) -> HParams:
    """``HParams`` from what JSON made of them; infinities are strings there.

    Raises:
      ConfigError: a name that does not exist, or a value that is no number.
    """
    if not isinstance(document, dict):
        raise ConfigError(f"lane={document!r} must hold numbers by name.")
    numbers = dict(document)
    dicts = {name: numbers.pop(name, {}) for name in _DICTS}
    for field, by_name in dicts.items():
        if not isinstance(by_name, dict):
            raise ConfigError(f"{field}={by_name!r} must hold numbers by name.")
        dicts[field] = {k: _from_json(f"{field}.{k}", value) for k, value in by_name.items()}
    values = {name: _number(name, value) for name, value in numbers.items()}
    return replace_checked(HParams(), {**values, **dicts})


def _from_json(name: str, value: Any) -> Any:
    """Numbers as they were: whole ones stay whole, and infinities are numbers again."""
    if isinstance(value, list):
        return [_from_json(name, item) for item in value]
    return value if isinstance(value, bool | int) else _number(name, value)


def _number(name: str, value: Any) -> float:
    try:
        return float(None if isinstance(value, bool) else value)
    except (TypeError, ValueError):
        raise ConfigError(f"{name}={value!r} must be a number.") from None
