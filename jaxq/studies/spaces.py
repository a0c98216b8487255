"""What is swept: from ``name=values`` to settings, and from a setting to what is trained.

A setting is a dictionary of the fields it changes: of ``HParams`` (numbers, lanes of one program),
of ``Config`` (structure, a program for every value) or ``env_params.NAME`` (of the environment).
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import numpy as np

from jaxq.config import Config, HParams
from jaxq.errors import ConfigError, unknown
from jaxq.settings import ENV_PARAM, Setting, as_tuple


class Range(NamedTuple):
    """Numbers from ``low`` to ``high``, evenly or evenly in their logarithm."""

    low: float
    high: float
    log: bool = False
    integer: bool = False

    def at(self, unit: float) -> float | int:
        """The number at ``unit``, from 0 to 1; to four digits, unless that leads outside."""
        low, high = np.log([self.low, self.high]) if self.log else (self.low, self.high)
        value = low + unit * (high - low)
        value = float(np.exp(value) if self.log else value)
        value = round(value) if self.integer else float(f"{value:.4g}")
        return min(max(value, self.low), self.high)


class Choice(NamedTuple):
    """One of some values, all alike."""

    values: tuple[Any, ...]

    def at(self, unit: float) -> Any:
        """The value at ``unit``, from 0 to 1."""
        return self.values[min(int(unit * len(self.values)), len(self.values) - 1)]


Space = Mapping[str, Range | Choice]


def parse_space(arguments: Sequence[str]) -> dict[str, Range | Choice]:
    """``["learning_rate=log:1e-5..1e-2", "gamma=0.9,0.99"]`` as names and what they may be.

    Values are listed, ``a,b,c``, or a range, ``low..high``, with ``log:`` before it for a
    logarithmic one and ``/5`` behind it for five evenly spaced values of it. A tuple such as widths
    is written ``120x84``.

    Raises:
      ConfigError: not of that form, not a field, or a field or a value twice.
    """
    space: dict[str, Range | Choice] = {}
    for argument in arguments:
        name, _, text = argument.partition("=")
        name = name.replace("-", "_")
        parse = _parser(name)
        if name in space:
            raise ConfigError(f"{argument} names a field twice.")
        try:
            space[name] = _parse_range(text, parse) or _parse_choice(text, parse)
        except ValueError as error:
            accepted = "name=value,value or name=low..high (log:low..high)"
            raise ConfigError(f"{argument} is not of the form {accepted}: {error}.") from None
    return space


def check_space(space: Space) -> None:
    """Refuse a space that nothing can be drawn from.

    Raises:
      ConfigError: it is empty, or a choice or a range of it is.
    """
    if not space:
        raise ConfigError("space is empty; at least one name=low..high is accepted.")
    for name, values in space.items():
        if isinstance(values, Choice):
            if not values.values or len(set(values.values)) != len(values.values):
                raise ConfigError(f"space={name} must name values, each of them once.")
        elif not (np.isfinite([values.low, values.high]).all() and values.low < values.high):
            raise ConfigError(
                f"space={name} goes from {values.low} to {values.high}; it must go up."
            )
        elif values.log and values.low <= 0:
            raise ConfigError(f"space={name} begins at {values.low}; a log range begins above 0.")
        elif values.integer and (values.low % 1 or values.high % 1):
            raise ConfigError(f"space={name} is of whole numbers; whole ends are accepted.")


def space_document(space: Space) -> dict[str, Any]:
    """A space as JSON holds it."""
    return {name: values._asdict() for name, values in space.items()}


def space_from_document(document: Mapping[str, Any]) -> dict[str, Range | Choice]:
    """The inverse of ``space_document``."""
    return {
        name: Range(**values) if "low" in values else Choice(tuple(map(as_tuple, values["values"])))
        for name, values in document.items()
    }


def grid(space: Space) -> list[Setting]:
    """Every combination of the values, the last name running fastest.

    Raises:
      ConfigError: a range that does not say how many values to take.
    """
    for name, values in space.items():
        if isinstance(values, Range):
            raise ConfigError(
                f"grid={name} is a range; values, or a range with their number such as "
                f"{values.low:g}..{values.high:g}/5, are accepted."
            )
    combinations = itertools.product(*(values.values for values in space.values()))
    return _without_repeats([dict(zip(space, values)) for values in combinations])


def _without_repeats(settings: Sequence[Setting]) -> list[Setting]:
    return list({repr(setting): setting for setting in settings}.values())


def sample(space: Space, count: int, seed: int = 0, sobol: bool = False) -> list[Setting]:
    """At most ``count`` settings, independent and uniform, or of a scrambled Sobol sequence (Owen
    1998). One that is drawn again, where values are few, is dropped."""
    if sobol:
        from scipy.stats import qmc  # imported here: takes half a second

        bits = max(1, (count - 1).bit_length())
        units = qmc.Sobol(len(space), rng=seed).random_base2(bits)[:count]
    else:
        units = np.random.default_rng(seed).random((count, len(space)))
    settings = [
        {name: values.at(unit) for (name, values), unit in zip(space.items(), row)}
        for row in units.tolist()
    ]
    return _without_repeats(settings)


def _parser(name: str):
    """From text to a value of the field ``name``."""
    if (name in HParams._fields and name != "env_params") or name.startswith(ENV_PARAM):
        return float
    hints = get_type_hints(Config)
    if name not in hints:
        raise unknown("sweep", name, [*HParams._fields[:-1], *hints])
    if name == "env":
        raise ConfigError("sweep=env would compare scores of different tasks; sweep each alone.")
    hint = hints[name]
    if hint is bool:
        return _parse_bool
    if get_origin(hint) is Literal:
        return lambda text: _parse_literal(text, get_args(hint))
    if hint == tuple[int, ...]:
        return lambda text: tuple(int(part) for part in text.split("x"))
    if hint in (int, float, str):
        return hint
    raise ConfigError(f"sweep={name} has values that cannot be swept; choose another field.")


def _parse_bool(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(f"{text} is neither true nor false")
    return text.lower() == "true"


def _parse_literal(text: str, accepted: Sequence[str]) -> str:
    if text not in accepted:
        raise ValueError(f"{text} is not one of {', '.join(accepted)}")
    return text


def _parse_choice(text: str, parse) -> Choice:
    values = tuple(parse(part.strip()) for part in text.split(","))
    if len(set(values)) != len(values):
        raise ValueError("a value is named twice")
    return Choice(values)


def _parse_range(text: str, parse) -> Range | Choice | None:
    """A range, or evenly spaced values of it; None if the text is not a range."""
    match = re.fullmatch(r"(log:)?([^,]+?)\.\.([^,/]+)(?:/(\d+))?", text)
    if not match:
        return None
    if parse not in (int, float):
        raise ValueError("only numbers have ranges")
    low, high = parse(match[2]), parse(match[3])
    if not low < high or (match[1] and low <= 0):
        raise ValueError("a range rises, and a logarithmic one begins above 0")
    values = Range(low, high, bool(match[1]), parse is int)
    if match[4] is None:
        return values
    if int(match[4]) < 1:
        raise ValueError("at least one value of a range is taken")
    units = np.linspace(0.0, 1.0, int(match[4]))
    return Choice(tuple(dict.fromkeys(values.at(unit) for unit in units)))
