"""An agent from three exchangeable functions: a network, a loss and a way to act."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxq.errors import ConfigError, check_call, wrong_object
from jaxq.learning import exploration
from jaxq.legal import legal_actions
from jaxq.networks.legal import of_legal_actions
from jaxq.types import Agent, Network, PyTree, Selection, rows_of


class Carry(NamedTuple):
    """The carry of an agent that remembers something to select actions by."""

    network: PyTree
    selection: PyTree


_LOSS_CALLED_WITH = {  # by loop
    "off-policy": ("network", "params", "target_params", "key", "steps", "hparams"),
    "on-policy": ("network", "params", "key", "steps", "returns", "hparams"),
    "streaming": ("network", "params_tm1", "params_t", "step", "hparams"),
}


def make_agent(
    network: Network,
    loss: Callable,
    select_action: Callable | Selection = exploration.epsilon_greedy,
    loop: str = "off-policy",
) -> Agent:
    """An agent from three exchangeable functions.

    While acting every environment has draws of its own; a network that draws nothing sees all of
    them in one call. Greedily there is no noise. Where observations say which actions are legal, no
    other is chosen or valued; the network then sees the observation alone.

    Args:
      network: see ``Network``.
      loss: ``loss(network, params, target_params, key, steps, hparams) -> LossOutput``, or for
        ``loop="on-policy"`` ``loss(network, params, key, steps, returns, hparams)``, or for
        ``loop="streaming"`` ``loss(network, params_tm1, params_t, step, hparams) -> Prediction``.
      select_action: ``select_action(key, q_values [E, A], amount) -> action [E]``, or a
        ``Selection`` where it remembers something; the amount of exploration is what its schedule
        returns.
      loop: which loop trains it, see ``Agent``.

    Raises:
      ConfigError: the network is none, such as a flax module, of which ``from_flax`` makes one, or
        the loss is not called so.
    """
    if not isinstance(network, Network):
        raise wrong_object("network", network, "a jaxq Network, as from_flax makes of a module,")
    check_call("loss", loss, _LOSS_CALLED_WITH.get(loop, _LOSS_CALLED_WITH["off-policy"]))

    network = of_legal_actions(network)
    selection = select_action
    if not isinstance(selection, Selection):
        selection = exploration.without_state(select_action)

    def initial_carry(key, num_envs):
        return _together(network.initial_carry(key, num_envs), selection.init(num_envs))

    def act(params, carry, key, obs, amount):
        key_network, key_select = jax.random.split(key)
        carry, state = _apart(carry)
        rows = rows_of(obs)

        def together(key, obs, carry):
            output, carry = network.apply(params, obs, key, carry)
            return output.q_values, carry

        def alone(key, obs, carry):
            one = jax.tree.map(lambda leaf: leaf[None], (obs, carry))
            return jax.tree.map(lambda leaf: leaf[0], together(key, *one))

        if network.draws and rows > 1:
            q_values, carry = jax.vmap(alone)(jax.random.split(key_network, rows), obs, carry)
        else:
            q_values, carry = together(key_network, obs, carry)
        action, state = selection.select(
            state, key_select, q_values, amount, **_among(selection, obs)
        )
        return action, _together(carry, state)

    def act_greedy(params, carry, obs):
        carry, state = _apart(carry)
        output, carry = network.apply(params, obs, None, carry)
        action = jnp.argmax(output.q_values, axis=-1).astype(jnp.int32)
        return action, output.q_values.max(axis=-1), _together(carry, state)

    return Agent(
        network.init,
        initial_carry,
        act,
        act_greedy,
        partial(loss, network),
        loop,
        network=network,
        observe=network.observe,
        stored=lambda carry: _apart(carry)[0],
    )


def _together(carry: PyTree, state: PyTree) -> PyTree:
    """The carry of an agent: that of its network, if selecting actions remembers nothing."""
    return Carry(carry, state) if jax.tree.leaves(state) else carry


def _among(selection: Selection, obs: PyTree) -> dict[str, jax.Array]:
    """What beside the values is told how actions are selected."""
    if (legal := legal_actions(obs)) is None:
        return {}
    if not exploration.takes_legal(selection.select):
        raise ConfigError(
            "action_selection is a function without a parameter legal, and the environment says "
            "which actions are legal; select(key, q_values, amount, legal=None) is accepted, with "
            "legal [E, A] bool."
        )
    return {"legal": legal}


def _apart(carry: PyTree) -> tuple[PyTree, PyTree]:
    return carry if isinstance(carry, Carry) else (carry, ())
