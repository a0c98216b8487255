"""Torsos: from observations to features.

A torso turns observations into features: ``bool``, ``float32``, or ``uint8``, which are the pixels
of an image and divided by 255. A ``Network`` called with a key may draw noise, heads or fractions;
called with ``None`` it is deterministic.
"""

import math
import warnings
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxq.errors import ConfigError
from jaxq.networks.kernels import PatchConv
from jaxq.networks.layers import Dense, affine_norm, default_init, hidden_layer


class Flatten(nn.Module):
    """No features but the observation itself: with a linear head and one-hot input, a table."""

    @nn.compact
    def __call__(self, obs: jax.Array) -> jax.Array:
        return _flatten(numbers(obs))


class MLP(nn.Module):
    """Dense layers with ReLU, optionally each normalised before the ReLU (Ba et al. 2016).

    ``activation`` takes the place of the ReLU, see ``layers.hidden_layer`` for ``both_signs``;
    ``norm(is_image) -> module`` makes the normalisation.
    """

    widths: tuple[int, ...]
    layer_norm: bool = False
    dense: Callable[[int], Callable] = Dense
    last_dense: Callable[[int], Callable] | None = None  # the layer before the head, if different
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    both_signs: bool = False
    norm: Callable = affine_norm

    @nn.compact
    def __call__(self, obs: jax.Array) -> jax.Array:
        x = _flatten(numbers(obs))  # [B, features]
        for layer, width in enumerate(self.widths, start=1):
            make = self.last_dense if layer == len(self.widths) else None
            x = hidden_layer(self, (make or self.dense)(width), width, x)
        return x


class MinAtarTorso(nn.Module):
    """One 3x3 convolution and dense layers (Young & Tian 2019, section 3).

    ``layer_norm`` normalises each layer before its ReLU (over the channels after the convolution,
    if ``norm`` is no other than by default).
    """

    widths: tuple[int, ...] = (128,)
    layer_norm: bool = False
    dense: Callable[[int], Callable] = Dense
    last_dense: Callable[[int], Callable] | None = None
    channels: int = 16
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    both_signs: bool = False
    norm: Callable = affine_norm
    kernel_init: nn.initializers.Initializer = default_init  # of the convolutions

    @nn.compact
    def __call__(self, obs: jax.Array) -> jax.Array:
        images = obs if obs.dtype == jnp.bool_ else numbers(obs)  # booleans are gathered as bits
        conv = PatchConv(self.channels, (3, 3), kernel_init=self.kernel_init)
        x = hidden_layer(self, conv, self.channels, _batch_last(images), is_image=True)
        return _dense_layers(self)(_batch_first(x))


_MANY_INPUTS = 4_096  # more than the pixels of a MinAtar game
# Of every convolution its features, its kernel and its strides, both [rows, columns].
NATURE = ((32, (8, 8), (4, 4)), (64, (4, 4), (2, 2)), (64, (3, 3), (1, 1)))
OCTAX = ((32, (4, 8), (2, 4)), *NATURE[1:])


class NatureTorso(nn.Module):
    """The three convolutions of Mnih et al. (2015), for images of at least 36 x 36.

    With ``OCTAX`` as ``layers`` those of Octax (Radji et al. 2025), for screens twice as wide as
    high, of at least 18 x 36: the first makes a square of them. No padding; theirs has zeros.
    """

    widths: tuple[int, ...] = (512,)
    layer_norm: bool = False
    dense: Callable[[int], Callable] = Dense
    last_dense: Callable[[int], Callable] | None = None
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    both_signs: bool = False
    norm: Callable = affine_norm
    kernel_init: nn.initializers.Initializer = default_init  # of the convolutions
    layers: tuple[tuple[int, tuple[int, int], tuple[int, int]], ...] = NATURE

    @nn.compact
    def __call__(self, obs: jax.Array) -> jax.Array:
        x = _batch_last(obs if obs.dtype == jnp.bool_ else numbers(obs))
        for channels, kernel_size, strides in self.layers:
            conv = PatchConv(channels, kernel_size, strides, self.kernel_init)
            x = hidden_layer(self, conv, channels, x, is_image=True)
        return _dense_layers(self)(_batch_first(x))


def check_image(name: str, obs_spec: jax.ShapeDtypeStruct, smallest: tuple[int, int]) -> None:
    """Refuse observations that are no images, for the torso called ``name``, and warn of images
    that look as if channels came first; ``smallest``: the fewest rows and columns it takes.

    Raises:
      ConfigError: they are not [height, width, channels], or are too small.
    """
    shape = obs_spec.shape
    if len(shape) != 3 or any(given < least for given, least in zip(shape, smallest)):
        raise ConfigError(
            f"network={name} needs image observations [height, width, channels] of at least "
            f"{smallest[0]} x {smallest[1]}; the environment's have shape {list(shape)}."
        )
    if shape[0] < min(shape[1:]):
        warnings.warn(
            f"network={name} takes images [height, width, channels], and those of shape "
            f"{list(shape)} look as if channels came first.",
            stacklevel=4,
        )


def warn_of_image(name: str, obs_spec: jax.ShapeDtypeStruct) -> None:
    """Warn of pixels that a torso without convolutions would take one by one."""
    is_large = math.prod(obs_spec.shape) >= _MANY_INPUTS
    if len(obs_spec.shape) == 3 and (obs_spec.dtype == jnp.uint8 or is_large):
        warnings.warn(
            f"network={name} takes the {math.prod(obs_spec.shape):,} pixels of images of shape "
            f"{list(obs_spec.shape)} one by one; minatar and nature have convolutions.",
            stacklevel=4,
        )


def _dense_layers(torso: MinAtarTorso | NatureTorso) -> MLP:
    """What follows the convolutions."""
    fields = "widths layer_norm dense last_dense activation both_signs norm".split()
    return MLP(**{field: getattr(torso, field) for field in fields})


def numbers(obs: jax.Array) -> jax.Array:
    """Observations as ``float32``; bytes are brightness, from 0 to 1."""
    numbers = obs.astype(jnp.float32)
    return numbers / 255.0 if obs.dtype == jnp.uint8 else numbers


def _batch_last(images: jax.Array) -> jax.Array:
    """Images [B, rows, columns, channels] as [channels, rows, columns, B]."""
    return images.transpose(3, 1, 2, 0)


def _batch_first(images: jax.Array) -> jax.Array:
    """Images [channels, rows, columns, B] as rows of features [B, channels * rows * columns]."""
    return images.reshape(-1, images.shape[-1]).T


def _flatten(x: jax.Array) -> jax.Array:
    return x.reshape(x.shape[0], -1)
