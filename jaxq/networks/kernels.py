"""Layers written unusually, for speed: the convolution as one matmul, the way back of LSTM and GRU.

Each has the parameters and the mathematics of the usual one, which the tests compare it with.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer

from jaxq.networks.layers import Dense, default_init

Carry = tuple[jax.Array, jax.Array]  # cell and hidden state of an LSTM


class PatchConv(nn.Module):
    """``nn.Conv`` with VALID padding, written as "gather the shifted views, one matmul".

    Images have channels first and the batch LAST, [channels, rows, columns, B], in and out: then
    every loop runs along the batch, and no product has to turn an operand first. The parameters are
    those of ``nn.Conv``, and so is the mathematics. Under ``vmap`` over members a convolution
    becomes a grouped convolution, which is several times slower, forwards and backwards; a matmul
    becomes a batched matmul. Booleans of up to 32 channels are gathered a pixel at a time, as the
    bits of one word: XLA's CPU code gathers one element at a time, whatever its size.
    """

    features: int
    kernel_size: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    kernel_init: Initializer = default_init

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        (height, width), (stride_y, stride_x) = self.kernel_size, self.strides
        channels, rows, columns, batch = x.shape
        rows_out = (rows - height) // stride_y + 1
        columns_out = (columns - width) // stride_x + 1
        kernel = self.param("kernel", self.kernel_init, (height, width, channels, self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        as_words = x.dtype == jnp.bool_ and channels <= 32
        x = _bits_to_words(x) if as_words else x
        end_y, end_x = stride_y * rows_out, stride_x * columns_out
        views = [
            x[:, top : top + end_y : stride_y, left : left + end_x : stride_x]
            for top in range(height)
            for left in range(width)
        ]
        patches = jnp.stack(views)  # [height * width, channels, rows_out, columns_out, B]
        patches = _words_to_bits(patches, channels) if as_words else patches
        patches = patches.astype(jnp.float32).reshape(height * width * channels, -1)
        y = kernel.reshape(-1, self.features).T @ patches + bias[:, None]
        return y.reshape(self.features, rows_out, columns_out, batch)


class LSTM(nn.Module):
    """Long short-term memory (Hochreiter & Schmidhuber 1997, Gers et al. 2000) over a sequence.

    The products with the inputs of all steps are one matmul before the scan, and the gradient of
    the recurrent weights is one after it; inside, both would touch every weight at every step. The
    way back is written out, because every value that a scan keeps for it is one more write a step.
    The recurrent weights are not orthogonal at first, as flax's are by default: a batch of QR
    decompositions, one per member, waits for ever on XLA's CPU, more often than not.
    """

    width: int

    @nn.compact
    def __call__(self, carry: Carry, x: jax.Array, resets: jax.Array) -> tuple[jax.Array, Carry]:
        """The hidden state, and the memory, cell and hidden state, after each step.

        Args:
          carry: [B, width] each, before the first step.
          x: [T, B, F].
          resets: [T, B], where memory is erased before the step.

        Returns:
          [T, B, width] each.
        """
        kernel = self.param("kernel", default_init, (self.width, 4 * self.width))
        carries = _lstm(kernel, carry, Dense(4 * self.width)(x), resets)
        return carries[1], carries


def _steps_of_lstm(kernel: jax.Array, carry: Carry, inputs: jax.Array, resets: jax.Array):
    """The memory after each step, and the sums [T, B, 4 width] that its gates received.

    ``inputs`` [T, B, 4 width]: the part of the sums that comes from outside.
    """

    def step(carry, x):
        inputs, reset = x
        cell, hidden = jax.tree.map(lambda leaf: jnp.where(reset[:, None], 0.0, leaf), carry)
        sums = inputs + hidden @ kernel
        take, keep, candidate, show = _gates(sums)
        cell = keep * cell + take * candidate
        carry = cell, show * jnp.tanh(cell)
        return carry, (carry, sums)

    return jax.lax.scan(step, carry, (inputs, resets))[1]


def _gates(sums: jax.Array) -> tuple[jax.Array, ...]:
    """Input gate, forget gate, candidate and output gate, [..., width] each."""
    take, keep, _, show = jnp.split(nn.sigmoid(sums), 4, axis=-1)  # whole rows: a CPU's vectors
    return take, keep, jnp.tanh(jnp.split(sums, 4, axis=-1)[2]), show


@jax.custom_vjp
def _lstm(kernel: jax.Array, carry: Carry, inputs: jax.Array, resets: jax.Array) -> Carry:
    return _steps_of_lstm(kernel, carry, inputs, resets)[0]


def _lstm_forward(kernel: jax.Array, carry: Carry, inputs: jax.Array, resets: jax.Array):
    after, sums = _steps_of_lstm(kernel, carry, inputs, resets)
    return after, (kernel, carry, resets, after, sums)


def _lstm_backward(residuals: tuple, gradient: Carry):
    """Whatever does not wait for the step after is computed for all steps at once."""
    kernel, carry, resets, after, sums = residuals
    cell, hidden = (  # before each step
        jnp.where(resets[..., None], 0.0, jnp.concatenate([first[None], later[:-1]]))
        for first, later in zip(carry, after)
    )
    take, keep, candidate, show = _gates(sums)
    shown = jnp.tanh(after[0])
    # What the sums of each gate do to the cell, or the last gate's to the hidden state.
    slopes = jnp.concatenate(
        [
            candidate * take * (1.0 - take),
            cell * keep * (1.0 - keep),
            take * (1.0 - candidate**2),
            shown * show * (1.0 - show),
        ],
        axis=-1,
    )

    def step(later: Carry, x):
        (for_cell, for_hidden), slopes, through_hidden, through_cell, reset = x
        for_hidden += later[1]
        for_cell += later[0] + for_hidden * through_hidden
        for_sums = jnp.concatenate([*[for_cell] * 3, for_hidden], axis=-1) * slopes
        earlier = for_cell * through_cell, for_sums @ kernel.T
        return jax.tree.map(lambda leaf: jnp.where(reset[:, None], 0.0, leaf), earlier), for_sums

    through_hidden = show * (1.0 - shown**2)
    steps = gradient, slopes, through_hidden, keep, resets
    for_carry, for_sums = jax.lax.scan(
        step, jax.tree.map(jnp.zeros_like, carry), steps, reverse=True
    )
    return jnp.einsum("tbi,tbj->ij", hidden, for_sums), for_carry, for_sums, None


_lstm.defvjp(_lstm_forward, _lstm_backward)


class GRU(nn.Module):
    """The gated recurrent unit (Cho et al. 2014) over a sequence, written as the ``LSTM`` is.

    The reset gate follows the product with the hidden state, as in cuDNN and flax, not before it.
    """

    width: int

    @nn.compact
    def __call__(self, carry: jax.Array, x: jax.Array, resets: jax.Array):
        """The hidden state after each step, twice; arguments as of ``LSTM``, carry [B, width]."""
        kernel = self.param("kernel", default_init, (self.width, 3 * self.width))
        bias = self.param("bias", nn.initializers.zeros, (self.width,))
        hidden = _gru(kernel, bias, carry, Dense(3 * self.width)(x), resets)
        return hidden, hidden


def _gates_of_gru(kernel: jax.Array, bias: jax.Array, hidden: jax.Array, inputs: jax.Array):
    """Reset gate, update gate, candidate and what the reset gate lets through, [..., width]."""
    width = bias.shape[0]
    sums, through = inputs, hidden @ kernel
    gates = nn.sigmoid(sums[..., : 2 * width] + through[..., : 2 * width])
    reset, keep = jnp.split(gates, 2, axis=-1)
    past = through[..., 2 * width :] + bias
    return reset, keep, jnp.tanh(sums[..., 2 * width :] + reset * past), past


@jax.custom_vjp
def _gru(
    kernel: jax.Array, bias: jax.Array, carry: jax.Array, inputs: jax.Array, resets: jax.Array
) -> jax.Array:
    """The hidden state [T, B, width] after each step; ``inputs`` [T, B, 3 width] as of the LSTM."""

    def step(hidden, x):
        inputs, erase = x
        hidden = jnp.where(erase[:, None], 0.0, hidden)
        _, keep, candidate, _ = _gates_of_gru(kernel, bias, hidden, inputs)
        hidden = (1.0 - keep) * candidate + keep * hidden
        return hidden, hidden

    return jax.lax.scan(step, carry, (inputs, resets))[1]


def _gru_forward(kernel, bias, carry, inputs, resets):
    after = _gru(kernel, bias, carry, inputs, resets)
    return after, (kernel, bias, carry, inputs, resets, after)


def _gru_backward(residuals: tuple, gradient: jax.Array):
    """As of the LSTM; what the gates were is computed again, for all steps at once."""
    kernel, bias, carry, inputs, resets, after = residuals
    hidden = jnp.concatenate([carry[None], after[:-1]])  # before each step
    hidden = jnp.where(resets[..., None], 0.0, hidden)
    reset, keep, candidate, past = _gates_of_gru(kernel, bias, hidden, inputs)
    slope = (1.0 - keep) * (1.0 - candidate**2)  # of the hidden state, by the candidate's sum
    others = slope * past * reset * (1.0 - reset), (hidden - candidate) * keep * (1.0 - keep)
    slopes = jnp.concatenate([*others, slope * reset], axis=-1)  # by the products with kernel

    def step(later: jax.Array, x):
        for_hidden, slopes, keep, erase = x
        for_hidden += later
        for_products = jnp.concatenate([for_hidden] * 3, axis=-1) * slopes
        earlier = keep * for_hidden + for_products @ kernel.T
        return jnp.where(erase[:, None], 0.0, earlier), (for_hidden, for_products)

    steps = gradient, slopes, keep, resets
    for_carry, (for_hidden, for_products) = jax.lax.scan(
        step, jnp.zeros_like(carry), steps, reverse=True
    )
    width = bias.shape[0]
    for_inputs = for_products.at[..., 2 * width :].set(for_hidden * slope)
    for_bias = for_products[..., 2 * width :].sum(axis=(0, 1))
    for_kernel = jnp.einsum("tbi,tbj->ij", hidden, for_products)
    return for_kernel, for_bias, for_carry, for_inputs, None


_gru.defvjp(_gru_forward, _gru_backward)


def cosines(fractions: jax.Array, count: int) -> jax.Array:
    """``cos(pi i x)`` for i = 1 to ``count``: [...] in [0, 1] -> [..., count].

    Through ``1 - 2 sin^2`` and sine's Taylor series to the 11th power on [-pi/2, pi/2], exact to
    about 1e-6. XLA's own cosine is not vectorised on a CPU, and would be most of the cost of an
    implicit quantile network.
    """
    turns = 0.5 * fractions[..., None] * jnp.arange(1, count + 1)
    x = jnp.pi * (turns - jnp.round(turns))
    square = x * x
    series = 1.0
    for factor in (110.0, 72.0, 42.0, 20.0, 6.0):
        series = 1.0 - square / factor * series
    return 1.0 - 2.0 * square * series * series


def _bits_to_words(x: jax.Array) -> jax.Array:
    """[C, ...] booleans -> [1, ...] words, the first in the lowest bit."""
    places = jnp.arange(x.shape[0], dtype=jnp.uint32).reshape(-1, *[1] * (x.ndim - 1))
    return jnp.sum(x.astype(jnp.uint32) << places, axis=0, keepdims=True, dtype=jnp.uint32)


def _words_to_bits(words: jax.Array, count: int) -> jax.Array:
    """[N, 1, ...] words -> [N, count, ...] zeros and ones: the ``count`` lowest bits."""
    return words >> jnp.arange(count, dtype=jnp.uint32).reshape(-1, *[1] * (words.ndim - 2)) & 1
