"""What counts as 0 and as 1 in the scores of a lane: known anchors, and those of a file.

Such a file holds, by environment, ``[zero, one]`` or several of these by what a protocol says:

    {"CartPole-v1": [9.3, 500],
     "Breakout-MinAtar": {"sticky_actions=0": [0.43, 84], "sticky_actions=0.1": [0.4, 60]}}

Anchors are of the environment as it is. Those of one that ``env_kwargs`` or ``env_params`` change
must name them: ``"env_kwargs=size=10"``, ``"env_params.length=0.7 sticky_actions=0"``.
"""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxq.errors import ConfigError
from jaxq.scoring.protocol import Protocol
from jaxq.scoring.stats import ANCHORS, Anchor
from jaxq.settings import ENV_PARAM, format_value

_ONE = {  # what counts as 1 in the anchors of a protocol
    "original": "the DQN of Young & Tian (2019) after 5M steps, measured while exploring",
    "gymnax": "what the time limit allows",
}
_BUT = {"Breakout-MinAtar": "in Breakout a scripted player that never misses, which others surpass"}
_STICKY = {"original": 0.1, "gymnax": 0.0}
_ACCEPTED = "[zero, one], two different numbers, or such pairs by protocol, is accepted"


class Own(NamedTuple):
    """The anchors of a file."""

    name: str
    pairs: Mapping[str, list[tuple[dict[str, str], Anchor]]]  # environment -> (when, anchor)


class Scale(NamedTuple):
    """What counts as 0 and as 1."""

    anchor: Anchor
    family: str  # whose scores are pooled: "original", "gymnax" or the name of a file
    known: bool  # and not of a file

    def title(self) -> str:
        return f"{self.family} protocol" if self.known else f"anchors of {self.family}"

    def alone(self, environment: str) -> str:
        """A sentence for a caption about one environment."""
        zero, one = (f"{value:g}" for value in self.anchor)
        if not self.known:
            return f"A score of {zero} is 0 and {one} is 1, as {self.family} says."
        return (
            f"A score of {zero} (a random policy) is 0, and {one} is 1, which is "
            f"{_one(self.family, [environment])}."
        )


def together(scales: Mapping[str, Scale]) -> str:
    """A sentence for a caption about several environments, whose scales are of one family."""
    first = next(iter(scales.values()))
    if first.known:
        return f"A random policy is 0, and 1 is {_one(first.family, scales)}."
    pairs = [f"{s.anchor.zero:g} and {s.anchor.one:g} in {e}" for e, s in scales.items()]
    return f"0 and 1 are, as {first.family} says, {', '.join(pairs)}."


def _one(family: str, environments: Iterable[str]) -> str:
    """What counts as 1 in these environments, in words."""
    return ", ".join([_ONE[family], *(_BUT[name] for name in environments if name in _BUT)])


def scale_of(protocol: Protocol, own: Own | None = None) -> Scale | str:
    """The scale of scores under a protocol, or in words why there is none."""
    environment = protocol["environment"]
    if own and environment in own.pairs:
        return _of_file(protocol, own)
    family = "original" if environment.endswith("-original") else "gymnax"
    anchor = ANCHORS.get((environment, family))
    if not anchor:
        return f"no anchors of {environment} are known; --anchors FILE gives them"
    if changed := _changed(protocol):
        return f"the anchors of {environment} are not those with {_words(protocol, changed)}"
    sticky = protocol.get("sticky_actions", 0.0)
    if sticky != _STICKY[family]:
        return (
            f"the anchors of {environment} are those with sticky_actions {_STICKY[family]:g}, and "
            f"not {sticky:g}"
        )
    return Scale(anchor, family, True)


def read_anchors(path: Path, environments: Iterable[str]) -> Own:
    """The anchors in a file.

    Args:
      environments: of the report; the file must have one of them.

    Raises:
      ConfigError: it cannot be read, holds something else, or has none of the environments.
    """
    try:
        document = json.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"anchors={path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise ConfigError(f"anchors={path} is no JSON: {error}.") from error
    if not isinstance(document, dict) or not document:
        raise ConfigError(
            f"anchors={path} holds no environments; an object of environment: [zero, one] is "
            f"accepted."
        )
    pairs = {}
    for environment, value in document.items():
        by_protocol = value if isinstance(value, dict) and value else {"": value}
        pairs[environment] = [
            (_conditions(path, environment, words), _anchor(path, environment, pair))
            for words, pair in by_protocol.items()
        ]
    asked = list(dict.fromkeys(environments))
    if not any(environment in pairs for environment in asked):
        raise ConfigError(
            f"anchors={path} has {', '.join(pairs)}, and none of {', '.join(asked)}, which the "
            f"report is about."
        )
    return Own(path.name, pairs)


def _of_file(protocol: Protocol, own: Own) -> Scale | str:
    environment, changed = protocol["environment"], _changed(protocol)
    fitting = [
        (when, anchor)
        for when, anchor in own.pairs[environment]
        if set(changed) <= set(when)
        and all(format_value(protocol.get(name, "")) == value for name, value in when.items())
    ]
    if not fitting:
        words = f" with {_words(protocol, changed)}" if changed else " under this protocol"
        return f"{own.name} has no anchors of {environment}{words}"
    anchor = max(fitting, key=lambda pair: len(pair[0]))[1]
    return Scale(anchor, own.name, False)


def _changed(protocol: Protocol) -> list[str]:
    """What of a protocol makes another environment than the one of that name."""
    kwargs = ["env_kwargs"] if protocol.get("env_kwargs") else []
    return kwargs + [name for name in protocol if name.startswith(ENV_PARAM)]


def _words(protocol: Protocol, names: Iterable[str]) -> str:
    return ", ".join(f"{name} {format_value(protocol[name])}" for name in names)


def _conditions(path: Path, environment: str, words: str) -> dict[str, str]:
    when = [word.partition("=") for word in words.split()]
    if not all(name and value for name, _, value in when):
        raise ConfigError(
            f"anchors={path} has {environment} under the protocol {words!r}; NAME=VALUE, such as "
            f"sticky_actions=0.1, is accepted."
        )
    return {name: _as_number(value) for name, _, value in when}


def _as_number(text: str) -> str:
    """``0.10`` and ``1e-1`` as ``0.1``."""
    try:
        return format_value(float(text))
    except ValueError:
        return text


def _anchor(path: Path, environment: str, pair: Any) -> Anchor:
    numbers = isinstance(pair, list) and len(pair) == 2
    numbers = numbers and all(type(x) in (int, float) and math.isfinite(x) for x in pair)
    if not numbers or pair[0] == pair[1]:
        raise ConfigError(f"anchors={path} gives {environment} {json.dumps(pair)}; {_ACCEPTED}.")
    return Anchor(*map(float, pair))
