"""Optimizers whose numbers can all be swept."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxq.config import HParams
from jaxq.networks.statistics import NAME
from jaxq.types import PyTree


def make_optimizer(
    scale: Callable[[HParams], optax.GradientTransformation], clip_gradients: bool = False
) -> Callable[[HParams, jax.Array], optax.GradientTransformation]:
    """``optimizer(hparams, learning_rate)``: built inside the traced function, so that all its
    numbers can be swept.

    Args:
      scale: what becomes of gradients before they are multiplied by minus the step size, such as
        the functions below.
      clip_gradients: scale those of a larger global norm down to ``hparams.max_gradient_norm``.
    """

    def optimizer(hparams: HParams, learning_rate: jax.Array) -> optax.GradientTransformation:
        clip = (
            optax.clip_by_global_norm(hparams.max_gradient_norm)
            if clip_gradients
            else wait_for_all()
        )
        return optax.chain(clip, scale(hparams), optax.scale(-learning_rate))

    return optimizer


def sgd(hparams: HParams) -> optax.GradientTransformation:
    """Gradients as they are (Robbins & Monro 1951)."""
    del hparams
    return optax.identity()


def adam(hparams: HParams) -> optax.GradientTransformation:
    """Adam (Kingma & Ba 2015, algorithm 1)."""
    return optax.scale_by_adam(*_adam_numbers(hparams))


def adamw(hparams: HParams) -> optax.GradientTransformation:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2)."""
    return optax.chain(
        optax.scale_by_adam(*_adam_numbers(hparams)),
        optax.add_decayed_weights(hparams.weight_decay, _is_decayed),
    )


def radam(hparams: HParams) -> optax.GradientTransformation:
    """Rectified Adam (Liu et al. 2020, algorithm 2)."""
    return optax.scale_by_radam(*_adam_numbers(hparams))


def rmsprop(hparams: HParams) -> optax.GradientTransformation:
    """Centred RMSprop, see ``scale_by_centered_rms``."""
    return scale_by_centered_rms(hparams.rmsprop_decay, hparams.optimizer_epsilon)


def wait_for_all() -> optax.GradientTransformation:
    """Gradients as they are, but none of them before all are known.

    What a layer passes back is computed from its weights. XLA updates weights in place only if
    that certainly comes first; otherwise it copies them at every update. An optimization barrier
    does not tell it, but a factor of 1 that depends on all gradients does.
    """

    def update(gradients, state, params=None):
        del params
        firsts = [leaf.ravel()[0] for leaf in jax.tree.leaves(gradients)]
        one = 1.0 + 0.0 * sum(firsts)  # not a number if a gradient is none, and all is lost anyway
        return jax.tree.map(lambda gradient: one * gradient, gradients), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def scale_by_centered_rms(decay: jax.Array, epsilon: jax.Array) -> optax.GradientTransformation:
    """Centred RMSprop (Graves 2013, equations 38 to 41), epsilon outside the root as in PyTorch.

    ``optax.scale_by_stddev(eps_in_sqrt=False)`` with one difference: rounding makes the variance
    of a steady gradient slightly negative, and its root NaN; here it is at least 0.
    """

    def init(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        return zeros, zeros

    def update(gradients, state, params=None):
        del params
        mean, square = state
        mean = jax.tree.map(lambda m, g: decay * m + (1 - decay) * g, mean, gradients)
        square = jax.tree.map(lambda s, g: decay * s + (1 - decay) * g**2, square, gradients)
        scaled = jax.tree.map(
            lambda g, m, s: g / (jnp.sqrt(jnp.maximum(s - m**2, 0.0)) + epsilon),
            gradients,
            mean,
            square,
        )
        return scaled, (mean, square)

    return optax.GradientTransformation(init, update)


def _adam_numbers(hparams: HParams) -> tuple:
    return hparams.adam_beta1, hparams.adam_beta2, hparams.optimizer_epsilon


def _is_decayed(params: PyTree) -> PyTree:
    """Weights decay; biases, normalisation and what is never trained do not."""

    def decays(path: tuple, leaf: Any) -> bool:
        names = [entry.key for entry in path]
        return names[-1] == "kernel" and not {"priors", NAME}.intersection(names)

    return jax.tree_util.tree_map_with_path(decays, params)
