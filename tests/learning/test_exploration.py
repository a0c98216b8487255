"""Coins, ties, repetitions and schedules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxq import schedules
from jaxq.config import HParams
from jaxq.learning.exploration import (
    Persistence,
    Repetition,
    epsilon_greedy,
    ez_greedy,
    softmax,
    zipf,
)
from jaxq.networks.legal import ILLEGAL

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


@pytest.mark.parametrize(("exponent", "largest"), [(2.0, 10_000), (2.0, 3), (0.0, 4), (np.inf, 9)])
def test_durations_are_as_likely_as_a_power_of_them(exponent, largest):
    """Of an equally spaced grid of draws exactly the share; P(n = 1) is 6 / pi^2 for all n."""
    size = 10_000
    grid = (np.arange(size) + 0.5) / size
    drawn = np.asarray(jax.jit(zipf, static_argnums=2)(grid, exponent, largest))
    weights = np.arange(1.0, largest + 1.0) ** -exponent
    shares = np.bincount(drawn, minlength=largest + 1)[1:] / len(drawn)
    np.testing.assert_allclose(shares, weights / weights.sum(), atol=2 / size)
    if largest == 10_000:
        assert shares[0] == pytest.approx(6 / np.pi**2, abs=2 / size)


def repeated(epsilon, exponent, max_duration=100, num_steps=400, num_envs=50):
    """Actions [T, E] by ez-greedy, with values whose best action is 2, and what it remembered."""
    selection = ez_greedy(max_duration)
    q_values = jnp.tile(jnp.array([0.0, 1.0, 2.0, -1.0]), (num_envs, 1))

    def step(state, key):
        before = state
        action, state = selection.select(state, key, q_values, Persistence(epsilon, exponent))
        return state, (action, before)

    keys = jax.random.split(jax.random.key(3), num_steps)
    run = jax.jit(lambda: jax.lax.scan(step, selection.init(num_envs), keys)[1])
    return jax.tree.map(np.asarray, run())


def test_an_action_is_repeated_as_long_as_it_was_drawn_for():
    actions, before = repeated(0.3, 1.0)
    held = before.remaining > 0
    np.testing.assert_array_equal(actions[held], before.action[held])
    assert held.mean() > 0.5 and (np.diff(before.remaining, axis=0)[held[:-1]] == -1).all()


def test_without_epsilon_nothing_is_repeated():
    actions, before = repeated(0.0, 0.0)
    assert (actions == 2).all() and not before.remaining.any()


def test_durations_of_one_step_are_epsilon_greedy():
    for changes in ({"exponent": np.inf}, {"exponent": 2.0, "max_duration": 1}):
        actions, before = repeated(0.4, **changes)
        assert not before.remaining.any()
        shares = np.bincount(actions.reshape(-1), minlength=4) / actions.size
        np.testing.assert_allclose(shares, [0.1, 0.1, 0.7, 0.1], atol=0.01)
        explored = (actions != 2) * 1.0
        assert abs(np.corrcoef(explored[1:].ravel(), explored[:-1].ravel())[0, 1]) < 0.03


def test_ties_are_broken_between_repetitions():
    selection = ez_greedy(10, break_ties=True)
    tied, amount = jnp.zeros((500, 3)), Persistence(0.0, 2.0)
    actions, _ = jax.jit(selection.select)(selection.init(500), KEYS[0], tied, amount)
    assert set(np.unique(actions)) == {0, 1, 2}


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


LEGAL = np.array([[True, False, True], [False, False, True]])


@pytest.mark.parametrize("break_ties", [False, True])
def test_epsilon_is_spread_over_legal_actions(break_ties):
    """The values of the others are as a network gives them."""
    hidden = np.where(LEGAL, [[0.0, 2.0, 1.0], [3.0, 1.0, 2.0]], ILLEGAL)
    options = {"break_ties": break_ties, "legal": jnp.asarray(LEGAL)}
    np.testing.assert_array_equal(actions(hidden, 0.0, **options), np.tile([2, 2], (4_000, 1)))
    chosen = actions(hidden, 1.0, **options)
    np.testing.assert_allclose(np.bincount(chosen[:, 0]) / 4_000, [0.5, 0.0, 0.5], atol=0.03)
    assert set(chosen[:, 1]) == {2}


def test_where_all_actions_are_legal_the_same_are_drawn():
    q_values, every = jax.random.normal(KEYS[0], (2, 3)), jnp.ones((2, 3), bool)
    for options in ({}, {"break_ties": True}):
        plain, told = (actions(q_values, 0.5, **options, **more) for more in ({}, {"legal": every}))
        np.testing.assert_array_equal(plain, told)


def test_softmax_gives_no_probability_to_an_illegal_action():
    hidden = jnp.asarray(np.where(LEGAL, 0.0, ILLEGAL))
    act = jax.jit(jax.vmap(lambda key: softmax(key, hidden, 1e3, legal=LEGAL)))
    chosen = np.asarray(act(KEYS))
    np.testing.assert_allclose(np.bincount(chosen[:, 0]) / 4_000, [0.5, 0.0, 0.5], atol=0.03)
    assert set(chosen[:, 1]) == {2}


def test_a_repetition_ends_where_its_action_is_not_legal():
    """Action 0 would be taken three times more; it is legal in the first environment only, and in
    the second the step is one like any other."""
    selection, q_values = ez_greedy(9), jnp.array([[0.0, 1.0, 0.0]] * 2)
    state = Repetition(jnp.array([0, 0]), jnp.array([3, 3]))
    legal = jnp.array([[True, True, True], [False, True, True]])
    select = jax.jit(selection.select)
    action, after = select(state, KEYS[0], q_values, Persistence(0.0, 2.0), legal=legal)
    np.testing.assert_array_equal(action, [0, 1])
    np.testing.assert_array_equal(after.remaining, [2, 0])
    begin = jax.jit(jax.vmap(lambda k: select(state, k, q_values, Persistence(1.0, 2.0), legal)))
    action, after = begin(KEYS[:400])
    assert set(np.asarray(action)[:, 0]) == {0} and set(np.asarray(action)[:, 1]) == {1, 2}
    every = legal | True
    told = select(state, KEYS[0], q_values, Persistence(0.5, 2.0), legal=every)
    plain = select(state, KEYS[0], q_values, Persistence(0.5, 2.0))
    jax.tree.map(np.testing.assert_array_equal, told, plain)


def test_softmax_is_of_values_over_the_temperature():
    act = jax.jit(jax.vmap(lambda key: softmax(key, jnp.array([[0.0, 1.0]]), 0.5)))
    np.testing.assert_allclose(np.mean(act(KEYS)), 1 / (1 + np.exp(-2.0)), atol=0.02)


def test_ez_greedy_explores_as_often_as_is_scheduled_and_as_long_as_its_exponent_says():
    assert ez_greedy(5).amount(HParams(duration_exponent=2.5), 0.1) == (0.1, 2.5)


def test_how_long_an_action_is_repeated_does_not_depend_on_which_it_is():
    selection, many = ez_greedy(100), 10_000
    arguments = jax.random.key(0), jnp.zeros((many, 4)), Persistence(1.0, 0.0)
    _, state = jax.jit(selection.select)(selection.init(many), *arguments)
    assert abs(np.corrcoef(state.action, state.remaining)[0, 1]) < 0.04
