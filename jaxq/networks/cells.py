"""Memory cells: what stands between torso and head of a network that remembers.

A cell is exchangeable: ``module:function`` with ``make_cell(config) -> Cell``. The minimal GRU and
the LRU are linear in their memory, which a scan can therefore combine in any order.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxq.networks.kernels import GRU, LSTM
from jaxq.networks.layers import Dense
from jaxq.types import PyTree, where


class Cell(NamedTuple):
    """``make() -> flax module``; the module is called with

    ``(carry, x [T, B, F], resets [T, B]) -> (features [T, B, F'], carry)``, T steps in turn, the
    memory erased before a step that ``resets``, and AFTER each step, leaves [T, B, ...]
    ``initial_carry(rows) -> carry``, leaves [rows, ...] of booleans, integers or floats: a replay
    stores them
    """

    make: Callable[[], nn.Module]
    initial_carry: Callable[[int], PyTree]


def _zeros(width: int, count: int, rows: int) -> tuple[jax.Array, ...]:
    return (jnp.zeros((rows, width)),) * count


def lstm(width: int) -> Cell:
    """See ``kernels.LSTM``."""
    return Cell(partial(LSTM, width), partial(_zeros, width, 2))


def gru(width: int) -> Cell:
    """See ``kernels.GRU``."""
    return Cell(partial(GRU, width), lambda rows: jnp.zeros((rows, width)))


def min_gru(width: int) -> Cell:
    """See ``MinGRU``."""
    return Cell(partial(MinGRU, width), lambda rows: jnp.zeros((rows, width)))


def lru(width: int) -> Cell:
    """See ``LRU``."""
    return Cell(partial(LRU, width), partial(_zeros, width, 2))


def step_by_step(make: Callable[[], nn.Module]) -> Cell:
    """A cell of flax, such as ``nn.GRUCell``, one step after the other.

    Give it a ``recurrent_kernel_init`` that is not orthogonal, as its default is: a batch of QR
    decompositions, one per member, may wait for ever on a CPU.
    """

    def initial_carry(rows: int) -> PyTree:
        return make().initialize_carry(jax.random.key(0), (rows, 1))

    return Cell(partial(_StepByStep, make), initial_carry)


class _StepByStep(nn.Module):
    make: Callable[[], nn.Module]

    @nn.compact
    def __call__(self, carry: Any, x: jax.Array, resets: jax.Array) -> tuple[jax.Array, Any]:
        cell = self.make()
        fresh = cell.initialize_carry(jax.random.key(0), x.shape[1:])

        def step(cell: nn.Module, carry: Any, x: tuple):
            inputs, reset = x
            carry = jax.tree.map(lambda new, old: where(reset, new, old), fresh, carry)
            carry, features = cell(carry, inputs)
            return carry, (features, carry)

        scan = nn.scan(step, variable_broadcast="params", split_rngs={"params": False})
        return scan(cell, carry, (x, resets))[1]


class MinGRU(nn.Module):
    """The minimal gated recurrent unit (Feng et al. 2024, section 3.1).

    ``h_t = (1 - z_t) h_tm1 + z_t W' x_t`` with ``z_t = sigmoid(W x_t)``. What it forgets depends on
    the input alone, which is what makes it linear in its memory.
    """

    width: int

    @nn.compact
    def __call__(self, carry: jax.Array, x: jax.Array, resets: jax.Array):
        gate, candidate = jnp.split(Dense(2 * self.width)(x), 2, axis=-1)
        take, keep = nn.sigmoid(gate), nn.sigmoid(-gate)
        hidden = linear_recurrence(keep, take * candidate, carry, resets)
        return hidden, hidden


class LRU(nn.Module):
    """The linear recurrent unit (Orvieto et al. 2023, section 3.4 and appendix A).

    ``h_t = lambda h_tm1 + gamma B x_t``, complex; features ``gelu(Re(C h_t) + D x_t)``. At first
    ``lambda`` is uniform on the ring of ``radii`` and gamma is ``sqrt(1 - |lambda|^2)``; both are
    learned, lambda so that no memory can grow. The paper's normalisations, gated layers and
    residuals around it are left out; without any nonlinearity after it, values would be linear in
    what is remembered. D is a matrix, since inputs and features may differ in width.
    """

    width: int  # complex numbers
    radii: tuple[float, float] = (0.0, 1.0)
    largest_phase: float = 6.28

    @nn.compact
    def __call__(self, carry: tuple[jax.Array, jax.Array], x: jax.Array, resets: jax.Array):
        nu_log = self.param("nu_log", self._nu_log, (self.width,))
        theta_log = self.param("theta_log", self._theta_log, (self.width,))
        gamma_log = self.param("gamma_log", lambda key: 0.5 * jnp.log(_one_minus_square(nu_log)))
        decay = jnp.exp(-jnp.exp(nu_log) + 1j * jnp.exp(theta_log))
        # B's columns have variance 1 / (2 F) in each part, so that |B x|^2 is |x|^2 / F on average.
        halves = nn.initializers.variance_scaling(0.5, "fan_in", "normal")
        real, imaginary = jnp.split(
            nn.Dense(2 * self.width, use_bias=False, kernel_init=halves)(x), 2, axis=-1
        )
        inputs = jnp.exp(gamma_log) * jax.lax.complex(real, imaginary)
        hidden = linear_recurrence(decay, inputs, jax.lax.complex(*carry), resets)
        carries = hidden.real, hidden.imag
        features = Dense(self.width)(jnp.concatenate([*carries, x], axis=-1))
        return nn.gelu(features), carries

    def _nu_log(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        smallest, largest = (radius**2 for radius in self.radii)
        squares = jax.random.uniform(key, shape, minval=max(smallest, 1e-6), maxval=largest)
        return jnp.log(-0.5 * jnp.log(squares))

    def _theta_log(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return jnp.log(jax.random.uniform(key, shape, minval=1e-6, maxval=self.largest_phase))


def _one_minus_square(nu_log: jax.Array) -> jax.Array:
    """``1 - |lambda|^2``, exact where ``|lambda|`` is near 1."""
    return -jnp.expm1(-2.0 * jnp.exp(nu_log))


def linear_recurrence(
    decay: jax.Array, inputs: jax.Array, carry: jax.Array, resets: jax.Array
) -> jax.Array:
    """``h_t = decay_t h_tm1 + inputs_t``, and ``inputs_t`` alone where memory is erased before t.

    Erasing is a decay of 0, also for steps that were combined before: (0, b2) after (a1, b1) is
    (0 a1, 0 b1 + b2).

    Args:
      decay: [T, B, width] or broadcast to it; real or complex, as are all.
      inputs: [T, B, width].
      carry: [B, width], before the first step.
      resets: [T, B].
    """
    return _recurrence(jnp.where(resets[..., None], 0.0, decay), inputs, carry)


@jax.custom_vjp
def _recurrence(decay: jax.Array, inputs: jax.Array, carry: jax.Array) -> jax.Array:
    if len(inputs) == 1:
        return decay * carry + inputs
    # With their way back, steps on two cores are as fast as pairs at T = 42 and 1.2 to 2 times as
    # fast from 128 on. A GPU waits for every kernel, of which pairs take log T instead of T.
    return jax.lax.platform_dependent(
        decay, inputs, carry, cpu=recurrence_in_steps, default=recurrence_in_pairs
    )


def recurrence_in_steps(decay: jax.Array, inputs: jax.Array, carry: jax.Array) -> jax.Array:
    """All ``h_t`` [T, B, width], one after the other."""

    def step(hidden, x):
        decay, inputs = x
        hidden = decay * hidden + inputs
        return hidden, hidden

    return jax.lax.scan(step, carry, (decay, inputs))[1]


def recurrence_in_pairs(decay: jax.Array, inputs: jax.Array, carry: jax.Array) -> jax.Array:
    """All ``h_t`` [T, B, width], by an associative scan."""

    def combine(earlier, later):
        return later[0] * earlier[0], later[0] * earlier[1] + later[1]

    inputs = jnp.concatenate([decay[:1] * carry + inputs[:1], inputs[1:]])
    return jax.lax.associative_scan(combine, (decay, inputs))[1]


def _forward(decay: jax.Array, inputs: jax.Array, carry: jax.Array):
    hidden = _recurrence(decay, inputs, carry)
    return hidden, (decay, hidden, carry)


def _backward(residuals: tuple, gradient: jax.Array):
    """The way back is the same recurrence from the end; nothing of the way there is kept."""
    decay, hidden, carry = residuals
    later = jnp.concatenate([jnp.zeros_like(decay[:1]), decay[:0:-1]])
    for_inputs = _recurrence(later, gradient[::-1], jnp.zeros_like(carry))[::-1]
    before = jnp.concatenate([carry[None], hidden[:-1]])
    return for_inputs * before, for_inputs, decay[0] * for_inputs[0]


_recurrence.defvjp(_forward, _backward)
