"""Losses of iterated Q-learning: several Bellman iterations are learned at once.

The networks are those of ``networks.iterated``, and ``targets`` shifts them. Signature and
``backup`` as in ``losses``; the online values of a link in the chain are its own.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from jaxq.config import HParams
from jaxq.learning import td
from jaxq.learning.backups import Values, honours
from jaxq.learning.losses import each, on_transitions, td_errors
from jaxq.networks.legal import mean_value
from jaxq.types import LossOutput, Network, PyTree, Transition


def _links(
    network: Network, params: PyTree, target_params: PyTree, key: jax.Array, batch: Transition
) -> Values:
    """Values [B, K, A] of the learned heads, and of the heads before them in place of a target
    network: all on the same features, the online ones."""
    del target_params
    key_tm1, key_t = jax.random.split(key)
    before = network.apply(params, batch.obs, key_tm1, ())[0].members  # [B, 1 + K, A]
    after = network.apply(params, batch.next_obs, key_t, ())[0].members
    after, fixed = jax.lax.stop_gradient((after, before))
    return Values(before[:, 1:], after[:, 1:], fixed[:, :-1], after[:, :-1])


@honours("policy", "entropy", "bonus", "online")
@partial(on_transitions, evaluate=_links)
def shared_chain_loss(
    values: Values, batch: Transition, hparams: HParams, backup: Callable
) -> LossOutput:
    """iS-DQN (Vincent et al. 2025, section 4): head k towards the backup of head k - 1.

    The losses of the K heads are summed. The first head, which nothing teaches, is no target
    network: its features are the online ones, as in the authors' code, and change at every update.
    """
    return _sum_of_links(values, batch, hparams, backup)


@honours("policy", "entropy", "bonus", "online")
@on_transitions
def chain_loss(
    outputs: Values, batch: Transition, hparams: HParams, backup: Callable
) -> LossOutput:
    """i-DQN (Vincent et al. 2024, section 5): network k towards the backup of target network k.

    The losses of the K networks are summed, so that each learns as it would alone.
    """
    return _sum_of_links(each(outputs, "members"), batch, hparams, backup)


def _sum_of_links(
    values: Values, batch: Transition, hparams: HParams, backup: Callable
) -> LossOutput:
    """The loss of values [B, K, A], each with what it is bootstrapped from in the same place."""
    errors = jax.vmap(lambda q: td_errors(q, batch, hparams, backup), 1, 1)(values)
    size = jnp.abs(errors).mean(axis=1)
    loss = td.huber_loss(errors, hparams.huber_delta).sum(axis=1)
    aux = {"q_value": mean_value(values.online_tm1, batch.obs), "td_error": size}
    return LossOutput(loss, size, aux)
