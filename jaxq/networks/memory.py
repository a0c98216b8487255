"""Networks that remember: a cell between torso and head."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxq.networks.heads import QOutput
from jaxq.networks.kernels import LSTM
from jaxq.networks.modules import random_streams
from jaxq.types import Network


def recurrent(module: "RecurrentNetwork", draws: bool = False) -> Network:
    """A recurrent flax module as a ``Network``; ``draws`` as in ``modules.from_flax``."""

    def initial_carry(key: jax.Array, rows: int) -> Any:
        del key
        return (jnp.zeros((rows, module.width)), jnp.zeros((rows, module.width)))

    def init(key: jax.Array, obs: jax.Array) -> Any:
        resets = jnp.zeros((1, len(obs)), bool)
        return module.init(key, initial_carry(key, len(obs)), obs[None], resets)

    def unroll(params: Any, obs: jax.Array, key: jax.Array | None, carry: Any, resets: jax.Array):
        return module.apply(params, carry, obs, resets, rngs=random_streams(key))

    def apply(params: Any, obs: jax.Array, key: jax.Array | None, carry: Any):
        results = unroll(params, obs[None], key, carry, jnp.zeros((1, len(obs)), bool))
        return jax.tree.map(lambda leaf: leaf[0], results)

    return Network(init, apply, initial_carry, unroll, draws)


class RecurrentNetwork(nn.Module):
    """A torso, an LSTM and a head with one number per action, over a sequence.

    Torso and head see all its steps at once; their noise, if any, is common to the sequence.
    """

    torso: Callable[[jax.Array], jax.Array]
    head: Callable[[jax.Array], jax.Array]
    width: int

    @nn.compact
    def __call__(self, carry: Any, obs: jax.Array, resets: jax.Array) -> tuple[QOutput, Any]:
        """Values [T, B, A] of ``obs`` [T, B, *obs], and the memory after each step."""
        rows = resets.shape
        features = self.torso(obs.reshape(-1, *obs.shape[2:]))
        carries = LSTM(self.width)(carry, features.reshape(*rows, -1), resets)
        q_values = self.head(carries[1].reshape(-1, self.width))[..., 0]
        return QOutput(q_values.reshape(*rows, -1)), carries
