"""How a flax module becomes a ``Network``."""

from typing import Any

import flax.linen as nn
import jax

from jaxq.types import Network


def from_flax(module: nn.Module) -> Network:
    """A feed-forward flax module ``obs [B, *obs] -> output`` as a ``Network``.

    The module's random stream is called ``noise``.
    """

    def init(key: jax.Array, obs: jax.Array) -> Any:
        return module.init(key, obs)

    def apply(params: Any, obs: jax.Array, key: jax.Array | None, carry: Any, reset: jax.Array):
        del reset
        return module.apply(params, obs, rngs=random_streams(key)), carry

    return Network(init, apply)


def random_streams(key: jax.Array | None) -> dict[str, jax.Array]:
    return {} if key is None else {"noise": key}
