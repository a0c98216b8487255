"""The loss of on-policy Q(lambda)."""

import jax

from jaxq.config import HParams
from jaxq.learning.recurrent import _output, _taken, unroll
from jaxq.types import LossOutput, Network, PyTree, Step


def lambda_loss(
    network: Network,
    params: PyTree,
    targets: jax.Array,
    key: jax.Array,
    steps: Step,
    hparams: HParams,
) -> LossOutput:
    """PQN (Gallici et al. 2024, algorithm 1): values towards given returns ``targets`` [B, T].

    With memory the segments are unrolled from the carry stored at their beginning.
    """
    carry = jax.tree.map(lambda x: x[:, 0], steps.carry)
    q_values, _ = unroll(network, params, key, carry, steps)
    errors = jax.lax.stop_gradient(targets) - _taken(q_values, steps.action)
    return _output(errors, q_values, hparams)
