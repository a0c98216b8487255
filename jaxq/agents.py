"""Agents: a network, a loss and a way to act, put together. Recipes only compose."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxq import exploration, losses, networks
from jaxq.config import Config, HParams
from jaxq.types import Agent, Env, Network

LOSSES = {"dqn": losses.q_loss, "double-dqn": losses.double_q_loss}


def make_agent(
    network: Network, loss: Callable, select_action: Callable = exploration.epsilon_greedy
) -> Agent:
    """An agent without memory, from three exchangeable functions.

    Args:
      network: see ``Network``.
      loss: ``loss(network, params, target_params, key, steps, hparams) -> LossOutput``.
      select_action: ``select_action(key, q_values [E, A], epsilon) -> action [E]``.
    """

    def init(key, obs, carry):
        del carry
        return network.init(key, obs)

    def q_values(params, carry, key, obs):
        no_reset = jnp.zeros(obs.shape[0], bool)
        output, carry = network.apply(params, obs, key, carry, no_reset)
        return output.q_values, carry

    def act(params, carry, key, obs, epsilon):
        key_network, key_select = jax.random.split(key)
        values, carry = q_values(params, carry, key_network, obs)
        return select_action(key_select, values, epsilon), carry

    def act_greedy(params, carry, key, obs):
        values, carry = q_values(params, carry, key, obs)
        return jnp.argmax(values, axis=-1).astype(jnp.int32), values.max(axis=-1), carry

    return Agent(init, lambda key, num_envs: (), act, act_greedy, partial(loss, network))


def make_agent_from(config: Config, env: Env) -> Agent:
    """The agent that ``config`` names, for ``env``."""
    select_action = partial(exploration.epsilon_greedy, break_ties=config.break_ties)
    return make_agent(make_network_from(config, env), LOSSES[config.agent], select_action)


def make_network_from(config: Config, env: Env) -> Network:
    """The network that ``config`` names, for ``env``."""
    torso = networks.make_torso(config.network, env.obs_spec, config.widths, config.layer_norm)
    if config.network == "linear":  # the weights of a table start at zero, and need no bias
        head = networks.LinearHead(env.num_actions, False, nn.initializers.zeros)
    elif config.dueling:
        head = networks.DuelingHead(env.num_actions)
    else:
        head = networks.LinearHead(env.num_actions)
    return networks.from_flax(networks.ValueNetwork(torso, head))


def make_optimizer(config: Config) -> Callable[[HParams, jax.Array], optax.GradientTransformation]:
    """``optimizer(hparams, learning_rate)``: built inside the traced function, so that all its
    numbers can be swept."""
    scale = {
        "sgd": lambda hparams: optax.identity(),
        "adam": lambda hparams: optax.scale_by_adam(
            hparams.adam_beta1, hparams.adam_beta2, hparams.optimizer_epsilon
        ),
        "rmsprop": lambda hparams: scale_by_centered_rms(
            hparams.rmsprop_decay, hparams.optimizer_epsilon
        ),
    }[config.optimizer]

    def optimizer(hparams: HParams, learning_rate: jax.Array) -> optax.GradientTransformation:
        clip = (
            optax.clip_by_global_norm(hparams.max_gradient_norm)
            if config.clip_gradients
            else optax.identity()
        )
        return optax.chain(clip, scale(hparams), optax.scale(-learning_rate))

    return optimizer


def scale_by_centered_rms(decay: jax.Array, epsilon: jax.Array) -> optax.GradientTransformation:
    """Centred RMSprop (Graves 2013, equations 38 to 41), epsilon outside the root as in PyTorch.

    ``optax.scale_by_stddev(eps_in_sqrt=False)`` with one difference: rounding makes the variance
    of a steady gradient slightly negative, and its root NaN; here it is at least 0.
    """

    def init(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        return zeros, zeros

    def update(gradients, state, params=None):
        del params
        mean, square = state
        mean = jax.tree.map(lambda m, g: decay * m + (1 - decay) * g, mean, gradients)
        square = jax.tree.map(lambda s, g: decay * s + (1 - decay) * g**2, square, gradients)
        scaled = jax.tree.map(
            lambda g, m, s: g / (jnp.sqrt(jnp.maximum(s - m**2, 0.0)) + epsilon),
            gradients,
            mean,
            square,
        )
        return scaled, (mean, square)

    return optax.GradientTransformation(init, update)
