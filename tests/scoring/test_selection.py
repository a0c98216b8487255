"""How sure a choice is: by hand, and as rlevaluation 1.1.2 says (Patterson et al. 2024)."""

import numpy as np
import pytest

from jaxq.scoring.selection import chosen

MANY = 40_000


def test_two_settings_by_hand():
    """Of two seeds with 0 and 3 the mean is above 1 in three of four resamples."""
    scores = np.array([[0.0, 3.0], [1.0, 1.0]])
    np.testing.assert_allclose(chosen(scores, MANY), [0.75, 0.25], atol=0.01)
    lowest = chosen(scores, MANY, statistic=lambda values: values.min(axis=-1))
    np.testing.assert_allclose(lowest, [0.25, 0.75], atol=0.01)


def test_settings_that_tie_share_the_choice():
    np.testing.assert_array_equal(chosen(np.full((4, 5), 500.0)), np.full(4, 0.25))
    np.testing.assert_array_equal(chosen([[2.0] * 2, [2.0] * 3, [1.0] * 2]), [0.5, 0.5, 0.0])


def test_of_a_single_seed_nothing_is_known():
    """Trap: its resamples are all the same, and the best setting was sure by 100%."""
    assert np.isnan(chosen([[2.0], [1.0]])).all()
    assert np.isnan(chosen([[2.0, 3.0], [1.0]])).all()


def test_a_seed_that_diverged_is_the_worst():
    inf = np.inf
    sure = chosen(np.array([[9.0, -inf, 9.0, 9.0], [1.0, 1.0, 1.0, 1.0]]), MANY)
    # The IQM of four cuts one off: two or more of them lose, and fewer win.
    lost = 1.0 - 0.75**4 - 4 * 0.25 * 0.75**3
    np.testing.assert_allclose(sure, [1.0 - lost, lost], atol=0.01)
    np.testing.assert_array_equal(chosen(np.full((2, 3), -inf)), [0.5, 0.5])


def test_a_choice_is_seeded_sums_to_one_and_takes_any_numbers_of_seeds():
    random = np.random.default_rng(0)
    scores = [random.normal(size=count) for count in (3, 8, 5)]
    sure = chosen(scores)
    assert sure.sum() == pytest.approx(1.0) and sure.tolist() == chosen(scores).tolist()
    assert sure.tolist() != chosen(scores, seed=1).tolist()
    for bad in ([], [[1.0], []], [[1.0], [np.nan]]):
        with pytest.raises(ValueError):
            chosen(bad)


def test_a_statistic_of_several_environments():
    """[H, E, S]: each environment has seeds of its own."""
    scores = np.array([[[0.0, 3.0], [0.0, 3.0]], [[1.0, 1.0], [1.0, 1.0]]])

    def of_both(values):  # [R, E, S] -> [R]
        return values.mean(axis=(-2, -1))

    # The mean of four independent picks of 0 or 3 is above 1 if two or more are 3.
    sure = chosen(scores, MANY, statistic=of_both)
    np.testing.assert_allclose(sure, [11 / 16, 5 / 16], atol=0.01)


SCORES = [
    [480.0, 500.0, 212.0, 500.0, 431.0],
    [498.0, 390.0, 402.0, 455.0, 470.0],
    [380.0, 360.0, 402.0, 391.0, 375.0],
    [500.0, 120.0, 500.0, 480.0, 500.0],
]


def test_probabilities_are_those_of_rlevaluation():
    """Its ``bootstrap_hyper_selection`` by the mean, with 40,000 resamples."""
    sure = chosen(SCORES, MANY, statistic=lambda values: values.mean(axis=-1))
    np.testing.assert_allclose(sure, [0.272075, 0.393675, 0.0, 0.33425], atol=0.01)
