"""Networks that remember: a cell between torso and head."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxq.networks.cells import Cell
from jaxq.networks.heads import QOutput
from jaxq.networks.modules import random_streams
from jaxq.types import Network, ObservationActionReward, PyTree, observation_of, rows_of


def recurrent(module: "RecurrentNetwork", draws: bool = False) -> Network:
    """A recurrent flax module as a ``Network``; ``draws`` as in ``modules.from_flax``."""

    def initial_carry(key: jax.Array, rows: int) -> Any:
        del key
        return module.cell.initial_carry(rows)

    def one_step(obs: PyTree) -> tuple[PyTree, jax.Array]:
        return jax.tree.map(lambda leaf: leaf[None], obs), jnp.zeros((1, rows_of(obs)), bool)

    def init(key: jax.Array, obs: PyTree) -> Any:
        return module.init(key, initial_carry(key, rows_of(obs)), *one_step(obs))

    def unroll(params: Any, obs: PyTree, key: jax.Array | None, carry: Any, resets: jax.Array):
        return module.apply(params, carry, obs, resets, rngs=random_streams(key))

    def apply(params: Any, obs: PyTree, key: jax.Array | None, carry: Any):
        obs, resets = one_step(obs)
        results = unroll(params, obs, key, carry, resets)
        return jax.tree.map(lambda leaf: leaf[0], results)

    return Network(init, apply, initial_carry, unroll, draws)


class RecurrentNetwork(nn.Module):
    """A torso, a memory cell and a head with one number per action, over a sequence.

    Torso and head see all its steps at once; their noise, if any, is common to the sequence. What
    is seen beside observations, the action before and then the reward, joins the features.
    """

    torso: Callable[[jax.Array], jax.Array]
    head: Callable[[jax.Array], jax.Array]
    cell: Cell

    @nn.compact
    def __call__(self, carry: Any, obs: PyTree, resets: jax.Array) -> tuple[QOutput, Any]:
        """Values [T, B, A] of ``obs`` [T, B, *obs], and the memory after each step."""
        rows, shown = resets.shape, observation_of(obs)
        features = self.torso(shown.reshape(-1, *shown.shape[2:])).reshape(*rows, -1)
        if isinstance(obs, ObservationActionReward):
            beside = [leaf.reshape(*rows, -1) for leaf in jax.tree.leaves(obs[1:])]
            features = jnp.concatenate([features, *beside], axis=-1)
        features, carries = self.cell.make()(carry, features, resets)
        q_values = self.head(features.reshape(-1, features.shape[-1]))[..., 0]
        return QOutput(q_values.reshape(*rows, -1)), carries
