"""What diagnostics have measured, as a figure."""

import numpy as np

from jaxq.scoring import inside
from jaxq.scoring.scores import INSIDE

STEPS = np.arange(1, 6) * 1_000
RANDOM = np.random.default_rng(0)


def arrays(lanes, *names):
    curves = {INSIDE + name: RANDOM.normal(size=(lanes, 3, 5)) for name in names}
    returns = np.arange(lanes)[:, None, None] * np.ones((lanes, 3, 5))
    return {"steps": STEPS, "eval_return": returns, "loss": returns, **curves}


def test_of_many_lanes_the_best_are_shown():
    found = inside.lanes_of(arrays(10, "srank"), [f"gamma={lane}" for lane in range(10)])
    assert list(found) == [f"gamma={lane}" for lane in range(2, 10)]
    assert found["gamma=2"][INSIDE + "srank"].shape == (1, 3, 5) and "loss" not in found["gamma=2"]
    assert list(inside.lanes_of(arrays(1, "srank"), [""])) == ["lane 0"]


def test_the_best_are_those_of_the_last_evaluation():
    measured = arrays(10, "srank")
    measured["eval_return"][..., :-1] *= -1.0  # the other way round before
    assert list(inside.lanes_of(measured, [f"{lane}" for lane in range(10)]))[-1] == "9"


def test_a_seed_that_diverged_takes_nothing_from_the_others():
    """Trap: the IQM of three seeds with NaN is NaN, and the best lane was not shown."""
    measured = arrays(10, "srank")
    measured["eval_return"][9, 0] = np.nan
    measured["eval_return"][2] = np.nan
    assert list(inside.lanes_of(measured, [f"{lane}" for lane in range(10)])) == [*"13456789"]


def test_there_is_a_panel_for_everything_that_any_lane_has(tmp_path, monkeypatch):
    figures, save = [], inside.save
    monkeypatch.setattr(inside, "save", lambda f, path: figures.append(f) or save(f, path))
    runs = {"a": arrays(1, "srank", "dead"), "b": arrays(1, "srank")}
    runs["b"][INSIDE + "srank"][:] = np.nan  # all have diverged
    inside.draw_diagnostics(tmp_path / "diagnostics.png", runs, "title", "note")
    titles = [axes.get_title() for axes in figures[0].axes if axes.get_visible()]
    assert [" ".join(title.split()) for title in titles] == [
        inside.WORDS["srank"],
        inside.WORDS["dead"],
    ]
    assert [len(axes.get_lines()) for axes in figures[0].axes[:2]] == [1, 1]
    assert "over 3 seeds; note" in " ".join(figures[0].get_supxlabel().split())
