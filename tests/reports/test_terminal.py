"""Results in a terminal."""

import io

import numpy as np
from rich.console import Console

from jaxq.reports.terminal import print_scores, print_study
from jaxq.scoring.scores import score_seeds


def test_a_lane_without_a_survivor_shows_dashes():
    lanes = [
        score_seeds(np.array([1.0, 2.0]), (0, 1), np.array(gone))
        | {"episodes_per_seed": 3, "episodes_cut": 0}
        for gone in ([-1, -1], [10, 10])
    ]
    scores = {"steps": 10, "protocol": {"evaluation": "greedy"}, "lanes": lanes}
    console = Console(file=io.StringIO(), width=120)
    print_scores(console, scores, ["good", "gone"])
    text = console.file.getvalue()
    assert "several environments, 2 seeds x 3 episodes" in text  # where they share none
    (line,) = [line for line in text.splitlines() if "gone" in line]
    assert line.count(" - ") == 5 and "nan" not in text  # IQM, interval, worst, mean, median
    assert "2 members have diverged" in text
    assert "longer than evaluation waits" not in text
    lanes[0]["episodes_cut"] = 5
    print_scores(console, scores, ["good", "gone"])
    assert "5 of 12 episodes were longer than evaluation waits" in console.file.getvalue()


def test_settings_have_as_many_digits_as_tell_them_apart():
    score = score_seeds(np.array([1.0, 2.0]), (0, 1), np.array([-1, -1]))
    lanes = [
        {"lane": lane, "setting": {"gamma": gamma}, "cut": False, "steps": 10, **score}
        for lane, gamma in enumerate((0.98765431, 0.98765432))
    ]
    scores = {"steps": 10, "protocol": {}, "lanes": lanes, "best": 0}
    console = Console(file=io.StringIO(), width=120)
    print_study(console, scores, ["gamma"])
    text = console.file.getvalue()
    assert "0.98765431" in text and "0.98765432" in text


def test_of_many_lanes_the_ten_best_are_shown():
    lanes = [
        {"lane": lane, "setting": {"gamma": lane / 100}, "cut": False, "steps": 10}
        | {"episodes_per_seed": 3, "episodes_cut": 0}
        | score_seeds(np.array([lane, lane + 0.5]), (0, 1), np.array([-1, -1]))
        for lane in range(64)
    ]
    scores = {"steps": 10, "protocol": {}, "lanes": lanes, "best": 63}
    for show, names, what in (
        (print_scores, [f"lane{lane}" for lane in range(64)], "lanes"),
        (print_study, ["gamma"], "settings"),
    ):
        console = Console(file=io.StringIO(), width=120)
        show(console, scores, names)
        text = console.file.getvalue()
        assert f"the best 10 of 64 {what}" in " ".join(text.split())
        assert "63.25" in text and "54.25" in text and "53.25" not in text
