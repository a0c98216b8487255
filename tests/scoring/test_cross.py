"""Settings on several environments: scales, choice, sensitivity, effective dimensionality."""

import itertools

import numpy as np
import pytest
from scipy.stats import ecdf

from jaxq.errors import ConfigError
from jaxq.scoring import cross
from jaxq.scoring.plane import draw_plane

GENERATOR = np.random.default_rng(0)


def lanes(scores: np.ndarray, settings, diverged=()) -> list[dict]:
    """Scores [E, H, S] as the lanes of a study have them; ``diverged`` lists (e, h, s)."""
    places = itertools.product(range(scores.shape[0]), range(scores.shape[1]))
    return [
        {
            "setting": {"env": f"env-{env}", **settings[setting]},
            "seeds": list(range(scores.shape[2])),
            "per_seed": list(scores[env, setting]),
            "diverged": {str(s): 1 for e, h, s in diverged if (e, h) == (env, setting)},
        }
        for env, setting in places
    ]


def test_a_cube_holds_every_score_and_a_diverged_seed_is_the_worst_there_can_be():
    scores = GENERATOR.normal(size=(2, 3, 4))
    settings = [{"gamma": gamma} for gamma in (0.9, 0.99, 0.999)]
    one = cross.cube(lanes(scores, settings, diverged=[(1, 2, 3)]))
    assert one.environments == ["env-0", "env-1"]
    assert one.settings == settings
    assert one.scores[1, 2, 3] == -np.inf
    scores[1, 2, 3] = -np.inf
    np.testing.assert_array_equal(one.scores, scores)


def test_a_setting_that_an_environment_lacks_is_named():
    made = lanes(np.zeros((2, 2, 1)), [{"gamma": 0.9}, {"gamma": 0.99}])
    with pytest.raises(ConfigError, match=r"'gamma': 0.99.* not measured on env-1"):
        cross.cube(made[:3])


def test_the_cdf_is_that_of_scipy():
    pool, scores = GENERATOR.normal(size=(3, 50)), GENERATOR.normal(size=20)
    np.testing.assert_allclose(cross.cdf(pool)(scores), ecdf(pool.ravel()).cdf.evaluate(scores))


def test_a_cdf_counts_ties_and_ignores_any_rising_change_of_scores():
    assert cross.cdf(np.array([0.0, 0.0, 1.0, 2.0]))(np.array([-1.0, 0.0, 2.0])).tolist() == [
        0.0,
        0.5,
        1.0,
    ]
    pool = GENERATOR.normal(size=30)
    np.testing.assert_array_equal(cross.cdf(pool)(pool), cross.cdf(np.exp(pool))(np.exp(pool)))


def test_linear_scales_go_through_their_ends_and_a_diverged_seed_is_as_bad_as_the_worst():
    pool = np.array([*range(101), -np.inf], float)
    np.testing.assert_allclose(cross.percentile(pool)(np.array([5.0, 95.0])), [0.0, 1.0])
    np.testing.assert_allclose(cross.min_max(pool)(np.array([0.0, 25.0, 100.0])), [0.0, 0.25, 1.0])
    np.testing.assert_allclose(cross.min_max(pool)(np.array([-np.inf])), [0.0])
    # Trap: of fresh seeds those below all others were lifted, and those above were not held.
    np.testing.assert_allclose(cross.min_max(pool)(np.array([-50.0, 150.0])), [-0.5, 1.5])
    assert cross.percentile(pool)(np.array([-np.inf])) == cross.percentile(pool)(np.array([0.0]))


@pytest.mark.parametrize("kind", cross.SCALES)
def test_where_all_scores_are_the_same_no_setting_is_better(kind):
    values = cross.SCALES[kind](np.full((3, 4), 2.0))(np.full((3, 4), 2.0))
    assert np.ptp(values) == 0.0
    assert np.isfinite(values).all()
    assert np.isfinite(cross.SCALES[kind](np.full(3, -np.inf))(np.full(3, -np.inf))).all()


def test_scales_are_made_of_the_scores_of_all_methods():
    settings = [{"gamma": 0.9}]
    bad, good = (cross.cube(lanes(np.full((1, 1, 2), value), settings)) for value in (0.0, 10.0))
    scales = cross.make_scales("min-max", [bad, good])
    assert cross.normalised(bad, scales).max() == 0.0
    assert cross.normalised(good, scales).min() == 1.0


def test_an_unknown_scale_is_refused():
    with pytest.raises(ConfigError, match=r"scale=cfd.*cdf"):
        cross.make_scales("cfd", [])


def test_tuning_for_each_environment_and_for_all_without_noise():
    """Two settings, each right on one environment, and a third that is fair on both."""
    values = np.array([[1.0, 0.0, 0.6], [0.0, 1.0, 0.6]])
    tuned = cross.tuned(np.repeat(values[..., None], 3, axis=-1))
    assert tuned.best == 2
    assert tuned.best_of.tolist() == [0, 1]
    np.testing.assert_allclose(tuned.each, 1.0)
    np.testing.assert_allclose(tuned.all, 0.6)
    np.testing.assert_allclose(tuned.sensitivity, 0.4)
    assert tuned.probability.tolist() == [0.0, 0.0, 1.0]


def test_a_method_that_wants_the_same_everywhere_is_not_sensitive():
    values = np.array([[0.2, 0.9], [0.1, 0.5], [0.3, 0.8]])
    tuned = cross.tuned(values[..., None])
    assert tuned.sensitivity.point == 0.0


def test_settings_between_which_seeds_do_not_decide_are_chosen_equally_often():
    scores = np.random.default_rng(1).normal(size=(2, 2, 8))
    scores[:, 1] = scores[:, 0]  # the same seeds, resampled independently
    tuned = cross.tuned(scores, resamples=4_000)
    assert tuned.probability.sum() == pytest.approx(1.0)
    assert tuned.probability[0] == pytest.approx(0.5, abs=0.03)


def test_the_choice_is_as_likely_as_two_seeds_allow():
    """Means of two draws from {0, 1} are 0, 1/2, 1 with 1/4, 1/2, 1/4; the other setting is 0.6."""
    scores = np.array([[[0.0, 1.0], [0.6, 0.6]]])
    tuned = cross.tuned(scores, resamples=20_000)
    assert tuned.probability[0] == pytest.approx(0.25, abs=0.01)


def grid(**values) -> list[dict]:
    return [dict(zip(values, chosen)) for chosen in itertools.product(*values.values())]


def test_only_the_number_that_environments_disagree_about_need_be_tuned():
    settings = grid(rate=[1, 2, 3], gamma=[0.9, 0.99])
    rates, gammas = (np.array([s[name] for s in settings]) for name in ("rate", "gamma"))
    values = 1.0 - 0.4 * np.abs(rates - np.array([[1], [3]])) - 0.2 * (gammas < 0.95)
    effective = cross.effective_dimensionality(values, settings)
    assert effective == (1, ("rate",), pytest.approx(1.0))
    assert cross.effective_dimensionality(values, settings, share=0.5).dimension == 0


def test_all_numbers_at_most_need_be_tuned():
    settings = grid(a=[0, 1], b=[0, 1])
    values = np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    assert cross.effective_dimensionality(values, settings).dimension == 2


def test_settings_that_are_no_grid_have_no_effective_dimensionality():
    settings = grid(a=[0, 1], b=[0, 1])[:3]
    with pytest.raises(ConfigError, match="3 of the 4 combinations"):
        cross.effective_dimensionality(np.zeros((2, 3)), settings)


def test_an_interval_that_lies_above_its_point_is_drawn(tmp_path):
    """As that of the best of many settings between which only noise decides."""
    scores = np.random.default_rng(0).normal(size=(3, 48, 3))
    tuned = cross.tuned(scores, resamples=200)
    assert tuned.each.low > tuned.each.point
    draw_plane(tmp_path / "plane.png", {"a": tuned, "b": tuned}, "", "cdf")
    assert (tmp_path / "plane.png").read_bytes().startswith(b"\x89PNG")


def test_the_value_of_a_setting_resamples_seeds_and_not_environments():
    """Environments are those that were asked for: what is alike on all seeds is certain."""
    assert tuple(cross.value(np.array([[0.25] * 4, [0.75] * 4]))) == (0.5, 0.5, 0.5)


def test_seeds_are_resampled_in_every_environment_by_themselves():
    """Of two environments with scores 0 and 1 the mean is 0 or 1 in one of eight resamples each."""
    tuned = cross.tuned(np.array([[[0.0, 1.0]], [[0.0, 1.0]]]), confidence=0.8)
    np.testing.assert_array_equal(tuned.all, [0.5, 0.25, 0.75])
