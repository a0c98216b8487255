"""Losses on batches of windows: which parameters evaluate which observations.

Every loss has the signature
``loss(network, params, target_params, key, steps [B, T, ...], hparams) -> LossOutput``
and a last argument ``backup``, the way the next state is valued (see ``backups``).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxq.config import HParams
from jaxq.learning import backups, returns, td
from jaxq.learning.backups import Lookahead, Values
from jaxq.types import LossOutput, Network, PyTree, Step, Transition


def q_loss(
    network: Network,
    params: PyTree,
    target_params: PyTree,
    key: jax.Array,
    steps: Step,
    hparams: HParams,
    backup: Callable = backups.greedy,
) -> LossOutput:
    """DQN (Mnih et al. 2015, equation 2), over windows of any length."""
    batch = fold(steps, hparams)
    outputs = evaluate(network, params, target_params, key, batch)
    q_values = each(outputs, "q_values")
    return scalar_output(td_errors(q_values, batch, hparams, backup), q_values.online, hparams)


def categorical_loss(
    network: Network,
    params: PyTree,
    target_params: PyTree,
    key: jax.Array,
    steps: Step,
    hparams: HParams,
    backup: Callable = backups.greedy,
) -> LossOutput:
    """C51 (Bellemare et al. 2017, algorithm 1): cross-entropy with the projected distribution.

    The network returns a ``CategoricalOutput``; the backup selects one action. The priority is the
    loss, as in Rainbow (Hessel et al. 2018).
    """
    batch = fold(steps, hparams)
    outputs = evaluate(network, params, target_params, key, batch)
    ahead = look_ahead(each(outputs, "q_values"), batch.action, hparams, backup)
    probs_t = _average(jax.nn.softmax(outputs.target.logits), ahead.policy)
    logits_tm1 = _taken(outputs.online.logits, batch.action)
    loss = jax.vmap(td.categorical_td, (0, None, 0, 0, 0))(
        logits_tm1, outputs.online.atoms, batch.reward, batch.discount, probs_t
    )
    return LossOutput(loss, loss, {"q_value": outputs.online.q_values.mean(axis=-1)})


def quantile_loss(
    network: Network,
    params: PyTree,
    target_params: PyTree,
    key: jax.Array,
    steps: Step,
    hparams: HParams,
    backup: Callable = backups.greedy,
) -> LossOutput:
    """QR-DQN (Dabney et al. 2018a) and IQN (Dabney et al. 2018b): quantile regression.

    The network returns a ``QuantileOutput``. Soft and Munchausen backups average quantiles over the
    policy, fraction by fraction (Vieillard et al. 2020, appendix B.2). The priority is the loss.
    """
    batch = fold(steps, hparams)
    outputs = evaluate(network, params, target_params, key, batch)
    ahead = look_ahead(each(outputs, "q_values"), batch.action, hparams, backup)
    quantiles_t = _average(outputs.target.quantiles, ahead.policy)  # [B, K']
    values_t = quantiles_t + ahead.entropy[:, None]
    targets = (batch.reward + ahead.bonus)[:, None] + batch.discount[:, None] * values_t
    quantiles_tm1 = _taken(outputs.online.quantiles, batch.action)
    loss = jax.vmap(td.quantile_regression, (0, 0, 0, None))(
        quantiles_tm1, outputs.online.fractions, targets, hparams.huber_delta
    )
    return LossOutput(loss, loss, {"q_value": outputs.online.quantiles.mean(axis=(1, 2))})


def importance_weights(probabilities: jax.Array, exponent: jax.Array) -> jax.Array:
    """Weights [B] that undo non-uniform sampling, the largest 1 (Schaul et al. 2016, 3.4).

    ``(N P)**-exponent`` over its maximum; N cancels. Equal probabilities give weights of 1.
    """
    return (probabilities / probabilities.min()) ** -exponent


class Outputs(NamedTuple):
    """A batch as the networks see it: outputs, or one array of each."""

    online: Any  # before the step, with gradient
    target: Any  # the target network, after the step
    next_online: Any  # after the step
    before: Any  # the target network, before the step


def evaluate(
    network: Network, params: PyTree, target_params: PyTree, key: jax.Array, batch: Transition
) -> Outputs:
    """Every output that a loss or a backup may need, each with noise of its own.

    What is not used is not computed: XLA drops it.
    """
    keys = jax.random.split(key, 4)
    return Outputs(
        online=forward(network, params, batch.obs, keys[0]),
        target=forward(network, target_params, batch.next_obs, keys[1]),
        next_online=forward(network, params, batch.next_obs, keys[2]),
        before=forward(network, target_params, batch.obs, keys[3]),
    )


def each(outputs: Outputs, field: str) -> Outputs:
    """One field of every output."""
    return Outputs(*(getattr(output, field) for output in outputs))


def td_errors(
    q_values: Outputs, batch: Transition, hparams: HParams, backup: Callable
) -> jax.Array:
    """TD errors [B] of values [B, A]."""
    ahead = look_ahead(q_values, batch.action, hparams, backup)
    return jax.vmap(td.expected_sarsa)(
        q_values.online,
        batch.action,
        batch.reward + ahead.bonus,
        batch.discount,
        q_values.target + ahead.entropy[:, None],
        ahead.policy,
    )


def fold(steps: Step, hparams: HParams) -> Transition:
    """Windows [B, T, ...] as n-step transitions [B, ...], rewards scaled."""
    steps = steps._replace(reward=hparams.reward_scale * steps.reward)
    return jax.vmap(returns.fold_window, in_axes=(0, None))(steps, hparams.gamma)


def forward(network: Network, params: PyTree, obs: jax.Array, key: jax.Array) -> Any:
    """The output of a network without memory for a batch [B, *obs]."""
    return network.apply(params, obs, key, (), jnp.zeros(len(obs), bool))[0]


def scalar_output(errors: jax.Array, q_tm1: jax.Array, hparams: HParams) -> LossOutput:
    """The output of a loss on TD errors [B] of values ``q_tm1 [B, A]``."""
    return LossOutput(
        loss=td.huber_loss(errors, hparams.huber_delta),
        priority=jnp.abs(errors),
        aux={"q_value": q_tm1.mean(axis=-1), "td_error": jnp.abs(errors)},
    )


def look_ahead(
    q_values: Outputs, action: jax.Array, hparams: HParams, backup: Callable
) -> Lookahead:
    """The backup of every window: leaves [B, ...]."""
    values = Values(q_values.target, q_values.next_online, q_values.before, action)
    return jax.vmap(backup, (0, None))(values, hparams)


def _average(outputs: jax.Array, policy: jax.Array) -> jax.Array:
    """Of outputs [B, A, K] the mean under a policy [B, A]: [B, K]."""
    return jnp.einsum("ba,bak->bk", policy, outputs, precision="highest")


def _taken(outputs: jax.Array, action: jax.Array) -> jax.Array:
    """Of outputs [B, A, K] those of the action taken: [B, K]."""
    return jnp.take_along_axis(outputs, action[:, None, None].astype(jnp.int32), axis=1)[:, 0]
