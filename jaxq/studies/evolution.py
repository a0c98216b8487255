"""Selection among the lanes of a population, while it trains; pure functions of scores [H, S].

Successive halving (Jamieson & Talwalkar 2016, algorithm 1; Li et al. 2018, section 3) stops lanes:
every lane begins, and after a share of the steps only the best go on.

Population-based training (Jaderberg et al. 2017, section 3) moves lanes: at times the worst members
continue from the best ones, with numbers a little different. Here every seed has a population of
its own, the H members that share it, so that seeds stay independent and statistics over them valid.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxq.config import HParams
from jaxq.errors import ConfigError
from jaxq.scoring.stats import iqm
from jaxq.settings import flatten, with_numbers
from jaxq.studies.spaces import Range

_FACTORS = (0.8, 1.25)  # each undoes the other, so that numbers do not drift on their own
_STREAM = 2  # of a seed's keys: 0 and 1 are training and evaluation


class Rung(NamedTuple):
    """At ``steps`` on the clock, the best ``keep`` lanes go on."""

    steps: int
    keep: int


def rungs(steps: int, num_lanes: int, period: int, eta: int = 3, start: int = 0) -> list[Rung]:
    """The cuts of successive halving, the first one first; the survivors train for all ``steps``.

    The last cut is at ``steps / eta``, the one before at ``steps / eta**2`` and so on, each at the
    next evaluation, until one lane is left or a cut would come before the first of them.

    Args:
      steps: environment steps of a lane that is never cut.
      period: environment steps between evaluations.
      eta: of so many lanes one survives a cut, rounded up.
      start: the clock before the first chunk; prefill counts.

    Raises:
      ConfigError: there is nothing to cut, or no time for it.
    """
    first = start + period
    if eta < 2:
        raise ConfigError(f"eta={eta} must be at least 2: of so many lanes one survives.")
    if num_lanes < 2:
        raise ConfigError(f"lanes={num_lanes} leave nothing to cut; at least 2 are accepted.")
    if steps < eta * first:
        raise ConfigError(
            f"steps={steps} leave no time for a cut; at least {eta * first} are accepted with "
            f"eta={eta} and {first} steps before the first."
        )
    keeps = [num_lanes]
    while keeps[-1] > 1 and steps >= first * eta ** len(keeps):
        keeps.append(-(-keeps[-1] // eta))
    cuts = len(keeps) - 1
    when = [-(-steps // eta ** (cuts - index)) for index in range(cuts)]
    ends = [start + -(-(moment - start) // period) * period for moment in when]
    return [Rung(end, keep) for end, keep in zip(ends, keeps[1:])]


def total_steps(schedule: Sequence[Rung], num_lanes: int, steps: int) -> int:
    """Environment steps of all lanes together, for one seed."""
    ends = [*(rung.steps for rung in schedule), steps]
    begins = [0, *ends[:-1]]
    lanes = [num_lanes, *(rung.keep for rung in schedule)]
    return sum(count * (end - begin) for count, begin, end in zip(lanes, begins, ends))


def survivors(scores: np.ndarray, keep: int) -> np.ndarray:
    """The ``keep`` best lanes by the IQM of scores [H, S] over seeds, in ascending order.

    A score that is not finite belongs to a diverged member and is the worst there can be: an IQM
    over enough seeds forgives one of them. Of equal lanes the first survives.
    """
    by_lane = iqm(np.where(np.isfinite(scores), scores, -np.inf))
    return np.sort(np.argsort(-by_lane, kind="stable")[:keep])


def keys_of(seeds: Sequence[int], steps: int) -> tuple[jax.Array, jax.Array]:
    """Keys [S] for ``exploit`` and keys [S] for ``explore`` at ``steps``, one per seed.

    They depend on nothing else, so that a seed's population is the same whatever runs beside it.
    """

    def keys(seed):
        stream = jax.random.fold_in(jax.random.key(seed), _STREAM)
        key_exploit, key_explore = jax.random.split(jax.random.fold_in(stream, steps))
        return key_exploit, key_explore

    return jax.vmap(keys)(jnp.asarray(seeds, jnp.uint32))


def exploit(keys: jax.Array, scores: jax.Array, quantile: float = 0.2) -> jax.Array:
    """Truncation selection: the lane [H, S] from which each member continues, mostly its own.

    In every column (seed) alone, the worst ``quantile`` of the members and every member whose score
    is not finite draw one of the best ``quantile``. A member whose score no other exceeds stays.

    Args:
      keys: [S], the first of ``keys_of``.
      scores: [H, S].
      quantile: static; at least one member, at most half of them.
    """
    num_lanes = scores.shape[0]
    count = max(1, min(round(quantile * num_lanes), num_lanes // 2))

    def column(key: jax.Array, scores: jax.Array) -> jax.Array:
        order = jnp.argsort(-scores, stable=True)  # [H], the best first
        rank = jnp.argsort(order)
        num_finite = jnp.isfinite(scores).sum()
        num_best = jnp.clip(num_finite, 1, count)
        drawn = order[jax.random.randint(key, (num_lanes,), 0, num_best)]
        is_poor = (rank >= num_lanes - count) | ~jnp.isfinite(scores)
        return jnp.where(is_poor & (scores[drawn] > scores), drawn, jnp.arange(num_lanes))

    return jax.vmap(column, (0, 1), 1)(keys, jnp.where(jnp.isfinite(scores), scores, -jnp.inf))


def explore(
    keys: jax.Array, hparams: HParams, source: jax.Array, space: Mapping[str, Range]
) -> HParams:
    """The members' numbers after ``exploit``: copied with the member, then perturbed.

    A member that continues from another takes all its numbers; those in ``space`` are multiplied by
    0.8 or 1.25, each with probability 1/2, and clipped to their range; whole numbers are rounded
    away from where they were. The numbers of all other members keep their bits.

    Args:
      keys: [S], the second of ``keys_of``.
      hparams: leaves [H, S].
      source: [H, S], what ``exploit`` returned.
      space: name -> range; multiplying leaves a 0 where it is.
    """
    num_lanes = source.shape[0]
    is_copy = source != jnp.arange(num_lanes)[:, None]  # [H, S]
    copied = jax.tree.map(lambda leaf: jnp.take_along_axis(leaf, source, axis=0), hparams)
    numbers, changed = flatten(copied), {}
    for index, (name, interval) in enumerate(sorted(space.items())):
        fold = jax.vmap(jax.random.fold_in, (0, None))(keys, index)
        is_up = jax.vmap(lambda key: jax.random.bernoulli(key, shape=(num_lanes,)), 0, 1)(fold)
        moved = _perturb(numbers[name], is_up, interval)
        changed[name] = jnp.where(is_copy, moved, numbers[name])
    return with_numbers(copied, changed)


def members_of(source: np.ndarray) -> np.ndarray:
    """Lanes [H, S] as members [H * S], which is how a population counts them."""
    num_seeds = np.shape(source)[1]
    return (np.asarray(source) * num_seeds + np.arange(num_seeds)).reshape(-1)


def _perturb(values: jax.Array, is_up: jax.Array, interval: Range) -> jax.Array:
    moved = values * jnp.where(is_up, *reversed(_FACTORS))
    if interval.integer:
        moved = jnp.where(is_up, jnp.ceil(moved), jnp.floor(moved))
    return jnp.clip(moved, interval.low, interval.high).astype(values.dtype)
