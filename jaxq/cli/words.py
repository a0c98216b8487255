"""The words of a command line as people type them, before tyro reads them.

Whole numbers may be written ``1e6``, switches ``--double=True``; an option that does not exist is
refused with the one that was meant, also if another library calls it differently.
"""

import dataclasses
import functools
import operator
import os
import shutil
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from jaxq.errors import ConfigError, unknown

# What other libraries say, and what it is called here.
_ELSEWHERE = {
    "steps": "total-timesteps timesteps total-steps num-steps frames num-frames max-steps",
    "learning-rate": "lr alpha step-size",
    "gamma": "discount",
    "capacity": "buffer-size memory-size replay-size",
    "prefill": "learning-starts warmup min-replay",
    "train-every": "train-frequency train-freq update-frequency update-every",
    "target-period": "target-network-frequency target-update-interval target-update-freq",
    "tau": "polyak",
    "epsilon-steps": "exploration-fraction eps-decay",
    "epsilon-end": "final-epsilon end-e eps-end min-epsilon",
    "epsilon-start": "initial-epsilon start-e eps-start",
    "num-envs": "n-envs envs",
    "widths": "hidden-sizes hidden-dims hidden layers net-arch",
    "n-step": "n-steps nstep",
    "env": "env-id env-name environment task",
    "agent": "algo algorithm",
    "seeds": "num-seeds n-seeds",
    "first-seed": "seed",
    "eval-episodes": "num-eval-episodes n-eval-episodes",
    "track": "wandb tensorboard",
    "out": "output output-dir log-dir logdir save-dir save-path",
    "resume": "load restore checkpoint",
}
_HERE = {word: name for name, words in _ELSEWHERE.items() for word in words.split()}
# Options that only one script has.
_SCRIPTS = {
    "sweep.py": "grid space random sobol optuna halving pbt at-once fresh-seeds plan ray parts",
    "train.py": "keep-replay until-return",
    "report.py": "latex format label anchors",
    "evaluate.py": "seed-index max-frames gif",
}
_SCRIPT = {option: script for script, options in _SCRIPTS.items() for option in options.split()}
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_NARROWEST = 40  # columns
_HELP = ("help", "help-all")


def read(kind: type, arguments: Sequence[str], **how: Any) -> Any:
    """``kind`` as the words say, by ``tyro.cli``.

    Args:
      kind: a dataclass, whose fields may be dataclasses.
      how: for ``tyro.cli``; with ``return_unknown_args`` no option is refused.

    Raises:
      ConfigError: an option that does not exist.
      SystemExit: help was asked for, or a value is none of an option's.
    """
    types = dict(_options(kind))
    words = list(_as_switches(arguments, types))
    given = [_name(word) for word in words if word.startswith("--")]
    for name in given:  # of one value the last counts, so that a command can be changed at its end
        if given.count(name) > 1 and _takes_several(types.get(name)):
            raise ConfigError(f"option={name} is given twice; all its values follow one.")
    if not how.get("return_unknown_args"):
        for word in words:
            _check_option(word, types)
    with _NUMBERS, _wide_enough():
        return tyro.cli(kind, args=words, **how)


def _takes_several(hint: Any) -> bool:
    """Whether an option takes all the values that follow it, also if it need not be given."""
    return any(get_origin(kind) in (tuple, dict) for kind in (hint, *get_args(hint)))


@contextmanager
def _wide_enough() -> Iterator[None]:
    """Help in a terminal so narrow that tyro would show a letter a line, or search forever."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(max(_NARROWEST, shutil.get_terminal_size().columns))
    try:
        yield
    finally:
        del os.environ["COLUMNS"]
        os.environ |= {"COLUMNS": before} if before is not None else {}


def _options(kind: type) -> Iterator[tuple[str, Any]]:
    """The options of a dataclass, without their dashes, and their types."""
    hints = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint):
            yield from _options(hint)
        else:
            yield field.name.rstrip("_").replace("_", "-"), hint  # for_ is --for


def _as_switches(words: Sequence[str], types: dict[str, Any]) -> Iterator[str]:
    """``--double=True`` and ``--double True`` as ``--double``, and ``120x84`` as two numbers."""
    words, current = list(words), None
    while words:
        word = words.pop(0)
        name, separator, value = word.removeprefix("--").partition("=")
        name = name.replace("_", "-")
        if word.startswith("--"):
            current = types.get(name)
        elif current == tuple[int, ...]:  # 120x84, as a sweep writes it
            yield from word.split("x")
            continue
        if not word.startswith("--") or current is not bool:
            yield word
            continue
        if not separator and words and words[0].lower() in ("true", "false"):
            value = words.pop(0)
        if value and value.lower() not in _TRUTH:
            raise ConfigError(f"{name}={value} must be true or false.")
        yield f"--{name}" if _TRUTH[value.lower() or "true"] else f"--no-{name}"


def _name(word: str) -> str:
    return word.removeprefix("--").partition("=")[0].replace("_", "-")


def _check_option(word: str, types: dict[str, Any]) -> None:
    """Refuse an option that does not exist."""
    if not word.startswith("--") or word == "--":
        return
    name = _name(word)
    is_switch = types.get(name.removeprefix("no-")) is bool
    if name in types or name in _HELP or is_switch:
        return
    meant = _HERE.get(name)
    if meant in types:
        raise ConfigError(f"option={name} does not exist; did you mean {meant}?")
    if name in _SCRIPT:
        raise ConfigError(f"option={name} does not exist here; it is one of {_SCRIPT[name]}.")
    raise unknown("option", name, types)


_NUMBERS = ConstructorRegistry()
_UNIONS = Union, types.UnionType


@_NUMBERS.primitive_rule
def _whole_numbers(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    if info.type is not int:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda words: parse_whole(words[0]),
        is_instance=lambda value: isinstance(value, int) and not isinstance(value, bool),
        str_from_instance=lambda value: [str(value)],
    )


@_NUMBERS.primitive_rule
def _paths(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    if info.type is not Path:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=lambda words: _parse_path(words[0]),
        is_instance=lambda value: isinstance(value, Path),
        str_from_instance=lambda value: [str(value)],
    )


def _parse_path(text: str) -> Path:
    if not text:  # as of a variable that is not set; it would be this directory
        raise ValueError("a path is not empty")
    return Path(text)


@_NUMBERS.primitive_rule
def _optional(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """What may be left out is shown as what it is when given; the word ``None`` leaves it out."""
    kinds = get_args(info.type) if info.type_origin in _UNIONS else ()
    if type(None) not in kinds:
        return None
    kind = functools.reduce(operator.or_, (kind for kind in kinds if kind is not type(None)))
    given = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(kind, info.markers))
    left_out = ["None"]
    return dataclasses.replace(
        given,
        instance_from_str=lambda w: None if w == left_out else given.instance_from_str(w),
        is_instance=lambda value: value is None or given.is_instance(value),
        str_from_instance=lambda v: left_out if v is None else given.str_from_instance(v),
        choices=given.choices and (*given.choices, *left_out),
    )


def parse_whole(text: str) -> int:
    """``1000000``, ``1_000_000`` or ``1e6``.

    Raises:
      ValueError: it is no whole number.
    """
    try:
        return int(text)
    except ValueError:
        value = float(text)
    if not value.is_integer():
        raise ValueError(f"{text} is no whole number")
    return int(value)
