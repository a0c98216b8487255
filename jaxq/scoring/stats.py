"""Statistics over independent seeds, in NumPy.

Scores of several tasks are a mapping from a task to [S], or an array [S, K]; an array [S] is one
task. Intervals are percentile bootstrap intervals, stratified: seeds are resampled within every
task (Agarwal et al. 2021, arXiv 2108.13264). They say how well a statistic is known; how much seeds
differ from each other is what a tolerance interval says (Patterson et al. 2024, JMLR 25).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxq.errors import ConfigError, unknown

Scores = Mapping[str, np.ndarray] | np.ndarray


class Interval(NamedTuple):
    """A point estimate with the ends of its confidence interval."""

    point: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Anchor(NamedTuple):
    """The scores of an environment that count as 0 and as 1."""

    zero: float
    one: float


# Zero is the uniformly random policy in both. One is, in the protocol of Young & Tian (2019), their
# DQN after 5 million frames at its best step size (the return of its behaviour, epsilon 0.1); in
# gymnax's protocol, what its limit of 1,000 steps allows: the gold that appears (Asterix), a
# scripted player that never misses (Breakout), crossings without cars in 2,500 steps (Freeway), a
# hit with every shot (SpaceInvaders). Of Seaquest no such bound is known.
ANCHORS = {
    ("Asterix-MinAtar-original", "original"): Anchor(0.44, 16.8),
    ("Breakout-MinAtar-original", "original"): Anchor(0.56, 10.1),
    ("Freeway-MinAtar-original", "original"): Anchor(0.2, 50.2),
    ("Seaquest-MinAtar-original", "original"): Anchor(0.12, 20.0),
    ("SpaceInvaders-MinAtar-original", "original"): Anchor(2.9, 43.6),
    ("Asterix-MinAtar", "gymnax"): Anchor(0.45, 93.0),
    ("Breakout-MinAtar", "gymnax"): Anchor(0.43, 84.0),
    ("Freeway-MinAtar", "gymnax"): Anchor(0.29, 92.6),
    ("SpaceInvaders-MinAtar", "gymnax"): Anchor(3.77, 200.0),
}


def normalise(
    scores: Mapping[tuple[str, str], np.ndarray],
    anchors: Mapping[tuple[str, str], Anchor] = ANCHORS,
) -> dict[str, np.ndarray]:
    """Scores of (environment, protocol) on the scale of their anchors, by environment.

    Raises:
      ConfigError: protocols are mixed, or an environment has no anchors.
    """
    protocols = sorted({protocol for _, protocol in scores})
    if len(protocols) > 1:
        raise ConfigError(
            f"protocol={' and '.join(protocols)} cannot be in one aggregate; scores of one "
            f"protocol are accepted."
        )
    normalised = {}
    for pair, values in scores.items():
        if pair not in anchors:
            raise unknown("anchors", " ".join(pair), (" ".join(known) for known in anchors))
        zero, one = anchors[pair]
        normalised[pair[0]] = (np.asarray(values, np.float64) - zero) / (one - zero)
    return normalised


def iqm(scores: np.ndarray, axis: int = -1) -> np.ndarray:
    """Interquartile mean: the mean of what remains when a quarter of the scores (rounded down)
    is cut off at either end of ``axis``. One to three scores are simply averaged."""
    ordered = np.sort(np.asarray(scores, dtype=np.float64), axis=axis)
    count = ordered.shape[axis]
    cut = count // 4
    return np.take(ordered, np.arange(cut, count - cut), axis=axis).mean(axis=axis)


def strata(scores: Scores) -> dict[str, np.ndarray]:
    """Scores by task, each [..., S] of floats; those of an array [S, K] are called "0" to "K-1".

    Raises:
      ValueError: a score is NaN, or a task has no scores.
    """
    if not isinstance(scores, Mapping):
        columns = np.asarray(scores, np.float64)
        columns = columns[:, None] if columns.ndim == 1 else columns
        scores = {str(task): column for task, column in enumerate(columns.T)}
    tasks = {task: np.asarray(values, np.float64) for task, values in scores.items()}
    for task, values in tasks.items():
        if values.shape[-1] == 0:
            raise ValueError(f"task {task} has no scores.")
        if np.isnan(values).any():
            seed = np.argwhere(np.isnan(values))[0][-1]
            raise ValueError(f"the score of seed {seed} of task {task} is NaN.")
    return tasks


def mean(scores: Scores) -> np.ndarray:
    """Mean over tasks of the mean over seeds."""
    return np.mean([values.mean(axis=-1) for values in strata(scores).values()], axis=0)


def median(scores: Scores) -> np.ndarray:
    """Median of the seeds of all tasks."""
    return np.median(_pool(strata(scores)), axis=-1)


def median_of_tasks(scores: Scores) -> np.ndarray:
    """Median over tasks of the mean over seeds, which papers report as "the median"."""
    return np.median([values.mean(axis=-1) for values in strata(scores).values()], axis=0)


def pooled_iqm(scores: Scores) -> np.ndarray:
    """Interquartile mean of the seeds of all tasks (Agarwal et al. 2021, section 4.3).

    Every task weighs the same. Where some have more seeds than others, a quarter of the weight and
    not of the seeds is cut off at either end, if need be through the middle of a seed.
    """
    tasks = strata(scores)
    counts, pooled = [values.shape[-1] for values in tasks.values()], _pool(tasks)
    if len(set(counts)) == 1:
        return iqm(pooled)
    order = np.argsort(pooled, axis=-1)
    weights = np.repeat(1.0 / np.array(counts), counts)[order] / len(counts)
    ends = np.cumsum(weights, axis=-1)
    kept = np.clip(ends, 0.25, 0.75) - np.clip(ends - weights, 0.25, 0.75)
    ordered = np.take_along_axis(pooled, order, axis=-1)
    return np.sum(kept * ordered, axis=-1) / np.sum(kept, axis=-1)


def optimality_gap(scores: Scores, target: float = 1.0) -> np.ndarray:
    """Mean amount by which scores miss ``target``; more than it counts as reaching it."""
    gaps = [np.maximum(target - values, 0.0).mean(axis=-1) for values in strata(scores).values()]
    return np.mean(gaps, axis=0)


def worst_decile(scores: Scores) -> np.ndarray:
    """Mean of the worst tenth (rounded down, at least one) of the seeds of all tasks."""
    ordered = np.sort(_pool(strata(scores)), axis=-1)
    return ordered[..., : max(1, ordered.shape[-1] // 10)].mean(axis=-1)


def bootstrap(
    scores: Scores,
    statistic: Callable[[Mapping[str, np.ndarray]], np.ndarray] = pooled_iqm,
    confidence: float = 0.95,
    resamples: int = 2_000,
    seed: int = 0,
) -> Interval:
    """``statistic`` with its interval, seeds resampled within every task. That of one seed in
    each is NaN.

    Args:
      statistic: from task -> [..., S] to [...], as those above.
    """
    (interval,) = _bootstrap([strata(scores)], statistic, confidence, resamples, seed)
    return interval


def bootstrap_iqm(
    scores: np.ndarray, confidence: float = 0.95, resamples: int = 2_000, seed: int = 0
) -> Interval:
    """IQM over the last axis (seeds) with a percentile bootstrap interval.

    NaN where a score is, and the interval of a single seed.

    Every leading entry uses the same resampled seeds, so that a curve is resampled whole.
    """
    scores = np.asarray(scores, dtype=np.float64)  # [..., S]
    rows = [{"0": row} for row in scores.reshape(-1, scores.shape[-1])]
    intervals = _bootstrap(rows, lambda tasks: iqm(tasks["0"]), confidence, resamples, seed)
    return Interval(*(np.reshape(ends, scores.shape[:-1])[()] for ends in zip(*intervals)))


def performance_profile(
    scores: Scores,
    thresholds: np.ndarray,
    confidence: float = 0.95,
    resamples: int = 2_000,
    seed: int = 0,
) -> Interval:
    """The share of seeds that score above each threshold [N], averaged over tasks, with its band.

    Agarwal et al. 2021, section 4.2 (run-score distributions). Every threshold uses the same
    resampled seeds.
    """
    tasks, thresholds = strata(scores), np.asarray(thresholds, np.float64)
    rows = [{task: values > tau for task, values in tasks.items()} for tau in thresholds]
    return Interval(*np.transpose(_bootstrap(rows, mean, confidence, resamples, seed)))


def probability_of_improvement(
    x: Scores, y: Scores, confidence: float = 0.95, resamples: int = 2_000, seed: int = 0
) -> Interval:
    """P(X > Y): how often a seed of x beats one of y on the same task, averaged over tasks.

    The Mann-Whitney statistic U / (S_x S_y), in which a tie counts half (Agarwal et al. 2021,
    section 4.3). The seeds of x and of y are resampled independently; of a single one on either
    side the interval is NaN.

    Raises:
      ConfigError: x and y have different tasks.
    """
    x, y, generator = strata(x), strata(y), np.random.default_rng(seed)
    if set(x) != set(y):
        raise ConfigError(f"tasks={sorted(x)} and {sorted(y)} differ; the same are accepted.")
    points, resampled = [], []
    for task in x:
        difference = np.sign(x[task][:, None] - y[task])
        wins = (1.0 + difference) / 2.0  # [S_x, S_y]
        drawn_x, drawn_y = (  # [R, S]: how often each seed was
            generator.multinomial(count, np.full(count, 1.0 / count), resamples)
            for count in wins.shape
        )
        points.append(wins.mean())
        resampled.append(np.sum(drawn_x @ wins * drawn_y, axis=-1) / wins.size)
    num_seeds = min(max(map(len, side.values())) for side in (x, y))
    return interval_of(np.mean(points), np.mean(resampled, axis=0), confidence, num_seeds)


class Tolerance(NamedTuple):
    """At least a share ``coverage`` of all seeds lies from ``low`` to ``high``, with a confidence;
    the ends are NaN where there are too few seeds to say so."""

    low: float
    high: float
    coverage: float


def tolerance_interval(
    scores: np.ndarray, coverage: float = 0.9, confidence: float = 0.95
) -> Tolerance:
    """The narrowest symmetric pair of order statistics that holds a share ``coverage`` of all
    seeds, those never trained included, whatever their distribution (Wilks 1941).

    Between the k-th smallest and the k-th largest of n scores lies a share of the distribution
    that follows Beta(n + 1 - 2k, 2k). It is at least c with probability P(Bin(n, c) <= n - 2k), and
    k is the largest for which that is at least ``confidence``. With ties it is at least that.
    """
    from scipy.special import bdtr  # imported here: SciPy is slow to load

    ordered = np.sort(strata(scores)["0"])
    count = len(ordered)
    cuts = np.arange(1, count // 2 + 1)
    cuts = cuts[bdtr(count - 2 * cuts, count, coverage) >= confidence]
    if not len(cuts):
        return Tolerance(np.nan, np.nan, coverage)
    return Tolerance(float(ordered[cuts[-1] - 1]), float(ordered[-cuts[-1]]), coverage)


def full_range(scores: np.ndarray, confidence: float = 0.95) -> Tolerance:
    """Lowest and highest score, and the share of all seeds between them: the c for which
    ``tolerance_interval`` would give this range, a quantile of Beta(n - 1, 2)."""
    from scipy.special import betaincinv  # imported here: SciPy is slow to load

    values = strata(scores)["0"]
    share = betaincinv(len(values) - 1, 2, 1.0 - confidence) if len(values) > 1 else 0.0
    return Tolerance(float(values.min()), float(values.max()), float(share))


def interval_of_seeds(scores: np.ndarray) -> tuple[Tolerance, str]:
    """The tolerance interval, or the range where there are too few seeds for one, and in words what
    share of all seeds it holds."""
    interval = tolerance_interval(scores)
    if not np.isnan(interval.low):
        return interval, f"{interval.coverage:.0%} of seeds"
    interval = full_range(scores)
    return interval, f"range, {interval.coverage:.0%} of seeds"


def _pool(tasks: Mapping[str, np.ndarray]) -> np.ndarray:
    """The seeds of all tasks in one axis; a task with more seeds weighs more."""
    return np.concatenate(list(tasks.values()), axis=-1)


def _bootstrap(
    rows: Sequence[Mapping[str, np.ndarray]],
    statistic: Callable[[Mapping[str, np.ndarray]], np.ndarray],
    confidence: float,
    resamples: int,
    seed: int,
) -> list[Interval]:
    """``statistic`` of every row (task -> [S]) with its interval, all with the same resamples.

    Row by row: the resamples of a whole curve at once would not fit in memory.
    """
    generator = np.random.default_rng(seed)
    picks = {  # [R, S]
        task: generator.integers(0, len(values), (resamples, len(values)))
        for task, values in rows[0].items()
    }
    return [
        interval_of(
            statistic(row),
            statistic({task: values[picks[task]] for task, values in row.items()}),
            confidence,
            max(len(values) for values in row.values()),
        )
        for row in rows
    ]


def interval_of(
    point: np.ndarray, resampled: np.ndarray, confidence: float, num_seeds: int
) -> Interval:
    """The percentiles of resamples [R, ...]; NaN of a single seed, which says nothing of others."""
    if num_seeds == 1:
        return Interval(point, np.nan, np.nan)
    tail = 100.0 * (1.0 - confidence) / 2.0
    return Interval(point, *np.percentile(resampled, [tail, 100.0 - tail], axis=0))
