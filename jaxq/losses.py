"""Losses on batches of windows: which parameters evaluate which observations.

Every loss has the signature
``loss(network, params, target_params, key, steps [B, T, ...], hparams) -> LossOutput``.
"""

import jax
import jax.numpy as jnp

from jaxq import returns, td
from jaxq.config import HParams
from jaxq.types import LossOutput, Network, PyTree, Step, Transition


def q_loss(
    network: Network,
    params: PyTree,
    target_params: PyTree,
    key: jax.Array,
    steps: Step,
    hparams: HParams,
) -> LossOutput:
    """DQN (Mnih et al. 2015, equation 2), over windows of any length."""
    batch = _fold(steps, hparams)
    key_online, key_target = jax.random.split(key)
    q_tm1 = _q_values(network, params, batch.obs, key_online)  # [B, A]
    q_t = _q_values(network, target_params, batch.next_obs, key_target)
    errors = jax.vmap(td.q_learning)(q_tm1, batch.action, batch.reward, batch.discount, q_t)
    return _output(errors, q_tm1, hparams)


def double_q_loss(
    network: Network,
    params: PyTree,
    target_params: PyTree,
    key: jax.Array,
    steps: Step,
    hparams: HParams,
) -> LossOutput:
    """Double DQN (van Hasselt et al. 2016): the online network selects, the target evaluates."""
    batch = _fold(steps, hparams)
    key_online, key_target, key_selector = jax.random.split(key, 3)
    q_tm1 = _q_values(network, params, batch.obs, key_online)  # [B, A]
    q_t_value = _q_values(network, target_params, batch.next_obs, key_target)
    q_t_selector = _q_values(network, params, batch.next_obs, key_selector)
    errors = jax.vmap(td.double_q_learning)(
        q_tm1, batch.action, batch.reward, batch.discount, q_t_value, q_t_selector
    )
    return _output(errors, q_tm1, hparams)


def importance_weights(probabilities: jax.Array, exponent: jax.Array) -> jax.Array:
    """Weights [B] that undo non-uniform sampling, the largest 1 (Schaul et al. 2016, 3.4).

    ``(N P)**-exponent`` over its maximum; N cancels. Equal probabilities give weights of 1.
    """
    return (probabilities / probabilities.min()) ** -exponent


def _fold(steps: Step, hparams: HParams) -> Transition:
    return jax.vmap(returns.fold_window, in_axes=(0, None))(steps, hparams.gamma)


def _q_values(network: Network, params: PyTree, obs: jax.Array, key: jax.Array) -> jax.Array:
    no_reset = jnp.zeros(obs.shape[0], bool)
    output, _ = network.apply(params, obs, key, (), no_reset)
    return output.q_values


def _output(errors: jax.Array, q_tm1: jax.Array, hparams: HParams) -> LossOutput:
    return LossOutput(
        loss=td.huber_loss(errors, hparams.huber_delta),
        priority=jnp.abs(errors),
        aux={"q_value": q_tm1.mean(axis=-1), "td_error": jnp.abs(errors)},
    )
