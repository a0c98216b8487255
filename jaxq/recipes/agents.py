"""Agents: a network, a loss and a way to act, put together. Recipes only compose."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jaxq.config import ENSEMBLES, SEQUENCES, Config
from jaxq.learning import backups, ensembles, exploration, losses, on_policy, recurrent
from jaxq.learning.agents import make_agent
from jaxq.networks import ensembles as networks_of
from jaxq.networks import heads, layers, memory, modules, torsos
from jaxq.types import Agent, Env, Network

LOSSES = {
    "dqn": losses.q_loss,
    "c51": losses.categorical_loss,
    "qr-dqn": losses.quantile_loss,
    "iqn": losses.quantile_loss,
    "bootstrapped": ensembles.bootstrapped_loss,
    "rem": ensembles.random_mixture_loss,
    "maxmin": ensembles.maxmin_loss,
    "averaged": ensembles.averaged_loss,
    "drqn": recurrent.recurrent_q_loss,
    "r2d2": partial(recurrent.recurrent_q_loss, rescaling=recurrent.SIGNED_HYPERBOLIC),
    "pqn": on_policy.lambda_loss,
}
BACKUPS = {
    "greedy": backups.greedy,
    "double": backups.double,
    "soft": backups.soft,
    "munchausen": backups.munchausen,
}


def make_agent_from(config: Config, env: Env) -> Agent:
    """The agent that ``config`` names, for ``env``."""
    select_action = {
        "epsilon-greedy": partial(exploration.epsilon_greedy, break_ties=config.break_ties),
        "softmax": exploration.softmax,
    }[config.action_selection]
    return make_agent(make_network_from(config, env), make_loss_from(config), select_action)


def make_loss_from(config: Config) -> Callable:
    """The loss that ``config`` names."""
    loss = LOSSES[config.agent]
    if config.agent == "pqn":
        return loss
    loss = partial(loss, backup=BACKUPS[config.backup])
    if config.agent in SEQUENCES:
        loss = partial(loss, burn_in=config.burn_in, n_step=config.n_step)
    return loss


def make_network_from(config: Config, env: Env) -> Network:
    """The network that ``config`` names, for ``env``."""
    dense = _make_dense(config)
    last_dense = layers.SpectralDense if config.dense == "spectral" else None
    torso = torsos.make_torso(
        config.network, env.obs_spec, config.widths, config.layer_norm, dense, last_dense
    )
    num_outputs = config.num_atoms if config.agent in ("c51", "qr-dqn") else 1
    make_head = heads.DuelingHead if config.dueling else heads.LinearHead
    head = make_head(env.num_actions, num_outputs, dense)
    if config.memory == "lstm":
        return memory.recurrent(memory.RecurrentNetwork(torso, head, config.memory_width))
    module = _make_module(config, torso, head)
    if config.agent in ENSEMBLES:
        combine = jnp.min if config.agent == "maxmin" else None
        scales = config.prior_scale, config.mask_probability
        return networks_of.ensemble(module, config.ensemble_size, *scales, combine)
    return modules.from_flax(module)


def _make_module(config: Config, torso: nn.Module, head: nn.Module) -> nn.Module:
    if config.agent == "c51":
        return heads.CategoricalNetwork(torso, head, config.support)
    if config.agent == "qr-dqn":
        return heads.QuantileNetwork(torso, head)
    if config.agent == "iqn":
        return heads.ImplicitQuantileNetwork(torso, head, config.num_atoms)
    return heads.ValueNetwork(torso, head)


def _make_dense(config: Config) -> Callable[[int], Any]:
    if config.network == "linear":  # the weights of a table start at zero, and need no bias
        return partial(nn.Dense, use_bias=False, kernel_init=nn.initializers.zeros)
    if config.dense == "noisy":
        return partial(layers.NoisyDense, sigma=config.noise_sigma)
    return layers.Dense
