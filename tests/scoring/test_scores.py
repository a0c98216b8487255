"""What measurements say: divergence, and the statistics of the others."""

import numpy as np
import pytest
from common import SMALL_HPARAMS, member, same_bits, train_small

from jaxq.runs import files
from jaxq.runs.history import History
from jaxq.scoring.scores import (
    band_words,
    comparable,
    divergence,
    interval_text,
    plain,
    rank,
    score,
    score_seeds,
    score_text,
    table_rows,
    without_diverged,
)
from jaxq.scoring.stats import bootstrap_iqm


def arrays():
    """Two lanes, three seeds, four times; seed 2 of lane 1 diverges at the third."""
    random = np.random.default_rng(0)
    names = ("loss", "eval_value", "eval_return")
    values = {name: random.random((2, 3, 4)) for name in names}
    values["loss"][1, 2, 2:] = np.nan
    return {"steps": np.arange(10, 50, 10), **values}


def test_divergence_is_the_first_step_that_is_not_finite():
    measured = arrays()
    assert divergence(measured).tolist() == [[-1, -1, -1], [-1, -1, 30]]
    measured["eval_value"][0, 1, 0] = np.inf
    assert divergence(measured).tolist() == [[-1, 10, -1], [-1, -1, 30]]


def test_diverged_members_are_left_out_and_named():
    kept = without_diverged(arrays())
    assert np.isnan(kept["eval_return"][1, 2]).all()
    assert np.isfinite(kept["eval_return"]).sum() == 20
    lane = score_seeds(np.array([1.0, 2.0, 99.0]), (7, 8, 9), np.array([-1, -1, 30]))
    assert lane["mean"] == lane["iqm"] == 1.5 and lane["worst"] == 1.0
    assert lane["num_diverged"] == 1 and lane["diverged"] == {"9": 30} and lane["num_seeds"] == 3
    (row,) = table_rows([lane], [{"gamma": 0.9}])
    assert row["diverged"] == "9@30" and row["gamma"] == 0.9 and row["iqm"] == 1.5


def test_every_statistic_of_a_lane_by_hand():
    """Of skewed scores, which tell a mean from a median and an IQM."""
    returns = np.array([0.0, 1.0, 2.0, 6.0, 100.0])
    lane = score_seeds(returns, range(5), np.full(5, -1))
    assert (lane["iqm"], lane["median"], lane["mean"], lane["worst"]) == (3.0, 2.0, 21.8, 0.0)
    assert lane["iqm_95"] == [plain(end) for end in bootstrap_iqm(returns)[1:]]
    (row,) = table_rows([lane], [{}])
    assert [row["low"], row["high"]] == lane["iqm_95"] and row["low"] < row["high"]


def test_every_lane_has_its_own_scores():
    """The last evaluation's, and who of its seeds diverged, by seed and not by place."""
    ones = np.ones((2, 2, 2))
    measured = {
        "steps": np.array([10, 20]),
        "loss": ones.copy(),
        "eval_value": ones,
        "eval_return": np.array([[[9.0, 1.0], [9.0, 2.0]], [[9.0, 3.0], [9.0, 4.0]]]),
        "eval_returns": np.zeros((2, 2, 2, 5)),
        "eval_cut": np.array([[[0, 1], [0, 2]], [[0, 4], [0, 8]]]),
    }
    measured["loss"][1, 0, 1] = np.nan
    found = score(measured, {"seeds": [7, 8], "lanes": [{}, {}]}, {})
    first, second = found["lanes"]
    assert (first["per_seed"], second["per_seed"]) == ([1.0, 2.0], [3.0, 4.0])
    assert (first["diverged"], second["diverged"]) == ({}, {"7": 20})
    assert (first["episodes_cut"], second["episodes_cut"]) == (3, 12)
    assert first["episodes_per_seed"] == 5 and found["steps"] == 20
    assert comparable(second).tolist() == [-np.inf, 4.0]


def test_what_is_left_of_a_setting_that_diverges_does_not_win():
    """Of eight seeds one survives, with the best score there is."""
    gone = np.array([-1, *[30] * 7])
    lucky = score_seeds(np.array([500.0, *[9.0] * 7]), range(8), gone)
    steady = score_seeds(np.full(8, 100.0), range(8), np.full(8, -1))
    assert lucky["iqm"] == 500.0 and rank(lucky) == -np.inf and rank(steady) == 100.0
    assert rank(score_seeds(np.array([1.0] * 8), range(8), np.array([5, *[-1] * 7]))) == 1.0


def test_a_member_that_took_over_from_another_has_not_diverged():
    """Its newest measurement counts, where numbers change while it trains."""
    measured = arrays() | {"hparams/gamma": np.ones((2, 3, 4))}
    assert divergence(measured)[1, 2] == 40
    measured["loss"][1, 2, 3] = 1.0
    assert (divergence(measured) == -1).all()


def test_a_lane_without_a_survivor_has_no_score():
    lane = score_seeds(np.array([1.0, 2.0]), (0, 1), np.array([10, 10]))
    assert np.isnan(lane["iqm"]) and np.isnan(lane["iqm_95"]).all() and lane["num_diverged"] == 2


def test_scores_without_a_survivor_are_numbers_when_read_back(tmp_path):
    """JSON has neither NaN nor infinity; tables show a dash."""
    lane = score_seeds(np.array([np.inf, 2.0]), (0, 1), np.array([10, 10]))
    lane |= {"hparams": {"huber_delta": np.inf}, "name": "nano"}
    files.write_json(tmp_path / files.SCORES, {"lanes": [lane]})
    (back,) = files.read_scores(tmp_path)["lanes"]
    assert np.isnan([back["iqm"], back["worst"], *back["iqm_95"]]).all()
    assert back["per_seed"] == [np.inf, 2.0] and back["hparams"]["huber_delta"] == np.inf
    assert back["diverged"] == {"0": 10, "1": 10} and back["name"] == "nano"
    assert score_text(back["iqm"]) == interval_text(*back["iqm_95"]) == "-"
    assert score_text(12.0) == "12" and interval_text(1.0, 2.5) == "1 to 2.5"


def test_small_scores_keep_their_digits():
    """Trap: six places behind the point made 3e-7 and 4e-7 the same setting."""
    assert plain(np.float32(3.2e-7)) < plain(np.float32(4.1e-7)) == 4.1e-7
    assert plain(123.456789123) == 123.456789 and plain(np.int64(3)) == 3
    assert np.isnan(plain(np.nan)) and plain(-np.inf) == -np.inf


def test_words_of_a_band_say_nothing_of_an_interval_that_is_not_there():
    assert band_words("IQM", [1, 1]) == "1 seed"
    assert band_words("IQM", [1, 4]) == "IQM and 95% bootstrap interval over 1 to 4 seeds"


def test_a_diverged_lane_leaves_its_neighbours_bits_alone():
    """They are vmapped together; nothing in the loop looks for them."""
    wild = SMALL_HPARAMS._replace(learning_rate=1e30)
    calm, spread = SMALL_HPARAMS, {"batch": 2, "num_devices": 1}
    _, alone, _, _ = train_small([calm, calm], [0], **spread)
    _, beside, metrics, result = train_small([calm, wild], [0], evaluate=True, **spread)
    assert same_bits(member(alone, 0), member(beside, 0))
    history = History(2, 1)
    history.append(100, metrics, result)
    assert (divergence(history.arrays()) >= 0).ravel().tolist() == [False, True]


@pytest.mark.parametrize("wild", [1e30, 1e38])
def test_a_member_that_explodes_is_seen(wild):
    _, _, metrics, result = train_small(
        [SMALL_HPARAMS._replace(learning_rate=wild)], [0, 1], evaluate=True, batch=2
    )
    history = History(1, 2)
    history.append(100, metrics, result)
    assert (divergence(history.arrays()) == 100).all()
