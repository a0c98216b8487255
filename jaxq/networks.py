"""Neural networks: torsos turn observations into features, heads turn features into values.

Every network returns an output that carries ``q_values``, so that acting and action selection
never ask which algorithm this is. Observations may be ``bool`` or ``float32``; torsos cast them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer

from jaxq.errors import ConfigError
from jaxq.types import Network

default_init = nn.initializers.lecun_normal()


class QOutput(NamedTuple):
    """The plain output: one value per action."""

    q_values: jax.Array  # [B, A]


def from_flax(module: nn.Module) -> Network:
    """A deterministic feed-forward flax module ``obs [B, *obs] -> output`` as a ``Network``."""

    def init(key: jax.Array, obs: jax.Array) -> Any:
        return module.init(key, obs)

    def apply(params: Any, obs: jax.Array, key: jax.Array, carry: Any, reset: jax.Array):
        del key, reset
        return module.apply(params, obs), carry

    return Network(init, apply)


class ValueNetwork(nn.Module):
    """A torso followed by a head."""

    torso: Callable[[jax.Array], jax.Array]
    head: Callable[[jax.Array], Any]

    def __call__(self, obs: jax.Array) -> Any:
        return self.head(self.torso(obs))


class Flatten(nn.Module):
    """No features but the observation itself: with a linear head and one-hot input, a table."""

    @nn.compact
    def __call__(self, obs: jax.Array) -> jax.Array:
        return _flatten(obs.astype(jnp.float32))


class MLP(nn.Module):
    """Dense layers with ReLU, optionally each normalised before the ReLU (Ba et al. 2016)."""

    widths: tuple[int, ...]
    layer_norm: bool = False

    @nn.compact
    def __call__(self, obs: jax.Array) -> jax.Array:
        x = _flatten(obs.astype(jnp.float32))  # [B, features]
        for width in self.widths:
            x = nn.Dense(width, kernel_init=default_init)(x)
            x = nn.LayerNorm()(x) if self.layer_norm else x
            x = nn.relu(x)
        return x


class PatchConv(nn.Module):
    """``nn.Conv`` with VALID padding, written as "gather the shifted views, one matmul".

    The same parameters and the same mathematics. Under ``vmap`` over members a convolution
    becomes a grouped convolution, which is several times slower, forwards and backwards; a matmul
    becomes a batched matmul.
    """

    features: int
    kernel_size: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    kernel_init: Initializer = default_init

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        (height, width), (stride_y, stride_x) = self.kernel_size, self.strides
        batch, rows, columns, channels = x.shape
        rows_out = (rows - height) // stride_y + 1
        columns_out = (columns - width) // stride_x + 1
        kernel = self.param("kernel", self.kernel_init, (height, width, channels, self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        # Rows first, then columns: two gathers of few long runs instead of one of many short ones.
        x = _shifted_views(x, 1, height, stride_y, rows_out)
        x = _shifted_views(x, 2, width, stride_x, columns_out)
        patches = x.reshape(batch * rows_out * columns_out, width * height * channels)
        weights = kernel.transpose(1, 0, 2, 3).reshape(-1, self.features)  # to the same order
        y = patches @ weights + bias
        return y.reshape(batch, rows_out, columns_out, self.features)


class MinAtarTorso(nn.Module):
    """One 3x3 convolution and dense layers (Young & Tian 2019, section 3).

    ``layer_norm`` normalises each layer before its ReLU (over the channels after the convolution).
    """

    widths: tuple[int, ...] = (128,)
    channels: int = 16
    layer_norm: bool = False

    @nn.compact
    def __call__(self, obs: jax.Array) -> jax.Array:
        x = PatchConv(self.channels, (3, 3))(obs.astype(jnp.float32))
        x = nn.LayerNorm()(x) if self.layer_norm else x
        return MLP(self.widths, self.layer_norm)(nn.relu(x))


class NatureTorso(nn.Module):
    """The three convolutions of Mnih et al. (2015), for images of at least 36 x 36."""

    widths: tuple[int, ...] = (512,)
    layer_norm: bool = False

    @nn.compact
    def __call__(self, obs: jax.Array) -> jax.Array:
        x = obs.astype(jnp.float32) / (255.0 if obs.dtype == jnp.uint8 else 1.0)
        layers = ((32, (8, 8), (4, 4)), (64, (4, 4), (2, 2)), (64, (3, 3), (1, 1)))
        for channels, kernel_size, strides in layers:
            x = PatchConv(channels, kernel_size, strides)(x)
            x = nn.LayerNorm()(x) if self.layer_norm else x
            x = nn.relu(x)
        return MLP(self.widths, self.layer_norm)(x)


class LinearHead(nn.Module):
    """One value per action, linear in the features."""

    num_actions: int
    use_bias: bool = True
    kernel_init: Initializer = default_init

    @nn.compact
    def __call__(self, features: jax.Array) -> QOutput:
        dense = nn.Dense(self.num_actions, use_bias=self.use_bias, kernel_init=self.kernel_init)
        return QOutput(dense(features))


class DuelingHead(nn.Module):
    """State value plus advantages of zero mean (Wang et al. 2016, equation 9)."""

    num_actions: int

    @nn.compact
    def __call__(self, features: jax.Array) -> QOutput:
        value = nn.Dense(1, kernel_init=default_init)(features)  # [B, 1]
        advantage = nn.Dense(self.num_actions, kernel_init=default_init)(features)  # [B, A]
        return QOutput(dueling(value, advantage))


def dueling(value: jax.Array, advantage: jax.Array) -> jax.Array:
    """``V + A - mean_a A`` over the last axis, so that the mean over actions is ``V``."""
    return value + advantage - advantage.mean(axis=-1, keepdims=True)


def _shifted_views(x: jax.Array, axis: int, size: int, stride: int, count: int) -> jax.Array:
    """The ``count`` windows of ``size`` along ``axis``, their elements side by side as channels."""
    views = [
        jax.lax.slice_in_dim(x, shift, shift + stride * (count - 1) + 1, stride, axis)
        for shift in range(size)
    ]
    return jnp.concatenate(views, axis=-1)


def make_torso(
    name: str, obs_spec: jax.ShapeDtypeStruct, widths: tuple[int, ...], layer_norm: bool
) -> nn.Module:
    """The torso called ``name`` for observations of ``obs_spec``.

    Raises:
      ConfigError: the observation does not fit the torso.
    """
    shape = obs_spec.shape
    smallest = {"minatar": 3, "nature": 36}.get(name)
    if smallest and (len(shape) != 3 or min(shape[:2]) < smallest):
        raise ConfigError(
            f"network={name} needs image observations [height, width, channels] of at least "
            f"{smallest} x {smallest}; the environment's have shape {list(shape)}."
        )
    if name == "linear":
        return Flatten()
    if name == "mlp":
        return MLP(widths, layer_norm)
    return {"minatar": MinAtarTorso, "nature": NatureTorso}[name](
        widths=widths, layer_norm=layer_norm
    )


def _flatten(x: jax.Array) -> jax.Array:
    return x.reshape(x.shape[0], -1)
