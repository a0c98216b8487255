"""Losses on batches of windows: DQN, C51, HL-Gauss and quantile regression.

A loss has the signature
``loss(network, params, target_params, key, steps [B, T, ...], hparams, backup) -> LossOutput``,
where ``backup`` is the way the next state is valued (see ``backups``). ``on_transitions`` makes one
of a function of what the networks say, which is all that tells most losses apart.
"""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

import jax
import jax.numpy as jnp

from jaxq.config import HParams
from jaxq.learning import backups, returns, td
from jaxq.learning.backups import Lookahead, Values
from jaxq.networks.legal import mean_value
from jaxq.types import LossOutput, Network, PyTree, Step, Transition

_CALLED = """
Args:
  network: what ``params`` and ``target_params`` are the parameters of.
  target_params: those that the next state is valued with.
  key: for noise in the network, and for what the loss draws.
  steps: windows of consecutive steps, leaves [B, T, ...]: obs, action, reward, terminated (the
    task ended here), done (or a time limit cut it), next_obs (before any reset), carry.
  hparams: numbers, traced.
  backup: how the next state is valued; see ``backups``.

Returns:
  LossOutput: losses [B], priorities [B] and measurements [B] by name.
"""


def evaluate(
    network: Network, params: PyTree, target_params: PyTree, key: jax.Array, batch: Transition
) -> Values:
    """Every output that a loss or a backup may need, each with noise of its own.

    What is not used is not computed: XLA drops it.
    """
    keys = jax.random.split(key, 4)
    return Values(
        online_tm1=_forward(network, params, batch.obs, keys[0]),
        target_t=_forward(network, target_params, batch.next_obs, keys[1]),
        online_t=_forward(network, params, batch.next_obs, keys[2]),
        target_tm1=_forward(network, target_params, batch.obs, keys[3]),
    )


def on_transitions(
    loss_of: Callable, *, evaluate: Callable = evaluate, draws: bool = False
) -> Callable:
    """A loss on windows, from one on what the networks say about them.

    Windows are folded into n-step transitions, and both networks are evaluated before and after.

    Args:
      loss_of: ``loss_of(outputs, batch, hparams, backup) -> LossOutput`` with the networks' outputs
        as ``Values`` and the transitions ``batch`` [B, ...]; with ``draws`` also a last ``key``.
      evaluate: how networks are evaluated; see the function of that name.
    """

    @wraps(loss_of)
    def loss(
        network: Network,
        params: PyTree,
        target_params: PyTree,
        key: jax.Array,
        steps: Step,
        hparams: HParams,
        backup: Callable = backups.greedy,
    ) -> LossOutput:
        key, *own_key = jax.random.split(key) if draws else [key]
        batch = fold(steps, hparams)
        outputs = evaluate(network, params, target_params, key, batch)
        return loss_of(outputs, batch, hparams, backup, *own_key)

    # help() shows what is called.
    loss.__signature__ = inspect.signature(loss, follow_wrapped=False)
    loss.__doc__ = f"{inspect.cleandoc(loss.__doc__ or '')}\n{_CALLED}"
    return loss


@backups.honours("policy", "entropy", "bonus", "online")
@on_transitions
def q_loss(outputs: Values, batch: Transition, hparams: HParams, backup: Callable) -> LossOutput:
    """DQN (Mnih et al. 2015, equation 2), over windows of any length."""
    q_values = each(outputs, "q_values")
    return scalar_output(td_errors(q_values, batch, hparams, backup), q_values, batch, hparams)


@backups.honours("policy", "online")
@on_transitions
def categorical_loss(
    outputs: Values, batch: Transition, hparams: HParams, backup: Callable
) -> LossOutput:
    """C51 (Bellemare et al. 2017, algorithm 1): cross-entropy with the projected distribution.

    The network returns a ``CategoricalOutput``. The priority is the loss, as in Rainbow (Hessel et
    al. 2018).
    """
    ahead = look_ahead(each(outputs, "q_values"), batch.action, hparams, backup)
    logits_t = backups.after(ahead, outputs.target_t.logits, outputs.online_t.logits)
    probs_t = _average(jax.nn.softmax(logits_t), ahead.policy)
    logits_tm1 = _taken(outputs.online_tm1.logits, batch.action)
    loss = jax.vmap(td.categorical_td, (0, None, 0, 0, 0))(
        logits_tm1, outputs.online_tm1.atoms, batch.reward, batch.discount, probs_t
    )
    return LossOutput(loss, loss, {"q_value": mean_value(outputs.online_tm1.q_values, batch.obs)})


@backups.honours("policy", "entropy", "bonus", "online")
@on_transitions
def histogram_loss(
    outputs: Values, batch: Transition, hparams: HParams, backup: Callable
) -> LossOutput:
    """HL-Gauss (Farebrother et al. 2024): classification of the values that DQN regresses on.

    The network returns a ``CategoricalOutput`` whose atoms are the middles of bins. The target is a
    number, so every backup has the meaning that it has for DQN; gradients are those of a
    classification. The priority is the TD error: the loss of a perfect prediction is not 0.
    """
    q_values = each(outputs, "q_values")
    errors = td_errors(q_values, batch, hparams, backup)
    targets = errors + _taken(q_values.online_tm1[..., None], batch.action)[:, 0]
    logits_tm1 = _taken(outputs.online_tm1.logits, batch.action)
    loss = jax.vmap(td.hl_gauss, (0, None, 0, None))(
        logits_tm1, outputs.online_tm1.atoms, targets, hparams.sigma_ratio
    )
    aux = {"q_value": mean_value(q_values.online_tm1, batch.obs), "td_error": jnp.abs(errors)}
    return LossOutput(loss, jnp.abs(errors), aux)


@backups.honours("policy", "entropy", "bonus", "online")
@on_transitions
def quantile_loss(
    outputs: Values, batch: Transition, hparams: HParams, backup: Callable
) -> LossOutput:
    """QR-DQN (Dabney et al. 2018a) and IQN (Dabney et al. 2018b): quantile regression.

    The network returns a ``QuantileOutput``. Soft and Munchausen backups average quantiles over the
    policy, fraction by fraction (Vieillard et al. 2020, appendix B.2). The priority is the loss.
    """
    ahead = look_ahead(each(outputs, "q_values"), batch.action, hparams, backup)
    quantiles_t = backups.after(ahead, outputs.target_t.quantiles, outputs.online_t.quantiles)
    quantiles_t = _average(quantiles_t, ahead.policy)  # [B, K']
    values_t = quantiles_t + ahead.entropy[:, None]
    targets = (batch.reward + ahead.bonus)[:, None] + batch.discount[:, None] * values_t
    quantiles_tm1 = _taken(outputs.online_tm1.quantiles, batch.action)
    loss = jax.vmap(td.quantile_regression, (0, 0, 0, None))(
        quantiles_tm1, outputs.online_tm1.fractions, targets, hparams.huber_delta
    )
    q_value = mean_value(outputs.online_tm1.quantiles, batch.obs, axis=1)
    return LossOutput(loss, loss, {"q_value": q_value})


def td_errors(q_values: Values, batch: Transition, hparams: HParams, backup: Callable) -> jax.Array:
    """TD errors [B] of values [B, A]."""
    return jax.vmap(td_error, (0, 0, 0, 0, None, None))(
        q_values, batch.action, batch.reward, batch.discount, hparams, backup
    )


def td_error(
    q: Values,
    a_tm1: jax.Array,
    r_t: jax.Array,
    discount_t: jax.Array,
    hparams: HParams,
    backup: Callable,
) -> jax.Array:
    """The TD error of one transition, of which the papers' own functions are called by name."""
    if backup is backups.greedy:
        return td.q_learning(q.online_tm1, a_tm1, r_t, discount_t, q.target_t)
    if backup is backups.double:
        return td.double_q_learning(q.online_tm1, a_tm1, r_t, discount_t, q.target_t, q.online_t)
    ahead = backup(q, a_tm1, hparams)
    value_t = backups.after(ahead, q.target_t, q.online_t) + ahead.entropy
    return td.expected_sarsa(
        q.online_tm1, a_tm1, r_t + ahead.bonus, discount_t, value_t, ahead.policy
    )


def fold(steps: Step, hparams: HParams) -> Transition:
    """Windows [B, T, ...] as n-step transitions [B, ...], rewards scaled."""
    steps = steps._replace(reward=hparams.reward_scale * steps.reward)
    return jax.vmap(returns.fold_window, in_axes=(0, None))(steps, hparams.gamma)


def each(outputs: Values, field: str) -> Values:
    """One field of every output."""
    return Values(*(getattr(output, field) for output in outputs))


def scalar_output(
    errors: jax.Array, q_values: Values, batch: Transition, hparams: HParams
) -> LossOutput:
    """The output of a loss on TD errors [B] of values [B, A]."""
    return LossOutput(
        loss=td.huber_loss(errors, hparams.huber_delta),
        priority=jnp.abs(errors),
        aux={"q_value": mean_value(q_values.online_tm1, batch.obs), "td_error": jnp.abs(errors)},
    )


def look_ahead(
    q_values: Values, action: jax.Array, hparams: HParams, backup: Callable
) -> Lookahead:
    """The backup of every window: leaves [B, ...]."""
    return jax.vmap(backup, (0, 0, None))(q_values, action, hparams)


def _forward(network: Network, params: PyTree, obs: jax.Array, key: jax.Array) -> Any:
    """The output of a network without memory for a batch [B, *obs]."""
    return network.apply(params, obs, key, ())[0]


def _average(outputs: jax.Array, policy: jax.Array) -> jax.Array:
    """Of outputs [B, A, K] the mean under a policy [B, A]: [B, K].

    An action without probability counts for nothing, even at a value of -inf.
    """
    possible = jnp.where(policy[..., None] > 0.0, outputs, 0.0)
    return jnp.einsum("ba,bak->bk", policy, possible, precision="highest")


def _taken(outputs: jax.Array, action: jax.Array) -> jax.Array:
    """Of outputs [B, A, K] those of the action taken: [B, K]."""
    return jnp.take_along_axis(outputs, action[:, None, None].astype(jnp.int32), axis=1)[:, 0]
