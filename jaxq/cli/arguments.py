"""From words to a configuration: every field is an option, in groups by the part that reads it.

``--help`` shows the fields that have an effect as the command line stands, ``--help-all`` shows the
rest as well; all of them are understood.
"""

import dataclasses
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Annotated, Any, NamedTuple, get_type_hints

import tyro

from jaxq.config import Config, FromFile, HParams, Preset, field_names
from jaxq.errors import ConfigError
from jaxq.recipes.parts import TABLES
from jaxq.recipes.reading import ENVIRONMENT, EVALUATION, FIELDS, LOOPS, reads, settle
from jaxq.settings import format_value

# Group -> its kinds of part, and what else belongs to it.
_GROUPS = {
    "environment": ((), ENVIRONMENT),
    "agent": (("agent", "backup"), ("gamma", "reward_scale")),
    "network": (("network", "dense", "dueling", "memory"), ()),
    "exploration": (("action_selection", "exploration"), ()),
    "optimizer": (
        ("optimizer", "clip_gradients", "learning_rate_schedule"),
        ("learning_rate", "reset_period"),
    ),
    "replay": (("replay", "target"), LOOPS["off-policy"].reads),
    "rollout": ((), LOOPS["on-policy"].reads),
    "evaluation": ((), EVALUATION),
    "own": ((), ("extra",)),
}
_WORDS = ("env_params", "extra")  # given as words: NAME NUMBER, or NAME=VALUE for structure
_HELP = ("-h", "--help", "--help-all")


class Parsed(NamedTuple):
    """What the options say."""

    options: Any
    config: Config
    hparams: HParams
    asked: frozenset[str]  # fields that differ from where they began


def group_of() -> dict[str, str]:
    """Field -> its group, of all fields of ``Config`` and ``HParams``."""
    found = {}
    for group, (kinds, more) in _GROUPS.items():
        fields = [*kinds, *more]
        fields += [f for kind in kinds for part in TABLES[kind].values() for f in part.reads or ()]
        for field in fields:
            if field not in TABLES or field in kinds:
                found.setdefault(field, group)
    return found


def parse(
    arguments: Sequence[str], prog: str, preset: Preset, options: Any, trusted: Sequence[str] = ()
) -> Parsed:
    """Options and fields, beginning with ``options`` and the values of ``preset``.

    Args:
      trusted: functions of somebody's own that a file may name; ``options.trust`` adds to them.

    Raises:
      ConfigError: words that are none of a field's values.
    """
    config, hparams = preset.config, preset.hparams
    plain = [argument for argument in arguments if argument not in _HELP]
    if len(plain) == len(arguments):
        return _parse(plain, prog, preset, options, FIELDS, trusted)
    shown: Iterable[str] = FIELDS
    if "--help-all" not in arguments:
        parsed = _parse(plain, prog, preset, options, FIELDS, trusted)
        config, hparams = settle(parsed.config, parsed.hparams, parsed.asked)
        shown = reads(config) or FIELDS
    _parse(["--help"], prog, preset._replace(config=config, hparams=hparams), options, shown, ())
    sys.exit(0)  # not reached: showing help ends


def _parse(
    arguments: Sequence[str],
    prog: str,
    preset: Preset,
    options: Any,
    shown: Iterable[str],
    trusted: Sequence[str],
) -> Parsed:
    start = {**vars(preset.config), **preset.hparams._asdict()}
    for field in _WORDS:
        start[field] = tuple(w for pair in getattr(preset.hparams, field).items() for w in pair)
        start[field] = tuple(map(format_value, start[field]))
    start["extra"] += preset.config.extra
    values = tyro.cli(
        _bundle(start, options, set(shown)),
        prog=prog,
        description=f"{preset.summary} Fields that have an effect; --help-all shows all.",
        args=list(arguments),
    )
    found = {k: v for group in _GROUPS for k, v in vars(getattr(values, group, None) or _NONE).items()}
    asked = frozenset(name for name, value in found.items() if value != start[name])
    trusted = (*trusted, *getattr(values.run, "trust", ()))
    found = {name: _trust(value, trusted) for name, value in found.items()}
    env_params, none = _numbers(found.pop("env_params"), "env_params")
    extra, structure = _numbers(found.pop("extra"), "extra")
    if none:
        raise ConfigError(f"env_params={' '.join(none)} must be names and numbers in turn.")
    config = replace(
        preset.config,
        **{name: value for name, value in found.items() if name in field_names(Config)},
        extra=structure,
    )
    numbers = {name: value for name, value in found.items() if name in HParams._fields}
    hparams = preset.hparams._replace(**numbers, env_params=env_params, extra=extra)
    return Parsed(values.run, config, hparams, asked)
