"""How many seeds it takes to tell two methods apart."""

import math

import numpy as np

_MOST = 10_000_000  # seeds; more are not worth counting one by one


def seeds_needed(x: np.ndarray, y: np.ndarray, level: float = 0.05, power: float = 0.8) -> float:
    """The seeds of each of two methods with which Welch's t-test would tell their means apart.

    The means and the standard deviations of the scores at hand are taken for the true ones, which
    of few seeds they hardly are: the number says of which size an experiment must be, and nothing
    more about the methods. For n seeds of each the statistic follows a noncentral t distribution of
    noncentrality ``difference / sqrt((s_x^2 + s_y^2) / n)``, with the degrees of freedom of
    Welch and Satterthwaite (Colas et al. 2018, arXiv 1806.08295, sections 3 and 5).

    Args:
      x: scores [S_x] of the seeds of a method.
      y: those of the other, [S_y].
      level: the probability of telling equal methods apart, two-sided.
      power: the probability of telling these apart.

    Returns:
      The smallest number that does, at least 2; infinity if the means are equal or the number would
      be beyond ten million, and NaN if a method has a single seed, or a score is not finite.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if min(len(x), len(y)) < 2 or not np.isfinite([*x, *y]).all():
        return math.nan
    difference, variances = abs(x.mean() - y.mean()), (x.var(ddof=1), y.var(ddof=1))
    scale = max(np.abs(x).max(), np.abs(y).max())
    if difference <= 1e-12 * scale:  # what rounding leaves
        return math.inf
    if sum(variances) <= (1e-12 * scale) ** 2:
        return 2
    low, high = 1, 2  # low is not enough
    while welch_power(high, difference, variances, level) < power:
        low, high = high, 2 * high
        if low > _MOST:
            return math.inf
    while high - low > 1:
        middle = (low + high) // 2
        enough = welch_power(middle, difference, variances, level) >= power
        low, high = (low, middle) if enough else (middle, high)
    return high


def welch_power(
    count: int, difference: float, variances: tuple[float, float], level: float = 0.05
) -> float:
    """The probability that Welch's t-test, two-sided, tells two normal distributions apart.

    Args:
      count: scores of each.
      difference: of their means.
      variances: of each.
    """
    from scipy.special import nctdtr, stdtrit  # imported here: SciPy is slow to load

    first, second = variances
    freedom = (count - 1) * (first + second) ** 2 / (first**2 + second**2)
    noncentrality = difference / math.sqrt((first + second) / count)
    critical = stdtrit(freedom, 1.0 - level / 2.0)
    if noncentrality > 2.0 * critical + 10.0:  # where the distribution function has no digits left
        return 1.0
    inside = nctdtr(freedom, noncentrality, critical) - nctdtr(freedom, noncentrality, -critical)
    return float(1.0 - inside)
