"""Losses of ensembles: N value functions that learn from the same windows.

The network is ``networks.ensemble``; its outputs have ``members [B, N, A]``. Signature and
``backup`` as in ``losses``.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from jaxq.config import HParams
from jaxq.learning import backups, td
from jaxq.learning.losses import Outputs, each, evaluate, fold, scalar_output, td_errors
from jaxq.types import LossOutput, Network, PyTree, Step


def bootstrapped_loss(
    network: Network,
    params: PyTree,
    target_params: PyTree,
    key: jax.Array,
    steps: Step,
    hparams: HParams,
    backup: Callable = backups.greedy,
) -> LossOutput:
    """Bootstrapped DQN (Osband et al. 2016, equation 7): every member towards its own target.

    A member learns from the windows whose first step its mask holds. The members' losses are
    summed, so that each learns as it would alone. The priority averages over those that learn.
    """
    batch = fold(steps, hparams)
    mask = steps.carry.mask[:, 0].astype(jnp.float32)  # [B, N]
    members = each(evaluate(network, params, target_params, key, batch), "members")
    errors = jax.vmap(lambda q_values: td_errors(q_values, batch, hparams, backup), 1, 1)(members)
    size = jnp.sum(mask * jnp.abs(errors), axis=1) / jnp.maximum(mask.sum(axis=1), 1.0)
    loss = jnp.sum(mask * td.huber_loss(errors, hparams.huber_delta), axis=1)
    aux = {"q_value": members.online.mean(axis=(1, 2)), "td_error": size}
    return LossOutput(loss, size, aux)


def random_mixture_loss(
    network: Network,
    params: PyTree,
    target_params: PyTree,
    key: jax.Array,
    steps: Step,
    hparams: HParams,
    backup: Callable = backups.greedy,
) -> LossOutput:
    """REM (Agarwal et al. 2020, equation 4): one random convex mixture of the members per batch."""
    batch = fold(steps, hparams)
    key_evaluate, key_mixture = jax.random.split(key)
    outputs = evaluate(network, params, target_params, key_evaluate, batch)
    members = each(outputs, "members")
    weights = jax.random.uniform(key_mixture, members.online.shape[1:2])
    weights /= weights.sum()
    mix = partial(jnp.einsum, "n,bna->ba", weights, precision="highest")
    q_values = jax.tree.map(mix, members)
    return scalar_output(td_errors(q_values, batch, hparams, backup), q_values.online, hparams)


def maxmin_loss(
    network: Network,
    params: PyTree,
    target_params: PyTree,
    key: jax.Array,
    steps: Step,
    hparams: HParams,
    backup: Callable = backups.greedy,
) -> LossOutput:
    """Maxmin Q-learning (Lan et al. 2020, algorithm 1): towards the members' minimum, which also
    acts if ``network`` combines its members so.

    The paper updates one member at a time, each with an optimizer of its own. Here every window
    updates one random member, so that a single optimizer sees gradients of all.
    """
    batch = fold(steps, hparams)
    key_evaluate, key_member = jax.random.split(key)
    outputs = evaluate(network, params, target_params, key_evaluate, batch)
    members = each(outputs, "members")
    rows, count = members.online.shape[:2]
    chosen = jax.random.randint(key_member, (rows,), 0, count)
    q_values = jax.tree.map(lambda values: values.min(axis=1), members)
    q_values = q_values._replace(online=members.online[jnp.arange(rows), chosen])
    return scalar_output(td_errors(q_values, batch, hparams, backup), q_values.online, hparams)


def averaged_loss(
    network: Network,
    params: PyTree,
    target_params: PyTree,
    key: jax.Array,
    steps: Step,
    hparams: HParams,
    backup: Callable = backups.greedy,
) -> LossOutput:
    """Averaged-DQN (Anschel et al. 2017, algorithm 2): towards the mean of several targets.

    The network is a single one; ``target_params`` is a stack of its parameters at the last
    updates, leaves [N, ...], as ``targets.latest`` keeps it.
    """
    batch = fold(steps, hparams)
    q_values = jax.vmap(
        lambda target: each(evaluate(network, params, target, key, batch), "q_values"),
        out_axes=Outputs(online=None, target=0, next_online=None, before=0),
    )(target_params)
    q_values = q_values._replace(
        target=q_values.target.mean(axis=0), before=q_values.before.mean(axis=0)
    )
    return scalar_output(td_errors(q_values, batch, hparams, backup), q_values.online, hparams)
