"""Windows that end, are cut, or go through, derived by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxq.learning.returns import fold_window, lambda_returns, n_step_returns, rescale, unscale
from jaxq.types import Step

pytestmark = pytest.mark.usefixtures("compiled_quickly")


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


REWARD = jnp.array([[1.0, 0.0, -1.0, 0.0, 1.0], [0.5, 0.8, -0.7, 0.0, 2.1]])
DISCOUNT = jnp.array([[0.5, 0.9, 1.0, 0.5, 0.8], [0.9, 0.5, 0.3, 0.8, 0.7]])
VALUE = jnp.array([[3.0, 1.0, 5.0, -5.0, 3.0], [-1.7, 1.2, 2.3, 2.2, 2.7]])
NEVER = jnp.zeros((2, 5), bool)


def test_n_step_returns_by_hand():
    totals = jax.vmap(lambda *x: n_step_returns(*x, 3))(REWARD, DISCOUNT, VALUE, NEVER)
    expected = [[2.8, -3.15, 0.7, 1.7, 3.4], [1.2155, 0.714, 0.2576, 3.192, 3.99]]
    np.testing.assert_allclose(totals, expected, rtol=1e-5)


def test_lambda_returns_by_hand():
    totals = jax.vmap(lambda_returns, (0, 0, 0, 0, None))(REWARD, DISCOUNT, VALUE, NEVER, 0.75)
    expected = [
        [1.6460547, 0.72281253, 0.7375, 0.65, 3.4],
        [0.7866317, 0.9913063, 0.1101501, 2.834, 3.99],
    ]
    np.testing.assert_allclose(totals, expected, rtol=1e-5)


@pytest.mark.parametrize("td_lambda, n", [(0.0, 1), (1.0, 5)])
def test_lambda_zero_is_one_step_and_one_is_to_the_end(td_lambda, n):
    done = jnp.array([False, False, True, False, False])
    arguments = REWARD[0], DISCOUNT[0], VALUE[0], done
    totals = lambda_returns(*arguments, jnp.float32(td_lambda))
    np.testing.assert_allclose(totals, n_step_returns(*arguments, n), rtol=1e-6)


def test_returns_restart_at_a_time_limit_and_stop_at_termination():
    """Step 1 is cut and bootstraps its own final observation; step 3 terminates."""
    reward, value = jnp.array([1.0, 2.0, 4.0, 8.0, 16.0]), jnp.array([9.0, 10.0, 9.0, 9.0, 20.0])
    done = jnp.array([False, True, False, True, False])
    discount = jnp.array([0.5, 0.5, 0.5, 0.0, 0.5])
    expected = [1 + 0.5 * 7, 2 + 0.5 * 10, 4 + 0.5 * 8, 8, 16 + 0.5 * 20]
    np.testing.assert_allclose(lambda_returns(reward, discount, value, done, 1.0), expected)
    np.testing.assert_allclose(n_step_returns(reward, discount, value, done, 5), expected)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_a_folded_window_is_the_first_n_step_return(n):
    steps = make_steps([1, 2, 4, 8], terminated=[3], done=[1])
    discounts = 0.5 * (1.0 - steps.terminated)
    value = 3.0
    window = jax.tree.map(lambda x: x[:n], steps)
    reward, discount, _ = folded(window, 0.5)
    totals = n_step_returns(steps.reward, discounts, jnp.full(4, value), steps.done, n)
    assert float(totals[0]) == pytest.approx(reward + discount * value)


@pytest.mark.parametrize(
    "x, y", [(1, 0.415214), (10, 2.326625), (100, 9.149876), (1000, 31.638584)]
)
def test_rescaling_by_hand(x, y):
    assert float(rescale(jnp.float32(x))) == pytest.approx(y, rel=1e-5)
    assert float(unscale(jnp.float32(-y))) == pytest.approx(-x, rel=1e-3)


def test_returns_equal_rlax():
    rlax = pytest.importorskip("rlax")
    for row in range(2):
        arguments = REWARD[row], DISCOUNT[row], VALUE[row]
        np.testing.assert_allclose(
            lambda_returns(*arguments, NEVER[row], 0.6), rlax.lambda_returns(*arguments, 0.6), 1e-5
        )
        for n in (1, 2, 3, 5):
            np.testing.assert_allclose(
                n_step_returns(*arguments, NEVER[row], n),
                rlax.n_step_bootstrapped_returns(*arguments, n),
                rtol=1e-5,
            )
    x = jnp.linspace(-50.0, 50.0, 101)
    np.testing.assert_allclose(rescale(x), rlax.signed_hyperbolic(x), atol=1e-5)
    np.testing.assert_allclose(unscale(x), rlax.signed_parabolic(x), rtol=2e-3, atol=1e-3)
