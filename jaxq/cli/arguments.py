"""From words to a configuration: every field is an option, in groups by the part that reads it.

``--help`` shows the fields that have an effect as the command line stands, ``--help-all`` shows the
rest as well; all of them are understood.
"""

import ast
import dataclasses
import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, NamedTuple, get_type_hints

import tyro

from jaxq import config as config_module
from jaxq.cli.words import read
from jaxq.config import Config, HParams, Preset, words_as_values
from jaxq.documents import FromFile
from jaxq.errors import ConfigError
from jaxq.recipes.own import OPEN
from jaxq.recipes.parts import TABLES
from jaxq.recipes.reading import ENVIRONMENT, EVALUATION, FIELDS, LOOPS, reads, settle
from jaxq.settings import describe

_OWN = ("extra",)


class _Group(NamedTuple):
    """Options that are shown together."""

    title: str
    kinds: Sequence[str]  # of parts, with all that their rows read
    more: Sequence[str] = ()


_GROUPS = {
    "environment": _Group("What is played.", (), ENVIRONMENT),
    "agent": _Group(
        "What is learned, and how a state is valued.",
        ("agent", "backup"),
        ("gamma", "reward_scale"),
    ),
    "network": _Group(
        "From observations to values.",
        (
            *("network", "observations", "rewards", "layer_norm", "layer_norm_form", "activation"),
            *("dense", "initialization", "dueling", "memory", "memory_inputs"),
        ),
    ),
    "exploration": _Group("How actions are chosen.", ("action_selection", "exploration")),
    "optimizer": _Group(
        "How parameters are changed.",
        ("optimizer", "clip_gradients", "learning_rate_schedule", "regulariser", "reset"),
        ("learning_rate", "reset_period"),
    ),
    "replay": _Group(
        "What is learned from, and when.", ("replay", "target"), LOOPS["off-policy"].reads
    ),
    "rollout": _Group("What an on-policy round is made of.", (), LOOPS["on-policy"].reads),
    "stream": _Group(
        "How a stream is learned from.", ("trace", "trace_cut"), LOOPS["streaming"].reads
    ),
    "evaluation": _Group("How often and how policies are evaluated.", (), EVALUATION),
    "own": _Group("What parts of your own read.", (), _OWN),
}
_WORDS = ("env_params", *_OWN)  # given as words: NAME NUMBER, or NAME=VALUE for structure
_FORMS = {  # of what is given as words
    "env_params": "NAME NUMBER ...",
    "env_kwargs": "NAME=VALUE ...",
    "extra": "NAME NUMBER ... NAME=VALUE ...",
}
_SHORT = "Fields that have an effect; --help-all shows all."
_HELP = ("-h", "--help", "--help-all")
_KINDS = [kind for group in _GROUPS.values() for kind in group.kinds]


class Parsed(NamedTuple):
    """What the options say."""

    options: Any
    config: Config
    hparams: HParams
    asked: frozenset[str]  # fields that differ from where they began
    typed: frozenset[str]  # fields that have a word of their own, whatever it says


def group_of() -> dict[str, str]:
    """Field -> its group, of all fields of ``Config`` and ``HParams``."""
    found: dict[str, str] = {}
    for name, group in _GROUPS.items():
        read = [f for kind in group.kinds for part in TABLES[kind].values() for f in part.reads]
        for field in (*group.kinds, *group.more, *read):
            if field in group.kinds or field not in _KINDS:
                found.setdefault(field, name)
    return found


def parse(
    arguments: Sequence[str], prog: str, preset: Preset, options: Any, trusted: Sequence[str] = ()
) -> Parsed:
    """Options and fields, beginning with ``options`` and the values of ``preset``.

    Args:
      options: a dataclass with the options of the script; ``trust``, if it has that, names
        functions of somebody's own that a file may name, as ``trusted`` does.

    Raises:
      ConfigError: words that are none of a field's values.
      SystemExit: help was asked for, or a word is no option.
    """
    wants_help = [argument for argument in arguments if argument in _HELP]
    words = [argument for argument in arguments if argument not in _HELP]
    parsed = _parse(words, prog, preset, options, FIELDS, trusted)
    if not wants_help:
        return parsed
    config, hparams, shown = parsed.config, parsed.hparams, FIELDS
    if "--help-all" not in wants_help:
        config, hparams = settle(config, hparams, parsed.asked)
        shown = {*reads(config), *_OWN}
    preset = preset._replace(config=config, hparams=hparams)
    _parse(["--help"], prog, preset, options, shown, ())
    raise SystemExit  # showing help has ended the program


def _parse(
    arguments: Sequence[str],
    prog: str,
    preset: Preset,
    options: Any,
    shown: Iterable[str],
    trusted: Sequence[str],
) -> Parsed:
    start = {**vars(preset.config), **preset.hparams._asdict()}
    start |= dict.fromkeys(_WORDS, ())  # what is given is added to what the preset has
    values = read(
        _bundle(start, options, set(shown), _present(preset)),
        arguments,
        prog=prog,
        description=preset.summary if shown is FIELDS else f"{preset.summary}\n\n{_SHORT}",
    )
    found = dict(start)
    for group in _GROUPS:
        found |= vars(getattr(values, group)) if hasattr(values, group) else {}
    asked = frozenset(name for name, value in found.items() if value != start[name])
    trusted = (*trusted, *getattr(values.run, "trust", ()))
    found = {name: _trusted(value, trusted) for name, value in found.items()}
    env_params, others = _numbers(found.pop("env_params"), "env_params")
    if others:
        raise ConfigError(f"env_params={' '.join(others)} must be names and numbers in turn.")
    extra, structure = _numbers(found.pop("extra"), "extra")
    typed, config, hparams = _typed(arguments) & frozenset(start), preset.config, preset.hparams
    if "env_params" in typed and not env_params:  # alone it drops what the preset has
        hparams = hparams._replace(env_params={})
    if "extra" in typed and not (extra or structure):
        config, hparams = replace(config, extra=()), hparams._replace(extra={})
    fields = {name: found.pop(name) for name in vars(config) if name != "extra"}
    config = replace(config, **fields, extra=_with_words(config.extra, structure))
    hparams = hparams._replace(
        **found,
        env_params={**hparams.env_params, **env_params},
        extra={**hparams.extra, **extra},
    )
    return Parsed(values.run, config, hparams, asked, typed)


def _with_words(before: Sequence[str], given: Sequence[str]) -> tuple[str, ...]:
    """Words of the form name=value with those that are given in their places; what means the same
    stays as it was written."""
    old, new = words_as_values(before), words_as_values(given)
    words = dict(zip(old, before))
    words |= {n: w for n, w in zip(new, given) if n not in old or old[n] != new[n]}
    return tuple(words.values())


def _typed(arguments: Sequence[str]) -> frozenset[str]:
    """The names of all options among ``arguments``, such as num_envs of ``--num-envs=8``."""
    words = [word[2:].split("=")[0] for word in arguments if word.startswith("--")]
    return frozenset(word.removeprefix("no-").replace("-", "_") for word in words)


def _bundle(
    start: Mapping[str, Any], options: Any, shown: set[str], has: Mapping[str, str]
) -> type:
    """A dataclass with a group for the script's options and one for every group of fields."""
    home, hints = group_of(), get_type_hints(Config) | get_type_hints(HParams)
    hints |= {name: tuple[str, ...] for name in _WORDS}
    sentences = field_sentences()
    for field, now in has.items():
        sentences[field] += f" Now: {now}; the option alone drops that." if now else ""
    groups = [("run", tyro.conf.OmitArgPrefixes[type(options)], _default(options))]
    for name, group in _GROUPS.items():
        fields = [
            (field, Annotated[hints[field], _help(field, value, sentences[field])], _default(value))
            for field, value in start.items()
            if home[field] == name and field in shown
        ]
        if fields:
            made = dataclasses.make_dataclass(name.capitalize(), fields, frozen=True)
            made.__doc__ = group.title
            groups.append((name, tyro.conf.OmitArgPrefixes[made], _default(made())))
    return dataclasses.make_dataclass("Arguments", groups, frozen=True)


def _help(field: str, default: Any, sentence: str) -> Any:
    """What ``--help`` shows beside an option, in tyro's words."""
    hint = "(default: none)" if default == () else None
    return tyro.conf.arg(help=sentence, metavar=_FORMS.get(field), help_behavior_hint=hint)


def _present(preset: Preset) -> dict[str, str]:
    """The numbers by name, and the structure, that a preset has."""
    numbers = {name: describe(getattr(preset.hparams, name)) for name in _WORDS}
    return numbers | {"extra": " ".join([*preset.config.extra, numbers["extra"]]).strip()}


def field_sentences() -> dict[str, str]:
    """Field -> the sentence that stands below it in ``jaxq.config``."""
    sentences = {}
    for node in ast.parse(inspect.getsource(config_module)).body:
        if isinstance(node, ast.ClassDef) and node.name in ("Config", "HParams"):
            for field, text in zip(node.body, node.body[1:]):
                if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                    words = " ".join(text.value.value.split())
                    name = field.target.id
                    sentences[name] = f"{sentences[name]} {words}" if name in sentences else words
    names = {field: ", ".join(map(str, table)) for field, table in TABLES.items()}
    for field in OPEN:
        accepted = f"{names[field]}, or module:function" if field in names else "module:function"
        sentences[field] += f" ({accepted})"
    return sentences


def _default(value: Any) -> Any:
    """A default that a dataclass accepts, whatever it is."""
    return dataclasses.field(default_factory=lambda: value)


def _numbers(words: Sequence[str], field: str) -> tuple[dict[str, float], tuple[str, ...]]:
    """``NAME NUMBER`` pairs among words as numbers by name, and the words of the form NAME=VALUE.

    Raises:
      ConfigError: a name without a number.
    """
    structure = tuple(word for word in words if "=" in word)
    rest = [word for word in words if "=" not in word]
    twice = [name for name in rest[::2] if rest[::2].count(name) > 1]
    if twice:
        raise ConfigError(f"{field}={twice[0]} is given twice; once is accepted.")
    try:
        return dict(zip(rest[::2], map(_number, rest[1::2]), strict=True)), structure
    except ValueError:
        raise ConfigError(
            f"{field}={' '.join(rest)} must be names and numbers in turn, such as: "
            f"--{field.replace('_', '-')} alpha 0.1."
        ) from None


def _number(word: str) -> float | int:
    try:
        return int(word)
    except ValueError:
        return float(word)


def _trusted(value: Any, trusted: Sequence[str]) -> Any:
    """A name from a file as a name that the caller gave, if the caller did."""
    return str(value) if isinstance(value, FromFile) and value in trusted else value
