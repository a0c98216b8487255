"""How a flax module becomes a ``Network``."""

from typing import Any

import flax.linen as nn
import jax

from jaxq.networks.units import activity_of, inside_of
from jaxq.types import Network


def from_flax(module: nn.Module, draws: bool = False) -> Network:
    """A feed-forward flax module ``obs [B, *obs] -> output`` as a ``Network``.

    Args:
      module: its output has ``q_values`` [B, A], as the outputs of ``heads`` have. Its random
        stream is called ``noise``; without a key there is none.
      draws: whether it draws from that stream.
    """

    def init(key: jax.Array, obs: jax.Array) -> Any:
        return module.init(key, obs)

    def apply(params: Any, obs: jax.Array, key: jax.Array | None, carry: Any):
        return module.apply(params, obs, rngs=random_streams(key)), carry

    inside = inside_of(module)
    return Network(init, apply, draws=draws, activity=activity_of(module), inside=inside)


def random_streams(key: jax.Array | None) -> dict[str, jax.Array]:
    """The random streams of a module that may draw from ``key``."""
    return {} if key is None else {"noise": key}
