"""What a history makes of evaluations, and when a run has a reason to stop."""

import numpy as np
import pytest

from jaxq.loops.evaluation import Evaluation
from jaxq.runs.history import History
from jaxq.runs.stopping import Stop, reason


def evaluation(returns, lengths=None, finished=None, values=None) -> Evaluation:
    """Of members [M, K]; what is not given is as the returns are, or finished."""
    returns = np.array(returns, float)
    given = (returns if x is None else np.array(x) for x in (lengths, values))
    ended = np.ones_like(returns, bool) if finished is None else np.array(finished)
    lengths, values = given
    return Evaluation(returns, lengths, ended, values)


def test_an_evaluation_is_the_mean_of_its_episodes():
    history = History(1, 1)
    ended = [[True, True, True, False]]
    one = evaluation([[0, 0, 0, 4]], [[1, 2, 3, 6]], ended, [[5.0, 5.0, 5.0, 9.0]])
    history.append(10, {"loss": np.ones(1)}, one)
    found = {name: values.item() for name, values in history.last().items()}
    assert found["eval_return"] == 1.0 and found["eval_length"] == 3.0
    assert found["eval_cut"] == 1 and found["eval_value"] == 6.0
    assert history.arrays()["eval_returns"].tolist() == [[[[0, 0, 0, 4]]]]


def test_episodes_are_counted_over_all_chunks_and_for_every_member():
    history = History(1, 2)
    for times in range(1, 4):
        history.append(times, {"episodes": np.array([1, 2])}, evaluation([[0.0], [0.0]]))
        assert reason(Stop(episodes=3), history) == (None if times < 3 else "episodes")


def test_every_lane_must_reach_the_return_three_times_running():
    metrics = {"loss": np.ones(2)}
    low, high = evaluation([[2.0], [0.0]]), evaluation([[2.0], [1.0]])
    history = History(2, 1)
    for times, one in enumerate([high, low, high, high, high]):
        history.append(times, metrics, one)
        assert reason(Stop(until_return=1.0), history) == (None if times < 4 else "until_return")


@pytest.mark.parametrize(
    "losses, expected", [((1.0, np.nan), "until_return"), ((1.0, 1.0), None), ((np.nan,) * 2, None)]
)
def test_a_member_that_diverged_does_not_count_for_a_return(losses, expected):
    history, returns = History(1, 2), np.float32([[2.0], [0.0]])
    for steps in (1, 2, 3):
        one = Evaluation(returns, returns, returns > -1, returns)
        history.append(steps, {"loss": np.array(losses)}, one)
    assert reason(Stop(until_return=1.5), history) == expected
