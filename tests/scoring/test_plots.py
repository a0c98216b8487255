"""Every figure shows something in every panel; what it shows is for eyes."""

import io

import numpy as np
import pytest

from jaxq.errors import ConfigError
from jaxq.scoring import panels, plots

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
SEARCH = [  # as many settings of the others as rows
    {"gamma": 1.0 / k, "backup": f"b{k}", "iqm": k, "low": 0.0, "high": k} for k in range(1, 12)
]
SCORES = np.arange(5.0)
PROFILES = {"one task": SCORES, "two tasks": {"a": SCORES, "b": SCORES}}


@pytest.fixture
def figures(monkeypatch):
    """The figures that were saved."""
    saved, save = [], plots.save
    for module in (plots, panels):
        monkeypatch.setattr(
            module, "save", lambda figure, path: saved.append(figure) or save(figure, path)
        )
    return saved


@pytest.mark.parametrize(
    ("draw", "num_panels"),
    [
        (lambda path: plots.draw_curves(path, RUN, "title", ["dqn"]), 3),
        (lambda path: plots.draw_comparison(path, {"a": RUN, "b": RUN}, "title"), 1),
        (lambda path: panels.draw_grid(path, dict.fromkeys("abcdefg", RUN), "title"), 7),
        (lambda path: plots.draw_sensitivity(path, ROWS, ["gamma"], "title"), 1),
        (lambda path: plots.draw_sensitivity(path, SEARCH, ["gamma", "backup"], "title"), 2),
        (lambda path: plots.draw_profiles(path, PROFILES, "title", "score"), 1),
        (lambda path: plots.draw_profiles(path, dict.fromkeys("abcdefghi", SCORES), "", ""), 9),
        (lambda path: plots.draw_throughput(path, RECORDS), 2),
    ],
    ids=[
        "curves",
        "comparison",
        "grid",
        "sensitivity",
        "search",
        "profiles",
        "many profiles",
        "throughput",
    ],
)
def test_every_panel_shows_lines(draw, num_panels, figures, tmp_path):
    draw(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    shown = [axes for axes in figures[0].axes if axes.get_visible()]
    assert len(shown) == num_panels and all(axes.get_lines() for axes in shown)


def test_a_heat_map_says_every_cell_and_the_best_of_several(figures, tmp_path):
    cells = [(1e-5, 0.9, 10.0), (1e-3, 0.9, 20.0), (1e-3, 0.9, 5.0), (1e-3, 0.99, 30.0)]
    rows = [
        {"learning_rate": rate, "gamma": gamma, "iqm": score, "low": score - 1, "high": score + 1}
        for rate, gamma, score in cells
    ]
    plots.draw_heatmap(tmp_path / "map.png", rows, ["gamma", "learning_rate"], "title")
    axes = figures[0].axes[0]
    said = {tuple(text.get_position()): text.get_text() for text in axes.texts}
    assert said == {(0, 0): "10\n9 to 11", (1, 0): "20\n19 to 21", (1, 1): "30\n29 to 31"}
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1e-05", "0.001"]


def test_a_heat_map_keeps_categories_as_they_were_asked_for(figures, tmp_path):
    rows = [
        {"backup": backup, "env": env, "iqm": 1.0, "low": 0.0, "high": 2.0}
        for backup in ("max", "double", 3)  # a word of one's own beside a number of one's own
        for env in ("Pong-misc", "Catch-bsuite")
    ]
    plots.draw_heatmap(tmp_path / "map.png", rows, ["backup", "env"], "title")
    axes = figures[0].axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["max", "double", "3"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["Pong-misc", "Catch-bsuite"]


def test_a_figure_is_drawn_into_a_file_in_memory():
    file = io.BytesIO()
    plots.draw_profiles(file, PROFILES, "title", "score")
    assert file.getvalue().startswith(b"\x89PNG")


@pytest.mark.parametrize("scores", [[500.0, 500.0], [1.0, 2.0, 4.0]])
def test_a_profile_is_seen_from_all_seeds_to_none(scores, figures, tmp_path):
    """A run that always reaches the most is a step, not an empty figure."""
    plots.draw_profiles(tmp_path / "profiles.png", {"dqn": np.array(scores)}, "title", "score")
    (axes,) = figures[0].axes
    (line,) = axes.get_lines()
    assert line.get_ydata()[0] == 1.0 and line.get_ydata()[-1] == 0.0
    assert np.ptp(line.get_xdata()) > 0


def test_a_profile_falls_where_the_scores_are(figures, tmp_path):
    """Trap: on a grid of thresholds a run that always reaches 500 was drawn above 500, too."""
    scores = {"dqn": np.array([500.0, 500.0]), "other": np.array([9.0, 400.0])}
    plots.draw_profiles(tmp_path / "profiles.png", scores, "title", "score")
    line = figures[0].axes[0].get_lines()[0]
    share = dict(zip(line.get_xdata(), line.get_ydata()))
    assert share[500.0] == 0.0 and set(share) > {500.0}
    assert all(above == 1.0 for score, above in share.items() if score < 500.0)


def lanes(count):
    """A run of so many lanes, of which the last but one is the best and the first has diverged."""
    returns = np.arange(count)[:, None, None] + RANDOM.uniform(size=(count, SEEDS, TIMES)) / 9
    returns[[-1, -2]] = returns[[-2, -1]]
    returns[0] = np.nan
    shape = {name: np.zeros((count, SEEDS, TIMES)) for name in ("eval_value", "loss")}
    return {**RUN, **shape, "eval_return": returns}


@pytest.mark.parametrize("count", [9, 64])
def test_of_many_lanes_three_are_named(count, figures, tmp_path):
    """Trap: a legend of 64 entries over 64 overlapping bands, drawn for 20 seconds."""
    labels = [f"gamma={lane}" for lane in range(count)]
    plots.draw_curves(tmp_path / "curves.png", lanes(count), "title", labels)
    axes = figures[0].axes[0]
    named = [text.get_text() for text in axes.get_legend().get_texts()]
    assert named[0] == f"best: gamma={count - 2}" and named[2].startswith("worst: gamma=0")
    assert named[1] == f"median: gamma={(count - 1) // 2}" and len(named) == 3
    assert f"the other {count - 3} lanes are thin lines" in figures[0].get_supxlabel()
    assert sum(len(lines.get_segments()) for lines in axes.collections[:1]) == count - 3
    assert axes.get_xlim()[0] == 0.0  # time before the first evaluation is time


def test_of_many_runs_three_are_named(figures, tmp_path):
    """Trap: forty runs in eight colours, each of which meant five of them."""
    runs = {
        f"run {place}": {**RUN, "eval_return": RUN["eval_return"] + place} for place in range(40)
    }
    plots.draw_comparison(tmp_path / "comparison.png", runs, "title")
    axes = figures[0].axes[0]
    named = [text.get_text() for text in axes.get_legend().get_texts()]
    assert named == ["best: run 39", "median: run 19", "worst: run 0"]
    ends = [line.get_ydata()[-1] for line in axes.get_lines()]
    np.testing.assert_allclose(ends, [39, 19, 0], atol=3.0)
    assert len(axes.get_lines()) == 3
    assert "the other 37 are thin lines" in figures[0].get_supxlabel()


@pytest.mark.parametrize("labels", [[f"gamma=0.{i}" for i in range(8)], ["x" * 60, "y" * 60]])
def test_a_legend_that_would_cover_the_curves_stands_above_them(labels, figures, tmp_path):
    plots.draw_curves(tmp_path / "curves.png", lanes(len(labels)), "title", labels)
    axes = figures[0].axes[0]
    box = axes.get_legend().get_window_extent()
    assert box.y0 >= axes.get_window_extent().y1 - 1 and box.x1 <= figures[0].bbox.x1


def test_names_of_categories_do_not_run_into_each_other(figures, tmp_path):
    names = [f"{letter}-rather-long-name" for letter in "abcd"]
    rows = [{"backup": name, "iqm": 1.0, "low": 0.0, "high": 2.0} for name in names]
    plots.draw_sensitivity(tmp_path / "figure.png", rows, ["backup"], "title")
    assert {label.get_rotation() for label in figures[0].axes[0].get_xticklabels()} == {30.0}


def test_every_figure_says_its_seeds(figures, tmp_path):
    plots.draw_profiles(tmp_path / "profiles.png", PROFILES, "title", "score")
    panels.draw_grid(tmp_path / "grid.png", {"a": RUN}, "title")
    assert "score, 5 seeds" in figures[0].get_supxlabel()
    assert f"over {SEEDS} seeds" in figures[1].get_supxlabel()


@pytest.mark.parametrize("ending, begins", [("pdf", b"%PDF"), ("svg", b"<?xml"), ("PNG", b"\x89P")])
def test_a_figure_has_the_format_of_its_name(ending, begins, tmp_path):
    path = tmp_path / f"figure.{ending}"
    for place in (path, str(path)):
        plots.draw_comparison(place, {"a": RUN}, "title")
        assert path.read_bytes().startswith(begins) and b"/Type3" not in path.read_bytes()
        path.unlink()
    with pytest.raises(ConfigError, match=r"must end in a format such as \.png, \.pdf or \.svg"):
        plots.draw_comparison(tmp_path / "figure.docx", {"a": RUN}, "title")


def test_a_dollar_in_a_title_is_no_mathematics(figures, tmp_path):
    """Trap: a run whose preset had that name was trained, and then lost its end."""
    title = r"$\bad{$ and $x$"
    plots.draw_curves(tmp_path / "curves.png", RUN, title, ["$y{$"], title)
    plots.draw_comparison(tmp_path / "comparison.svg", {"$z{$": RUN}, title, title)
    assert figures[0].get_suptitle() == title.replace("$", r"\$")  # which shows a dollar


def test_a_figure_of_no_runs_is_refused(tmp_path):
    for draw in (plots.draw_comparison, panels.draw_grid):
        for runs in ({}, [RUN]):
            with pytest.raises(ConfigError, match="at least one run"):
                draw(tmp_path / "figure.png", runs, "title")
        for run in ({}, "runs/a", {"steps": [1]}):
            with pytest.raises(ConfigError, match=r"runs\['a'\] of type .* must hold arrays"):
                draw(tmp_path / "figure.png", {"a": run}, "title")


@pytest.mark.parametrize("names", [("greedy", "double", "soft"), (True, False)])
def test_categories_are_points_without_a_line(figures, tmp_path, names):
    """In the order in which they were asked for; true and false are no numbers."""
    rows = [{"backup": name, "iqm": 1.0, "low": 0.0, "high": 2.0} for name in names]
    plots.draw_sensitivity(tmp_path / "figure.png", rows, ["backup"], "a title " * 20)
    axes = figures[0].axes[0]
    (line,) = axes.get_lines()
    assert line.get_linestyle() == "None" and "\n" in figures[0].get_suptitle()
    found = [label.get_text() for label in axes.get_xticklabels()]
    assert found == [str(name).lower() for name in names]


def test_diverged_seeds_are_neither_drawn_nor_counted(figures, tmp_path):
    some = {**RUN, "eval_return": RUN["eval_return"].copy()}
    some["eval_return"][0, 1] = np.nan
    none = {**RUN, "eval_return": np.full_like(RUN["eval_return"], np.nan)}
    runs = {"all": RUN, "some": some, "none": none}
    panels.draw_grid(tmp_path / "grid.png", runs, "title")
    titles = [axes.get_title() for axes in figures[0].axes if axes.get_visible()]
    assert titles[0].startswith("all, ") and "of" not in titles[0]
    assert titles[1].endswith(" (3 of 4 seeds)") and titles[2] == "none, all diverged"
    plots.draw_comparison(tmp_path / "comparison.png", runs, "title")
    names = [text.get_text() for text in figures[1].axes[0].get_legend().get_texts()]
    assert names == ["all", "some", "none (all diverged)"]
    assert "over 0 to 4 seeds" in figures[1].get_supxlabel()
    plots.draw_curves(tmp_path / "curves.png", some, "title", ["some"])
    assert "over 3 seeds" in figures[2].get_supxlabel()
    plots.draw_curves(tmp_path / "curves.png", none, "title", ["none"])
    assert "all seeds diverged" in figures[3].get_supxlabel()
    assert figures[3].axes[0].get_xlim() == (0, RUN["steps"][-1])  # it was trained so long


def test_what_a_reader_of_runs_has_can_be_drawn(tmp_path):
    """Which is all but the single episodes."""
    arrays = {name: values for name, values in RUN.items() if name != "eval_returns"}
    plots.draw_curves(tmp_path / "curves.png", arrays, "title", ["dqn"])
    with pytest.raises(ConfigError, match="must be 1, one for a lane"):
        plots.draw_curves(tmp_path / "curves.png", arrays, "title", "dqn")


def test_lines_are_iqms_and_names_go_by_the_last_evaluation(figures, tmp_path):
    """Of skewed seeds; of runs whose order at the beginning is another one than at the end."""
    seeds = np.array([0.0, 1.0, 2.0, 6.0, 100.0])[:, None] * np.ones(TIMES)
    plots.draw_comparison(tmp_path / "one.png", {"a": {**RUN, "eval_return": seeds[None]}}, "")
    assert figures[0].axes[0].get_lines()[0].get_ydata()[-1] == 3.0
    turns = np.linspace(1.0, -1.0, TIMES)  # from the worst to the best
    runs = {
        f"run {place}": {**RUN, "eval_return": -place * turns * np.ones((1, SEEDS, 1))}
        for place in range(9)
    }
    plots.draw_comparison(tmp_path / "nine.png", runs, "")
    named = [text.get_text() for text in figures[1].axes[0].get_legend().get_texts()]
    assert named == ["best: run 8", "median: run 4", "worst: run 0"]
