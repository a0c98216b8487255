"""How many seeds tell two methods apart: known numbers, what a simulation finds, and no number."""

import math

import numpy as np
import pytest
from scipy.stats import ttest_ind

from jaxq.scoring.power import seeds_needed, welch_power


def with_moments(mean, deviation):
    """Two scores of that mean and standard deviation."""
    return mean + np.array([-1.0, 1.0]) * deviation / math.sqrt(2.0)


@pytest.mark.parametrize(("effect", "count"), [(0.2, 394), (0.5, 64), (0.8, 26)])
def test_numbers_of_cohens_tables(effect, count):
    """Cohen (1988), two-sided t-test at 5% with power 80%: which Welch's is at equal spread."""
    assert seeds_needed(with_moments(0.0, 1.0), with_moments(effect, 1.0)) == count
    assert seeds_needed(with_moments(7 * effect, 7.0), with_moments(0.0, 7.0)) == count
    assert (
        welch_power(count - 1, effect, (1.0, 1.0)) < 0.8 <= welch_power(count, effect, (1.0, 1.0))
    )


@pytest.mark.parametrize(("difference", "spread", "count"), [(2.0, 3.0, 11), (1.0, 0.1, 4)])
def test_a_simulation_finds_the_power(difference, spread, count):
    random = np.random.default_rng(0)
    x = random.normal(size=(20_000, count))
    y = difference + spread * random.normal(size=(20_000, count))
    found = np.mean(ttest_ind(x, y, axis=1, equal_var=False).pvalue < 0.05)
    assert found == pytest.approx(welch_power(count, difference, (1.0, spread**2)), abs=0.02)


def test_more_is_needed_for_less():
    x = with_moments(0.0, 1.0)
    counts = [seeds_needed(x, with_moments(d, 1.0)) for d in (1e-3, 0.1, 1.0, 10.0, 1e9)]
    assert counts == sorted(counts, reverse=True) and counts[-1] == 2
    assert counts[0] == pytest.approx(2 * (1.959964 + 0.841621) ** 2 / 1e-6, rel=1e-4)
    assert seeds_needed(x, with_moments(0.5, 1.0), power=0.95) > 64
    assert seeds_needed(x, with_moments(0.5, 1.0), level=0.01) > 64


def test_where_there_is_no_number():
    scores = np.array([0.1, 0.2, 0.3])
    assert seeds_needed(scores, scores[::-1]) == math.inf
    assert seeds_needed(np.full(3, 500.0), np.full(4, 500.0)) == math.inf
    assert seeds_needed(with_moments(0.0, 1.0), with_moments(1e-5, 1.0)) == math.inf
    assert math.isnan(seeds_needed(scores, np.array([1.0])))
    assert math.isnan(seeds_needed(scores, np.array([1.0, np.nan])))
    assert seeds_needed(np.zeros(3), np.ones(3)) == 2  # no spread at all
