"""An agent from three exchangeable functions: a network, a loss and a way to act."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxq.learning import exploration
from jaxq.types import Agent, Network


def make_agent(
    network: Network, loss: Callable, select_action: Callable = exploration.epsilon_greedy
) -> Agent:
    """An agent from three exchangeable functions.

    While acting every environment has noise of its own; a network that draws none sees all of them
    in one call. Greedily there is no noise.

    Args:
      network: see ``Network``.
      loss: ``loss(network, params, target_params, key, steps, hparams) -> LossOutput``.
      select_action: ``select_action(key, q_values [E, A], amount) -> action [E]``; the amount of
        exploration is what the schedule of epsilon returns.
    """

    def init(key, obs, carry):
        del carry
        return network.init(key, obs)

    def act(params, carry, key, obs, epsilon):
        key_network, key_select = jax.random.split(key)

        def together(key, obs, carry):
            output, carry = network.apply(params, obs, key, carry, jnp.zeros(len(obs), bool))
            return output.q_values, carry

        def alone(key, obs, carry):
            one = jax.tree.map(lambda leaf: leaf[None], (obs, carry))
            return jax.tree.map(lambda leaf: leaf[0], together(key, *one))

        if len(obs) == 1 or _ignores(together, key_network, obs, carry):
            q_values, carry = together(key_network, obs, carry)
        else:
            q_values, carry = jax.vmap(alone)(jax.random.split(key_network, len(obs)), obs, carry)
        return select_action(key_select, q_values, epsilon), carry

    def act_greedy(params, carry, key, obs):
        del key
        output, carry = network.apply(params, obs, None, carry, jnp.zeros(len(obs), bool))
        action = jnp.argmax(output.q_values, axis=-1).astype(jnp.int32)
        return action, output.q_values.max(axis=-1), carry

    return Agent(init, network.initial_carry, act, act_greedy, partial(loss, network))


def _ignores(function: Callable, key: jax.Array, *arguments: Any) -> bool:
    """Whether ``function(key, *arguments)`` draws nothing from its key."""
    jaxpr = jax.make_jaxpr(lambda key: function(key, *arguments))(key).jaxpr
    used = [variable for equation in jaxpr.eqns for variable in equation.invars]
    return not any(variable is jaxpr.invars[0] for variable in (*used, *jaxpr.outvars))
