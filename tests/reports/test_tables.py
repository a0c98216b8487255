"""What stands in which column of a table, of scores that tell every statistic from every other."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from jaxq.reports import tables
from jaxq.reports.published import PUBLISHED, beside_published
from jaxq.reports.sources import Lane, Run
from jaxq.scoring import stats

SKEWED = np.array([0.0, 1.0, 2.0, 6.0, 100.0])  # median 2, IQM 3, mean 21.8
PROTOCOL = {"environment": "Acrobot-v1"}
RUN = Run(Path("a"), {}, {}, {"steps": 1_000}, {}, True)
LANE = Lane("a", RUN, {}, {}, PROTOCOL, [*range(5)], SKEWED, {}, [], 1, 0)


def test_what_is_called_an_iqm_is_one():
    expected = tables.with_interval(stats.bootstrap(SKEWED))
    assert float(expected.text) == 3.0
    assert dict(zip(*_columns(tables.each([LANE]))))["IQM (95%)"] == expected
    assert dict(zip(*_columns(tables.headline([LANE]))))["IQM (95%)"] == expected
    assert tables.side_by_side({"a": {"Acrobot-v1": LANE}}, "").rows[0][1] == expected
    source = SimpleNamespace(lanes=[LANE])
    assert expected in beside_published("control", {"dqn-acrobot": source}).rows[0]


def _columns(table) -> tuple:
    return table.columns, table.rows[0]


def test_every_statistic_of_a_headline_is_in_its_column():
    columns = dict(zip(*_columns(tables.headline([LANE]))))
    assert float(columns["mean (95%)"].text) == 21.8
    assert (columns["median"], columns["worst decile"]) == ("2", "0")


def test_every_statistic_over_environments_is_in_its_column():
    """Means 1, 5 and 16.5; the IQM leaves the lowest and the highest of six scores out."""
    scores = {"a": np.array([0.0, 2.0]), "b": np.array([1.0, 9.0]), "c": np.array([3.0, 30.0])}
    columns = dict(zip(*_columns(tables.across({"m": scores}, "", ""))))
    assert [columns[name].text for name in tables._OF_TASKS] == ["3.75", "7.50", "0.17", "5.00"]


@pytest.mark.parametrize(
    ("key", "anchor"),
    [
        ("Asterix-MinAtar-original", (0.44, 16.8)),
        ("Breakout-MinAtar-original", (0.56, 10.1)),
        ("Freeway-MinAtar-original", (0.2, 50.2)),
        ("Seaquest-MinAtar-original", (0.12, 20.0)),
        ("SpaceInvaders-MinAtar-original", (2.9, 43.6)),
        ("Asterix-MinAtar", (0.45, 93.0)),
        ("Breakout-MinAtar", (0.43, 84.0)),
        ("Freeway-MinAtar", (0.29, 92.6)),
        ("SpaceInvaders-MinAtar", (3.77, 200.0)),
    ],
)
def test_anchors_are_what_was_measured_and_published(key, anchor):
    """Written down twice: a slip in one would move every normalised score."""
    protocol = "original" if key.endswith("original") else "gymnax"
    assert stats.ANCHORS[key, protocol] == anchor


@pytest.mark.parametrize(
    ("preset", "place", "scores"),
    [
        ("revisited-dqn", 0, (14.4, 9.6, 50.7, 4.8, 40.9)),  # Young & Tian 2019
        ("revisited-dqn", 1, (28.2, 7.5, 60.0, 5.4, 33.9)),  # Obando-Ceron & Castro 2021
        ("rainbow", 0, (41.8, 11.3, 57.0, 9.9, 92.5)),
    ],
)
def test_published_scores_are_those_of_the_papers(preset, place, scores):
    games = "asterix breakout freeway seaquest spaceinvaders".split()
    found = [PUBLISHED["minatar-original"][f"{preset}-{game}"][place].score for game in games]
    assert tuple(map(float, found)) == scores
