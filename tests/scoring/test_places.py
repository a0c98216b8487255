"""Curves on several environments: what each panel shows, and which colour is whose."""

import numpy as np
import pytest

from jaxq.scoring import places
from jaxq.scoring.canvas import COLORS

STEPS = np.arange(1, 6) * 1_000


def run(value, seeds=4):
    return {"steps": STEPS, "eval_return": np.full((1, seeds, 5), value)}


@pytest.fixture
def figure(monkeypatch, tmp_path):
    """What was saved of two methods, one of which has not been on every environment."""
    saved, save = [], places.save
    monkeypatch.setattr(
        places, "save", lambda figure, path: saved.append(figure) or save(figure, path)
    )
    everywhere = {"A": run(1.0), "B": run(2.0), "C": run(3.0, seeds=9)}
    methods = {"first": everywhere, "second": {"B": run(5.0)}}
    places.draw_side_by_side(tmp_path / "places.png", methods, "a note")
    return saved[0]


def test_every_environment_has_its_panel_and_every_method_its_color(figure):
    def lines(axes):
        return {COLORS.index(line.get_color()): line.get_ydata()[0] for line in axes.get_lines()}

    shown = {axes.get_title(): lines(axes) for axes in figure.axes if axes.get_visible()}
    assert shown == {"A": {0: 1.0}, "B": {0: 2.0, 1: 5.0}, "C": {0: 3.0}}
    (legend,) = figure.legends
    colors = [line.get_color() for line in legend.get_lines()]
    assert [text.get_text() for text in legend.get_texts()] == ["first", "second"]
    assert colors == list(COLORS[:2])


def test_it_says_how_many_seeds_it_shows(figure):
    words = figure.get_supxlabel()
    assert "4 to 9 seeds" in words and words.endswith("a note")
