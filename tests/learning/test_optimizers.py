"""Optimizers: equal to the libraries where those are right."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxq.config import HParams
from jaxq.learning.optimizers import (
    adam,
    adamw,
    make_optimizer,
    radam,
    rmsprop,
    scale_by_centered_rms,
    sgd,
)

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def run(transform, gradients):
    """The last update after a sequence of gradients [T, n]."""
    state = transform.init(gradients[0])
    for gradient in gradients:
        update, state = transform.update(gradient, state)
    return update


def test_centered_rms_is_that_of_optax():
    gradients = jax.random.normal(jax.random.key(0), (50, 20))
    theirs = optax.scale_by_stddev(0.95, 0.01, eps_in_sqrt=False)
    np.testing.assert_allclose(
        run(scale_by_centered_rms(0.95, 0.01), gradients), run(theirs, gradients), rtol=1e-4
    )


def test_centered_rms_survives_a_steady_gradient():
    """Rounding makes the variance of a constant negative; its root would be NaN."""
    gradients = jnp.ones((1_500, 1)) * jax.random.uniform(jax.random.key(0), (1, 200))
    transform = scale_by_centered_rms(0.95, 0.01)

    def body(state, gradient):
        update, state = transform.update(gradient, state)
        return state, jnp.isfinite(update).all()

    _, finite = jax.lax.scan(body, transform.init(gradients[0]), gradients)
    assert finite.all()


def test_every_number_of_an_optimizer_can_be_swept():
    """Built inside the traced function: a vmap over its numbers just works."""
    optimizer = make_optimizer(adam, clip_gradients=True)
    params = jnp.ones(3)

    def step(rate, norm):
        transform = optimizer(HParams(max_gradient_norm=norm), rate)
        return transform.update(params, transform.init(params), params)[0]

    rates = jnp.array([0.1, 0.2])
    updates = jax.vmap(step)(rates, jnp.array([1.0, jnp.inf]))
    np.testing.assert_allclose(updates, -rates[:, None] * np.ones(3), rtol=1e-5)


def test_what_is_never_trained_does_not_decay():
    """The random networks of a prior and of random distillation are weights by name alone."""
    kernel = {"kernel": jnp.ones(2)}
    params = {
        "params": {"head": kernel, "priors": kernel},
        "statistics": {"novelty": {"random": {"params": kernel}}},
    }
    transform = adamw(HParams(weight_decay=0.5))
    nothing = jax.tree.map(jnp.zeros_like, params)
    moved = transform.update(nothing, transform.init(params), params)[0]
    assert moved["params"]["head"]["kernel"].all()
    assert not any(
        leaf.any() for leaf in jax.tree.leaves((moved["params"]["priors"], moved["statistics"]))
    )


def test_weight_decay_is_decoupled_and_spares_biases():
    params = {"kernel": jnp.array([2.0]), "bias": jnp.array([2.0])}
    gradients = jax.tree.map(lambda x: x + 1.0, params)
    decayed, plain = (
        transform.update(gradients, transform.init(params), params)[0]
        for transform in (adamw(HParams(weight_decay=0.5)), adam(HParams()))
    )
    np.testing.assert_allclose(decayed["kernel"], plain["kernel"] + 0.5 * 2.0, rtol=1e-6)
    np.testing.assert_allclose(decayed["bias"], plain["bias"], rtol=1e-6)


def test_gradients_are_clipped_by_their_global_norm():
    transform = make_optimizer(sgd, clip_gradients=True)(HParams(max_gradient_norm=1.0), 1.0)
    gradients = {"a": jnp.array([3.0]), "b": jnp.array([4.0])}
    moved, _ = transform.update(gradients, transform.init(gradients))
    np.testing.assert_allclose([moved["a"][0], moved["b"][0]], [-0.6, -0.8], rtol=1e-6)


@pytest.mark.parametrize(
    "ours, theirs",
    [
        (adam, optax.scale_by_adam(0.8, 0.95, 0.01)),
        (radam, optax.scale_by_radam(0.8, 0.95, 0.01)),
        (rmsprop, optax.scale_by_stddev(0.9, 0.01, eps_in_sqrt=False)),
    ],
)
def test_an_optimizer_is_that_of_optax_with_our_numbers(ours, theirs):
    hparams = HParams(adam_beta1=0.8, adam_beta2=0.95, rmsprop_decay=0.9, optimizer_epsilon=0.01)
    gradients = jax.random.normal(jax.random.key(0), (30, 20))
    found, expected = run(ours(hparams), gradients), run(theirs, gradients)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
