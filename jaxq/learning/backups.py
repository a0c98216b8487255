"""Backups: the policy whose value a state bootstraps, for ONE example.

A backup is a function ``backup(values, a_tm1, hparams) -> Lookahead``. It sees values before and
after the step; what it does not look at is never computed. Every loss takes any backup whose parts
it honours, so greedy, double, soft and Munchausen learning exist once, whatever is learned: values,
quantiles or ensembles. An action that is not legal has the worst value that there is
(``networks.legal``), so that a maximum or a softmax leaves it out.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxq.config import HParams
from jaxq.errors import ConfigError, missing_number, wrong_object


class Values(NamedTuple):
    """What the two networks say before (``_tm1``) and after (``_t``) a step.

    Of one example its action values [A] each; of a batch values [B, A], or whole outputs.
    """

    online_tm1: Any  # with gradient
    online_t: Any
    target_tm1: Any
    target_t: Any


class Lookahead(NamedTuple):
    """The value after the step is ``sum_a policy[a] q[a] + entropy``, q of the target network, or
    of the online one where ``online[a]`` says so.

    What a backup does not set is the number 0 or None, not an array.
    """

    policy: jax.Array  # [A], probabilities
    entropy: jax.Array | float = 0.0  # [], in units of reward
    bonus: jax.Array | float = 0.0  # [], added to the reward, also where the task ends
    online: jax.Array | None = None  # [A] bool, whose value the online network gives


def greedy(values: Values, a_tm1: jax.Array, hparams: HParams) -> Lookahead:
    """The target network selects: ``max_a q_target(a)`` (Mnih et al. 2015)."""
    del a_tm1, hparams
    return Lookahead(_greedy_policy(values.target_t))


def double(values: Values, a_tm1: jax.Array, hparams: HParams) -> Lookahead:
    """The online network selects, the target evaluates (van Hasselt et al. 2016, equation 4)."""
    del a_tm1, hparams
    return Lookahead(_greedy_policy(values.online_t))


def soft(values: Values, a_tm1: jax.Array, hparams: HParams) -> Lookahead:
    """Soft Q-learning (Haarnoja et al. 2017, equation 3): the value of the softmax policy plus its
    entropy, ``temperature * logsumexp(q / temperature)``."""
    del a_tm1
    log_policy = _log_softmax(values.target_t, hparams.temperature)
    policy = jnp.exp(log_policy)
    return Lookahead(policy, -hparams.temperature * jnp.sum(policy * log_policy))


def munchausen(values: Values, a_tm1: jax.Array, hparams: HParams) -> Lookahead:
    """Soft, with the log-probability of the action taken as a bonus (Vieillard et al. 2020, eq. 2).

    ``alpha * clip(temperature * log pi(a|s), lowest, 0)``, from the target network. Unlike the
    value after the step it stays where the task ends.
    """
    log_policy = _log_softmax(values.target_tm1, hparams.temperature)
    scaled = hparams.temperature * log_policy[a_tm1]
    bonus = hparams.munchausen_alpha * jnp.clip(scaled, -hparams.munchausen_clip, 0.0)
    return soft(values, a_tm1, hparams)._replace(bonus=bonus)


def minto(values: Values, a_tm1: jax.Array, hparams: HParams) -> Lookahead:
    """MINTO (Hendawy et al. 2025): the greatest of the lesser estimates of the two networks,
    ``max_a min(q_target(a), q_online(a))``.

    Of distributions the lesser is the one of lesser mean, and it is backed up whole: its atoms or
    quantiles come from the network that has made it.
    """
    del a_tm1, hparams
    lesser = jnp.minimum(values.target_t, values.online_t)
    return Lookahead(_greedy_policy(lesser), online=values.online_t < values.target_t)


def after(ahead: Lookahead, target_t: jax.Array, online_t: jax.Array) -> jax.Array:
    """What of the two networks' outputs [..., A] or [..., A, K] a backup looks at.

    Args:
      ahead: leaves with the leading axes of the outputs.
    """
    if ahead.online is None:
        return target_t
    online = ahead.online.reshape(*ahead.online.shape, *[1] * (target_t.ndim - ahead.online.ndim))
    return jnp.where(online, online_t, target_t)


def honours(*parts: str) -> Callable[[Callable], Callable]:
    """Marks a loss with the parts of a ``Lookahead`` that it honours, in windows of one step.

    A loss that is not marked honours the policy alone. Of longer windows losses see the first step
    and what follows the last, so that entropies and bonuses in between would be lost.
    """

    def mark(loss: Callable) -> Callable:
        loss.honours = frozenset(parts)
        return loss

    return mark


def honoured(loss: Callable) -> frozenset[str]:
    """The parts of a ``Lookahead`` that a loss honours; one that does not say, the policy."""
    while isinstance(loss, partial):
        loss = loss.func
    return getattr(loss, "honours", frozenset({"policy"}))


def sets(backup: Callable, hparams: HParams, num_actions: int = 2) -> frozenset[str]:
    """The parts of a ``Lookahead`` that a backup sets, found by looking at what it returns.

    Raises:
      ConfigError: it returns something else, or reads a number of its own that is missing.
    """
    found = {}

    def look(values: Values, a_tm1: jax.Array) -> jax.Array:
        ahead = backup(values, a_tm1, hparams)
        if not isinstance(ahead, Lookahead):
            raise wrong_object(f"backup={_name(backup)}", ahead, "a jaxq Lookahead")
        _check_shapes(ahead, num_actions, _name(backup))
        found.update(entropy=ahead.entropy, bonus=ahead.bonus, online=ahead.online)
        return ahead.policy

    row = jax.ShapeDtypeStruct((num_actions,), jnp.float32)
    try:
        jax.eval_shape(look, Values(row, row, row, row), jax.ShapeDtypeStruct((), jnp.int32))
    except KeyError as error:
        raise missing_number(error.args[0], "which the backup reads") from error
    given = {name for name, value in found.items() if not _is_unset(value)}
    return frozenset({"policy", *given})


def _check_shapes(ahead: Lookahead, num_actions: int, name: str) -> None:
    row = (num_actions,)
    for part, shape in (("policy", row), ("entropy", ()), ("bonus", ()), ("online", row)):
        value = getattr(ahead, part)
        found = shape if value is None else jnp.shape(value)
        if found != shape:
            raise ConfigError(
                f"backup={name} gives a {part} of shape {list(found)}; {list(shape)} is accepted, "
                f"of one example."
            )


def _name(function: Callable) -> str:
    return getattr(function, "__qualname__", type(function).__qualname__)


def _is_unset(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and value == 0)


def _greedy_policy(q_values: jax.Array) -> jax.Array:
    return jax.nn.one_hot(jnp.argmax(q_values), len(q_values), dtype=q_values.dtype)


def _log_softmax(q_values: jax.Array, temperature: jax.Array) -> jax.Array:
    return jax.nn.log_softmax(q_values / temperature)
