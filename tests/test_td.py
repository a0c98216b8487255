"""TD errors against hand-computed numbers, and against rlax where it is installed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxq import td

Q_TM1 = jnp.array([[1.0, 1.0, 0.0], [1.0, 2.0, 0.0]])
ACTION = jnp.array([0, 1])
REWARD = jnp.ones(2)
DISCOUNT = jnp.array([0.0, 1.0])


def test_q_learning_by_hand():
    q_t = jnp.array([[0.0, 1.0, 0.0], [1.0, 2.0, 0.0]])
    errors = jax.vmap(td.q_learning)(Q_TM1, ACTION, REWARD, DISCOUNT, q_t)
    np.testing.assert_allclose(errors, [0.0, 1.0])


def test_double_q_learning_by_hand():
    """Taking the maximum of the evaluator would give 90 in row 2, swapped roles 10."""
    value = jnp.array([[99.0, 1.0, 98.0], [91.0, 2.0, 66.0]])
    selector = jnp.array([[2.0, 10.0, 1.0], [11.0, 20.0, 1.0]])
    errors = jax.vmap(td.double_q_learning)(Q_TM1, ACTION, REWARD, DISCOUNT, value, selector)
    np.testing.assert_allclose(errors, [0.0, 1.0])


def test_no_gradient_reaches_the_target():
    q_t = jnp.array([3.0, 1.0])
    gradient = jax.grad(lambda q: td.q_learning(q_t, jnp.int32(0), 1.0 * q[0], q[1], q))(q_t)
    np.testing.assert_array_equal(gradient, [0.0, 0.0])


@pytest.mark.parametrize("delta", [0.5, 1.0, 10.0])
def test_huber_by_hand(delta):
    x = np.array([-7.0, -0.25, 0.0, 0.3, 2.0])
    expected = np.where(np.abs(x) <= delta, 0.5 * x**2, delta * (np.abs(x) - 0.5 * delta))
    np.testing.assert_allclose(td.huber_loss(jnp.array(x), delta), expected, rtol=1e-6)


def test_infinite_delta_is_the_squared_loss():
    """The textbook form of Huber gives inf * 0 = NaN here."""
    x = jnp.array([-1e4, 0.0, 3.0])
    np.testing.assert_allclose(td.huber_loss(x, jnp.inf), 0.5 * x**2)
    gradient = jax.vmap(jax.grad(td.huber_loss), in_axes=(0, None))(x, jnp.inf)
    np.testing.assert_allclose(gradient, x)


def test_huber_gradient_is_clipped():
    x = jnp.array([-3.0, -0.5, 0.5, 3.0])
    gradient = jax.vmap(jax.grad(td.huber_loss))(x)
    np.testing.assert_allclose(gradient, [-1.0, -0.5, 0.5, 1.0])


def test_equal_to_rlax():
    rlax = pytest.importorskip("rlax")
    random = np.random.default_rng(0)
    q_tm1, q_t, selector = random.normal(size=(3, 500, 4)).astype(np.float32)
    action = random.integers(0, 4, 500)
    reward, discount = random.normal(size=(2, 500)).astype(np.float32)
    for ours, theirs, arguments in (
        (td.q_learning, rlax.q_learning, (q_t,)),
        (td.double_q_learning, rlax.double_q_learning, (q_t, selector)),
    ):
        step = (q_tm1, action, reward, discount, *arguments)
        expected = jax.jit(jax.vmap(theirs))(*step)
        np.testing.assert_allclose(jax.jit(jax.vmap(ours))(*step), expected, atol=1e-6)
    expected = rlax.huber_loss(jnp.asarray(reward), 0.7)
    np.testing.assert_allclose(td.huber_loss(reward, 0.7), expected, atol=1e-6)
