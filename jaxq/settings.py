"""Settings: what a lane or a program changes, by name, and how that is put into words.

A setting is a dictionary of the fields it changes: of ``HParams`` (numbers, lanes of one program),
of ``Config`` (structure, a program for every value), ``env_params.NAME`` (of the environment) or
``extra.NAME`` (of one's own parts: structure if ``Config.extra`` names it, otherwise a number).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxq.config import Config, HParams, field_names, replace_checked

ENV_PARAM = "env_params."
EXTRA = "extra."

Setting = dict[str, Any]

_PREFIXES = (ENV_PARAM, EXTRA)  # of the numbers that HParams keeps in dictionaries
_FEW, _ROUND, _ALL = 4, 6, 17  # digits: of a number that is not round, of one that is, of any


def apply(config: Config, hparams: HParams, setting: Setting) -> tuple[Config, HParams]:
    """What ``setting`` makes of a configuration."""
    structure = {k: v for k, v in setting.items() if is_structure(k, config)}
    numbers = {k: v for k, v in setting.items() if k not in structure}
    fields = {k: v for k, v in structure.items() if not k.startswith(EXTRA)}
    own = {k.removeprefix(EXTRA): v for k, v in structure.items() if k not in fields}
    if own:
        fields["extra"] = tuple(f"{k}={v}" for k, v in {**own_structure(config), **own}.items())
    return replace_checked(config, fields), with_numbers(hparams, numbers)


def is_structure(name: str, config: Config) -> bool:
    """Whether ``name`` changes structure, and so the program, where ``config`` is the base."""
    if name.startswith(EXTRA):
        return name.removeprefix(EXTRA) in own_structure(config)
    return name in field_names(Config)


def own_structure(config: Config) -> dict[str, str]:
    """The structure of one's own parts by name, as ``Config.extra`` lists it."""
    return {name: value for name, _, value in (entry.partition("=") for entry in config.extra)}


def with_numbers(hparams: HParams, numbers: Mapping[str, Any]) -> HParams:
    """``hparams`` with some numbers replaced, by the names that a setting gives them."""
    fields = {k: v for k, v in numbers.items() if not k.startswith(_PREFIXES)}
    for prefix in _PREFIXES:
        changed = {k.removeprefix(prefix): v for k, v in numbers.items() if k.startswith(prefix)}
        field = prefix.removesuffix(".")
        fields[field] = {**getattr(hparams, field), **changed}
    return replace_checked(hparams, fields)


def flatten(lane: HParams) -> dict[str, float]:
    """All numbers of a lane by the names that a setting gives them; undone by ``with_numbers``."""
    named = {prefix: getattr(lane, prefix.removesuffix(".")) for prefix in _PREFIXES}
    numbers = {k: v for k, v in lane._asdict().items() if f"{k}." not in named}
    return numbers | {
        prefix + name: value for prefix, values in named.items() for name, value in values.items()
    }


def differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names under which not all settings hold the same."""
    names = dict.fromkeys(name for setting in settings for name in setting)
    return [name for name in names if len({repr(s.get(name)) for s in settings}) > 1]


def describe(setting: Mapping[str, Any]) -> str:
    """A setting in a line, such as ``learning_rate=0.001 widths=120x84``; of several that must be
    told apart, ``describe_all``."""
    return " ".join(f"{short_name(k)}={format_value(v)}" for k, v in setting.items())


def describe_all(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every setting in a line, with as many digits as tell it from the others (see
    ``format_values``)."""
    names = dict.fromkeys(name for setting in settings for name in setting)
    words: list[list[str]] = [[] for _ in settings]
    for name in names:
        having = [index for index, setting in enumerate(settings) if name in setting]
        texts = format_values([settings[index][name] for index in having])
        for index, text in zip(having, texts):
            words[index].append(f"{short_name(name)}={text}")
    return [" ".join(line) for line in words]


def short_name(name: str) -> str:
    """A name without what says where it lives."""
    return name.removeprefix(ENV_PARAM).removeprefix(EXTRA)


def format_values(values: Sequence[Any]) -> list[str]:
    """Values that stand together, such as a column of a table, in few characters.

    A number that six digits say exactly has these; all others have four, or as many more as it
    takes until different values look different.
    """
    different = len({_format(value, _ALL) for value in values})
    for digits in range(_FEW, _ALL + 1):
        texts = [_format(value, digits) for value in values]
        if len(set(texts)) == different:
            break
    return texts


def format_value(value: Any) -> str:
    """A value as ``parse_space`` reads it, a number to six digits."""
    return _format(value, _ROUND)


def _format(value: Any, digits: int) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return "x".join(map(str, value))
    if not isinstance(value, float):
        return str(value)
    is_round = float(f"{value:.{_ROUND}g}") == value
    return f"{value:.{_ROUND if is_round else digits}g}"


def as_tuple(value: Any) -> Any:
    """A value that JSON has made a list of, as it was."""
    return tuple(value) if isinstance(value, list) else value
