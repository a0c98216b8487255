"""Target networks: what is kept, and how it follows the parameters. Used by the loop."""

import jax
import jax.numpy as jnp

from jaxq.config import HParams
from jaxq.errors import ConfigError
from jaxq.networks.statistics import join, split
from jaxq.types import Clock, PyTree, Target


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


def shift_heads() -> Target:
    """Of a chain of heads each takes the place of the one before it, at every update (iS-DQN).

    There is no second network. Moved is what stands below ``head``, [N, ...]; the last is doubled.
    What an optimizer remembers stays where it is, as in the authors' code (Vincent et al. 2025).
    """

    def shift(params: PyTree, target_params: PyTree, clock: Clock, hparams: HParams):
        del clock, hparams
        paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(params)]
        if not any(_is_head(path) for path in paths):
            raise ConfigError("target=shift-heads has no effect on a network without a head.")

        def move(path: tuple, leaf: jax.Array) -> jax.Array:
            return _ahead(leaf) if _is_head(path) else leaf

        return jax.tree_util.tree_map_with_path(move, params), target_params

    return Target(lambda params: None, lambda params, target_params, hparams: None, shift)


def shift_networks(shift_period: int, target_period: int) -> Target:
    """Of a chain of networks [K, ...], and as many target networks one place behind (i-DQN).

    As Vincent et al. (2024, algorithm 1): at every update a target network becomes the network it
    stands for, ``target[1:] = params[:-1]``. Every ``shift_period`` environment steps all target
    networks become the networks in their places, and these move by one place, the last doubled.
    """

    def update(params: PyTree, target_params: PyTree, hparams: HParams) -> PyTree:
        del hparams
        (new, seen), (old, _) = split(params), split(target_params)
        behind = jax.tree.map(lambda new, old: jnp.concatenate([old[:1], new[:-1]]), new, old)
        return join(behind, seen)

    def shift(params: PyTree, target_params: PyTree, clock: Clock, hparams: HParams):
        del hparams
        weights, seen = split(params)
        earlier = clock.steps - target_period
        return jax.lax.cond(
            clock.steps // shift_period > earlier // shift_period,
            lambda: (join(jax.tree.map(_ahead, weights), seen), params),
            lambda: (params, target_params),
        )

    return Target(lambda params: params, update, shift)


def _ahead(leaf: jax.Array) -> jax.Array:
    """Each of N in the place of the one before it, and the last in two."""
    return jnp.concatenate([leaf[1:], leaf[-1:]])


def _is_head(path: tuple) -> bool:
    return any(getattr(entry, "key", None) == "head" for entry in path)
