"""Under what a score was measured: what two scores must share to be compared.

``scores.json`` holds one protocol. What differs between the lanes of a run or the settings of a
sweep (their ``env_params``, how they are evaluated) is not in it, but in each lane's own
``protocol``; the two together are the protocol of a lane. How many episodes were played and where
they were cut is not part of it: that is how well a score is known, and stands beside the score.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxq.envs.libraries import LIBRARIES
from jaxq.settings import ENV_PARAM, format_value

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
    shared, _ = split([_of_numbers(numbers) for numbers in lanes])
    kwargs = sorted(config.get("env_kwargs", ()))
    return {**environment, **library, "env_kwargs": kwargs, **shared}


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


def protocol_words(protocol: Mapping[str, Any]) -> str:
    """What the scores under a protocol depend on, in a line."""
    rest = dict(protocol)
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
        limit = rest.pop("time_limit")
        meanings = {"bootstrap": "values bootstrap through", "terminal": "episodes terminate at"}
        words.append(f"{meanings.get(limit, limit)} time limits")
    if "evaluation" in rest:
        words.append(f"{rest.pop('evaluation')} evaluation")
    words += rest.pop("env_kwargs", [])
    names = {name: name.removeprefix(ENV_PARAM).replace("_", " ") for name in rest}
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
