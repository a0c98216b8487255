"""Statistics: golden numbers, and those of rliable 1.2.0 (Agarwal et al. 2021)."""

import numpy as np
import pytest
from scipy.stats import binom, mannwhitneyu, norm, trim_mean

from jaxq.errors import ConfigError
from jaxq.scoring import stats
from jaxq.scoring.stats import bootstrap_iqm, iqm

TASKS = {"a": np.array([0.0, 2.0]), "b": np.array([4.0, 6.0]), "c": np.array([10.0, 20.0])}


def test_iqm_by_hand():
    assert iqm(np.array([100.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -50.0])) == 3.5  # of 2, 3, 4, 5
    assert iqm(np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 60.0, 700.0])) == 3.5  # a fifth: 12.5
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


def test_the_interval_of_given_scores_stays_what_it_is():
    """Curves and scores of finished runs hold these bits."""
    interval = bootstrap_iqm(np.array([[1.0, 2.0, 4.0, 8.0, 16.0], [5.0, 3.0, 0.1, 7.0, 11.0]]))
    assert interval.point.tolist() == [4.666666666666667, 5.0]
    assert interval.low.tolist() == [1.6666666666666667, 1.0666666666666667]
    assert interval.high.tolist() == [13.333333333333334, 9.666666666666666]


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    samples = np.random.default_rng(1).normal(size=(300, 20))
    interval = bootstrap_iqm(samples, resamples=500)
    covered = np.mean((interval.low <= 0.0) & (interval.high >= 0.0))
    assert 0.88 <= covered <= 0.98


def test_equal_scores_have_no_spread():
    interval = bootstrap_iqm(np.full(5, 3.0))
    assert (interval.point, interval.low, interval.high) == (3.0, 3.0, 3.0)


@pytest.mark.parametrize(
    ("statistic", "value"),
    [
        (stats.mean, 7.0),  # of 1, 5 and 15
        (stats.median, 5.0),  # of 0, 2, 4, 6, 10 and 20
        (stats.median_of_tasks, 5.0),
        (stats.pooled_iqm, 5.5),  # of 2, 4, 6 and 10
        (stats.optimality_gap, 1 / 6),  # only 0 misses 1
        (stats.worst_decile, 0.0),
    ],
)
def test_aggregates_by_hand(statistic, value):
    assert statistic(TASKS) == pytest.approx(value)
    assert statistic(np.stack(list(TASKS.values()), axis=1)) == pytest.approx(value)


def test_tasks_count_alike_in_a_mean_whatever_their_seeds():
    assert stats.mean({"a": np.array([0.0]), "b": np.array([1.0, 1.0, 1.0])}) == 0.5


def test_tasks_count_alike_in_an_iqm_whatever_their_seeds():
    """As if all had as many: each seed of `a` four times, each of `b` twice, and `c` as it is."""
    random = np.random.default_rng(3)
    tasks = {"a": random.normal(size=4), "b": random.normal(size=8), "c": random.normal(size=16)}
    repeated = {task: np.repeat(values, 16 // len(values)) for task, values in tasks.items()}
    assert stats.pooled_iqm(tasks) == pytest.approx(stats.pooled_iqm(repeated))
    assert stats.pooled_iqm({"a": np.zeros(1), "b": np.ones(9)}) == pytest.approx(0.5)
    both = {task: np.stack([values, values + 1.0]) for task, values in tasks.items()}
    by_row = [stats.pooled_iqm({task: v[row] for task, v in both.items()}) for row in (0, 1)]
    np.testing.assert_allclose(stats.pooled_iqm(both), by_row)


def test_a_probability_ends_at_zero_and_one():
    """Trap: rounded weights made it 1 + 4e-16, and -0.00."""
    x, y = np.full(7, 2.0), np.ones(7)
    assert tuple(stats.probability_of_improvement(x, y)) == (1.0, 1.0, 1.0)
    assert str(stats.probability_of_improvement(y, x).low) == "0.0"


def test_the_worst_decile_is_a_tenth_and_at_least_one_seed():
    assert stats.worst_decile(np.arange(29.0)) == 0.5  # of 0 and 1
    assert stats.worst_decile(np.array([5.0, 3.0])) == 3.0


def test_nan_is_named_and_never_averaged():
    with pytest.raises(ValueError, match="seed 1 of task b is NaN"):
        stats.mean({**TASKS, "b": np.array([1.0, np.nan])})
    with pytest.raises(ValueError, match="task a has no scores"):
        stats.bootstrap({"a": np.array([])})


def test_seeds_are_resampled_within_tasks():
    constant = {"a": np.zeros(6), "b": np.ones(6)}
    for statistic in (stats.mean, stats.median_of_tasks, stats.pooled_iqm, stats.worst_decile):
        assert len(set(stats.bootstrap(constant, statistic))) == 1


def test_one_task_has_the_interval_of_bootstrap_iqm():
    scores = np.random.default_rng(2).normal(size=16)
    np.testing.assert_array_equal(stats.bootstrap(scores), bootstrap_iqm(scores))


def test_a_profile_by_hand():
    profile = stats.performance_profile(
        {"a": np.array([1.0, 2.0, 3.0, 4.0]), "b": np.array([9.0])}, [0.0, 2.0, 4.0, 9.0]
    )
    np.testing.assert_array_equal(profile.point, [1.0, 0.75, 0.5, 0.0])
    np.testing.assert_array_equal(profile.high - profile.low == 0.0, [True, False, True, True])


def test_the_probability_of_improvement_by_hand():
    x, y = np.array([3.0, 1.0]), np.array([2.0, 1.0])
    assert stats.probability_of_improvement(x, y).point == 0.625  # two wins and a tie of four
    assert stats.probability_of_improvement(TASKS, TASKS).point == 0.5
    above = stats.probability_of_improvement({**TASKS, "a": TASKS["a"] + 9.0}, TASKS)
    assert above.point == pytest.approx(2 / 3)  # 1, 0.5 and 0.5
    with pytest.raises(ConfigError, match="differ"):
        stats.probability_of_improvement(TASKS, {"a": x})


def test_the_probability_of_improvement_is_the_mann_whitney_statistic():
    random = np.random.default_rng(3)
    x, y = random.integers(0, 9, 12), random.integers(0, 9, 17)
    interval = stats.probability_of_improvement(x, y)
    assert interval.point == pytest.approx(mannwhitneyu(x, y).statistic / (12 * 17))
    assert interval.low < interval.point < interval.high
    assert interval.point + stats.probability_of_improvement(y, x).point == pytest.approx(1.0)


@pytest.mark.parametrize(("coverage", "count"), [(0.9, 46), (0.8, 22), (0.5, 8)])
def test_the_fewest_seeds_of_a_tolerance_interval(coverage, count):
    def confidence(n):
        return 1.0 - n * coverage ** (n - 1) + (n - 1) * coverage**n

    assert confidence(count - 1) < 0.95 <= confidence(count)
    scores = np.arange(float(count))
    assert np.isnan(stats.tolerance_interval(scores[1:], coverage).low)
    assert stats.tolerance_interval(scores, coverage)[:2] == (0.0, count - 1.0)
    assert coverage <= stats.full_range(scores).coverage < coverage + 0.03


def test_a_tolerance_interval_holds_what_it_says_as_often_as_it_says():
    samples = np.random.default_rng(4).normal(size=(2_000, 100))
    ends = np.array([stats.tolerance_interval(sample)[:2] for sample in samples])
    shares = norm.cdf(ends[:, 1]) - norm.cdf(ends[:, 0])
    assert 0.95 - 0.015 <= np.mean(shares >= 0.9) < 1.0
    assert np.all(ends[:, 1] < samples.max(axis=1))  # it cuts where it can
    ranges = [stats.full_range(sample[:16]) for sample in samples]
    shares = np.array([norm.cdf(high) - norm.cdf(low) for low, high, _ in ranges])
    assert np.mean(shares >= ranges[0].coverage) == pytest.approx(0.95, abs=0.015)


def test_a_tolerance_interval_is_one_seed_wider_than_that_of_rlevaluation():
    """That of its 1.1.2 lies, for 100 seeds, from the third to the 98th. Between these is a share
    of 90% with a confidence of 94.2%, and not the 95% asked for; with 20 seeds it is their range,
    whatever that holds, where ours is none."""
    assert binom.cdf(94, 100, 0.9) == pytest.approx(0.9424, abs=1e-4)
    assert stats.tolerance_interval(np.arange(1.0, 101.0))[:2] == (2.0, 99.0)
    assert binom.cdf(96, 100, 0.9) >= 0.95
    assert np.isnan(stats.tolerance_interval(np.arange(20.0)).low)


def test_one_seed_says_nothing_of_others():
    assert stats.full_range(np.array([3.0])) == (3.0, 3.0, 0.0)


def test_one_seed_has_no_interval():
    """One of no width would say that all others score the same."""
    one, many = np.array([3.0]), np.array([2.0, 4.0])
    for interval in (
        bootstrap_iqm(one),
        stats.bootstrap({"a": one, "b": one + 1.0}, stats.mean),
        stats.performance_profile({"a": one}, np.array([2.5, 3.5])),
        stats.probability_of_improvement({"a": many}, {"a": one}),
    ):
        assert np.isfinite(interval.point).all() and np.isnan(interval[1:]).all()
    curve = bootstrap_iqm(np.ones((4, 1)))
    assert curve.point.shape == curve.low.shape == (4,) and np.isnan(curve.high).all()
    assert np.isfinite(stats.bootstrap({"a": one, "b": many}, stats.mean)).all()


def test_anchors_are_zero_and_one():
    for pair, (zero, one) in stats.ANCHORS.items():
        scores = stats.normalise({pair: np.array([zero, one, (zero + one) / 2])})
        np.testing.assert_allclose(scores[pair[0]], [0.0, 1.0, 0.5])


def test_protocols_are_not_mixed():
    scores = dict.fromkeys(list(stats.ANCHORS)[4:6], np.zeros(2))
    with pytest.raises(ConfigError, match="protocol=gymnax and original"):
        stats.normalise(scores)
    with pytest.raises(ConfigError, match="did you mean Breakout-MinAtar gymnax"):
        stats.normalise({("Breakout-Minatar", "gymnax"): np.zeros(2)})


X = np.array(
    [
        [0.40, 0.99, 1.16],
        [0.22, 0.76, 0.80],
        [0.41, 1.30, 1.05],
        [0.28, 1.05, 1.48],
        [0.42, 0.62, 1.29],
        [0.54, 0.50, 1.07],
        [0.02, 0.51, 0.38],
        [0.35, 0.52, 1.44],
    ]
)
Y = np.array(
    [
        [0.33, 0.94, -0.16],
        [0.19, 0.99, 1.16],
        [-0.01, 0.86, 0.61],
        [0.14, 1.32, 0.70],
        [0.29, 1.27, 0.81],
        [0.28, 1.03, 1.13],
    ]
)


@pytest.mark.parametrize(
    ("statistic", "point", "low", "high"),
    [
        (stats.mean, 0.7316666666666668, 0.62375, 0.8370833333333333),
        (stats.median_of_tasks, 0.78125, 0.60125, 0.97625),
        (stats.pooled_iqm, 0.6808333333333333, 0.5366666666666667, 0.8391666666666667),
        (stats.optimality_gap, 0.3450000000000001, 0.2716562500000001, 0.4241666666666667),
    ],
)
def test_aggregates_are_those_of_rliable(statistic, point, low, high):
    """Its intervals are of 20,000 resamples; ends agree up to what resampling leaves open."""
    interval = stats.bootstrap(X, statistic, resamples=20_000)
    assert interval.point == pytest.approx(point, rel=1e-12)
    np.testing.assert_allclose(interval[1:], (low, high), atol=0.006)


def test_comparisons_are_those_of_rliable():
    interval = stats.probability_of_improvement(X, Y, resamples=4_000)
    assert interval.point == pytest.approx(0.5868055555555555, rel=1e-12)
    np.testing.assert_allclose(interval[1:], (0.44097222, 0.72569444), atol=0.012)
    profile = stats.performance_profile(X, [0.0, 0.5, 1.0, 1.5], resamples=4_000)
    np.testing.assert_allclose(profile.point, [1.0, 0.625, 1 / 3, 0.0])
    np.testing.assert_allclose(profile.low, [1.0, 0.5, 0.20833333, 0.0], atol=1 / 24)
    np.testing.assert_allclose(profile.high, [1.0, 0.75, 0.45833333, 0.0], atol=1 / 24)
