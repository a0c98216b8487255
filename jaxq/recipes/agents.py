"""Agents by name: each row of ``AGENTS`` is a loss, a network and what they read."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from jaxq.config import INFINITY, Config, HParams
from jaxq.errors import ConfigError, unknown, wrong_object
from jaxq.learning import (
    backups,
    ensembles,
    iterated,
    losses,
    novelty,
    on_policy,
    recurrent,
    returns,
    streaming,
)
from jaxq.learning.agents import make_agent
from jaxq.learning.cloning import cloning_loss
from jaxq.recipes import outputs
from jaxq.recipes.acting import make_selection_from
from jaxq.recipes.following import SHIFTS
from jaxq.recipes.own import is_own
from jaxq.recipes.parts import AGENTS, BACKUPS, MEMORIES, Row, find
from jaxq.types import Agent, Env, Network, observation_of, unchanged


def make_agent_from(
    config: Config,
    env: Env,
    *,
    like: str | None = None,
    network: Network | None = None,
    loss: Callable | None = None,
) -> Agent:
    """The agent that ``config`` names, for ``env``; network or loss may be one's own.

    Everything else is as ``config`` says: how actions are selected, how the next state is valued,
    what becomes of observations and rewards.

    Args:
      like: the agent of ``AGENTS`` of which the rest is taken; that of ``config`` by default, or
        ``dqn`` where that is one's own.
      network: in place of the network that ``config`` names.
      loss: in place of the loss of that agent. What it has no parameter for it is not given.

    Raises:
      ConfigError: parts that do not fit together.
    """
    row = _row(config, like)
    if config.sequence_length > 1 and "sequence_length" not in row.reads:
        raise ConfigError(
            f"sequence_length={config.sequence_length} has no effect on a loss that folds windows "
            f"of n_step; 1 is accepted, or an agent like drqn."
        )
    network = network or make_network_from(config, env, like)
    network = find("observations", config.observations).make(network)
    honours = row.make.loss.honours if loss is None else backups.honoured(loss)

    def check(hparams: HParams) -> None:
        if wrong := row.check(config, hparams):
            raise ConfigError(f"{wrong}.")
        if "backup" in row.reads:
            check_backup(config, hparams, honours, env.num_actions)

    rescale = row.make.rescale if loss is None else unchanged
    loss = make_loss_from(config, like, loss)
    agent = make_agent(network, loss, make_selection_from(config), row.loop)
    return find("rewards", config.rewards).make(agent._replace(check=check, rescale=rescale))


def make_loss_from(
    config: Config, like: str | None = None, loss: Callable | None = None
) -> Callable:
    """The loss that ``config`` names, with its backup; ``like`` and ``loss`` as in
    ``make_agent_from``.

    Raises:
      ConfigError: a choice would be dropped, since the loss has no parameter for it.
    """
    row = _row(config, like)
    loss = loss or row.make.loss
    offered = {"backup": find("backup", config.backup).make, "burn_in": config.burn_in}
    if "sequence_length" in row.reads:  # else windows of n steps are folded before
        offered["n_step"] = config.n_step
    taken = {k: v for k, v in offered.items() if k in inspect.signature(loss).parameters}
    for field in offered:
        value, default = getattr(config, field), getattr(Config, field)
        if field not in taken and value != default and field in row.reads:
            raise ConfigError(
                f"{field}={value} has no effect on a loss without a parameter of that name; "
                f"{field}={default} is accepted."
            )
    return partial(loss, **taken) if taken else loss


def check_backup(
    config: Config, hparams: HParams, honours: frozenset[str], num_actions: int = 2
) -> None:
    """Refuse a backup that sets what a loss does not honour; whoever wrote either.

    Args:
      honours: the parts of a ``Lookahead`` that the loss honours, see ``backups.honours``.

    Raises:
      ConfigError: names both.
    """
    sets = backups.sets(find("backup", config.backup).make, hparams, num_actions)
    if sets - honours:
        accepted = " or ".join(name for name, part in BACKUPS.items() if _fits(part, honours))
        raise ConfigError(
            f"backup={config.backup} sets {_words(sets - honours)}, which agent={config.agent} "
            f"does not honour; {accepted} or another that sets only {_words(honours)} is accepted, "
            f"or @jaxq.backups.honours(...) above a loss of your own that honours more."
        )
    in_between = sets & {"entropy", "bonus"}
    if in_between and config.n_step > 1:
        raise ConfigError(
            f"n_step={config.n_step} must be 1 for backup={config.backup}, which sets "
            f"{_words(in_between)}: later ones of a longer window would be lost."
        )


def make_network_from(config: Config, env: Env, like: str | None = None) -> Network:
    """The network that ``config`` names, for ``env``; ``like`` as in ``make_agent_from``."""
    torso = find("network", config.network).make(config, observation_of(env.obs_spec))
    if not isinstance(torso, nn.Module):
        accepted = "a flax module from observations to features"
        raise wrong_object(f"network={config.network}", torso, accepted)
    make_head = partial(outputs.head, config, env.num_actions)
    return _row(config, like).make.output(config, torso, make_head)


def _row(config: Config, like: str | None = None) -> Row:
    """The row of ``AGENTS`` called ``like``, or that of ``config``, or that of DQN."""
    name = like or ("dqn" if is_own(config.agent) else config.agent)
    if name not in AGENTS:
        raise unknown("agent", name, AGENTS)
    return AGENTS[name]


class Recipe(NamedTuple):
    """What an agent of ours is made of."""

    loss: Callable
    output: Callable  # (config, torso, make_head) -> Network
    rescale: Callable = unchanged  # of returns, where values are learned in other units


def _finite_kappa(config: Config, hparams: HParams) -> str | None:
    if not 0.0 < hparams.huber_delta < INFINITY:
        return (
            f"huber_delta={hparams.huber_delta} must be positive and finite for "
            f"agent={config.agent}, usually 1"
        )
    return None


def _positive_sigma(config: Config, hparams: HParams) -> str | None:
    if not 0.0 < hparams.sigma_ratio < INFINITY:
        return f"sigma_ratio={hparams.sigma_ratio} must be positive and finite, usually 0.75"
    return None


def _sequences(config: Config, hparams: HParams) -> str | None:
    needed = config.burn_in + config.n_step
    if config.memory == "none":
        names = ", ".join(name for name in MEMORIES if name != "none")
        return f"memory=none must be one of {names} for agent={config.agent}"
    if config.sequence_length < needed:
        return (
            f"sequence_length={config.sequence_length} must be at least burn_in + n_step = {needed}"
        )
    return None


def _several_targets(config: Config, hparams: HParams) -> str | None:
    if config.target != "stack" and not is_own(config.target):
        return f"target={config.target} must be stack for agent=averaged, which averages several"
    return None


def _shifted(config: Config, hparams: HParams) -> str | None:
    needed = SHIFTS[config.agent]
    if config.target != needed and not is_own(config.target):
        return f"target={config.target} must be {needed} for agent={config.agent}"
    return None


def _acts(config: Config, hparams: HParams) -> str | None:
    if config.dataset:
        return f"dataset={config.dataset} has no effect on agent={config.agent}, which explores"
    return None


def _without_noise(config: Config, hparams: HParams) -> str | None:
    if config.dense == "noisy":
        return f"dense=noisy must be plain or spectral for agent={config.agent}, which learns means"
    return None


def _random_priors(config: Config, hparams: HParams) -> str | None:
    if config.prior_scale and config.network == "linear":
        return (
            f"prior_scale={config.prior_scale} must be 0 with network=linear, whose weights are 0 "
            f"at first, so that its priors would be, too"
        )
    return None


_ACTING = ("network", "observations", "rewards", "action_selection", "gamma", "reward_scale")
_ALWAYS = (*_ACTING, "backup", "n_step")
_Q = (*_ALWAYS, "huber_delta")
_ENSEMBLE = (*_Q, "ensemble_size", "prior_scale")
_NOVELTY = (*(name for name in _ACTING if name != "observations"), "backup", "huber_delta")
_ITERATED = (*_Q, "ensemble_size")
_MEMORY = ("memory", "memory_inputs", "sequence_length")
_SEQUENCES = (*_Q, *_MEMORY, "burn_in")

# Name -> the recipe and what it reads.
AGENTS |= {
    "dqn": Row(Recipe(losses.q_loss, outputs.values), _Q),
    "c51": Row(
        Recipe(losses.categorical_loss, outputs.categorical), (*_ALWAYS, "num_atoms", "support")
    ),
    "hl-gauss": Row(
        Recipe(losses.histogram_loss, outputs.histogram),
        (*_ALWAYS, "num_atoms", "support", "sigma_ratio"),
        _positive_sigma,
    ),
    "qr-dqn": Row(
        Recipe(losses.quantile_loss, outputs.quantiles), (*_Q, "num_atoms"), _finite_kappa
    ),
    "iqn": Row(
        Recipe(losses.quantile_loss, outputs.implicit_quantiles), (*_Q, "num_atoms"), _finite_kappa
    ),
    "bootstrapped": Row(
        Recipe(ensembles.bootstrapped_loss, outputs.ensemble),
        (*_ENSEMBLE, "mask_probability"),
        _random_priors,
    ),
    "rem": Row(Recipe(ensembles.random_mixture_loss, outputs.mixture), _ENSEMBLE, _random_priors),
    "maxmin": Row(
        Recipe(ensembles.maxmin_loss, partial(outputs.ensemble, combine=jnp.min)),
        _ENSEMBLE,
        _random_priors,
    ),
    "averaged": Row(Recipe(ensembles.averaged_loss, outputs.values), _Q, _several_targets),
    "rnd": Row(
        Recipe(novelty.random_distillation_loss, outputs.with_novelty),
        (*_NOVELTY, "intrinsic_scale", "intrinsic_gamma"),
        _acts,
    ),
    "is-dqn": Row(Recipe(iterated.shared_chain_loss, outputs.shared_chain), _ITERATED, _shifted),
    "i-dqn": Row(Recipe(iterated.chain_loss, outputs.chain), _ITERATED, _shifted),
    "drqn": Row(Recipe(recurrent.recurrent_q_loss, outputs.values), _SEQUENCES, _sequences),
    "r2d2": Row(
        Recipe(recurrent.r2d2_loss, outputs.values, returns.rescale), _SEQUENCES, _sequences
    ),
    "pqn": Row(
        Recipe(on_policy.lambda_loss, outputs.values),
        (*_ACTING, *_MEMORY, "huber_delta", "td_lambda"),
        loop="on-policy",
    ),
    "stream": Row(
        Recipe(streaming.q_prediction, outputs.values), _ACTING, _without_noise, loop="streaming"
    ),
    "bc": Row(Recipe(cloning_loss, outputs.values), ("network", "observations"), loop="offline"),
}


def _fits(part: Row, honours: frozenset[str]) -> bool:
    return backups.sets(part.make, HParams()) <= honours


def _words(names: frozenset[str]) -> str:
    return " and ".join(name for name in backups.Lookahead._fields if name in names)
