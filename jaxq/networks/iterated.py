"""Networks of iterated Q-learning: a chain of values, each of which follows the one before it."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxq.networks.ensembles import ensemble
from jaxq.networks.heads import EnsembleOutput
from jaxq.networks.modules import from_flax
from jaxq.networks.units import NOTES
from jaxq.types import Inside, Network, PyTree, no_carry


class HeadsNetwork(nn.Module):
    """A torso followed by several heads of one form, their parameters stacked, [N, ...]."""

    torso: Callable[[jax.Array], jax.Array]
    head: nn.Module
    num_heads: int

    @nn.compact
    def __call__(self, obs: jax.Array) -> EnsembleOutput:
        every_head = nn.vmap(
            lambda head, features: head(features)[..., 0],
            variable_axes={"params": 0},
            split_rngs={"params": True, "noise": True},
            in_axes=None,
            out_axes=1,
            axis_size=self.num_heads,
        )
        members = every_head(self.head, self.torso(obs))  # [B, N, A]
        return EnsembleOutput(members[:, 1:].mean(axis=1), members)


def shared_chain(torso: nn.Module, head: nn.Module, length: int, draws: bool = False) -> Network:
    """``1 + length`` heads on one torso: what the first is bootstrapped from, and what is learned.

    As Vincent et al. (2025, algorithm 1) act: with a key one of the learned heads, drawn for every
    row and step; without one their mean. ``members`` [B, 1 + length, A] are all of them.

    Args:
      draws: whether its layers draw noise.
    """
    network = from_flax(HeadsNetwork(torso, head, 1 + length), draws)
    acting = _one_acts(network.apply, lambda members: members[:, 1:])

    def inside(params: PyTree, obs: jax.Array) -> Inside:
        """Of the torso alone, since all heads get the same."""
        weights = {"params": params["params"].get("torso", {})}
        features, notes = torso.apply(weights, obs, mutable=[NOTES])
        return Inside(features, jax.tree.leaves(notes))

    return network._replace(apply=acting, activity=None, inside=inside)


def chain(module: nn.Module, length: int, draws: bool = False) -> Network:
    """``length`` whole networks (Vincent et al. 2024), of which one acts as in ``shared_chain``."""
    network = ensemble(module, length, draws=draws)
    acting = _one_acts(network.apply, lambda members: members)
    return network._replace(apply=acting, initial_carry=no_carry, draws=draws)


def _one_acts(apply: Callable, learned: Callable) -> Callable:
    """``apply`` in which, with a key, a random one of the ``learned`` members acts in every row."""

    def drawn(params: PyTree, obs: jax.Array, key: jax.Array | None, carry: PyTree):
        if key is None:
            return apply(params, obs, None, carry)
        key_noise, key_member = jax.random.split(key)
        output, carry = apply(params, obs, key_noise, carry)
        members = learned(output.members)
        which = jax.random.randint(key_member, (len(obs), 1, 1), 0, members.shape[1])
        acting = jnp.take_along_axis(members, which, axis=1)[:, 0]
        return EnsembleOutput(acting, output.members), carry

    return drawn
