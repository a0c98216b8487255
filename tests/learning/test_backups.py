"""Backups: closed forms and reductions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxq.config import HParams
from jaxq.learning import backups
from jaxq.learning.backups import Values

pytestmark = pytest.mark.usefixtures("compiled_quickly")

VALUES = Values(
    online_tm1=jnp.array([7.0, 7.0, 7.0]),
    online_t=jnp.array([9.0, 0.0, 1.0]),
    target_tm1=jnp.array([0.5, 0.2, 0.1]),
    target_t=jnp.array([1.0, 3.0, 2.0]),
)


def value(backup, hparams=HParams(), values=VALUES):  # noqa: B008
    ahead = backup(values, jnp.int32(1), hparams)
    q_t = backups.after(ahead, values.target_t, values.online_t)
    return float(ahead.policy @ q_t + ahead.entropy), float(ahead.bonus)


def test_greedy_is_the_maximum_and_double_takes_the_online_action():
    assert value(backups.greedy) == (3.0, 0.0)
    assert value(backups.double) == (1.0, 0.0)


def test_minto_is_the_greatest_of_the_lesser_estimates():
    """Of (1, 9), (3, 0), (2, 1): neither the maximum's minimum nor the minimum of the maxima."""
    assert value(backups.minto) == (1.0, 0.0)
    ahead = backups.minto(VALUES, jnp.int32(1), HParams())
    np.testing.assert_array_equal(ahead.online, [False, True, True])


@pytest.mark.parametrize("online", [VALUES.target_t, VALUES.target_t + 1e6])
def test_minto_with_an_online_network_that_is_equal_or_says_more_is_greedy(online):
    assert value(backups.minto, values=VALUES._replace(online_t=online)) == (3.0, 0.0)


def test_minto_never_says_more_than_greedy():
    for seed in range(20):
        rows = jax.random.normal(jax.random.key(seed), (4, 5))
        values = Values(*rows)
        assert value(backups.minto, values=values)[0] <= value(backups.greedy, values=values)[0]


@pytest.mark.parametrize("temperature", [0.01, 0.3, 5.0])
def test_soft_is_logsumexp(temperature):
    expected = temperature * jax.nn.logsumexp(VALUES.target_t / temperature)
    assert value(backups.soft, HParams(temperature=temperature))[0] == pytest.approx(
        float(expected), rel=1e-5
    )


def test_small_temperature_and_no_bonus_is_q_learning():
    """Also where values are large against the temperature: nothing overflows."""
    values = VALUES._replace(target_t=1e4 * VALUES.target_t)
    hparams = HParams(temperature=1e-3, munchausen_alpha=0.0)
    assert value(backups.munchausen, hparams, values) == (pytest.approx(3e4), 0.0)


def test_munchausen_bonus_by_hand():
    """From the target network, before the step, clipped from below."""
    log_policy = np.log(np.exp(2.0) / np.exp([5.0, 2.0, 1.0]).sum())  # of action 1, temperature 0.1
    hparams = HParams(temperature=0.1, munchausen_alpha=0.9, munchausen_clip=1.0)
    assert value(backups.munchausen, hparams)[1] == pytest.approx(0.9 * 0.1 * log_policy, rel=1e-5)
    clipped = hparams._replace(munchausen_clip=0.2)
    assert value(backups.munchausen, clipped)[1] == pytest.approx(-0.9 * 0.2)


def test_munchausen_in_a_bandit_is_the_softmax_of_scaled_rewards():
    """One state, every step ends: q = r + alpha tau log softmax(q / tau).

    So differences of q are those of r divided by (1 - alpha).
    """
    reward, alpha, tau = np.array([0.3, 0.1, 0.0]), 0.5, 0.2
    hparams = HParams(temperature=tau, munchausen_alpha=alpha, munchausen_clip=100.0)
    q_values = jnp.zeros(3)
    for _ in range(100):
        bonus = [
            backups.munchausen(Values(*[q_values] * 4), jnp.int32(a), hparams).bonus
            for a in range(3)
        ]
        q_values = reward + jnp.stack(bonus)
    expected = (reward - reward[0]) / (1 - alpha)
    np.testing.assert_allclose(q_values - q_values[0], expected, atol=1e-5)
