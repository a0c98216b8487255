"""The loss of behaviour cloning: what an action's value says is how likely the data take it."""

import jax
import jax.numpy as jnp

from jaxq.config import HParams
from jaxq.learning.backups import honours
from jaxq.types import LossOutput, Network, PyTree, Step


@honours()
def cloning_loss(
    network: Network,
    params: PyTree,
    target_params: PyTree,
    key: jax.Array,
    steps: Step,
    hparams: HParams,
) -> LossOutput:
    """Cross-entropy of the softmax of the network's values with the actions of the data.

    Acting greedily by them is to do what the data do most often. ``accuracy`` counts how often that
    is the action which was taken.

    Args:
      steps: leaves [B, 1, ...].

    Returns:
      LossOutput: all [B]; the priority is the loss.
    """
    del target_params, hparams
    obs = jax.tree.map(lambda leaf: leaf[:, 0], steps.obs)
    logits = network.apply(params, obs, key, ())[0].q_values  # [B, A]
    action = steps.action[:, 0].astype(jnp.int32)
    chances = jax.nn.log_softmax(logits)
    loss = -jnp.take_along_axis(chances, action[:, None], axis=1)[:, 0]
    is_same = jnp.argmax(logits, axis=1) == action
    return LossOutput(loss, loss, {"accuracy": is_same.astype(jnp.float32)})
