"""The loop of every agent with a replay; no method has a line of its own in it.

    iteration:  sample -> learn -> collect -> write one block
    period:     iterations up to the next target update, then that update
    chunk:      a whole number of periods; between chunks the host looks in

The order matters: an iteration's only write depends, through the action, on the learning, and so
on the sample. XLA then updates the ring in place; in another order it copies it at every step.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxq.config import HParams
from jaxq.learning import regularisers
from jaxq.loops.rollout import (
    Actor,
    Schedules,
    episode_metrics,
    episode_totals,
    exploration_metrics,
    make_act_and_step,
    observed,
    step_shapes,
)
from jaxq.loops.updating import first, follow, make_restart, make_update
from jaxq.types import Agent, Clock, Env, PyTree, Regulariser, Replay, Step, Target, Trainer


class TrainState(NamedTuple):
    """Everything about one member that changes; with the clock, a complete checkpoint."""

    params: PyTree
    target_params: PyTree
    opt_state: PyTree
    replay: PyTree
    env_state: PyTree
    obs: jax.Array  # [E, *obs]
    carry: PyTree
    key: jax.Array
    regulariser: PyTree = ()


class Lengths(NamedTuple):
    """Loop lengths, in the units of the loops."""

    prefill_blocks: int
    rows_per_block: int  # vector steps per iteration
    updates_per_iteration: int
    iterations_per_period: int
    periods_per_chunk: int


def make_trainer(
    env: Env,
    agent: Agent,
    make_replay: Callable[[Step], Replay],
    optimizer: Callable[[HParams, jax.Array], optax.GradientTransformation],
    schedules: Schedules,
    target: Target,
    lengths: Lengths,
    regulariser: Regulariser = regularisers.NONE,
) -> Trainer:
    """Compose a training run of one member.

    Args:
      make_replay: receives the shapes of one step [E, ...] and returns the replay.
      optimizer: ``optimizer(hparams, learning_rate)``.
      target: how the target network follows the parameters, once a period.
      regulariser: what is added to the loss.
    """
    block_steps = lengths.rows_per_block * env.num_envs
    replay = make_replay(step_shapes(env, agent))
    act_and_step = make_act_and_step(env, agent)
    update = make_update(agent, optimizer, schedules, regulariser)
    restart = make_restart(regulariser)

    def collect(state: TrainState, clock: Clock, hparams: HParams, key: jax.Array):
        """One block of steps [K, E, ...] and the episodes that ended in it [K, E]."""
        env_params = env.params(hparams.env_params)
        amount = schedules.exploration(hparams, clock.steps)
        actor, (steps, episodes) = jax.lax.scan(
            lambda actor, key: act_and_step(actor, key, state.params, amount, env_params),
            Actor(state.obs, state.carry, state.env_state),
            jax.random.split(key, lengths.rows_per_block),
        )
        params = observed(agent, state.params, steps.obs, steps, hparams)
        return state._replace(params=params, **actor._asdict()), steps, episodes

    def write(state: TrainState, clock: Clock, steps: Step) -> tuple[TrainState, Clock]:
        ring = replay.add(state.replay, clock, steps)
        return state._replace(replay=ring), clock._replace(steps=clock.steps + block_steps)

    def look(state: TrainState, clock: Clock, key: jax.Array, hparams: HParams) -> jax.Array:
        return first(replay.sample(state.replay, clock, key, hparams).steps.obs)

    def learn(state: TrainState, clock: Clock, hparams: HParams, key: jax.Array):
        """One gradient update on one sample."""
        key_sample, key_loss, key_look = jax.random.split(key, 3)
        sample = replay.sample(state.replay, clock, key_sample, hparams)
        apart = lambda: look(state, clock, key_look, hparams)  # noqa: E731
        learned, output, metrics = update(state, clock, hparams, sample, key_loss, apart)
        ring = replay.update(state.replay, sample.indices, output.priority, hparams)
        return learned._replace(replay=ring), metrics

    def more(state: TrainState, clock: Clock, key: jax.Array, hparams: HParams, updates: int):
        """Updates without acting, from the replay as it is: carried along, it would be copied."""

        def one(learner, key):
            learner, _ = learn(learner._replace(replay=state.replay), clock, hparams, key)
            return learner._replace(replay=()), None

        keys = jax.random.split(key, updates)
        return jax.lax.scan(one, state._replace(replay=()), keys)[0]

    def iteration(loop, hparams: HParams):
        state, clock = loop
        key, key_learn, key_collect = jax.random.split(state.key, 3)
        state, learning = jax.lax.scan(
            lambda state, key: learn(state, clock, hparams, key),
            state._replace(key=key),
            jax.random.split(key_learn, lengths.updates_per_iteration),
        )
        clock = clock._replace(updates=clock.updates + lengths.updates_per_iteration)
        state, steps, episodes = collect(state, clock, hparams, key_collect)
        totals = {
            "learning": jax.tree.map(lambda means: means.sum(axis=0), learning),
            **episode_totals(episodes),
        }
        return write(state, clock, steps), totals

    def period(loop, hparams: HParams):
        (state, clock), totals = _repeat(iteration, loop, hparams, lengths.iterations_per_period)
        return (follow(target, state, clock, hparams), clock), totals

    def chunk(state: TrainState, clock: Clock, hparams: HParams):
        (state, end), totals = _repeat(period, (state, clock), hparams, lengths.periods_per_chunk)
        updates = end.updates - clock.updates
        metrics = {
            **{name: total / updates for name, total in totals["learning"].items()},
            **episode_metrics(totals),
            **exploration_metrics(schedules, hparams, end.steps),
        }
        return state, end, metrics

    def init(key: jax.Array, hparams: HParams) -> tuple[TrainState, Clock]:
        key, key_env, key_carry, key_params, key_prefill = jax.random.split(key, 5)
        obs, env_state = env.reset(key_env, env.params(hparams.env_params))
        carry = agent.initial_carry(key_carry, env.num_envs)
        params = agent.init(key_params, obs)
        opt_state = optimizer(hparams, jnp.float32(0.0)).init(params)
        target_params, ring, memory = target.init(params), replay.init(), regulariser.init(params)
        state = TrainState(
            params, target_params, opt_state, ring, env_state, obs, carry, key, memory
        )

        def fill(loop, key):
            state, steps, _ = collect(*loop, hparams, key)
            return write(state, loop[1], steps), None

        start = state, Clock(jnp.int32(0), jnp.int32(0))
        keys = jax.random.split(key_prefill, lengths.prefill_blocks)
        (state, clock), _ = jax.lax.scan(fill, start, keys)
        # What has been observed meanwhile is part of the parameters.
        return restart(state._replace(target_params=target.init(state.params))), clock

    contents = None
    if replay.contents:
        contents = lambda state, clock: replay.contents(state.replay, clock)  # noqa: E731
    return Trainer(init, chunk, look, restart, more, contents=contents)


def _repeat(body: Callable, loop: PyTree, hparams: HParams, length: int):
    """``body`` applied ``length`` times, and the sum of what it reports."""
    loop, totals = jax.lax.scan(lambda loop, _: body(loop, hparams), loop, length=length)
    return loop, jax.tree.map(lambda values: values.sum(axis=0), totals)
