"""What one setting is worth on several environments, and what tuning on each would add, in NumPy.

Scores of a method are [E, H, S]: on E environments, of H settings, each on S seeds. Before they
are averaged over environments they are brought to one scale, which is made of all scores of an
environment: those of every setting and, where methods are compared, of every method.

A seed that diverged has no score: here it is minus infinity, and counts as the worst of its
environment.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxq.errors import ConfigError, unknown
from jaxq.scoring.scores import comparable
from jaxq.scoring.selection import chosen
from jaxq.scoring.stats import Interval, bootstrap, interval_of, mean
from jaxq.settings import Setting

ENVIRONMENT = "env"  # the field of a setting that says where it was measured
_RESAMPLES_AT_ONCE = 50

Scale = Callable[[np.ndarray], np.ndarray]  # scores of one environment to numbers to be averaged


class Cube(NamedTuple):
    """The scores of one method, of every setting on every environment."""

    environments: list[str]  # E
    settings: list[Setting]  # H, without the environment
    scores: np.ndarray  # [E, H, S]


class Tuned(NamedTuple):
    """What is reached with a setting for each environment, and with one for all.

    Adkins et al. 2024 (arXiv 2412.07165), section 3: with the mean normalised score of a setting,
    ``each`` = mean_e max_h, ``all`` = max_h mean_e, ``sensitivity`` = each - all.
    """

    each: Interval
    all: Interval
    sensitivity: Interval
    best: int  # the setting of ``all``
    best_of: np.ndarray  # [E], the settings of ``each``
    probability: np.ndarray  # [H]: how often a bootstrap chooses a setting as ``best``


class Effective(NamedTuple):
    """The fewest numbers that must be tuned for each environment."""

    dimension: int
    names: tuple[str, ...]
    value: float  # what tuning them reaches, as ``Tuned.each``


def cube(lanes: Sequence[Mapping[str, Any]]) -> Cube:
    """The lanes of a ``scores.json``, whose settings name environments, in one array.

    Raises:
      ConfigError: a setting was not measured on every environment, with equally many seeds.
    """
    environments = list(dict.fromkeys(lane["setting"][ENVIRONMENT] for lane in lanes))
    found: dict[str, dict[str, np.ndarray]] = {}
    settings: dict[str, Setting] = {}
    for lane in lanes:
        setting = {k: v for k, v in lane["setting"].items() if k != ENVIRONMENT}
        key = repr(setting)
        settings[key] = setting
        found.setdefault(key, {})[lane["setting"][ENVIRONMENT]] = comparable(lane)
    for key, scores in found.items():
        missing = [name for name in environments if name not in scores]
        if missing:
            raise ConfigError(f"{key} was not measured on {', '.join(missing)}.")
    rows = [[found[key][name] for key in found] for name in environments]
    if len({len(seeds) for row in rows for seeds in row}) > 1:
        raise ConfigError("settings were not measured with equally many seeds.")
    return Cube(environments, list(settings.values()), np.array(rows, np.float64))


def again(fresh: Mapping[str, Mapping[str, Any]]) -> Cube:
    """One setting on other seeds, environment -> its scored lane there, as a cube of its own."""
    return cube([{**lane, "setting": {ENVIRONMENT: name}} for name, lane in fresh.items()])


def cdf(pool: np.ndarray) -> Scale:
    """The share of ``pool`` that a score is at least as good as.

    Patterson et al. 2024 (arXiv 2407.18840), section 3: N_E(G) = CDF(G, E).
    """
    ordered = np.sort(np.ravel(pool))
    return lambda scores: np.searchsorted(ordered, scores, side="right") / len(ordered)


def percentile(pool: np.ndarray) -> Scale:
    """0 at the 5th percentile of ``pool`` and 1 at its 95th, linear (Adkins et al. 2024)."""
    return _linear(pool, (5.0, 95.0))


def min_max(pool: np.ndarray) -> Scale:
    """0 at the worst score of ``pool`` and 1 at its best, linear."""
    return _linear(pool, (0.0, 100.0))


def _linear(pool: np.ndarray, ends: tuple[float, float]) -> Scale:
    """Where all scores of a pool are the same, they are 0."""
    finite = np.ravel(pool)[np.isfinite(np.ravel(pool))]
    if not len(finite):
        return lambda scores: np.zeros(np.shape(scores))
    (zero, one), worst = np.percentile(finite, ends), finite.min()
    size = (one - zero) or np.inf
    return lambda scores: (np.where(np.isneginf(scores), worst, scores) - zero) / size


SCALES: dict[str, Callable[[np.ndarray], Scale]] = {
    "cdf": cdf,
    "percentile": percentile,
    "min-max": min_max,
}


def make_scales(kind: str, cubes: Sequence[Cube]) -> dict[str, Scale]:
    """The scale of every environment, from the scores of all methods on it.

    Raises:
      ConfigError: there is no such kind.
    """
    if kind not in SCALES:
        raise unknown("scale", kind, SCALES)
    pools: dict[str, list[np.ndarray]] = {}
    for one in cubes:
        for name, scores in zip(one.environments, one.scores):
            pools.setdefault(name, []).append(scores.ravel())
    return {name: SCALES[kind](np.concatenate(parts)) for name, parts in pools.items()}


def normalised(one: Cube, scales: Mapping[str, Scale]) -> np.ndarray:
    """The scores of a cube on the scales of its environments, [E, H, S]."""
    return np.stack([scales[name](scores) for name, scores in zip(one.environments, one.scores)])


def value(scores: np.ndarray) -> Interval:
    """The mean over environments of a setting's normalised scores [E, S], with its interval."""
    return bootstrap(scores.T, mean)


def tuned(
    scores: np.ndarray, confidence: float = 0.95, resamples: int = 2_000, seed: int = 0
) -> Tuned:
    """What tuning for each environment and tuning for all of them reach.

    Args:
      scores: normalised, [E, H, S]. Seeds are resampled within every environment and setting.
    """
    generator, num_seeds = np.random.default_rng(seed), scores.shape[-1]
    each, every = [], []
    for begin in range(0, resamples, _RESAMPLES_AT_ONCE):
        count = min(_RESAMPLES_AT_ONCE, resamples - begin)
        picks = generator.integers(0, num_seeds, (count, *scores.shape))
        means = np.take_along_axis(scores[None], picks, axis=-1).mean(axis=-1)  # [R, E, H]
        each.append(means.max(axis=-1).mean(axis=-1))
        every.append(means.mean(axis=1).max(axis=-1))
    means = scores.mean(axis=-1)  # [E, H]
    overall = means.mean(axis=0)
    points = means.max(axis=-1).mean(), overall.max()
    by_setting = np.moveaxis(scores, 1, 0)  # [H, E, S]
    drawn = np.concatenate(each), np.concatenate(every)
    return Tuned(
        interval_of(points[0], drawn[0], confidence, num_seeds),
        interval_of(points[1], drawn[1], confidence, num_seeds),
        interval_of(points[0] - points[1], drawn[0] - drawn[1], confidence, num_seeds),
        int(overall.argmax()),
        means.argmax(axis=-1),
        chosen(by_setting, resamples, seed, lambda picked: picked.mean(axis=(-2, -1))),
    )


def effective_dimensionality(
    values: np.ndarray, settings: Sequence[Setting], share: float = 0.95
) -> Effective:
    """How many numbers must be tuned for each environment to reach ``share`` of tuning them all.

    The others stay at the setting that is best across environments (Adkins et al. 2024, section
    3.3). Of several sets of the same size the one that reaches most is named.

    Args:
      values: mean normalised scores, [E, H].
      settings: H, all combinations of a grid.

    Raises:
      ConfigError: they are not a whole grid.
    """
    names = list(settings[0])
    columns = np.array([[repr(setting[name]) for name in names] for setting in settings])
    sizes = [len(set(column)) for column in columns.T]
    if math.prod(sizes) != len(settings):
        raise ConfigError(
            f"settings are {len(settings)} of the {math.prod(sizes)} combinations of their values; "
            f"how many numbers need tuning can be said of a whole grid."
        )
    best = values.mean(axis=0).argmax()
    goal = share * values.max(axis=1).mean()
    for size in range(len(names) + 1):
        reached = {}
        for free in itertools.combinations(range(len(names)), size):
            fixed = [index for index in range(len(names)) if index not in free]
            alike = (columns[:, fixed] == columns[best, fixed]).all(axis=1)
            reached[free] = values[:, alike].max(axis=1).mean()
        free = max(reached, key=reached.get)
        if reached[free] >= goal or size == len(names):
            return Effective(size, tuple(names[index] for index in free), float(reached[free]))
    raise AssertionError("tuning all numbers reaches what tuning all numbers reaches")
