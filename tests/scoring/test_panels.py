"""Curves in panels: what each panel shows, and which colour is whose."""

import numpy as np
import pytest

from jaxq.scoring import panels
from jaxq.scoring.canvas import COLORS
from jaxq.scoring.scores import score_seeds, score_text

STEPS = np.arange(1, 6) * 1_000


def run(value, seeds=4):
    return {"steps": STEPS, "eval_return": np.full((1, seeds, 5), value)}


@pytest.fixture
def saved(monkeypatch):
    """The figures that were saved."""
    figures, save = [], panels.save
    monkeypatch.setattr(
        panels, "save", lambda figure, path: figures.append(figure) or save(figure, path)
    )
    return figures


@pytest.fixture
def figure(saved, tmp_path):
    """What was saved of two methods, one of which has not been on every environment."""
    everywhere = {"A": run(1.0), "B": run(2.0), "C": run(3.0, seeds=9)}
    methods = {"first": everywhere, "second": {"B": run(5.0)}}
    panels.draw_side_by_side(tmp_path / "panels.png", methods, "a note")
    return saved[0]


def test_a_legend_is_as_wide_as_the_figure_at_most(saved, tmp_path):
    """Four of two lines each stood in one row, and the outer ones were cut."""
    methods = {f"{i} of several long names\nwith a second line": {"A": run(i)} for i in range(4)}
    panels.draw_side_by_side(tmp_path / "panels.png", methods)
    (legend,) = saved[0].legends
    box = legend.get_window_extent().transformed(saved[0].transFigure.inverted())
    assert box.x0 >= 0.0 and box.x1 <= 1.0


def test_every_environment_has_its_panel_and_every_method_its_color(figure):
    def lines(axes):
        return {COLORS.index(line.get_color()): line.get_ydata()[0] for line in axes.get_lines()}

    shown = {axes.get_title(): lines(axes) for axes in figure.axes if axes.get_visible()}
    assert shown == {"A": {0: 1.0}, "B": {0: 2.0, 1: 5.0}, "C": {0: 3.0}}
    (legend,) = figure.legends
    colors = [line.get_color() for line in legend.get_lines()]
    assert [text.get_text() for text in legend.get_texts()] == ["first", "second"]
    assert colors == list(COLORS[:2])


def test_runs_on_one_environment_share_an_axis_and_others_do_not(saved, tmp_path):
    runs = {"low": run(1.0), "high": run(300.0)}
    panels.draw_grid(tmp_path / "one.png", runs, "title")
    panels.draw_grid(tmp_path / "each.png", runs, "", sharey=False)
    one, each = ([axes.get_ylim() for axes in figure.axes] for figure in saved)
    assert one[0] == one[1] and each[0][1] < 2.0 < each[1][0]


def test_the_number_of_a_panel_is_that_of_the_tables(saved, tmp_path):
    """An IQM in the middle between two numbers of four digits, of curves that are float32."""
    returns = np.array([499.6, 499.6, 499.7, 499.7])
    curves = {
        "steps": STEPS,
        "eval_return": np.tile(returns.astype(np.float32)[:, None], (1, 1, 5)),
    }
    panels.draw_grid(tmp_path / "grid.png", {"dqn": curves}, "")
    scores = score_seeds(returns, range(4), np.full(4, -1))
    assert saved[0].axes[0].get_title() == f"dqn, {score_text(scores['iqm'])}"


def test_the_number_of_a_panel_is_the_iqm_of_the_last_evaluation(saved, tmp_path):
    seeds = np.array([0.0, 1.0, 2.0, 6.0, 100.0])[:, None] * np.array([9.0, 9.0, 9.0, 9.0, 1.0])
    panels.draw_grid(tmp_path / "grid.png", {"dqn": {**run(1.0), "eval_return": seeds[None]}}, "")
    assert saved[0].axes[0].get_title() == "dqn, 3"


def test_it_says_how_many_seeds_it_shows(figure):
    words = figure.get_supxlabel()
    assert "4 to 9 seeds" in words and words.endswith("a note")
