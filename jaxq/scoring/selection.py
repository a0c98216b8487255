"""How sure the choice of a setting is that the scores of few seeds have made."""

from collections.abc import Callable, Sequence

import numpy as np

from jaxq.scoring.stats import iqm

NAMED = 0.05  # the probability from which a setting is named beside the best


def chosen(
    scores: Sequence[np.ndarray] | np.ndarray,
    resamples: int = 2_000,
    seed: int = 0,
    statistic: Callable[[np.ndarray], np.ndarray] = iqm,
) -> np.ndarray:
    """The probability [H] with which a bootstrap over seeds chooses each of H settings.

    The seeds of every setting are resampled independently, and the setting of the highest
    statistic is chosen; settings that tie share the choice. One that never had a chance has 0. All
    are NaN where a setting has a single seed, whose resamples are all the same. From ``NAMED`` on a
    setting is usually named beside the best (Patterson et al. 2024, JMLR 25:318, section 4.3).

    Args:
      scores: [H, S], or one array [S] for every setting where the numbers of seeds differ; minus
        infinity for a seed that diverged. With further axes, [H, ..., S], the seeds of each of
        their entries, such as environments, are resampled independently, too.
      statistic: from [R, ..., S] to [R], by which settings are compared.

    Raises:
      ValueError: there is no setting, a setting has no scores, or a score is NaN.
    """
    settings = [np.asarray(values, np.float64) for values in scores]
    if not settings:
        raise ValueError("there is no setting to choose.")
    for index, own in enumerate(settings):
        if own.shape[-1] == 0 or np.isnan(own).any():
            raise ValueError(f"setting {index} has no scores, or one that is NaN.")
    if min(own.shape[-1] for own in settings) == 1:
        return np.full(len(settings), np.nan)
    generator = np.random.default_rng(seed)
    values = np.empty((len(settings), resamples))  # [H, R]
    for index, own in enumerate(settings):
        picks = generator.integers(0, own.shape[-1], (resamples, *own.shape))
        values[index] = statistic(np.take_along_axis(own[None], picks, axis=-1))
    best = values == values.max(axis=0)
    return np.mean(best / best.sum(axis=0), axis=1)
