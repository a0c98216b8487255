"""Coins, ties and schedules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxq import schedules
from jaxq.learning.exploration import epsilon_greedy

pytestmark = pytest.mark.usefixtures("compiled_quickly")

KEYS = jax.random.split(jax.random.key(0), 4_000)


def actions(q_values, epsilon, **options):
    """Actions [4000, E]."""
    act = jax.vmap(lambda key: epsilon_greedy(key, jnp.asarray(q_values), epsilon, **options))
    return np.asarray(jax.jit(act)(KEYS))


def test_epsilon_zero_is_greedy_and_one_is_uniform():
    q_values = [[0.0, 2.0, 1.0], [3.0, 1.0, 2.0]]
    np.testing.assert_array_equal(actions(q_values, 0.0), np.tile([1, 0], (4_000, 1)))
    for env in range(2):
        counts = np.bincount(actions(q_values, 1.0)[:, env], minlength=3)
        np.testing.assert_allclose(counts / 4_000, 1 / 3, atol=0.03)


def test_every_environment_tosses_its_own_coin():
    """A coin shared by the environments is a known bug of peers: they then explore together."""
    explored = actions(jnp.zeros((2, 50)).at[:, 0].set(1.0), 0.5) != 0  # [4000, 2]
    assert abs(np.corrcoef(explored.T)[0, 1]) < 0.06
    np.testing.assert_allclose(explored.mean(axis=0), 0.49, atol=0.03)


def test_epsilon_per_environment():
    explored = actions(jnp.zeros((3, 50)).at[:, 0].set(1.0), jnp.array([0.0, 0.5, 1.0])) != 0
    np.testing.assert_allclose(explored.mean(axis=0), [0.0, 0.49, 0.98], atol=0.03)


def test_ties_go_to_the_first_action_or_to_chance():
    tied = [[1.0, 0.0, 1.0, 1.0]]
    assert set(actions(tied, 0.0)[:, 0]) == {0}
    counts = np.bincount(actions(tied, 0.0, break_ties=True)[:, 0], minlength=4)
    np.testing.assert_allclose(counts / 4_000, [1 / 3, 0.0, 1 / 3, 1 / 3], atol=0.03)


def test_negative_values_do_not_confuse_tie_breaking():
    assert set(actions([[-5.0, -1.0, -9.0]], 0.0, break_ties=True)[:, 0]) == {1}


@pytest.mark.parametrize(
    "num_steps, step, expected",
    [
        (100, -5, 1.0),
        (100, 0, 1.0),
        (100, 50, 0.6),
        (100, 100, 0.2),
        (100, 999, 0.2),
        (np.inf, 10**9, 1.0),
        (0, 0, 0.2),
    ],
)
def test_linear_schedule(num_steps, step, expected):
    value = schedules.linear(1.0, 0.2, jnp.float32(num_steps), jnp.int32(step))
    assert float(value) == pytest.approx(expected)


@pytest.mark.parametrize(
    "num_steps, step, expected",
    [
        (100, -5, 1.0),
        (100, 0, 1.0),
        (100, 100, 0.2 + 0.8 / np.e),
        (100, 10**6, 0.2),
        (np.inf, 10**9, 1.0),
    ],
)
def test_exponential_schedule(num_steps, step, expected):
    value = schedules.exponential(1.0, 0.2, jnp.float32(num_steps), jnp.int32(step))
    assert float(value) == pytest.approx(expected)
