"""The loss of exploring by a bonus for what is new. Signature and ``backup`` as in ``losses``."""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from jaxq.config import HParams
from jaxq.learning import backups, td
from jaxq.learning.backups import Values
from jaxq.learning.losses import evaluate, fold, scalar_output, td_errors
from jaxq.types import LossOutput, Network, PyTree, Step


@backups.honours("policy", "online")
def random_distillation_loss(
    network: Network,
    params: PyTree,
    target_params: PyTree,
    key: jax.Array,
    steps: Step,
    hparams: HParams,
    backup: Callable = backups.greedy,
) -> LossOutput:
    """RND (Burda et al. 2019, section 2) with Q-learning in place of PPO, on single steps.

    The network is ``networks.novelty.novelty``. Values of rewards learn as in DQN; those of bonuses
    do so from ``intrinsic_scale`` times the bonus of the observation after the step, as the
    predictor has it now, with the discount ``intrinsic_gamma``. Theirs go on where an episode ends
    (section 2.3); a replay does not know what came next, so here they end with it. The predictor
    learns from the observations after the steps.

    Args:
      steps: leaves [B, 1, ...].

    Returns:
      LossOutput: all [B]; the sum of the three losses, and of the priorities of both values.
    """
    chex.assert_axis_dimension(steps.reward, 1, 1)
    batch = fold(steps, hparams)
    outputs = evaluate(network, params, target_params, key, batch)
    new = outputs.online_t
    of_bonuses = hparams._replace(gamma=hparams.intrinsic_gamma, reward_scale=1.0)
    bonus = fold(steps._replace(reward=hparams.intrinsic_scale * new.bonus[:, None]), of_bonuses)

    def values(member: int) -> Values:
        return Values(*(output.members[:, member] for output in outputs))

    learned = scalar_output(td_errors(values(0), batch, hparams, backup), values(0), batch, hparams)
    errors = td_errors(values(1), bonus, of_bonuses, backup)
    return LossOutput(
        loss=learned.loss + td.huber_loss(errors, hparams.huber_delta) + new.error,
        priority=learned.priority + jnp.abs(errors),
        aux={**learned.aux, "bonus": new.bonus},
    )
