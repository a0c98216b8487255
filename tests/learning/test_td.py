"""TD errors against hand-computed numbers, and against rlax where it is installed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxq.learning import td

pytestmark = pytest.mark.usefixtures("compiled_quickly")

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


SUPPORT = jnp.linspace(0.0, 4.0, 5)


@pytest.mark.parametrize(
    "atoms, probs, expected",
    [
        (SUPPORT, [0.1, 0.2, 0.3, 0.2, 0.2], [0.1, 0.2, 0.3, 0.2, 0.2]),  # integer neighbours
        (SUPPORT + 0.25, [1, 0, 0, 0, 0], [0.75, 0.25, 0, 0, 0]),
        (SUPPORT - 3.0, [0.25, 0.25, 0.25, 0.0, 0.25], [0.75, 0.25, 0, 0, 0]),  # clipped below
        (SUPPORT + 9.0, [0.5, 0.5, 0, 0, 0], [0, 0, 0, 0, 1]),  # clipped above
        (2.0 + 0.0 * SUPPORT, [0.2] * 5, [0, 0, 1, 0, 0]),  # the task ended: one point
        (jnp.array([0.5, 3.5]), [0.5, 0.5], [0.25, 0.25, 0, 0.25, 0.25]),  # coarser
        (jnp.linspace(0.0, 4.0, 9), [0, 1, 0, 0, 0, 0, 0, 0, 0], [0.5, 0.5, 0, 0, 0]),  # finer
    ],
)
def test_projection_by_hand(atoms, probs, expected):
    """With floor and ceil alone, whole atoms lose all their mass."""
    projected = td.categorical_projection(atoms, jnp.array(probs, jnp.float32), SUPPORT)
    np.testing.assert_allclose(projected, expected, atol=1e-6)


def test_projection_keeps_mass_always_and_the_mean_inside():
    random = np.random.default_rng(0)
    for _ in range(20):
        probs = random.dirichlet(np.ones(11))
        inside, outside = np.sort(random.uniform(0, 4, 11)), random.uniform(-9, 9, 11)
        projected = td.categorical_projection(jnp.array(inside), jnp.array(probs), SUPPORT)
        assert float(projected @ SUPPORT) == pytest.approx(float(probs @ inside), abs=1e-5)
        projected = td.categorical_projection(jnp.array(outside), jnp.array(probs), SUPPORT)
        assert float(projected.sum()) == pytest.approx(1.0, abs=1e-6)


def test_a_projection_is_the_same_on_every_device():
    """Atom by atom on a CPU, all pairs at once elsewhere."""
    random = np.random.default_rng(0)
    atoms = random.normal(2.0, 3.0, 7).astype(np.float32)
    probs = random.dirichlet(np.ones(7)).astype(np.float32)
    here = td.categorical_projection(atoms, probs, SUPPORT)
    elsewhere = td._all_pairs(jnp.clip(atoms, 0.0, 4.0), probs, SUPPORT)
    np.testing.assert_allclose(here, elsewhere, atol=1e-6)


def test_a_point_mass_is_cross_entropy_with_a_one_hot():
    logits = jnp.array([0.3, -1.0, 2.0, 0.0, 0.5])
    probs = jax.nn.one_hot(0, 5)  # at 0, so that the target is the reward
    loss = td.categorical_td(logits, SUPPORT, jnp.float32(3.0), jnp.float32(0.9), probs)
    assert float(loss) == pytest.approx(-float(jax.nn.log_softmax(logits)[3]), rel=1e-6)


def test_quantile_regression_by_hand():
    """Targets -3, 4, 2; quantiles -1 and 3 at (0.2, 0.7) and (0, 0.4)."""
    targets, source = jnp.array([-3.0, 4.0, 2.0]), jnp.array([-1.0, 3.0])
    for tau, errors in (([0.2, 0.7], [[-2, 5, 3], [-6, 1, -1]]), ([0.0, 0.4], None)):
        errors = np.array([[-2.0, 5.0, 3.0], [-6.0, 1.0, -1.0]])
        weights = np.abs(np.array(tau)[:, None] - (errors < 0))
        huber = np.where(np.abs(errors) <= 2, 0.5 * errors**2, 2 * (np.abs(errors) - 1))
        expected = (weights * huber / 2.0).mean(axis=1).sum()
        loss = td.quantile_regression(source, jnp.array(tau), targets, jnp.float32(2.0))
        assert float(loss) == pytest.approx(expected, rel=1e-6)


def test_one_quantile_at_one_half_is_half_a_huber():
    loss = td.quantile_regression(
        jnp.array([1.0]), jnp.array([0.5]), jnp.array([4.0]), jnp.float32(1.0)
    )
    assert float(loss) == pytest.approx(0.5 * float(td.huber_loss(jnp.float32(3.0))))


def test_quantiles_of_uniform_samples_are_their_fractions():
    """The minimiser on U(0, 1) is (2i + 1) / 2N, for a small kappa."""
    fractions, samples = (jnp.arange(5) + 0.5) / 5, (jnp.arange(1000) + 0.5) / 1000

    def step(theta, _):
        gradient = jax.grad(td.quantile_regression)(theta, fractions, samples, jnp.float32(1e-3))
        return theta - 0.01 * gradient, None

    theta, _ = jax.lax.scan(step, jnp.full(5, 0.5), length=2_000)
    np.testing.assert_allclose(theta, fractions, atol=0.01)


def test_distributional_losses_equal_rlax():
    rlax = pytest.importorskip("rlax")
    random = np.random.default_rng(1)
    logits, other = random.normal(size=(2, 64, 3, 11)).astype(np.float32)
    action, best = random.integers(0, 3, (2, 64))
    reward, discount = random.uniform(size=(2, 64)).astype(np.float32)
    atoms, rows = jnp.linspace(-2.0, 2.0, 11), np.arange(64)
    selector = np.eye(3, dtype=np.float32)[best]
    expected = jax.vmap(rlax.categorical_double_q_learning, (None, 0, 0, 0, 0, None, 0, 0))(
        atoms, logits, action, reward, discount, atoms, other, selector
    )
    probs = jax.nn.softmax(other[rows, best])
    ours = jax.vmap(td.categorical_td, (0, None, 0, 0, 0))(
        logits[rows, action], atoms, reward, discount, probs
    )
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    source, target = random.normal(size=(2, 64, 7)).astype(np.float32)
    fractions = random.uniform(size=(64, 7)).astype(np.float32)
    expected = jax.vmap(rlax.quantile_regression_loss, (0, 0, 0, None))(
        source, fractions, target, 0.7
    )
    ours = jax.jit(jax.vmap(td.quantile_regression, (0, 0, 0, None)))(
        source, fractions, target, jnp.float32(0.7)
    )
    np.testing.assert_allclose(ours * 0.7, expected, rtol=1e-4, atol=1e-5)  # rlax: no / kappa
    projected = jax.vmap(td.categorical_projection, (0, 0, None))(
        source, jax.nn.softmax(target), atoms
    )
    expected = jax.vmap(rlax.categorical_l2_project, (0, 0, None))(
        np.sort(source), jax.nn.softmax(target), atoms
    )
    resorted = jax.vmap(td.categorical_projection, (0, 0, None))(
        np.sort(source), jax.nn.softmax(target), atoms
    )
    np.testing.assert_allclose(resorted, expected, atol=1e-5)
    assert projected.shape == expected.shape
