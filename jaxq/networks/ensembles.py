"""Several copies of a module as one network."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxq.networks.heads import EnsembleOutput
from jaxq.networks.modules import random_streams
from jaxq.networks.units import inside_of
from jaxq.types import Network


class EnsembleCarry(NamedTuple):
    """Which member acts in this episode, and which members learn from this step."""

    member: jax.Array  # [B] uint8
    mask: jax.Array  # [B, N] bool


class MixtureCarry(NamedTuple):
    """What the members count for in this episode."""

    weights: jax.Array  # [B, N], of sum 1


def ensemble(
    module: nn.Module,
    num_members: int,
    prior_scale: float = 0.0,
    mask_probability: float = 1.0,
    combine: Callable | None = None,
    draws: bool = False,
) -> Network:
    """``num_members`` independent copies of a module with ``q_values``, as one ``Network``.

    With a key the member that the carry names acts, without one their mean. The carry's member is
    drawn for every episode (Osband et al. 2016, algorithm 1), its mask for every step.

    Args:
      combine: what always acts in place of that, such as ``jnp.min``: ``combine(values [B, N, A],
        axis=1) -> [B, A]``.
      prior_scale: every member is the sum of a trained copy and ``prior_scale`` times a random one
        that never changes (Osband et al. 2018, equation 8).
      mask_probability: of a member to learn from a step.
      draws: whether the module draws noise; every member then has its own. Priors have none.
    """

    def draw_mask(key: jax.Array, rows: int) -> jax.Array:
        return jax.random.bernoulli(key, mask_probability, (rows, num_members))

    def initial_carry(key: jax.Array, rows: int) -> EnsembleCarry:
        key_member, key_mask = jax.random.split(key)
        member = jax.random.randint(key_member, (rows,), 0, num_members).astype(jnp.uint8)
        return EnsembleCarry(member, draw_mask(key_mask, rows))

    def init(key: jax.Array, obs: jax.Array) -> Any:
        keys = jax.random.split(key, (2 if prior_scale else 1, num_members))
        names = ("members", "priors")
        return {n: jax.vmap(module.init, (0, None))(k, obs) for n, k in zip(names, keys)}

    def q_values(stacked: Any, obs: jax.Array, key: jax.Array | None) -> jax.Array:  # [B, N, A]
        def one(params: Any, key: jax.Array | None) -> jax.Array:
            return module.apply(params, obs, rngs=random_streams(key)).q_values

        if not draws or key is None:
            return jax.vmap(lambda params: one(params, None), 0, 1)(stacked)
        return jax.vmap(one, 0, 1)(stacked, jax.random.split(key, num_members))

    def apply(params: Any, obs: jax.Array, key: jax.Array | None, carry: Any):
        key_noise = None
        if draws and key is not None:
            key, key_noise = jax.random.split(key)
        members = q_values(params["members"], obs, key_noise)
        if prior_scale:
            members += prior_scale * q_values(jax.lax.stop_gradient(params["priors"]), obs, None)
        if key is None or carry == ():
            return EnsembleOutput((combine or jnp.mean)(members, axis=1), members), carry
        if combine:
            acting = combine(members, axis=1)
        else:
            acting = jnp.take_along_axis(members, carry.member[:, None, None], axis=1)[:, 0]
        carry = carry._replace(mask=draw_mask(key, len(obs)))
        return EnsembleOutput(acting, members), carry

    def inside(params: Any, obs: jax.Array) -> Any:
        return jax.vmap(inside_of(module), (0, None))(params["members"], obs)

    return Network(init, apply, initial_carry, draws=True, inside=inside)  # masks are drawn


def mixture(
    module: nn.Module, num_members: int, prior_scale: float = 0.0, draws: bool = False
) -> Network:
    """An ensemble of which a random convex combination acts, drawn for every episode.

    So REM explores where its authors train it online (Agarwal et al. 2020; google-research/batch_rl
    at 6f7f4d5, ``online/configs/rem.gin``: ``use_deep_exploration``). Without a key the mean of the
    members acts, as in their evaluation.
    """
    network = ensemble(module, num_members, prior_scale, draws=draws)

    def initial_carry(key: jax.Array, rows: int) -> MixtureCarry:
        return MixtureCarry(convex_weights(key, (rows, num_members)))

    def apply(params: Any, obs: jax.Array, key: jax.Array | None, carry: Any):
        output, _ = network.apply(params, obs, key, ())
        if key is None or carry == ():
            return output, carry
        acting = jnp.einsum("bn,bna->ba", carry.weights, output.members, precision="highest")
        return EnsembleOutput(acting, output.members), carry

    return network._replace(initial_carry=initial_carry, apply=apply, draws=draws)


def convex_weights(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Uniform numbers [..., N] over their sum (Agarwal et al. 2020, section 4.2)."""
    weights = jax.random.uniform(key, shape)
    return weights / weights.sum(axis=-1, keepdims=True)
