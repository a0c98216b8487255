"""Figures of single seeds and of own metrics: what their bands are, and what they say."""

import numpy as np
import pytest

from jaxq.scoring import measured
from jaxq.scoring.stats import bootstrap, full_range, mean, tolerance_interval

RANDOM = np.random.default_rng(0)
STEPS = np.arange(1, 6) * 1_000


def run(seeds, **more):
    return {"steps": STEPS, "eval_return": RANDOM.normal(size=(1, seeds, 5)), **more}


@pytest.fixture
def figures(monkeypatch):
    """The figures that were saved."""
    saved, save = [], measured.save
    monkeypatch.setattr(
        measured, "save", lambda figure, path: saved.append(figure) or save(figure, path)
    )
    return saved


def test_a_panel_shows_every_seed_and_says_what_its_band_holds(figures, tmp_path):
    runs = {"few": run(8), "many": run(50), "none": run(3)}
    runs["few"]["eval_return"][0, 2] = np.nan
    runs["none"]["eval_return"][:] = np.nan
    measured.draw_seeds(tmp_path / "seeds.png", runs, "title")
    few, many, none = (axes for axes in figures[0].axes if axes.get_visible())
    assert len(few.get_lines()) == 7 + 1 and len(many.get_lines()) == 50 + 1
    assert few.get_title() == "few\n7 seeds; band: range, 48% of seeds"
    assert many.get_title() == "many\n50 seeds; band: 90% of seeds"
    assert none.get_title() == "none\nall diverged" and few.get_xlim()[0] == 0.0
    assert "or range, as each panel says (95% confidence)" in figures[0].get_supxlabel()


def test_the_line_of_a_panel_is_the_iqm(figures, tmp_path):
    seeds = np.array([0.0, 1.0, 2.0, 6.0, 100.0])[:, None] * np.ones(5)
    measured.draw_seeds(tmp_path / "seeds.png", {"a": run(5, eval_return=seeds[None])}, "")
    (thick,) = (line for line in figures[0].axes[0].get_lines() if line.get_linewidth() > 1.0)
    assert (thick.get_ydata() == 3.0).all()


@pytest.mark.parametrize(("count", "interval"), [(8, full_range), (60, tolerance_interval)])
def test_the_band_is_that_of_the_scores_at_every_time(count, interval):
    values = RANDOM.normal(size=(count, 3))
    low, high, _ = measured.tolerance_band(values)
    for time in range(3):
        assert (low[time], high[time]) == interval(values[:, time])[:2]


def test_a_metric_is_the_mean_with_its_interval(figures, tmp_path):
    values = RANDOM.normal(size=(4, 5))
    values[1, 2] = np.nan
    interval = measured.mean_band(values)
    np.testing.assert_allclose(np.array(interval)[:, 0], bootstrap(values[:, 0], mean))
    assert np.isnan(interval.point).tolist() == [False, False, True, False, False]
    runs = {"a": run(4, churn=values[None]), "b": run(4, churn=np.full((1, 4, 5), np.nan))}
    measured.draw_metric(tmp_path / "churn.png", runs, "churn", "title")
    axes = figures[0].axes[0]
    assert axes.get_ylabel() == "churn"
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["a", "b (not measured)"]
    assert "over 0 to 4 seeds" in figures[0].get_supxlabel()


def test_the_best_stand_as_they_stood():
    runs = {name: np.full(3, score) for name, score in (("a", 1.0), ("b", 3.0), ("c", 2.0))}
    assert measured.best_of(runs, 2) == ["b", "c"]
