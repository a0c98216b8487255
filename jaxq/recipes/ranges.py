"""What numbers may be, each by itself."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxq.config import INFINITY, HParams
from jaxq.errors import ConfigError, missing_number

# An average that forgets nothing, and one of Adam's that starts from nothing, are 0 / 0.
_BELOW_1 = float(np.nextafter(np.float32(1.0), np.float32(0.0)))
_FINITE = float(np.finfo(np.float32).max)
_POSITIVE = float(np.finfo(np.float32).tiny)
# Field -> (lowest, highest) accepted value; fields not listed take any number from 0 up.
_RANGES = {
    "gamma": (0.0, 1.0),
    "intrinsic_gamma": (0.0, 1.0),
    "tau": (0.0, 1.0),
    "td_lambda": (0.0, 1.0),
    "epsilon_start": (0.0, 1.0),
    "epsilon_end": (0.0, 1.0),
    "eval_epsilon": (0.0, 1.0),
    "adam_beta1": (0.0, _BELOW_1),
    "adam_beta2": (0.0, _BELOW_1),
    "rmsprop_decay": (0.0, _BELOW_1),
    "optimizer_epsilon": (_POSITIVE, INFINITY),  # a weight that never had a gradient is 0 / 0
    "huber_delta": (_POSITIVE, INFINITY),  # all gradients would be 0
    "error_decay": (0.0, _BELOW_1),
    "learning_rate": (0.0, _FINITE),
    "learning_rate_end": (0.0, _FINITE),
    "importance_exponent": (0.0, 1.0),
    "importance_exponent_end": (0.0, 1.0),
}


def check_numbers(hparams: HParams) -> None:
    """Refuse numbers that are out of their range, whatever they are used for.

    Raises:
      ConfigError: names the field.
    """
    for name in ("env_params", "extra"):
        by_name = getattr(hparams, name)
        if not (isinstance(by_name, dict) and all(isinstance(key, str) for key in by_name)):
            raise ConfigError(f"{name}={by_name!r} must be a dictionary of numbers by name.")
    for name, value in hparams._asdict().items():
        if name not in ("env_params", "extra"):
            _check_range(name, value, *_RANGES.get(name, (0.0, INFINITY)))
    for name, value in hparams.extra.items():
        _check_range(f"extra.{name}", value, -INFINITY, INFINITY)
    for name, value in hparams.env_params.items():
        array = np.asarray(value)
        if array.dtype.kind not in "biuf" or np.isnan(array).any():
            raise ConfigError(f"env_params.{name}={value!r} must be a number, or an array of them.")


def _check_range(name: str, value: Any, low: float, high: float) -> None:
    """Refuse what is no number from ``low`` to ``high``, both included.

    Raises:
      ConfigError: says which are.
    """
    try:
        value = float(None if isinstance(value, str | bool) else value)
    except (TypeError, ValueError):
        raise ConfigError(f"{name}={value!r} must be a number.") from None
    if not low <= value <= high:
        if low == -INFINITY == -high:
            accepted = "a number"
        elif low == _POSITIVE:
            accepted = "positive"
        else:
            accepted = f"between {low:g} and {high:g}" if high < _FINITE else f"{low:g} or larger"
            accepted += ", 1 excluded" if high == _BELOW_1 else ""
            accepted += ", and finite" if high == _FINITE else ""
        raise ConfigError(f"{name}={value} must be {accepted}.")


def check_own_numbers(
    label: str, numbers: Mapping[str, tuple[float, float]], extra: Mapping[str, float]
) -> None:
    """Refuse numbers that a part of one's own has declared and that are not there, or out of the
    range it gives.

    Raises:
      ConfigError: names the number.
    """
    for name, (low, high) in numbers.items():
        if name not in extra:
            raise missing_number(name, f"which {label} reads (between {low:g} and {high:g})")
        _check_range(f"extra.{name}", extra[name], low, high)
