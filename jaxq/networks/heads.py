"""Heads turn features into an output; every output carries ``q_values``.

So acting and action selection never ask which algorithm this is. ``A`` actions, ``K`` numbers per
action (atoms or quantiles).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxq.networks.kernels import cosines
from jaxq.networks.layers import Dense, affine_norm, hidden_layer


class QOutput(NamedTuple):
    """The plain output: one value per action."""

    q_values: jax.Array  # [B, A]


class CategoricalOutput(NamedTuple):
    """A distribution of the return on fixed atoms."""

    q_values: jax.Array  # [B, A], the means
    logits: jax.Array  # [B, A, K]
    atoms: jax.Array  # [K], increasing, equally spaced


class QuantileOutput(NamedTuple):
    """Quantiles of the return, at fractions that the network fixes or draws."""

    q_values: jax.Array  # [B, A], means, from other fractions than these if fractions are drawn
    quantiles: jax.Array  # [B, A, K]
    fractions: jax.Array  # [B, K], in (0, 1)


class EnsembleOutput(NamedTuple):
    """Several opinions."""

    q_values: jax.Array  # [B, A], those that act
    members: jax.Array  # [B, N, A]


class LinearHead(nn.Module):
    """``K`` numbers per action, linear in the features: [..., F] -> [..., A, K]."""

    num_actions: int
    num_outputs: int = 1
    dense: Callable[[int], Callable] = Dense

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        return _per_action(self.dense(self.num_actions * self.num_outputs)(features), self)


class DuelingHead(nn.Module):
    """State value plus advantages of zero mean (Wang et al. 2016, equation 9), for each of K.

    Each of the two streams has hidden layers of its own, ``stream_widths`` wide, with ReLU: one of
    512 in the paper's Atari network (section 4.2), none in Revisiting Rainbow (Obando-Ceron &
    Castro 2021). Without any, the values are linear in the features, as ``LinearHead``'s are.
    ``layer_norm``, ``activation`` and ``norm`` are as in the torsos.
    """

    num_actions: int
    num_outputs: int = 1
    dense: Callable[[int], Callable] = Dense
    stream_widths: tuple[int, ...] = ()
    layer_norm: bool = False
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    both_signs: bool = False
    norm: Callable = affine_norm

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        for_value = _stream(features, self)
        value = self.dense(self.num_outputs)(for_value)[..., None, :]  # [..., 1, K]
        for_advantage = _stream(features, self)
        advantage = self.dense(self.num_actions * self.num_outputs)(for_advantage)
        return dueling(value, _per_action(advantage, self), axis=-2)


def dueling(value: jax.Array, advantage: jax.Array, axis: int = -1) -> jax.Array:
    """``V + A - mean_a A`` with actions along ``axis``, so that the mean over actions is ``V``."""
    return value + advantage - advantage.mean(axis=axis, keepdims=True)


class ValueNetwork(nn.Module):
    """A torso followed by a head with one number per action."""

    torso: Callable[[jax.Array], jax.Array]
    head: Callable[[jax.Array], jax.Array]

    def __call__(self, obs: jax.Array) -> QOutput:
        return QOutput(self.head(self.torso(obs))[..., 0])


class CategoricalNetwork(nn.Module):
    """Distributions on atoms from ``support[0]`` to ``support[1]`` (Bellemare et al. 2017)."""

    torso: Callable[[jax.Array], jax.Array]
    head: Callable[[jax.Array], jax.Array]
    support: tuple[float, float]

    def __call__(self, obs: jax.Array) -> CategoricalOutput:
        logits = self.head(self.torso(obs))
        atoms = jnp.linspace(*self.support, logits.shape[-1])
        return CategoricalOutput(
            jnp.dot(nn.softmax(logits), atoms, precision="highest"), logits, atoms
        )


def bin_centers(support: tuple[float, float], num_bins: int) -> tuple[float, float]:
    """The middles of the first and the last of equal bins that fill ``support``.

    As the support of a ``CategoricalNetwork`` they make its atoms the middles of bins, of which
    HL-Gauss learns the probabilities (Farebrother et al. 2024, section 3.1); C51's atoms begin and
    end at the ends themselves.
    """
    half = 0.5 * (support[1] - support[0]) / num_bins
    return support[0] + half, support[1] - half


class QuantileNetwork(nn.Module):
    """Quantiles at the K midpoints of [0, 1] (Dabney et al. 2018a, lemma 2)."""

    torso: Callable[[jax.Array], jax.Array]
    head: Callable[[jax.Array], jax.Array]

    def __call__(self, obs: jax.Array) -> QuantileOutput:
        quantiles = self.head(self.torso(obs))
        fractions = _midpoints(len(obs), quantiles.shape[-1])
        return QuantileOutput(quantiles.mean(axis=-1), quantiles, fractions)


class ImplicitQuantileNetwork(nn.Module):
    """Quantiles at random fractions (Dabney et al. 2018b, section 3, equation 4).

    ``q_values`` average over fractions of their own, so that an action is never selected by the
    samples that then evaluate it. Without a ``noise`` key all fractions are midpoints. As in the
    authors' later code the cosines run from 1, not from 0: the first would be a constant.
    """

    torso: Callable[[jax.Array], jax.Array]
    head: Callable[[jax.Array], jax.Array]
    num_fractions: int
    num_cosines: int = 64

    @nn.compact
    def __call__(self, obs: jax.Array) -> QuantileOutput:
        features = self.torso(obs)  # [B, F]
        embedding = Dense(features.shape[-1])

        def quantiles(fractions: jax.Array) -> jax.Array:  # [B, K] -> [B, A, K]
            embedded = nn.relu(embedding(cosines(fractions, self.num_cosines)))  # [B, K, F]
            return jnp.swapaxes(self.head(features[:, None] * embedded)[..., 0], 1, 2)

        fractions = selection = _midpoints(len(obs), self.num_fractions)
        if self.has_rng("noise"):
            draws = jax.random.uniform(self.make_rng("noise"), (2, *fractions.shape))
            fractions, selection = draws
        q_values = quantiles(selection).mean(axis=-1)
        return QuantileOutput(q_values, quantiles(fractions), fractions)


def _stream(features: jax.Array, head: DuelingHead) -> jax.Array:
    """What the hidden layers of one stream make of the features: [..., F] -> [..., width]."""
    for width in head.stream_widths:
        features = hidden_layer(head, head.dense(width), width, features)
    return features


def _per_action(outputs: jax.Array, head: Any) -> jax.Array:
    return outputs.reshape(*outputs.shape[:-1], head.num_actions, head.num_outputs)


def _midpoints(rows: int, count: int) -> jax.Array:
    return jnp.broadcast_to((jnp.arange(count) + 0.5) / count, (rows, count))
