"""Statistics: golden numbers."""

import numpy as np
import pytest
from scipy.stats import trim_mean

from jaxq.stats import bootstrap_iqm, iqm


def test_iqm_by_hand():
    assert iqm(np.array([100.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -50.0])) == 3.5  # of 2, 3, 4, 5
    assert iqm(np.array([7.0])) == 7.0
    assert iqm(np.array([1.0, 2.0, 6.0])) == 3.0  # too few to cut
    np.testing.assert_array_equal(iqm(np.arange(8.0).reshape(2, 4)), [1.5, 5.5])


@pytest.mark.parametrize("count", [1, 3, 4, 5, 10, 33])
def test_iqm_is_the_trimmed_mean(count):
    scores = np.random.default_rng(count).normal(size=(6, count))
    np.testing.assert_allclose(iqm(scores), trim_mean(scores, 0.25, axis=-1))


def test_the_interval_is_seeded_and_holds_the_point():
    scores = np.random.default_rng(0).normal(size=(3, 20))
    first, again = bootstrap_iqm(scores), bootstrap_iqm(scores)
    np.testing.assert_array_equal(first.low, again.low)
    assert np.all(first.low <= first.point) and np.all(first.point <= first.high)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    samples = np.random.default_rng(1).normal(size=(300, 20))
    interval = bootstrap_iqm(samples, resamples=500)
    covered = np.mean((interval.low <= 0.0) & (interval.high >= 0.0))
    assert 0.88 <= covered <= 0.98


def test_equal_scores_have_no_spread():
    interval = bootstrap_iqm(np.full(5, 3.0))
    assert (interval.point, interval.low, interval.high) == (3.0, 3.0, 3.0)
