"""Memory cells: their textbook loops, the two ways through a sequence, and what a reset erases."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxq.networks import cells, kernels
from jaxq.networks.layers import default_init
from jaxq.recipes.parts import MEMORIES
from jaxq.replay.rings import codec_of

pytestmark = pytest.mark.usefixtures("compiled_quickly")

STEPS, ROWS, INPUTS, WIDTH = 7, 3, 5, 4
KEYS = jax.random.split(jax.random.key(0), 5)
X = jax.random.normal(KEYS[0], (STEPS, ROWS, INPUTS))
RESETS = jax.random.bernoulli(KEYS[1], 0.3, (STEPS, ROWS))
CELLS = {
    "lstm": cells.lstm(WIDTH),
    "gru": cells.gru(WIDTH),
    "mingru": cells.min_gru(WIDTH),
    "lru": cells.lru(WIDTH),
    "flax's": cells.step_by_step(partial(nn.GRUCell, WIDTH, recurrent_kernel_init=default_init)),
}
NAMES = pytest.mark.parametrize("name", CELLS)


def made(name):
    """A cell, its parameters and a memory that is not empty."""
    cell = CELLS[name]
    module, carry = cell.make(), cell.initial_carry(ROWS)
    params = jax.jit(module.init)(KEYS[2], carry, X, RESETS)
    carry = jax.tree.map(lambda x: jax.random.normal(KEYS[3], x.shape), carry)
    return jax.jit(module.apply), params, carry


def assert_close(a, b):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), a, b)


def test_every_cell_is_tested():
    assert {*MEMORIES} - {"none"} == {*CELLS} - {"flax's"}


@NAMES
def test_all_steps_at_once_are_one_step_after_the_other(name):
    apply, params, carry = made(name)
    together, alone, start = apply(params, carry, X, RESETS), [], carry
    for x, reset in zip(X, RESETS):
        features, carries = apply(params, carry, x[None], reset[None])
        carry = jax.tree.map(lambda leaf: leaf[0], carries)
        alone.append((features[0], carry))
    assert RESETS.any() and jax.tree.map(jnp.shape, carry) == jax.tree.map(jnp.shape, start)
    assert_close(together, jax.tree.map(lambda *x: jnp.stack(x), *alone))


@NAMES
def test_an_end_in_the_middle_is_two_sequences(name):
    apply, params, carry = made(name)
    never, middle = jnp.zeros((STEPS, ROWS), bool), 3
    together = apply(params, carry, X, never.at[middle].set(True))
    first = apply(params, carry, X[:middle], never[:middle])
    second = apply(params, CELLS[name].initial_carry(ROWS), X[middle:], never[middle:])
    assert_close(together, jax.tree.map(lambda *x: jnp.concatenate(x), first, second))


@NAMES
def test_a_replay_stores_every_memory_exactly(name):
    """Trap: a complex memory fits into no record."""
    *_, carry = made(name)
    codec = codec_of(carry)
    assert codec.num_words == sum(leaf.size for leaf in jax.tree.leaves(carry)) // ROWS
    jax.tree.map(np.testing.assert_array_equal, codec.unpack(codec.pack(carry)), carry)


@pytest.mark.parametrize("name", ["gru", "mingru", "lru"])
def test_no_decomposition_in_the_initialisation(name):
    """Trap: the QR of flax's orthogonal weights, batched over members, deadlocks on a CPU."""
    cell = CELLS[name]
    init = jax.jit(cell.make().init)
    assert "lapack" not in init.lower(KEYS[0], cell.initial_carry(ROWS), X, RESETS).as_text()


def test_gru_equals_flax():
    """With the same weights, values and gradients, resets included."""
    (_, params, carry), cell = made("gru"), nn.GRUCell(WIDTH)
    module = kernels.GRU(WIDTH)
    weights = jax.random.normal(KEYS[4], (STEPS, ROWS, WIDTH))  # of the outputs
    params["params"]["bias"] = jnp.arange(WIDTH) - 1.0

    def ours(params, carry, x):
        return jnp.sum(weights * module.apply(params, carry, x, RESETS)[0])

    def theirs(params, carry, x):
        params, hidden = _flax_gru(params["params"]), []
        for now, keep in zip(x, ~RESETS[..., None]):
            carry, _ = cell.apply(params, keep * carry, now)
            hidden.append(carry)
        return jnp.sum(weights * jnp.stack(hidden))

    value, grads = jax.jit(jax.value_and_grad(ours, (0, 1, 2)))(params, carry, X)
    value_flax, grads_flax = jax.jit(jax.value_and_grad(theirs, (0, 1, 2)))(params, carry, X)
    np.testing.assert_allclose(value, value_flax, rtol=1e-5)
    assert_close(grads, grads_flax)


def _flax_gru(params):
    """Our weights in flax's words: six kernels instead of two."""
    split = lambda leaf: jnp.split(leaf, 3, axis=-1)  # noqa: E731
    dense = params["Dense_0"]
    renamed = {}
    gates = zip("rzn", split(dense["kernel"]), split(dense["bias"]), split(params["kernel"]))
    for gate, kernel, bias, recurrent in gates:
        renamed["i" + gate] = {"kernel": kernel, "bias": bias}
        renamed["h" + gate] = {"kernel": recurrent}
    renamed["hn"]["bias"] = params["bias"]
    return {"params": renamed}


def test_min_gru_by_hand():
    apply, params, carry = made("mingru")
    kernel, bias = (np.asarray(params["params"]["Dense_0"][name]) for name in ("kernel", "bias"))
    hidden, expected = np.asarray(carry), []
    for x, reset in zip(np.asarray(X), np.asarray(RESETS)):
        take, candidate = np.split(x @ kernel + bias, 2, axis=-1)
        take = 1.0 / (1.0 + np.exp(-take))
        hidden = (1.0 - take) * np.where(reset[:, None], 0.0, hidden) + take * candidate
        expected.append(hidden)
    assert_close(apply(params, carry, X, RESETS), (np.stack(expected),) * 2)


def test_a_min_gru_that_takes_everything_remembers_nothing():
    """It is the dense layer of its candidates."""
    apply, params, carry = made("mingru")
    dense = params["params"]["Dense_0"]
    dense["kernel"] = dense["kernel"].at[:, :WIDTH].set(0.0)
    dense["bias"] = dense["bias"].at[:WIDTH].set(100.0)
    features, _ = apply(params, carry, X, RESETS)
    assert_close(features, X @ dense["kernel"][:, WIDTH:] + dense["bias"][WIDTH:])


def test_lru_by_hand():
    apply, params, carry = made("lru")
    params = jax.tree.map(np.asarray, params["params"])
    decay = np.exp(-np.exp(params["nu_log"]) + 1j * np.exp(params["theta_log"]))
    inputs = params["Dense_0"]["kernel"][:, :WIDTH] + 1j * params["Dense_0"]["kernel"][:, WIDTH:]
    real, imaginary, through = np.split(params["Dense_1"]["kernel"], [WIDTH, 2 * WIDTH])
    hidden, carries, sums = np.asarray(carry[0]) + 1j * np.asarray(carry[1]), [], []
    for x, reset in zip(np.asarray(X), np.asarray(RESETS)):
        hidden = np.where(reset[:, None], 0.0, hidden)
        hidden = decay * hidden + np.exp(params["gamma_log"]) * (x @ inputs)
        carries.append(hidden)
        sums.append((hidden @ (real - 1j * imaginary)).real + x @ through)
    expected = nn.gelu(np.stack(sums).astype(np.float32) + params["Dense_1"]["bias"])
    carries = np.stack(carries)
    features, ours = apply({"params": params}, carry, X, RESETS)
    assert_close(ours, (carries.real, carries.imag))
    assert_close(features, expected)


@pytest.mark.parametrize("radii", [(0.0, 1.0), (0.9, 0.999)])
def test_the_lru_begins_on_its_ring_with_inputs_of_one_size(radii):
    """|lambda|^2 is uniform, and gamma^2 / (1 - |lambda|^2) is 1."""
    width = 500
    module = cells.LRU(width, radii)
    carry = cells.lru(width).initial_carry(1)
    params = jax.jit(module.init)(KEYS[2], carry, X[:1, :1], RESETS[:1, :1])["params"]
    modulus = np.exp(-np.exp(np.asarray(params["nu_log"], np.float64)))
    assert radii[0] - 1e-6 <= modulus.min() and modulus.max() <= radii[1]
    low, high = np.square(radii)
    np.testing.assert_allclose(np.mean(modulus**2), (low + high) / 2, rtol=0.1)
    np.testing.assert_allclose(np.exp(params["gamma_log"]) ** 2, 1.0 - modulus**2, rtol=1e-2)
    phases = np.exp(params["theta_log"])
    assert phases.min() >= 0.0 and 6.2 < phases.max() <= 6.28
    np.testing.assert_allclose(params["Dense_0"]["kernel"].var(), 0.5 / INPUTS, rtol=0.1)


FORMS = {
    "steps": cells.recurrence_in_steps,
    "pairs": cells.recurrence_in_pairs,
    "chosen": cells._recurrence,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["real", "complex"])
@pytest.mark.parametrize("length", [1, 13])
def test_a_linear_recurrence_is_its_loop(form, kind, length):
    """Values and gradients of both forms and of the way back that is written out."""
    shape, (key_decay, key_inputs, key_carry, key_weights) = (length, 2, 3), KEYS[:4]

    def draw(key, shape):
        numbers = jax.random.normal(key, (2, *shape))
        return jax.lax.complex(*numbers) if kind == "complex" else numbers[0]

    arguments = draw(key_decay, shape), draw(key_inputs, shape), draw(key_carry, shape[1:])
    weights = jax.random.normal(key_weights, (2, *shape))

    def loop(decay, inputs, carry):
        hidden = []
        for keep, now in zip(decay, inputs):
            carry = keep * carry + now
            hidden.append(carry)
        return jnp.stack(hidden)

    def of(recurrence):
        def total(*arguments):
            hidden = recurrence(*arguments)
            return jnp.sum(weights[0] * hidden.real + weights[1] * hidden.imag), hidden

        return jax.jit(jax.value_and_grad(total, (0, 1, 2), has_aux=True))(*arguments)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * np.abs(b).max()),
        of(FORMS[form]),
        of(loop),
    )
