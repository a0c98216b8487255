"""Under what a score was measured: what two scores must share to be compared.

``scores.json`` holds one protocol. What differs between the lanes of a run or the settings of a
sweep (their ``env_params``, how they are evaluated) is not in it, but in each lane's own
``protocol``; the two together are the protocol of a lane. How many episodes were played and where
they were cut is not part of it: that is how well a score is known, and stands beside the score.
"""

from collections.abc import Container, Mapping, Sequence
from functools import cache
from typing import Any

from jaxq.envs.episodes import limit_of
from jaxq.envs.libraries import LIBRARIES, library_of, raw_of, version_of
from jaxq.errors import ConfigError
from jaxq.settings import ENV_PARAM, format_value, short_name

Protocol = dict[str, Any]
DATASET = "dataset"  # in a protocol, the hash of what was learned from without acting


def make_protocol(
    environment: Mapping[str, Any],
    library: Mapping[str, str],
    config: Mapping[str, Any],
    lanes: Sequence[Mapping[str, Any]],
) -> Protocol:
    """What the scores of all lanes depend on beside the policies.

    Args:
      environment: what the environment says, ``Env.protocol``.
      library: of the environment, with its version.
      config: structure, as in ``config.json``.
      lanes: the numbers of every lane, as in ``config.json``.
    """
    of_lanes = [_of_numbers(numbers) for numbers in lanes]
    shared, _ = split(of_lanes)
    kwargs = sorted(config.get("env_kwargs", ()))
    given = {name for numbers in of_lanes for name in numbers}
    return _without_given({**environment, **library, "env_kwargs": kwargs}, given) | shared


def completed(
    protocol: Protocol, config: Mapping[str, Any], numbers: Mapping[str, Any]
) -> Protocol:
    """The protocol of a lane, also where it was written before protocols named everything.

    The limit of steps is that of the environment, if its library is here in the same version.

    Args:
      config, numbers: of the lane, as in ``config.json``.
    """
    if "env_kwargs" not in protocol:
        library = {"gymnax": protocol.get("gymnax", "unknown")}
        protocol = make_protocol(protocol, library, config, [numbers])
    if "limit" not in protocol:
        library, limit = _known_here(config["env"], tuple(config.get("env_kwargs", ())))
        if library.items() <= protocol.items():
            protocol = _without_given({**protocol, **limit}, protocol)
    return protocol


def own_part(protocol: Protocol, numbers: Mapping[str, Any]) -> Protocol:
    """What a lane with these numbers adds to the ``protocol`` of its run."""
    return {k: value for k, value in _of_numbers(numbers).items() if k not in protocol}


def lane_protocols(scores: Mapping[str, Any]) -> list[Protocol]:
    """The whole protocol of every lane in a ``scores.json``."""
    return [lane_protocol(scores, lane) for lane in range(len(scores["lanes"]))]


def lane_protocol(scores: Mapping[str, Any], lane: int) -> Protocol:
    """The whole protocol of one lane in a ``scores.json``."""
    return {**scores["protocol"], **scores["lanes"][lane].get("protocol", {})}


def split(protocols: Sequence[Protocol]) -> tuple[Protocol, list[Protocol]]:
    """What all protocols share, and the rest of each."""
    first = protocols[0]
    shared = {k: v for k, v in first.items() if all(p.get(k, ...) == v for p in protocols)}
    return shared, [{k: v for k, v in p.items() if k not in shared} for p in protocols]


def flat(protocol: Protocol) -> Protocol:
    """A protocol in which a parameter is called the same whether it is given or a default."""
    rest, limit = _limit_apart(protocol)
    named = {short_name(name): value for name, value in rest.items()}
    return named | {name: "none" if steps is None else steps for name, steps in limit.items()}


def protocol_words(protocol: Mapping[str, Any]) -> str:
    """What the scores under a protocol depend on, in a line."""
    rest, limit = _limit_apart(protocol)
    words = [str(rest.pop("environment", "several environments"))]
    versions = [f"{name} {rest.pop(name)}" for name in ("gymnax", *LIBRARIES) if name in rest]
    if versions:
        words[0] += f" ({', '.join(versions)})"
    if "num_actions" in rest:
        words.append(f"{rest.pop('num_actions')} actions")
    if "sticky_actions" in rest:
        sticky = rest.pop("sticky_actions")
        words.append(f"sticky actions ({sticky:g})" if sticky else "no sticky actions")
    if "time_limit" in rest:
        means = rest.pop("time_limit")
        meanings = {"bootstrap": "values bootstrap through", "terminal": "episodes terminate at"}
        which = [f"the time limit of {steps:,} steps" for steps in limit.values() if steps]
        through = f"{meanings.get(means, means)} {''.join(which) or 'time limits'}"
        words.append("no time limit" if None in limit.values() else through)
    if "evaluation" in rest:
        words.append(f"{rest.pop('evaluation')} evaluation")
    words += rest.pop("env_kwargs", [])
    names = {name: short_name(name).replace("_", " ") for name in rest}
    return ", ".join([*words, *(f"{names[k]} {format_value(v)}" for k, v in rest.items())])


def steps_words(protocol: Mapping[str, Any]) -> str:
    """What is counted as a step under a protocol."""
    return "updates" if DATASET in protocol else "environment steps"


def _of_numbers(numbers: Mapping[str, Any]) -> Protocol:
    """What the numbers of a lane say; a parameter that is given counts as given, also where it is
    the environment's default."""
    epsilon = float(numbers.get("eval_epsilon", 0.0))
    params = sorted(numbers.get("env_params", {}).items())
    return {
        "evaluation": "greedy" if epsilon == 0.0 else f"epsilon {epsilon:g}",
        **{ENV_PARAM + k: v if isinstance(v, list) else float(v) for k, v in params},
    }


@cache
def _known_here(env: str, kwargs: tuple[str, ...]) -> tuple[Mapping[str, str], Protocol]:
    """The library of an environment with the version that is here, and its default limit."""
    try:
        limit = limit_of(raw_of(env, kwargs)[0])
    except ConfigError:  # somebody's own, or of a library that is not installed
        limit = {}
    return version_of(library_of(env)), limit


def _without_given(protocol: Protocol, given: Container[str]) -> Protocol:
    """Without the default of a limit that lanes give themselves."""
    rest, limit = _limit_apart(protocol)
    return rest if any(ENV_PARAM + name in given for name in limit) else protocol


def _limit_apart(protocol: Mapping[str, Any]) -> tuple[Protocol, Mapping[str, int | None]]:
    """The rest of a protocol, and what ``episodes.limit_of`` said in it; nothing where a ready-made
    ``Env`` calls something else a limit."""
    limit = protocol.get("limit")
    if not (isinstance(limit, dict) and len(limit) == 1):
        return dict(protocol), {}
    return {name: value for name, value in protocol.items() if name != "limit"}, limit
