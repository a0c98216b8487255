"""Networks: torsos, and how a flax module becomes a ``Network``.

A torso turns observations, ``bool``, ``uint8`` or ``float32``, into features. A ``Network`` called
with a key may draw noise, heads or fractions; called with ``None`` it is deterministic.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxq.errors import ConfigError
from jaxq.heads import EnsembleOutput, QOutput
from jaxq.layers import LSTM, Dense, PatchConv
from jaxq.types import Network


def from_flax(module: nn.Module) -> Network:
    """A feed-forward flax module ``obs [B, *obs] -> output`` as a ``Network``.

    The module's random stream is called ``noise``.
    """

    def init(key: jax.Array, obs: jax.Array) -> Any:
        return module.init(key, obs)

    def apply(params: Any, obs: jax.Array, key: jax.Array | None, carry: Any, reset: jax.Array):
        del reset
        return module.apply(params, obs, rngs=_streams(key)), carry

    return Network(init, apply)


def recurrent(module: "RecurrentNetwork") -> Network:
    """A recurrent flax module as a ``Network`` that remembers until ``reset``."""

    def initial_carry(key: jax.Array, rows: int) -> Any:
        del key
        return (jnp.zeros((rows, module.width)), jnp.zeros((rows, module.width)))

    def init(key: jax.Array, obs: jax.Array) -> Any:
        resets = jnp.zeros((1, len(obs)), bool)
        return module.init(key, initial_carry(key, len(obs)), obs[None], resets)

    def unroll(params: Any, obs: jax.Array, key: jax.Array | None, carry: Any, resets: jax.Array):
        return module.apply(params, carry, obs, resets, rngs=_streams(key))

    def apply(params: Any, obs: jax.Array, key: jax.Array | None, carry: Any, reset: jax.Array):
        results = unroll(params, obs[None], key, carry, reset[None])
        return jax.tree.map(lambda leaf: leaf[0], results)

    return Network(init, apply, initial_carry, unroll)


class EnsembleCarry(NamedTuple):
    """Which member acts in this episode, and which members learn from this step."""

    member: jax.Array  # [B] uint8
    mask: jax.Array  # [B, N] bool


def ensemble(
    module: nn.Module,
    num_members: int,
    prior_scale: float = 0.0,
    mask_probability: float = 1.0,
    combine: Callable | None = None,
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

    def q_values(stacked: Any, obs: jax.Array) -> jax.Array:  # [B, N, A]
        return jax.vmap(lambda params: module.apply(params, obs).q_values, 0, 1)(stacked)

    def apply(params: Any, obs: jax.Array, key: jax.Array | None, carry: Any, reset: jax.Array):
        del reset
        members = q_values(params["members"], obs)
        if prior_scale:
            members += prior_scale * q_values(jax.lax.stop_gradient(params["priors"]), obs)
        if key is None or carry == ():
            return EnsembleOutput((combine or jnp.mean)(members, axis=1), members), carry
        if combine:
            acting = combine(members, axis=1)
        else:
            acting = jnp.take_along_axis(members, carry.member[:, None, None], axis=1)[:, 0]
        carry = carry._replace(mask=draw_mask(key, len(obs)))
        return EnsembleOutput(acting, members), carry

    return Network(init, apply, initial_carry)


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


class Flatten(nn.Module):
    """No features but the observation itself: with a linear head and one-hot input, a table."""

    @nn.compact
    def __call__(self, obs: jax.Array) -> jax.Array:
        return _flatten(obs.astype(jnp.float32))


class MLP(nn.Module):
    """Dense layers with ReLU, optionally each normalised before the ReLU (Ba et al. 2016)."""

    widths: tuple[int, ...]
    layer_norm: bool = False
    dense: Callable[[int], Callable] = Dense
    last_dense: Callable[[int], Callable] | None = None  # the layer before the head, if different

    @nn.compact
    def __call__(self, obs: jax.Array) -> jax.Array:
        x = _flatten(obs.astype(jnp.float32))  # [B, features]
        for layer, width in enumerate(self.widths, start=1):
            make = self.last_dense if layer == len(self.widths) else None
            x = (make or self.dense)(width)(x)
            x = nn.LayerNorm()(x) if self.layer_norm else x
            x = nn.relu(x)
        return x


class MinAtarTorso(nn.Module):
    """One 3x3 convolution and dense layers (Young & Tian 2019, section 3).

    ``layer_norm`` normalises each layer before its ReLU (over the channels after the convolution).
    """

    widths: tuple[int, ...] = (128,)
    layer_norm: bool = False
    dense: Callable[[int], Callable] = Dense
    last_dense: Callable[[int], Callable] | None = None
    channels: int = 16

    @nn.compact
    def __call__(self, obs: jax.Array) -> jax.Array:
        x = PatchConv(self.channels, (3, 3))(_batch_last(obs))
        x = _normalise_channels()(x) if self.layer_norm else x
        x = _batch_first(nn.relu(x))
        return MLP(self.widths, self.layer_norm, self.dense, self.last_dense)(x)


class NatureTorso(nn.Module):
    """The three convolutions of Mnih et al. (2015), for images of at least 36 x 36."""

    widths: tuple[int, ...] = (512,)
    layer_norm: bool = False
    dense: Callable[[int], Callable] = Dense
    last_dense: Callable[[int], Callable] | None = None

    @nn.compact
    def __call__(self, obs: jax.Array) -> jax.Array:
        x = _batch_last(obs.astype(jnp.float32) / (255.0 if obs.dtype == jnp.uint8 else 1.0))
        layers = ((32, (8, 8), (4, 4)), (64, (4, 4), (2, 2)), (64, (3, 3), (1, 1)))
        for channels, kernel_size, strides in layers:
            x = PatchConv(channels, kernel_size, strides)(x)
            x = _normalise_channels()(x) if self.layer_norm else x
            x = nn.relu(x)
        x = _batch_first(x)
        return MLP(self.widths, self.layer_norm, self.dense, self.last_dense)(x)


def make_torso(
    name: str,
    obs_spec: jax.ShapeDtypeStruct,
    widths: tuple[int, ...],
    layer_norm: bool,
    dense: Callable[[int], Callable] = Dense,
    last_dense: Callable[[int], Callable] | None = None,
) -> nn.Module:
    """The torso called ``name`` for observations of ``obs_spec``.

    ``dense`` makes its dense layers, ``last_dense`` the last of them where it is given.

    Raises:
      ConfigError: the observation does not fit the torso.
    """
    shape = obs_spec.shape
    smallest = {"minatar": 3, "nature": 36}.get(name)
    if smallest and (len(shape) != 3 or min(shape[:2]) < smallest):
        raise ConfigError(
            f"network={name} needs image observations [height, width, channels] of at least "
            f"{smallest} x {smallest}; the environment's have shape {list(shape)}."
        )
    if name == "linear":
        return Flatten()
    return {"mlp": MLP, "minatar": MinAtarTorso, "nature": NatureTorso}[name](
        widths=widths, layer_norm=layer_norm, dense=dense, last_dense=last_dense
    )


def _streams(key: jax.Array | None) -> dict[str, jax.Array]:
    return {} if key is None else {"noise": key}


_normalise_channels = partial(nn.LayerNorm, reduction_axes=0, feature_axes=0)


def _batch_last(images: jax.Array) -> jax.Array:
    """Images [B, rows, columns, channels] as [channels, rows, columns, B]."""
    return images.transpose(3, 1, 2, 0)


def _batch_first(images: jax.Array) -> jax.Array:
    """Images [channels, rows, columns, B] as rows of features [B, channels * rows * columns]."""
    return images.reshape(-1, images.shape[-1]).T


def _flatten(x: jax.Array) -> jax.Array:
    return x.reshape(x.shape[0], -1)
