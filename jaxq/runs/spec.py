"""What a run is asked to do, as data, and what composes it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxq.config import Config, HParams, replace_checked
from jaxq.documents import plain_numbers
from jaxq.envs.libraries import library_of, version_of
from jaxq.envs.own import is_raw
from jaxq.errors import ConfigError
from jaxq.recipes.experiment import Experiment, check_lanes, make_experiment
from jaxq.recipes.own import is_own, resolve
from jaxq.recipes.presets import PRESETS
from jaxq.recipes.reading import EVALUATION, evaluation_steps, prefill_of, updates_after
from jaxq.replay import datasets
from jaxq.runs.files import jsonable
from jaxq.scoring.protocol import DATASET, make_protocol
from jaxq.settings import describe, describe_all, differing, flatten

MAX_MEMBERS = 1_000_000
_MOST_CHANGES = 6  # that a name says
# Fields that came after the first runs of this version.
_SINCE = ("eval_period", "diagnose", "dataset")


class RunSpec(NamedTuple):
    """What to train. The same specification gives the same bits on the same machine."""

    preset: str
    config: Config
    lanes: Sequence[HParams]
    seeds: Sequence[int]
    steps: int  # environment steps per member, rounded up to the next evaluation
    sweep: Mapping[str, Any] = {}  # what else a sweep does with it, which only that can continue

    def document(self, made_of: Mapping[str, Any] = {}) -> dict[str, Any]:
        """What ``config.json`` holds.

        Args:
          made_of: the parts of somebody's own, see ``Experiment``.

        Raises:
          ConfigError: there is no dataset where ``config`` names one.
        """
        document = {
            "preset": self.preset,
            "steps": self.steps,
            "seeds": [int(seed) for seed in self.seeds],
            "config": _without_new(vars(self.config)),
            "lanes": [plain_numbers(lane) for lane in self.lanes],
        }
        data = datasets.identity(self.config.dataset) if self.config.dataset else {}
        more = {"sweep": self.sweep, "made_of": made_of, "dataset": data}
        return jsonable(document | {name: value for name, value in more.items() if value})

    @property
    def last_step(self) -> int:
        """Environment steps at which it ends: at the first evaluation from ``steps`` on."""
        prefill, period = prefill_of(self.config), evaluation_steps(self.config)
        return prefill + -(-(self.steps - prefill) // period) * period

    def is_evaluated_at(self, step: int) -> bool:
        """Whether members are evaluated at the end of the chunk that ends at ``step``."""
        return (step - prefill_of(self.config)) % evaluation_steps(self.config) == 0

    def settled(self) -> "RunSpec":
        """The same in plain types; what can be meant in one way only is taken as that.

        A number of seeds stands for that many from 0 on, one ``HParams`` for one lane, a mapping
        for the fields that it names, ``2e4`` for 20,000.

        Raises:
          ConfigError: names what is something else.
        """
        config, lanes, seeds = self.config, self.lanes, self.seeds
        if isinstance(config, Mapping):
            config = replace_checked(Config(), config)
        lanes = [lanes] if isinstance(lanes, HParams | Mapping) else items("lanes", lanes)
        lanes = [replace_checked(HParams(), n) if isinstance(n, Mapping) else n for n in lanes]
        if isinstance(seeds, range | set | frozenset) or np.ndim(seeds):
            seeds = items("seeds", seeds)
        else:
            seeds = range(positive("seeds", seeds))
        check_members(len(lanes), len(seeds))
        seeds = [whole("seeds", seed) for seed in seeds]
        if not isinstance(self.preset, str):
            raise ConfigError(f"preset={short(self.preset)} must be a text, by which it is known.")
        return self._replace(
            config=config, lanes=lanes, seeds=seeds, steps=whole("steps", self.steps)
        )


def _without_new(structure: Mapping[str, Any]) -> dict[str, Any]:
    """Without fields that runs from before do not name, where they are as those had it."""
    return {k: v for k, v in structure.items() if k not in _SINCE or v != getattr(Config, k)}


def check_members(num_lanes: int, num_seeds: int) -> None:
    """Refuse numbers of which a list alone would fill the memory.

    Raises:
      ConfigError: names both.
    """
    if num_lanes * num_seeds > MAX_MEMBERS:
        raise ConfigError(
            f"seeds={num_seeds:,} in lanes={num_lanes:,} are more than {MAX_MEMBERS:,} members; "
            f"that many are accepted."
        )


def whole(name: str, value: Any) -> int:
    """A whole number, also as ``2e4`` or of NumPy's.

    Raises:
      ConfigError: it is none.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    number = np.asarray(value)
    is_number = number.shape == () and number.dtype.kind in "iuf" and np.isfinite(number)
    if not is_number or number != np.floor(number):
        shown = short(repr(value) if isinstance(value, str) else value)
        raise ConfigError(f"{name}={shown} must be a whole number.")
    return int(value)


def positive(name: str, value: Any) -> int:
    """A whole number of at least 1.

    Raises:
      ConfigError: it is none.
    """
    number = whole(name, value)
    if number < 1:
        raise ConfigError(f"{name}={number} must be a whole number of at least 1.")
    return number


def items(name: str, values: Any, accepted: str = "a list") -> Sequence:
    """What a list, or whatever can be gone through in an order, has in it.

    Raises:
      ConfigError: it is none; what is ``accepted`` is said.
    """
    if isinstance(values, str | set | frozenset) or not isinstance(values, Iterable):
        raise ConfigError(f"{name}={short(values)} must be {accepted}.")
    return values if isinstance(values, range) else list(values)


def settled_spec(spec: Any) -> RunSpec:
    """A ``RunSpec`` in plain types.

    Raises:
      ConfigError: it is none, or as ``RunSpec.settled``.
    """
    if not isinstance(spec, RunSpec):
        raise ConfigError(f"spec={short(spec)} must be a jaxq RunSpec.")
    return spec.settled()


def compose(spec: RunSpec, experiment: Experiment | None = None) -> Experiment:
    """The experiment of all lanes of a run, composed unless it is given; everything is checked.

    Raises:
      ConfigError: bad input.
    """
    spec = spec.settled()
    seeds = spec.seeds
    if not spec.lanes:
        raise ConfigError("lanes is empty; at least one HParams is accepted.")
    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0 or max(seeds) >= 2**32:
        raise ConfigError(f"seeds={short(seeds)} must be different numbers from 0 to 2^32 - 1.")
    if not isinstance(experiment, Experiment | None):
        raise ConfigError(f"experiment={short(experiment)} must be a jaxq Experiment.")
    made = experiment or make_experiment(spec.config, *spec.lanes)
    if made.config != spec.config:
        names = [
            name for name in vars(spec.config) if vars(spec.config)[name] != vars(made.config)[name]
        ]
        raise ConfigError(f"experiment was made with another {' and '.join(names)} than the run.")
    prefill = prefill_of(spec.config)
    if not prefill < spec.steps < 2**31 - evaluation_steps(spec.config):
        raise ConfigError(
            f"steps={spec.steps} must be larger than prefill={prefill}, after which learning "
            f"begins, and fit into 31 bits."
        )
    updates = updates_after(spec.config, spec.last_step)
    if updates >= 2**31:
        raise ConfigError(f"steps={spec.steps} make {updates:,} updates; they must fit in 31 bits.")
    for field in ("env_params", "extra"):
        if len({frozenset(getattr(lane, field)) for lane in spec.lanes}) != 1:
            raise ConfigError(f"{field} must name the same numbers in every lane.")
    if experiment:
        check_lanes(experiment, spec.lanes)
    return made


def protocol_of(spec: RunSpec, experiment: Experiment) -> dict[str, Any]:
    """What a reader must know to compare the scores of a run with others."""
    document = spec.document()
    config = spec.config
    library = version_of(library_of(config.env))
    if is_own(config.env) and is_raw(resolve("env", config.env), config.env, config.env_kwargs):
        library = {}
    protocol = make_protocol(
        experiment.env.protocol, library, document["config"], document["lanes"]
    )
    learned_from = document.get("dataset", {})
    return protocol | ({DATASET: learned_from["hash"]} if learned_from else {})


def lane_settings(lanes: Sequence[HParams]) -> list[dict[str, float]]:
    """The numbers in which lanes differ, of each."""
    flat = [flatten(lane) for lane in lanes]
    names = differing(flat)
    return [{name: numbers[name] for name in names} for numbers in flat]


def name_of(spec: RunSpec) -> str:
    """The preset, and what all lanes have changed in it, such as ``dqn-cartpole, gamma=0.98``; but
    for the environment, and for how it is evaluated."""
    if not (base := PRESETS.get(spec.preset)):
        return spec.preset
    lanes, before = [flatten(lane) for lane in spec.lanes], flatten(base.hparams)
    apart = ("env", *EVALUATION, *differing(lanes))
    now, before = vars(spec.config) | lanes[0], vars(base.config) | before
    changed = [k for k, v in now.items() if not np.array_equal(v, before.get(k)) and k not in apart]
    words = describe({name: now[name] for name in changed[:_MOST_CHANGES]})
    more = f" and {len(changed) - _MOST_CHANGES} more" if len(changed) > _MOST_CHANGES else ""
    return f"{spec.preset}, {words}{more}" if words else spec.preset


def lane_labels(lanes: Sequence[HParams]) -> list[str]:
    """What tells the lanes apart, such as ``learning_rate=0.001 gamma=0.9``."""
    return describe_all(lane_settings(lanes))


def short(value: Any) -> str:
    """A value in at most 40 characters."""
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."
