"""Target networks: what is kept, and how it follows the parameters. Used by the loop."""

import jax
import jax.numpy as jnp

from jaxq.config import HParams
from jaxq.types import PyTree, Target


def polyak() -> Target:
    """``tau * params + (1 - tau) * target`` (Lillicrap et al. 2016); tau 1 copies."""

    def update(params: PyTree, target_params: PyTree, hparams: HParams) -> PyTree:
        tau = hparams.tau
        return jax.tree.map(lambda new, old: tau * new + (1.0 - tau) * old, params, target_params)

    return Target(lambda params: params, update)


def stack(count: int) -> Target:
    """A stack of the parameters at the last ``count`` updates, the newest first: [count, ...]."""

    def init(params: PyTree) -> PyTree:
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), params)

    def update(params: PyTree, target_params: PyTree, hparams: HParams) -> PyTree:
        del hparams
        return jax.tree.map(
            lambda new, old: jnp.concatenate([new[None], old[:-1]]), params, target_params
        )

    return Target(init, update)
