"""Windows that end, are cut, or go through, derived by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxq.returns import fold_window
from jaxq.types import Step


def make_steps(rewards, terminated=(), done=()):
    """Steps k = 0, 1, ... with observation [k] and next observation [k + 1 + 100 * done]."""
    count = len(rewards)
    ends = np.isin(np.arange(count), list(done) + list(terminated))
    return Step(
        obs=jnp.arange(count)[:, None],
        action=jnp.arange(count),
        reward=jnp.array(rewards, jnp.float32),
        terminated=jnp.array(np.isin(np.arange(count), list(terminated))),
        done=jnp.array(ends),
        next_obs=jnp.arange(1, count + 1)[:, None] + 100 * ends[:, None],
    )


def folded(steps, gamma):
    result = fold_window(steps, jnp.float32(gamma))
    assert int(result.obs[0]) == 0 and int(result.action) == 0
    return float(result.reward), float(result.discount), int(result.next_obs[0])


def test_uncut_window():
    """1 + 0.5 * 2 + 0.25 * 4 = 3, then 0.125 of the value three steps on."""
    assert folded(make_steps([1, 2, 4]), 0.5) == (3.0, 0.125, 3)


def test_window_cut_by_termination():
    """The last reward before the end counts, nothing after it, and there is no bootstrap."""
    assert folded(make_steps([1, 2, 4], terminated=[1]), 0.5) == (2.0, 0.0, 102)


def test_window_cut_by_a_time_limit():
    """Bootstraps gamma**2 from the observation before the reset, not from the next episode."""
    assert folded(make_steps([1, 2, 4], done=[1]), 0.5) == (2.0, 0.25, 102)


def test_the_first_end_cuts():
    assert folded(make_steps([1, 2, 4, 8], terminated=[2], done=[1]), 0.5) == (2.0, 0.25, 102)


def test_termination_wins_on_the_same_step():
    assert folded(make_steps([1], terminated=[0], done=[0]), 0.9) == (1.0, 0.0, 101)


@pytest.mark.parametrize("ends", [{}, {"terminated": [0]}, {"done": [0]}])
def test_window_of_one_is_the_step(ends):
    steps = make_steps([3.0], **ends)
    reward, discount, next_obs = folded(steps, 0.9)
    assert reward == 3.0 and next_obs == int(steps.next_obs[0, 0])
    assert discount == pytest.approx(0.0 if "terminated" in ends else 0.9)


def test_terminal_reward_is_not_lost():
    """Rewards 0, 1, 2, ... and an end at step 3, gamma 1, n = 3: returns 3, 6, 5, 3, 15, 18."""
    rewards = np.arange(10.0)
    returns = []
    for start in range(6):
        terminated = [3 - start] if 0 <= 3 - start < 3 else []
        returns.append(folded(make_steps(rewards[start : start + 3], terminated), 1.0)[0])
    assert returns == [3, 6, 5, 3, 15, 18]


def test_equal_to_rlax_without_ends():
    rlax = pytest.importorskip("rlax")
    rewards = np.random.default_rng(0).normal(size=5).astype(np.float32)
    value = jnp.zeros(5).at[-1].set(7.0)
    expected = rlax.n_step_bootstrapped_returns(jnp.array(rewards), jnp.full(5, 0.9), value, 5)[0]
    reward, discount, _ = folded(make_steps(rewards), 0.9)
    assert reward + discount * 7.0 == pytest.approx(float(expected), rel=1e-5)
