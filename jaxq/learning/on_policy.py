"""The loss of on-policy Q(lambda): ``loss(network, params, key, steps, returns, hparams)``."""

import jax

from jaxq.config import HParams
from jaxq.learning.backups import honours
from jaxq.learning.recurrent import sequence_output, taken, unroll
from jaxq.types import LossOutput, Network, PyTree, Step


@honours("policy")
def lambda_loss(
    network: Network,
    params: PyTree,
    key: jax.Array,
    steps: Step,
    returns: jax.Array,
    hparams: HParams,
) -> LossOutput:
    """PQN (Gallici et al. 2024, algorithm 1): values towards given ``returns`` [B, T].

    Args:
      steps: segments of a rollout, leaves [B, T, ...]. With memory they are unrolled from the
        carry stored at their beginning.
      returns: of every step, by the parameters that collected it (``returns.lambda_returns``).

    Returns:
      LossOutput: all [B], means over the steps of a segment, with a priority that nobody reads.
    """
    carry = jax.tree.map(lambda x: x[:, 0], steps.carry)
    q_values, _ = unroll(network, params, key, carry, steps)
    errors = jax.lax.stop_gradient(returns) - taken(q_values, steps.action)
    return sequence_output(errors, q_values, steps.obs, hparams)
