"""The loss of learning from a stream: ``loss(network, params_tm1, params_t, step, hparams)``."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxq.config import HParams
from jaxq.learning.backups import honours
from jaxq.learning.td import q_error
from jaxq.types import Network, PyTree, Step


class Prediction(NamedTuple):
    """What parameters say of one step: the loss of a streaming agent."""

    value: jax.Array  # [], of the action taken
    error: jax.Array  # [], the TD error; its gradient goes through the values on both sides
    exploratory: jax.Array  # [] bool: the action was worth less than another one


@honours("policy")
def q_prediction(
    network: Network, params_tm1: PyTree, params_t: PyTree, step: Step, hparams: HParams
) -> Prediction:
    """What Q-learning says of one step, with no noise.

    An action that is worth as much as the best is no exploration, whether or not it was drawn.

    Args:
      params_tm1: for the observation before the step.
      params_t: for the one after it: the same weights, and statistics that have seen it.
      step: leaves [...], of one environment.
    """
    q_tm1, q_t = (
        network.apply(params, jax.tree.map(lambda x: x[None], obs), None, ())[0].q_values[0]
        for params, obs in ((params_tm1, step.obs), (params_t, step.next_obs))
    )
    reward, discount = hparams.reward_scale * step.reward, hparams.gamma * (1.0 - step.terminated)
    value = q_tm1[step.action]
    error = q_error(q_tm1, step.action, reward, discount, q_t)
    return Prediction(value, error, value < jnp.max(jax.lax.stop_gradient(q_tm1)))
