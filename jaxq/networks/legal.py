"""Networks that value legal actions only.

Observations may say which actions are legal (``types.ObservationLegalActions``). The values of all
others are ``ILLEGAL`` in what a network puts out, and so wherever it is asked: for whoever acts and
for every backup they are the worst that there is, in a maximum, a minimum of maxima, a softmax.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxq.legal import legal_actions, without_legal_actions
from jaxq.types import Network, PyTree, unchanged

# Finite, and far enough from the largest float to be averaged or divided by a temperature: at -inf
# a probability of 0 would make NaN of it.
ILLEGAL = -1e30


def of_legal_actions(network: Network) -> Network:
    """A network that does not see which actions are legal, and values no others.

    Where observations do not say it, it is the network as it is.
    """

    def see(params: Any, obs: PyTree, *rest: Any) -> tuple:
        return params, without_legal_actions(obs), *rest

    def init(key: jax.Array, obs: PyTree) -> Any:
        return network.init(key, without_legal_actions(obs))

    def apply(params: Any, obs: PyTree, key: jax.Array | None, carry: Any):
        output, carry = network.apply(*see(params, obs, key, carry))
        return masked(output, legal_actions(obs)), carry

    def unroll(params: Any, obs: PyTree, key: jax.Array | None, carry: Any, resets: jax.Array):
        output, carries = network.unroll(*see(params, obs, key, carry, resets))
        return masked(output, legal_actions(obs)), carries

    parts = {name: getattr(network, name) for name in ("observe", "activity", "inside")}
    seeing = {
        name: lambda params, obs, part=part: part(*see(params, obs))
        for name, part in parts.items()
        if part not in (None, unchanged)
    }
    unroll = unroll if network.unroll else None
    return network._replace(init=init, apply=apply, unroll=unroll, **seeing)


def masked(output: Any, legal: jax.Array | None) -> Any:
    """A network's output [..., A] with ``ILLEGAL`` for the value of every action that is not."""
    if legal is None:
        return output
    members = {}
    if hasattr(output, "members"):  # [..., N, A]
        members["members"] = _hide(output.members, legal[..., None, :])
    return output._replace(q_values=_hide(output.q_values, legal), **members)


@jax.custom_jvp
def _hide(values: jax.Array, legal: jax.Array) -> jax.Array:
    return jnp.where(legal, values, ILLEGAL)


# As if nothing were hidden: no loss has a gradient where it cannot look, and a selection in the
# gradient would make XLA round otherwise even where all actions are legal.
@_hide.defjvp
def _hide_jvp(primals: tuple, tangents: tuple) -> tuple:
    return _hide(*primals), tangents[0]


def mean_value(values: jax.Array, obs: PyTree, rows: int = 1, axis: int = -1) -> jax.Array:
    """The mean of values over legal actions and over all other axes behind the first ones.

    Args:
      values: [B, ..., A, ...], or [B, T, ..., A, ...] with two rows.
      obs: [B, *obs], or [B, T, *obs].
      rows: leading axes that observations have.
      axis: where the actions are.
    """
    legal, axes = legal_actions(obs), tuple(range(1, values.ndim))
    if legal is None:
        return values.mean(axis=axes)
    shape = [*legal.shape[:rows], *[1] * (values.ndim - rows)]
    shape[axis] = legal.shape[-1]
    return values.mean(axis=axes, where=legal.reshape(shape))
