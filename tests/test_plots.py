"""Every figure shows something in every panel; what it shows is for eyes."""

import numpy as np
import pytest

from jaxq import plots

TIMES, SEEDS = 12, 4
RANDOM = np.random.default_rng(0)
RUN = {
    "steps": np.arange(TIMES) * 1_000,
    "eval_return": RANDOM.normal(size=(1, SEEDS, TIMES)),
    "eval_returns": RANDOM.normal(size=(1, SEEDS, TIMES, 3)),
    "eval_value": RANDOM.normal(size=(1, SEEDS, TIMES)),
    "loss": RANDOM.uniform(size=(1, SEEDS, TIMES)),
}
RECORDS = [
    {"title": title, "program": program, "members": members, "steps_per_second": [9.0, 8.0, 10.0]}
    for title in ("one", "two")
    for program in ("jaxq", "ceiling")
    for members in (1, 8)
]
ROWS = [{"gamma": gamma, "iqm": gamma, "low": 0.0, "high": 1.0} for gamma in (0.5, 0.9)]


@pytest.fixture
def figures(monkeypatch):
    """The figures that were saved."""
    saved, save = [], plots._save
    monkeypatch.setattr(
        plots, "_save", lambda figure, path: saved.append(figure) or save(figure, path)
    )
    return saved


@pytest.mark.parametrize(
    ("draw", "num_panels"),
    [
        (lambda path: plots.draw_curves(path, RUN, "title", ["dqn"]), 3),
        (lambda path: plots.draw_comparison(path, {"a": RUN, "b": RUN}, "title"), 1),
        (lambda path: plots.draw_grid(path, dict.fromkeys("abcdefg", RUN), "title"), 7),
        (lambda path: plots.draw_sensitivity(path, ROWS, ["gamma"], "title"), 1),
        (lambda path: plots.draw_throughput(path, RECORDS), 2),
    ],
    ids=["curves", "comparison", "grid", "sensitivity", "throughput"],
)
def test_every_panel_shows_lines(draw, num_panels, figures, tmp_path):
    draw(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    shown = [axes for axes in figures[0].axes if axes.get_visible()]
    assert len(shown) == num_panels and all(axes.get_lines() for axes in shown)
