"""What flax lacks: noisy and spectral layers, sparse weights, norms of images, hidden layers."""

import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint

from jaxq.networks import units
from jaxq.networks.fusion import once, once_for_gradients

default_init = nn.initializers.lecun_normal()
Dense = partial(nn.Dense, kernel_init=default_init)


def sparse_uniform(sparsity: float) -> nn.initializers.Initializer:
    """Weights within 1 / sqrt(inputs) of 0, most of them 0 (Elsayed et al. 2024, SparseInit).

    Of every output ``ceil(sparsity * inputs)`` weights are 0, others for each; of a convolution all
    of its window are inputs. As published nothing is left of fewer than ``1 / (1 - sparsity)``
    inputs: CartPole's first layer begins at 0, and learns, since the next one does not.
    """

    def init(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> jax.Array:
        key_values, key_order = jax.random.split(key)
        inputs, outputs = math.prod(shape[:-1]), shape[-1]
        scale = inputs**-0.5
        values = jax.random.uniform(key_values, (inputs, outputs), dtype, -scale, scale)
        kept = jnp.arange(inputs) >= math.ceil(sparsity * inputs)
        kept = jnp.broadcast_to(kept[:, None], values.shape)
        kept = jax.random.permutation(key_order, kept, axis=0, independent=True)
        return jnp.where(kept, values, 0.0).reshape(shape)

    return init


def affine_norm(is_image: bool = False) -> nn.LayerNorm:
    """Features [..., F] normalised, then scaled and shifted by what is learned (Ba et al. 2016).

    Of images [channels, rows, columns, B] each pixel's channels.
    """
    return nn.LayerNorm(reduction_axes=0, feature_axes=0) if is_image else nn.LayerNorm()


def plain_norm(is_image: bool = False) -> nn.LayerNorm:
    """Features [..., F] normalised, without parameters (Elsayed et al. 2024, section 3.3).

    Of images [channels, rows, columns, B] the whole feature map at once.
    """
    axes = (0, 1, 2) if is_image else -1
    return nn.LayerNorm(
        epsilon=1e-5,  # as PyTorch
        use_bias=False,
        use_scale=False,
        reduction_axes=axes,
        feature_axes=axes,
        use_fast_variance=False,
    )


def hidden_layer(
    owner: nn.Module, layer: nn.Module, num_units: int, x: jax.Array, is_image: bool = False
) -> jax.Array:
    """What a layer makes of ``x``, normalised and active, as its owner has it.

    Args:
      owner: a torso or head, inside whose call this is, with the fields ``layer_norm``, ``norm``,
        ``activation`` and ``both_signs``. The last one makes twice as many features as units, x and
        -x of every unit side by side, so that no unit is ever dead: with ReLU that is CReLU (Shang
        et al. 2016; Abbas et al. 2023).
      x: [..., inputs], or images [channels, rows, columns, B].
    """
    axis = 0 if is_image else -1
    norm = owner.norm(is_image) if owner.layer_norm else None
    is_alone = x.shape[-1 if is_image else 0] == 1
    x = once_for_gradients(layer(once_for_gradients(x))) if is_alone else layer(x)
    x = norm(x) if norm else x
    x = owner.activation(_with_negative(x, axis % x.ndim) if owner.both_signs else x)
    units.note(owner, (layer, norm), x, num_units, axis)
    return x


def _with_negative(x: jax.Array, axis: int) -> jax.Array:
    both = jnp.stack([x, -x], axis=axis + 1)
    return both.reshape(*x.shape[:axis], -1, *x.shape[axis + 1 :])


class NoisyDense(nn.Module):
    """Dense layer with learned, factorised Gaussian noise (Fortunato et al. 2018, 3(b)).

    ``y = (mu + sigma * f(e) f(e')^T) x + mu_b + sigma_b * f(e')`` with ``f(e) = sgn(e) sqrt|e|``.
    One call draws one noise, common to the rows of its batch. Without a ``noise`` key it is the
    dense layer of its mean.

    Many rows see one matrix, mean and noise added up, which halves the products and their
    gradients; few rows see both, since a product with a vector costs less than a new matrix.
    """

    features: int
    sigma: float = 0.5  # initial noise, times 1 / sqrt(inputs)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        inputs = x.shape[-1]
        scale = inputs**-0.5
        uniform = lambda key, shape: jax.random.uniform(key, shape, minval=-scale, maxval=scale)  # noqa: E731
        noisy = nn.initializers.constant(self.sigma * scale)
        kernel = _row_major(self.param("kernel", uniform, (inputs, self.features)))
        bias = self.param("bias", uniform, (self.features,))
        kernel_sigma = _row_major(self.param("kernel_sigma", noisy, (inputs, self.features)))
        bias_sigma = self.param("bias_sigma", noisy, (self.features,))
        if not self.has_rng("noise"):
            return x @ kernel + bias
        noise = jax.random.normal(self.make_rng("noise"), (inputs + self.features,))
        noise = once(jnp.sign(noise) * jnp.sqrt(jnp.abs(noise)))  # or anew for every weight
        noise_in, noise_out = noise[:inputs], noise[inputs:]
        if math.prod(x.shape[:-1]) < _FEW_ROWS:
            return x @ kernel + bias + ((x * noise_in) @ kernel_sigma + bias_sigma) * noise_out
        noisy_kernel = kernel + kernel_sigma * noise_in[:, None] * noise_out
        return x @ noisy_kernel + bias + bias_sigma * noise_out


# Of 1,024 inputs, at which both take a core as long; with 32 rows adding up takes two thirds.
_FEW_ROWS = 8


class SpectralDense(nn.Module):
    """Dense layer whose matrix is divided by its largest singular value (Miyato et al. 2018).

    The singular vectors come from power iterations from a fixed start, without gradient, so that
    the layer has no state beside its parameters.
    """

    features: int
    iterations: int = 10

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", default_init, (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return x @ (kernel / self._largest_singular_value(kernel)) + bias

    def _largest_singular_value(self, kernel: jax.Array) -> jax.Array:
        matrix = jax.lax.stop_gradient(kernel)
        right = jnp.full(self.features, self.features**-0.5)
        for _ in range(self.iterations):
            left = _unit(matrix @ right)
            right = _unit(left @ matrix)
        return left @ kernel @ right


def _row_major(matrix: jax.Array) -> jax.Array:
    """``matrix`` as it lies in memory. A loop that only acts on one observation would ask a GPU for
    its transpose; then every update writes both, and copies weights and moments."""
    return with_layout_constraint(matrix, Layout((0, 1)))


def _unit(vector: jax.Array) -> jax.Array:
    return vector / jnp.maximum(jnp.linalg.norm(vector), 1e-12)
