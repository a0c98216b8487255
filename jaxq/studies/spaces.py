"""What is swept: from ``name=values`` to settings, and from a setting to what is trained.

What a name may stand for is told in ``jaxq.settings``. Values stay as they are drawn, in full;
only where they are shown are they short.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import numpy as np

from jaxq.config import Config, HParams
from jaxq.errors import ConfigError, unknown
from jaxq.settings import ENV_PARAM, EXTRA, Setting, as_tuple, is_structure

_MOST_VALUES = 100_000  # of a range
_DIGITS = 50  # of the arithmetic between two values; a float has 17


class Range(NamedTuple):
    """Numbers from ``low`` to ``high``, evenly or evenly in their logarithm."""

    low: float
    high: float
    log: bool = False
    integer: bool = False

    def at(self, unit: float | Fraction) -> float | int:
        """The number at ``unit``, from 0 to 1.

        The ends are taken as the decimals they are written as, and the result is rounded to a
        float once: the third of five numbers from 0.1 to 0.5 is 0.3, and not 0.30000000000000004.
        """
        with localcontext(prec=_DIGITS):
            low, high = Decimal(repr(float(self.low))), Decimal(repr(float(self.high)))
            numerator, denominator = unit.as_integer_ratio()
            share = Decimal(numerator) / Decimal(denominator)
            value = low * (high / low) ** share if self.log else low + share * (high - low)
        value = round(value) if self.integer else float(value)
        return min(max(value, self.low), self.high)

    def drawn(self, unit: float) -> float | int:
        """A number that is uniform where ``unit`` is: of whole ones the ends as likely as any."""
        if not self.integer:
            return self.at(unit)
        wider = self._replace(low=self.low - 0.5, high=self.high + 0.5, integer=False)
        return int(min(max(round(wider.at(unit)), self.low), self.high))


class Choice(NamedTuple):
    """One of some values, all alike."""

    values: tuple[Any, ...]

    def at(self, unit: float) -> Any:
        """The value at ``unit``, from 0 to 1."""
        return self.values[min(int(unit * len(self.values)), len(self.values) - 1)]

    drawn = at


Space = Mapping[str, Range | Choice]

_BASE = Config()


def parse_space(arguments: Sequence[str], config: Config = _BASE) -> dict[str, Range | Choice]:
    """``["learning_rate=log:1e-5..1e-2", "gamma=0.9,0.99"]`` as names and what they may be.

    Values are listed, ``a,b,c``, or a range, ``low..high``, with ``log:`` before it for a
    logarithmic one and ``/5`` behind it for five evenly spaced values of it. A tuple such as widths
    is written ``120x84``.

    Args:
      config: the base, whose ``extra`` says what of one's own is structure.

    Raises:
      ConfigError: not of that form, not a field, or a field or a value twice.
    """
    space: dict[str, Range | Choice] = {}
    for argument in arguments:
        name, _, text = argument.partition("=")
        name = name.replace("-", "_")
        parse = _parser(name, config)
        if name in space:
            raise ConfigError(f"{argument} names a field twice.")
        try:
            space[name] = _parse_range(text, parse) or _parse_choice(text, parse)
        except ValueError as error:
            accepted = "name=value,value or name=low..high (log:low..high)"
            raise ConfigError(f"{argument} is not of the form {accepted}: {error}.") from None
    return space


def as_space(
    given: Mapping[str, Any], config: Config = _BASE, what: str = "space"
) -> dict[str, Range | Choice]:
    """The same from data: name -> a ``Range``, values, or words such as ``log:1e-5..1e-2``.

    Args:
      what: for messages, ``space`` or ``grid``.

    Raises:
      ConfigError: as ``parse_space``; no mapping; values that are not of their field's type.
    """
    if not isinstance(given, Mapping):
        raise ConfigError(
            f"{what}={given} must be a mapping of names to values, such as {{'gamma': [0.9, 1]}}."
        )
    space: dict[str, Range | Choice] = {}
    for name, values in given.items():
        if not isinstance(name, str):
            raise ConfigError(f"{what}={name} must name a field.")
        if isinstance(values, Range):
            parse = _parser(name, config)
            if parse not in (int, float):
                raise ConfigError(f"{name} has a range, and only numbers have; name its values.")
            space[name] = values._replace(integer=parse is int)
            continue
        if not isinstance(values, str):
            values = values.values if isinstance(values, Choice) else values
            if not isinstance(values, Iterable):
                raise ConfigError(f"{name}={values} must be a list of values, or a range.")
            values = ",".join(map(_word, values))
        space |= parse_space([f"{name}={values}"], config)
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
        {name: values.drawn(unit) for (name, values), unit in zip(space.items(), row)}
        for row in units.tolist()
    ]
    return _without_repeats(settings)


def _parser(name: str, config: Config) -> Callable[[str], Any]:
    """From text to a value of the field ``name``."""
    if name.startswith(EXTRA) and is_structure(name, config):
        return str
    hints, numbers = get_type_hints(Config), get_type_hints(HParams)
    if numbers.get(name) is float or name.startswith((ENV_PARAM, EXTRA)):
        return float
    if name not in hints:
        numbers = [name for name, hint in numbers.items() if hint is float]
        also = f"; {EXTRA}{name} is a number of your own"
        raise unknown("sweep", name, [*numbers, *hints], also)
    if name == "env":
        raise ConfigError(
            "sweep=env compares scores of different tasks; envs brings them to a scale."
        )
    hint = hints[name]
    if hint is bool:
        return _parse_bool
    if get_origin(hint) is Literal:
        return lambda text: _parse_literal(text, get_args(hint))
    if hint == tuple[int, ...]:
        return lambda text: tuple(int(part) for part in text.split("x"))
    if hint == tuple[float, float]:
        return _parse_pair
    if hint in (int, float, str):
        return hint
    raise ConfigError(f"sweep={name} has values that cannot be swept; choose another field.")


def _parse_bool(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(f"{text} is neither true nor false")
    return text.lower() == "true"


def _parse_pair(text: str) -> tuple[float, float]:
    low, high = map(float, text.split("x"))
    return low, high


def _parse_literal(text: str, accepted: Sequence[str]) -> str:
    if text not in accepted:
        raise ValueError(f"{text} is not one of {', '.join(accepted)}")
    return text


def _word(value: Any) -> str:
    """A value of Python as ``parse_space`` reads it, in full."""
    if isinstance(value, tuple | list):
        return "x".join(map(str, value))
    return str(value)


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
    count = int(match[4])
    if count > _MOST_VALUES:
        raise ValueError(f"at most {_MOST_VALUES:,} values of a range are taken")
    units = [Fraction(index, max(1, count - 1)) for index in range(count)]
    return Choice(tuple(dict.fromkeys(values.at(unit) for unit in units)))
