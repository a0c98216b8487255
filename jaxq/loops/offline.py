"""The loop of learning from a dataset, without acting.

    update:  draw a batch -> learn
    period:  updates up to the next target update, then that update
    chunk:   a whole number of periods

The dataset is no part of a member's state: all members learn from the one that is passed beside
it, as the clock is. Time is counted in updates, and ``clock.steps`` are those.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxq.config import HParams
from jaxq.learning import regularisers
from jaxq.loops.rollout import Schedules, episode_metrics, observed, record_shapes
from jaxq.loops.updating import first, follow, make_restart, make_update
from jaxq.replay.datasets import Windows
from jaxq.types import (
    Agent,
    Clock,
    Env,
    PyTree,
    Regulariser,
    Sample,
    Step,
    Target,
    Trainer,
    unchanged,
)


class OfflineState(NamedTuple):
    """Everything about one member that changes; with the clock, a complete checkpoint."""

    params: PyTree
    target_params: PyTree
    opt_state: PyTree
    obs: jax.Array  # [1, *obs], the first of the dataset
    key: jax.Array
    key_carry: jax.Array  # of the carries that a dataset does not hold; it stays the same
    regulariser: PyTree = ()


class OfflineLengths(NamedTuple):
    """Loop lengths, in the units of the loops."""

    updates_per_period: int
    periods_per_chunk: int


def make_offline_trainer(
    env: Env,
    agent: Agent,
    make_windows: Callable[[Step], Windows],
    data: Callable[[], tuple],
    optimizer: Callable[[HParams, jax.Array], optax.GradientTransformation],
    schedules: Schedules,
    target: Target,
    lengths: OfflineLengths,
    regulariser: Regulariser = regularisers.NONE,
) -> Trainer:
    """Compose a training run of one member.

    Running statistics are those of the whole dataset from the beginning. A window begins with the
    carry of an episode's beginning, always with the same one: what an ensemble draws for a step,
    such as who learns from it, is drawn once.

    Args:
      env: what the dataset was collected in; nothing acts in it.
      make_windows: receives the shapes of a step, without its carry, and returns how windows are
        drawn.
      data: returns the records [rows, columns, words] of the dataset, alone in a tuple.
      optimizer, schedules, target, regulariser: as of the loop with a replay.
    """
    windows = make_windows(record_shapes(env))
    update = make_update(agent, optimizer, schedules, regulariser)

    def draw(state: OfflineState, key: jax.Array, records: jax.Array) -> Sample:
        sample = windows.sample(records, key)

        def carry_of(index: jax.Array) -> PyTree:
            return agent.stored(agent.initial_carry(jax.random.fold_in(state.key_carry, index), 1))

        return sample._replace(
            steps=sample.steps._replace(carry=jax.vmap(carry_of)(sample.indices))
        )

    def look(
        state: OfflineState, clock: Clock, key: jax.Array, hparams: HParams, records: jax.Array
    ) -> jax.Array:
        del clock, hparams
        return first(draw(state, key, records).steps.obs)

    def learn(state: OfflineState, clock: Clock, hparams: HParams, records: jax.Array):
        """One gradient update on one sample."""
        key, key_sample, key_loss, key_look = jax.random.split(state.key, 4)
        sample = draw(state, key_sample, records)
        apart = lambda: look(state, clock, key_look, hparams, records)  # noqa: E731
        state, _, metrics = update(state, clock, hparams, sample, key_loss, apart)
        return (state._replace(key=key), Clock(clock.steps + 1, clock.updates + 1)), metrics

    def more(
        state: OfflineState,
        clock: Clock,
        key: jax.Array,
        hparams: HParams,
        updates: int,
        records: jax.Array,
    ) -> OfflineState:
        """Updates from draws of their own, of which time takes no notice."""

        def one(state: OfflineState, key: jax.Array):
            (state, _), _ = learn(state._replace(key=key), clock, hparams, records)
            return state, None

        keys = jax.random.split(key, updates)
        return jax.lax.scan(one, state, keys)[0]._replace(key=state.key)

    def period(loop, hparams: HParams, records: jax.Array):
        (state, clock), metrics = jax.lax.scan(
            lambda loop, _: learn(*loop, hparams, records), loop, length=lengths.updates_per_period
        )
        return (follow(target, state, clock, hparams), clock), jax.tree.map(jnp.mean, metrics)

    def chunk(state: OfflineState, clock: Clock, hparams: HParams, records: jax.Array):
        (state, clock), metrics = jax.lax.scan(
            lambda loop, _: period(loop, hparams, records),
            (state, clock),
            length=lengths.periods_per_chunk,
        )
        nothing = dict.fromkeys(("episodes", "return", "length"), jnp.int32(0))
        return state, clock, {**jax.tree.map(jnp.mean, metrics), **episode_metrics(nothing)}

    def counted(params: PyTree, records: jax.Array, hparams: HParams) -> PyTree:
        """Running statistics of all steps, in turn."""
        if agent.observe is unchanged and agent.observe_rewards is unchanged:
            return params

        def count(params: PyTree, row: jax.Array):
            steps = windows.unpack(row)
            return observed(agent, params, steps.obs, steps, hparams), None

        return jax.lax.scan(count, params, records)[0]

    def init(key: jax.Array, hparams: HParams, records: jax.Array) -> tuple[OfflineState, Clock]:
        key, key_params, key_carry = jax.random.split(key, 3)
        obs = windows.unpack(records[0]).obs  # of every column, of which some statistics have one
        params = counted(agent.init(key_params, obs), records, hparams)
        obs = jax.tree.map(lambda x: x[:1], obs)
        opt_state = optimizer(hparams, jnp.float32(0.0)).init(params)
        memory = regulariser.init(params)
        state = OfflineState(params, target.init(params), opt_state, obs, key, key_carry, memory)
        return state, Clock(jnp.int32(0), jnp.int32(0))

    return Trainer(init, chunk, look, make_restart(regulariser), more, data)
