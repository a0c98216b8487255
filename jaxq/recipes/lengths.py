"""How often the loops of a configuration go round, which gives lengths in steps."""

from jaxq.config import Config
from jaxq.loops.off_policy import Lengths
from jaxq.loops.offline import OfflineLengths
from jaxq.loops.on_policy import RoundLengths
from jaxq.recipes.reading import target_period_of


def make_lengths(config: Config) -> Lengths:
    """The loop lengths that ``config`` gives in environment steps."""
    return Lengths(
        prefill_blocks=config.prefill // config.train_every,
        rows_per_block=config.train_every // config.num_envs,
        updates_per_iteration=config.updates_per_iteration,
        iterations_per_period=config.target_period // config.train_every,
        periods_per_chunk=config.chunk_steps // config.target_period,
    )


def make_round_lengths(config: Config) -> RoundLengths:
    """The loop lengths of on-policy learning."""
    segments = config.rollout_steps // config.sequence_length
    return RoundLengths(
        rows=config.rollout_steps // config.num_envs,
        segment=config.sequence_length,
        batch_size=segments // config.minibatches,
        minibatches=config.minibatches,
        epochs=config.epochs,
        rounds_per_chunk=config.chunk_steps // config.rollout_steps,
    )


def make_offline_lengths(config: Config) -> OfflineLengths:
    """The loop lengths of learning from a dataset; a period is a chunk where no target follows."""
    period = target_period_of(config) or config.chunk_steps
    return OfflineLengths(period, config.chunk_steps // period)
