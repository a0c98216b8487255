"""Learning from a stream: eligibility traces over the weights of a network.

At every step ``g = grad Q(s, a)`` joins the trace ``z``, which has decayed by ``gamma lambda``, and
the TD error moves the weights along it. A rule here says how far. When a trace is cut is another
function, and decides nothing but the ``decay`` of the next step: 0 in place of ``gamma lambda``.

Three steps by hand, ``gamma lambda = 1/2``, each with an entry of a table of its own, so that g is
1 there and 0 elsewhere. The first action is greedy, and the second step is one of:

| second step | cut | z before the 2nd update | z before the 3rd update |
|---|---|---|---|
| greedy, goes on | any | (1/2, 1, 0) | (1/4, 1/2, 1) |
| terminated | any | (1/2, 1, 0) | (0, 0, 1), of another episode; delta without a value after it |
| cut by a limit | any | (1/2, 1, 0) | (0, 0, 1), of another episode; delta with one |
| exploratory | ``after`` | (1/2, 1, 0) | (0, 0, 1) |
| exploratory | ``watkins`` | (0, 1, 0) | (0, 1/2, 1) |
| exploratory | ``episodes`` | (1/2, 1, 0) | (1/4, 1/2, 1) |
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxq.config import HParams
from jaxq.networks.fusion import once
from jaxq.types import PyTree


class Online(NamedTuple):
    """One step as what a trace rule learns from, as functions of ANY weights of the network.

    Every method is a gradient of one of them, or of both, and a rule takes those that it needs.
    """

    value: Callable  # weights -> [], of the action taken
    error: Callable  # weights -> [], the TD error, differentiable through both its values


class TraceRule(NamedTuple):
    """How weights follow a stream of steps, each used once; eligibility traces are its state.

    ``init(key, weights, make_weights, hparams) -> state``; ``make_weights(key)`` makes those of
    another network of the same form
    ``update(state, weights, online, decay [], hparams, learning_rate) -> (weights, state)``;
    ``decay`` is gamma lambda, or 0 where the traces of earlier steps are cut
    """

    init: Callable
    update: Callable


# Cuts: (done_tm1, exploratory_tm1, exploratory_t) -> whether the trace of earlier steps is cut
# before the step at t joins it.


def cut_after(done_tm1: jax.Array, exploratory_tm1: jax.Array, exploratory_t: jax.Array):
    """After an exploratory action, as published by Elsayed et al. (2024) and those who follow them.

    The error of that step still moves earlier pairs, although a greedy policy would not have come
    there; then the trace is erased whole, that of the exploratory pair included.
    """
    del exploratory_t
    return done_tm1 | exploratory_tm1


def cut_watkins(done_tm1: jax.Array, exploratory_tm1: jax.Array, exploratory_t: jax.Array):
    """Before an exploratory action (Watkins 1989; Sutton & Barto 1998, section 7.6)."""
    del exploratory_tm1
    return done_tm1 | exploratory_t


def cut_episodes(done_tm1: jax.Array, exploratory_tm1: jax.Array, exploratory_t: jax.Array):
    """At the end of an episode only: naive Q(lambda) (Sutton & Barto 1998, section 7.6)."""
    del exploratory_tm1, exploratory_t
    return done_tm1


# Rules. ``w`` are the weights, ``d`` is the TD error, ``a`` the step size.


def accumulating(optimizer: Callable) -> TraceRule:
    """Q(lambda) with accumulating traces and any optimizer: the gradient it gets is ``-d z``.

    With lambda 0 that is the gradient of ``d**2 / 2``: online Q-learning. With plain gradient steps
    it is Q(lambda) as in the textbook (Sutton & Barto, section 12.2).

    Args:
      optimizer: ``optimizer(hparams, learning_rate) -> optax.GradientTransformation``.
    """

    def init(key, weights, make_weights, hparams):
        del key, make_weights
        return _zeros(weights), optimizer(hparams, jnp.float32(0.0)).init(weights)

    def update(state, weights, online: Online, decay, hparams: HParams, learning_rate):
        trace, opt_state = state
        trace = _joined(trace, decay, jax.grad(online.value)(weights))
        error = once(online.error(weights))
        gradient = jax.tree.map(lambda z: -error * z, trace)
        transform = optimizer(hparams, learning_rate)
        updates, opt_state = transform.update(gradient, opt_state, weights)
        return optax.apply_updates(weights, updates), (trace, opt_state)

    return TraceRule(init, update)


def obgd() -> TraceRule:
    """Stream Q(lambda): overshooting-bounded gradient descent (Elsayed et al. 2024, alg. 3).

    ``M = a kappa max(|d|, 1) |z|_1`` over all weights, ``w += a / max(M, 1) d z``. So all weights
    together move by at most ``1 / kappa``, in the sum of their sizes, whatever ``a`` is: a step is
    bounded where the error could jump over zero. With kappa 0 there is no bound, and it is
    ``accumulating`` with plain gradient steps.
    """

    def init(key, weights, make_weights, hparams):
        del key, make_weights, hparams
        return _zeros(weights)

    def update(trace, weights, online: Online, decay, hparams: HParams, learning_rate):
        trace = _joined(trace, decay, jax.grad(online.value)(weights))
        error = online.error(weights)
        norm = _sum(jnp.abs, trace)
        overshoot = learning_rate * hparams.kappa * jnp.maximum(jnp.abs(error), 1.0) * norm
        size = learning_rate / jnp.maximum(overshoot, 1.0)
        return _moved(weights, once(size * error), trace), trace

    return TraceRule(init, update)


class IntentionalState(NamedTuple):
    """What intentional updates keep."""

    trace: PyTree  # z
    square: PyTree  # v, mean of g**2
    norm: jax.Array  # [] sigma, mean of sum(g**2 / v_hat)
    error_square: jax.Array  # [] m, mean of d**2
    count: jax.Array  # [] int32, updates


def intentional() -> TraceRule:
    """Intentional Q(lambda) (Sharifnassab et al. 2026): an update takes a share off the error.

    The share is the step size ``a``. With ``v_hat`` the root of the corrected mean of squared
    gradients plus 1e-8, ``n = sum(g**2 / v_hat)`` and ``Z = sum(z**2 / v_hat)``:

        sigma += (1 - gamma lambda) (n - sigma)       sigma_hat = sigma / (1 - (gamma lambda)**t)
        m = b m + (1 - b) d**2, of 1 at first         cap = C sqrt(m / (1 - b**t))
        w += clip(d, -cap, cap) a / max(sqrt(sigma_hat Z), 1e-8) z / v_hat

    ``C`` is ``error_cap``, ``b`` is ``error_decay``. Cut are only traces. Where Q is linear and
    lambda is 0 the error of the step is ``1 - a`` times what it was, unless it is clipped.
    """

    def init(key, weights, make_weights, hparams):
        del key, make_weights, hparams
        zeros = _zeros(weights)
        return IntentionalState(zeros, zeros, jnp.float32(0.0), jnp.float32(1.0), jnp.int32(0))

    def update(state, weights, online: Online, decay, hparams: HParams, learning_rate):
        gradient, error = jax.grad(online.value)(weights), online.error(weights)
        trace, count = _joined(state.trace, decay, gradient), state.count + 1
        beta, whole = hparams.adam_beta2, hparams.gamma * hparams.td_lambda
        square = jax.tree.map(lambda v, g: beta * v + (1 - beta) * g**2, state.square, gradient)
        scale = jax.tree.map(lambda v: jnp.sqrt(v / (1 - beta**count)) + 1e-8, square)
        per_scale = lambda x, v: x * x / v  # noqa: E731
        norm = state.norm + (1 - whole) * (_sum(per_scale, gradient, scale) - state.norm)
        corrected = norm / (1 - whole**count)
        size = learning_rate / jnp.maximum(
            jnp.sqrt(corrected * _sum(per_scale, trace, scale)), 1e-8
        )
        b = hparams.error_decay
        error_square = b * state.error_square + (1 - b) * error**2
        cap = hparams.error_cap * jnp.sqrt(error_square / (1 - b**count))
        direction = jax.tree.map(jnp.divide, trace, scale)
        weights = _moved(weights, once(size * jnp.clip(error, -cap, cap)), direction)
        return weights, IntentionalState(trace, square, norm, error_square, count)

    return TraceRule(init, update)


class GradientState(NamedTuple):
    """The second network of gradient methods, and three traces."""

    weights: PyTree  # of h
    h_trace: jax.Array  # [] of h(s, a)
    h_gradient: PyTree  # of grad h(s, a)
    q_gradient: PyTree  # of grad Q(s, a)


def qrc() -> TraceRule:
    """QRC(lambda) (Elelimy et al. 2025, equations 26 to 28): a gradient of the whole error.

    A second network ``h`` of the same form learns what of the error can be expected, and is drawn
    to 0 by ``b`` (``correction_decay``); its steps are ``correction_rate`` times as large:

        w += a [d z_w - h grad Q(s, a) - z_h grad d]
        v += a correction_rate [d z_v - h grad h - b v]

    ``z_w``, ``z_v`` and ``z_h`` are traces of grad Q, grad h and h; ``grad d`` goes through both
    values. Where no error can be expected h is 0, and what is left is Q(lambda). With ``b`` 0 it is
    QC(lambda).
    """

    def direction(error, h, h_trace, q_gradient, q_trace, error_gradient):
        return jax.tree.map(
            lambda g, z, e: error * z - h * g - h_trace * e, q_gradient, q_trace, error_gradient
        )

    return _gradient_rule(direction)


def gq2() -> TraceRule:
    """GQ2(lambda) (Elelimy et al. 2025): ``w -= a z_h grad d``, the rest as in ``qrc``."""

    def direction(error, h, h_trace, q_gradient, q_trace, error_gradient):
        del error, h, q_gradient, q_trace
        return jax.tree.map(lambda e: -h_trace * e, error_gradient)

    return _gradient_rule(direction)


def _gradient_rule(direction: Callable) -> TraceRule:
    """A rule with a second network, whose first moves along ``direction``."""

    def init(key, weights, make_weights, hparams):
        del hparams
        zeros = _zeros(weights)
        return GradientState(make_weights(key), jnp.float32(0.0), zeros, zeros)

    def update(state, weights, online: Online, decay, hparams: HParams, learning_rate):
        q_gradient = jax.grad(online.value)(weights)
        error, error_gradient = jax.value_and_grad(online.error)(weights)
        h, h_gradient = jax.value_and_grad(online.value)(state.weights)
        h_trace = decay * state.h_trace + h
        error, h, h_trace = once(error), once(h), once(h_trace)
        h_traces = _joined(state.h_gradient, decay, h_gradient)
        q_traces = _joined(state.q_gradient, decay, q_gradient)
        along = direction(error, h, h_trace, q_gradient, q_traces, error_gradient)
        h_along = jax.tree.map(
            lambda z, g, w: error * z - h * g - hparams.correction_decay * w,
            h_traces,
            h_gradient,
            state.weights,
        )
        h_weights = _moved(state.weights, learning_rate * hparams.correction_rate, h_along)
        weights = _moved(weights, learning_rate, along)
        return weights, GradientState(h_weights, h_trace, h_traces, q_traces)

    return TraceRule(init, update)


def _zeros(tree: PyTree) -> PyTree:
    return jax.tree.map(jnp.zeros_like, tree)


def _joined(trace: PyTree, decay: jax.Array, gradient: PyTree) -> PyTree:
    return jax.tree.map(lambda z, g: decay * z + g, trace, gradient)


def _moved(weights: PyTree, size: jax.Array, direction: PyTree) -> PyTree:
    return jax.tree.map(lambda w, x: w + size * x, weights, direction)


def _sum(function: Callable, *trees: PyTree) -> jax.Array:
    """The sum over all weights of what ``function`` makes of each."""
    return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(jax.tree.map(function, *trees)))
