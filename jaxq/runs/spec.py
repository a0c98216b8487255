"""What a run is asked to do, as data, and what composes it."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np

from jaxq.config import Config, HParams, plain_numbers
from jaxq.errors import ConfigError
from jaxq.recipes.experiment import Experiment, check_lanes, make_experiment
from jaxq.recipes.reading import prefill_of
from jaxq.runs.files import jsonable
from jaxq.scoring.protocol import make_protocol
from jaxq.settings import describe_all, differing, flatten


class RunSpec(NamedTuple):
    """What to train. The same specification gives the same bits on the same machine."""

    preset: str
    config: Config
    lanes: Sequence[HParams]
    seeds: Sequence[int]
    steps: int  # environment steps per member, rounded up to a whole chunk
    sweep: Mapping[str, Any] = {}  # what else a sweep does with it, which only that can continue

    def document(self, made_of: Mapping[str, Any] = {}) -> dict[str, Any]:
        """What ``config.json`` holds.

        Args:
          made_of: the parts of somebody's own, see ``Experiment``.
        """
        document = {
            "preset": self.preset,
            "steps": self.steps,
            "seeds": [int(seed) for seed in self.seeds],
            "config": vars(self.config),
            "lanes": [plain_numbers(lane) for lane in self.lanes],
        }
        more = {"sweep": self.sweep, "made_of": made_of}
        return jsonable(document | {name: value for name, value in more.items() if value})


def compose(spec: RunSpec, experiment: Experiment | None = None) -> Experiment:
    """The experiment of all lanes of a run, composed unless it is given; everything is checked.

    Raises:
      ConfigError: bad input.
    """
    seeds = list(spec.seeds)
    if not all(isinstance(seed, int | np.integer) for seed in seeds):
        raise ConfigError(f"seeds={short(seeds)} must be whole numbers.")
    if not spec.lanes:
        raise ConfigError("lanes is empty; at least one HParams is accepted.")
    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0 or max(seeds) >= 2**32:
        raise ConfigError(f"seeds={short(seeds)} must be different numbers from 0 to 2^32 - 1.")
    made = experiment or make_experiment(spec.config, *spec.lanes)
    if made.config != spec.config:
        names = [
            name for name in vars(spec.config) if vars(spec.config)[name] != vars(made.config)[name]
        ]
        raise ConfigError(f"experiment was made with another {' and '.join(names)} than the run.")
    prefill = prefill_of(spec.config)
    if not prefill < spec.steps < 2**31 - spec.config.chunk_steps:
        raise ConfigError(
            f"steps={spec.steps} must be larger than prefill={prefill}, after which learning "
            f"begins, and fit into 31 bits."
        )
    for field in ("env_params", "extra"):
        if len({frozenset(getattr(lane, field)) for lane in spec.lanes}) != 1:
            raise ConfigError(f"{field} must name the same numbers in every lane.")
    if experiment:
        check_lanes(experiment, spec.lanes)
    return made


def protocol_of(spec: RunSpec, experiment: Experiment) -> dict[str, Any]:
    """What a reader must know to compare the scores of a run with others."""
    document = spec.document()
    return make_protocol(
        experiment.env.protocol, version("gymnax"), document["config"], document["lanes"]
    )


def lane_settings(lanes: Sequence[HParams]) -> list[dict[str, float]]:
    """The numbers in which lanes differ, of each."""
    flat = [flatten(lane) for lane in lanes]
    names = differing(flat)
    return [{name: numbers[name] for name in names} for numbers in flat]


def lane_labels(lanes: Sequence[HParams]) -> list[str]:
    """What tells the lanes apart, such as ``learning_rate=0.001 gamma=0.9``."""
    return describe_all(lane_settings(lanes))


def short(value: Any) -> str:
    """A value in at most 40 characters."""
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."
