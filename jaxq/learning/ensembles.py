"""Losses of ensembles: N value functions that learn from the same windows.

The network is ``networks.ensembles.ensemble``; its outputs have ``members [B, N, A]``. Signature
and ``backup`` as in ``losses``.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from jaxq.config import HParams
from jaxq.learning import td
from jaxq.learning.backups import Values, honours
from jaxq.learning.losses import each, evaluate, on_transitions, scalar_output, td_errors
from jaxq.networks.ensembles import convex_weights
from jaxq.networks.legal import mean_value
from jaxq.types import LossOutput, Network, PyTree, Transition


@honours("policy", "entropy", "bonus", "online")
@on_transitions
def bootstrapped_loss(
    outputs: Values, batch: Transition, hparams: HParams, backup: Callable
) -> LossOutput:
    """Bootstrapped DQN (Osband et al. 2016, equation 7): every member towards its own target.

    A member learns from the windows whose first step its mask holds. The members' losses are
    summed, so that each learns as it would alone. The priority averages over those that learn.
    """
    mask = batch.carry.mask.astype(jnp.float32)  # [B, N]
    members = each(outputs, "members")
    errors = jax.vmap(lambda q_values: td_errors(q_values, batch, hparams, backup), 1, 1)(members)
    size = jnp.sum(mask * jnp.abs(errors), axis=1) / jnp.maximum(mask.sum(axis=1), 1.0)
    loss = jnp.sum(mask * td.huber_loss(errors, hparams.huber_delta), axis=1)
    aux = {"q_value": mean_value(members.online_tm1, batch.obs), "td_error": size}
    return LossOutput(loss, size, aux)


@honours("policy", "entropy", "bonus", "online")
@partial(on_transitions, draws=True)
def random_mixture_loss(
    outputs: Values, batch: Transition, hparams: HParams, backup: Callable, key: jax.Array
) -> LossOutput:
    """REM (Agarwal et al. 2020, equation 4): one random convex mixture of the members per batch."""
    members = each(outputs, "members")
    weights = convex_weights(key, members.online_tm1.shape[1:2])
    mix = partial(jnp.einsum, "n,bna->ba", weights, precision="highest")
    q_values = jax.tree.map(mix, members)
    return scalar_output(td_errors(q_values, batch, hparams, backup), q_values, batch, hparams)


@honours("policy", "entropy", "bonus", "online")
@partial(on_transitions, draws=True)
def maxmin_loss(
    outputs: Values, batch: Transition, hparams: HParams, backup: Callable, key: jax.Array
) -> LossOutput:
    """Maxmin Q-learning (Lan et al. 2020, algorithm 1): towards the members' minimum, which also
    acts if the network combines its members so.

    The paper updates one member at a time, each with an optimizer of its own. Here every window
    updates one random member, so that a single optimizer sees gradients of all.
    """
    members = each(outputs, "members")
    rows, count = members.online_tm1.shape[:2]
    chosen = jax.random.randint(key, (rows,), 0, count)
    q_values = jax.tree.map(lambda values: values.min(axis=1), members)
    q_values = q_values._replace(online_tm1=members.online_tm1[jnp.arange(rows), chosen])
    return scalar_output(td_errors(q_values, batch, hparams, backup), q_values, batch, hparams)


def _values_of_each_target(
    network: Network, params: PyTree, target_params: PyTree, key: jax.Array, batch: Transition
) -> Values:
    """Values [B, A] of one network, and [N, B, A] of each of the target networks [N, ...]."""
    return jax.vmap(
        lambda target: each(evaluate(network, params, target, key, batch), "q_values"),
        out_axes=Values(online_tm1=None, online_t=None, target_tm1=0, target_t=0),
    )(target_params)


@honours("policy", "entropy", "bonus", "online")
@partial(on_transitions, evaluate=_values_of_each_target)
def averaged_loss(
    q_values: Values, batch: Transition, hparams: HParams, backup: Callable
) -> LossOutput:
    """Averaged-DQN (Anschel et al. 2017, algorithm 2): towards the mean of several targets.

    The network is a single one; the target parameters are a stack of its parameters at the last
    updates, leaves [N, ...], as ``targets.stack`` keeps it.
    """
    q_values = q_values._replace(
        target_t=q_values.target_t.mean(axis=0), target_tm1=q_values.target_tm1.mean(axis=0)
    )
    return scalar_output(td_errors(q_values, batch, hparams, backup), q_values, batch, hparams)
