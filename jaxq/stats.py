"""Statistics over independent seeds (Agarwal et al. 2021), in NumPy."""

from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """A point estimate with the ends of its confidence interval."""

    point: np.ndarray
    low: np.ndarray
    high: np.ndarray


def iqm(scores: np.ndarray, axis: int = -1) -> np.ndarray:
    """Interquartile mean: the mean of what remains when a quarter of the scores (rounded down)
    is cut off at either end of ``axis``. One to three scores are simply averaged."""
    ordered = np.sort(np.asarray(scores, dtype=np.float64), axis=axis)
    count = ordered.shape[axis]
    cut = count // 4
    return np.take(ordered, np.arange(cut, count - cut), axis=axis).mean(axis=axis)


def bootstrap_iqm(
    scores: np.ndarray, confidence: float = 0.95, resamples: int = 2_000, seed: int = 0
) -> Interval:
    """IQM over the last axis (seeds) with a percentile bootstrap interval.

    Every leading entry uses the same resampled seeds, so that a curve is resampled whole.
    """
    scores = np.asarray(scores, dtype=np.float64)  # [..., S]
    count = scores.shape[-1]
    picks = np.random.default_rng(seed).integers(0, count, (resamples, count))
    tail = 100.0 * (1.0 - confidence) / 2.0
    ends = [  # row by row, all resamples at once: an array of all would not fit in memory
        np.percentile(iqm(row[picks]), [tail, 100.0 - tail]) for row in scores.reshape(-1, count)
    ]
    low, high = np.reshape(np.transpose(ends), (2, *scores.shape[:-1]))
    return Interval(iqm(scores), low, high)
