"""Backups: the policy whose value a state bootstraps, for ONE example.

A backup is a function ``backup(values, hparams) -> Lookahead``. It sees values before and after the
step; what it does not look at is never computed. Every loss takes any backup, so greedy, double,
soft and Munchausen learning exist once, whatever is learned: values, quantiles or ensembles.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxq.config import HParams


class Values(NamedTuple):
    """What a backup may look at."""

    next_target: jax.Array  # [A], target network, after the step
    next_online: jax.Array  # [A], online network, after the step
    target: jax.Array  # [A], target network, before the step
    action: jax.Array  # [], the action taken


class Lookahead(NamedTuple):
    """The value after the step is ``sum_a policy[a] q[a] + entropy``."""

    policy: jax.Array  # [A], probabilities
    entropy: jax.Array | float  # [], in units of reward
    bonus: jax.Array | float  # [], added to the reward of the step, also where the task ends


def greedy(values: Values, hparams: HParams) -> Lookahead:
    """The target network selects: ``max_a q_target(a)`` (Mnih et al. 2015)."""
    del hparams
    return Lookahead(_greedy_policy(values.next_target), 0.0, 0.0)


def double(values: Values, hparams: HParams) -> Lookahead:
    """The online network selects, the target evaluates (van Hasselt et al. 2016, equation 4)."""
    del hparams
    return Lookahead(_greedy_policy(values.next_online), 0.0, 0.0)


def soft(values: Values, hparams: HParams) -> Lookahead:
    """Soft Q-learning (Haarnoja et al. 2017, equation 3): the value of the softmax policy plus its
    entropy, ``temperature * logsumexp(q / temperature)``."""
    log_policy = _log_softmax(values.next_target, hparams.temperature)
    policy = jnp.exp(log_policy)
    return Lookahead(policy, -hparams.temperature * jnp.sum(policy * log_policy), 0.0)


def munchausen(values: Values, hparams: HParams) -> Lookahead:
    """Soft, with the log-probability of the action taken as a bonus (Vieillard et al. 2020, eq. 2).

    ``alpha * clip(temperature * log pi(a|s), lowest, 0)``, from the target network. Unlike the
    value after the step it stays where the task ends.
    """
    log_policy = _log_softmax(values.target, hparams.temperature)
    scaled = hparams.temperature * log_policy[values.action]
    bonus = hparams.munchausen_alpha * jnp.clip(scaled, -hparams.munchausen_clip, 0.0)
    return soft(values, hparams)._replace(bonus=bonus)


def _greedy_policy(q_values: jax.Array) -> jax.Array:
    return jax.nn.one_hot(jnp.argmax(q_values), len(q_values), dtype=q_values.dtype)


def _log_softmax(q_values: jax.Array, temperature: jax.Array) -> jax.Array:
    return jax.nn.log_softmax(q_values / temperature)
