"""The loop of on-policy Q(lambda): PQN (Gallici et al. 2024, algorithm 1).

    round:  collect a rollout -> lambda returns -> epochs of minibatches of segments
    chunk:  a whole number of rounds

No replay and no target network. The value after a step comes from the observation before any
reset, by the parameters that collected the rollout. Within an episode that is the observation of
the next step, whose value acting computes anyway; others are needed only where a limit cut one.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxq.config import HParams
from jaxq.learning.returns import lambda_returns
from jaxq.loops.rollout import (
    Actor,
    Schedules,
    episode_metrics,
    episode_totals,
    exploration_metrics,
    learning_metrics,
    make_act_and_step,
    observed,
)
from jaxq.types import Agent, Clock, Env, PyTree, Trainer


class OnPolicyState(NamedTuple):
    """Everything about one member that changes; with the clock, a complete checkpoint."""

    params: PyTree
    opt_state: PyTree
    env_state: PyTree
    obs: jax.Array  # [E, *obs]
    carry: PyTree
    key: jax.Array


class RoundLengths(NamedTuple):
    """Loop lengths, in the units of the loops."""

    rows: int  # vector steps per rollout, a multiple of the segment
    segment: int  # steps that are unrolled together, from the carry stored at their beginning
    batch_size: int  # segments per minibatch
    minibatches: int  # per epoch
    epochs: int
    rounds_per_chunk: int


def make_on_policy_trainer(
    env: Env,
    agent: Agent,
    optimizer: Callable[[HParams, jax.Array], optax.GradientTransformation],
    schedules: Schedules,
    lengths: RoundLengths,
) -> Trainer:
    """Compose a training run of one member.

    Args:
      agent: one whose ``loop`` is ``on-policy``.
      optimizer: ``optimizer(hparams, learning_rate)``.
    """
    act_and_step = make_act_and_step(env, agent)

    def collect(state: OnPolicyState, clock: Clock, hparams: HParams, key: jax.Array):
        """A rollout [T, E, ...], the values [T, E] after its steps, and its episodes.

        After a terminal step, where nothing is to be had, the value is anything finite.
        """
        env_params = env.params(hparams.env_params)
        amount = schedules.exploration(hparams, clock.steps)

        def body(actor, key):
            # Acting computes the same, so this is free. The memory is the one that belongs to
            # next_obs; the actor's own begins anew after an episode.
            _, value, carry = agent.act_greedy(state.params, actor.carry, actor.obs)
            actor, (step, episode) = act_and_step(actor, key, state.params, amount, env_params)
            value_if_cut = jax.lax.cond(
                jnp.any(step.done & ~step.terminated),
                lambda: agent.act_greedy(state.params, carry, step.next_obs)[1],
                lambda: jnp.zeros_like(value),
            )
            return actor, (step, value, value_if_cut, episode)

        actor = Actor(state.obs, state.carry, state.env_state)
        actor, rollout = jax.lax.scan(body, actor, jax.random.split(key, lengths.rows))
        steps, values, values_if_cut, episodes = rollout
        _, last, _ = agent.act_greedy(state.params, actor.carry, actor.obs)
        following = jnp.concatenate([values[1:], last[None]])
        values = jnp.where(steps.done, values_if_cut, following)
        params = observed(agent, state.params, steps.obs, steps, hparams)
        return state._replace(params=params, **actor._asdict()), steps, values, episodes

    def update(learner, batch, hparams: HParams, learning_rate: jax.Array):
        """One gradient update on one minibatch of segments."""
        params, opt_state = learner
        key, steps, returns = batch

        def objective(params):
            output = agent.loss(params, key, steps, returns, hparams)
            return jnp.mean(output.loss), output

        gradients, output = jax.grad(objective, has_aux=True)(params)
        transform = optimizer(hparams, learning_rate)
        updates, opt_state = transform.update(gradients, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), learning_metrics(output)

    def epoch(learner, key, segments, hparams: HParams, learning_rate: jax.Array):
        """All segments once, in random minibatches."""
        key_order, key_loss = jax.random.split(key)
        shape = lengths.minibatches, lengths.batch_size
        order = jax.random.permutation(key_order, len(segments[1]))  # may be more than are taken
        order = order[: shape[0] * shape[1]].reshape(shape)
        keys = jax.random.split(key_loss, lengths.minibatches)

        def body(learner, x):
            rows, key = x
            batch = jax.tree.map(lambda leaf: leaf[rows], segments)
            return update(learner, (key, *batch), hparams, learning_rate)

        return jax.lax.scan(body, learner, (order, keys))

    def one_round(loop, hparams: HParams):
        state, clock = loop
        key, key_collect, key_learn = jax.random.split(state.key, 3)
        state, steps, values, episodes = collect(state, clock, hparams, key_collect)
        returns = jax.vmap(lambda_returns, (1, 1, 1, 1, None), 1)(
            hparams.reward_scale * agent.scale_rewards(state.params, steps.reward),
            hparams.gamma * (1.0 - steps.terminated),
            values,
            steps.done,
            hparams.td_lambda,
        )
        segments = jax.tree.map(lambda x: _segments(x, lengths.segment), (steps, returns))
        learning_rate = schedules.learning_rate(hparams, clock.steps)
        (params, opt_state), learning = jax.lax.scan(
            lambda learner, key: epoch(learner, key, segments, hparams, learning_rate),
            (state.params, state.opt_state),
            jax.random.split(key_learn, lengths.epochs),
        )
        state = state._replace(params=params, opt_state=opt_state, key=key)
        clock = Clock(
            clock.steps + lengths.rows * env.num_envs,
            clock.updates + lengths.epochs * lengths.minibatches,
        )
        totals = {
            "learning": jax.tree.map(jnp.mean, learning),
            **episode_totals(episodes),
        }
        return (state, clock), totals

    def chunk(state: OnPolicyState, clock: Clock, hparams: HParams):
        (state, clock), rounds = jax.lax.scan(
            lambda loop, _: one_round(loop, hparams),
            (state, clock),
            length=lengths.rounds_per_chunk,
        )
        learning = jax.tree.map(jnp.mean, rounds.pop("learning"))
        metrics = {
            **learning,
            **episode_metrics(jax.tree.map(jnp.sum, rounds)),
            **exploration_metrics(schedules, hparams, clock.steps),
        }
        return state, clock, metrics

    def init(key: jax.Array, hparams: HParams) -> tuple[OnPolicyState, Clock]:
        key, key_env, key_carry, key_params = jax.random.split(key, 4)
        obs, env_state = env.reset(key_env, env.params(hparams.env_params))
        carry = agent.initial_carry(key_carry, env.num_envs)
        params = agent.init(key_params, obs)
        opt_state = optimizer(hparams, jnp.float32(0.0)).init(params)
        state = OnPolicyState(params, opt_state, env_state, obs, carry, key)
        return state, Clock(jnp.int32(0), jnp.int32(0))

    def learn(state: OnPolicyState, clock: Clock, key: jax.Array, hparams: HParams, updates: int):
        shorter = of_updates(lengths, updates)
        trainer = make_on_policy_trainer(env, agent, optimizer, schedules, shorter)
        return trainer.chunk(state._replace(key=key), clock, hparams)[0]

    return Trainer(init, chunk, learn=learn)


def of_updates(lengths: RoundLengths, updates: int) -> RoundLengths:
    """Lengths of exactly so many updates, on minibatches of the same size; no more of them are made
    of a rollout."""
    minibatches = _divisor(updates, lengths.minibatches)
    epochs = _divisor(updates // minibatches, lengths.epochs)
    rounds = updates // (minibatches * epochs)
    return lengths._replace(minibatches=minibatches, epochs=epochs, rounds_per_chunk=rounds)


def _divisor(number: int, most: int) -> int:
    return max(d for d in range(1, min(number, most) + 1) if number % d == 0)


def _segments(rollout: PyTree, length: int) -> PyTree:
    """A rollout leaf [T, E, ...] as segments [T / length * E, length, ...]."""
    num_rows, num_envs, *shape = rollout.shape
    pieces = rollout.reshape(num_rows // length, length, num_envs, *shape)
    return jnp.swapaxes(pieces, 1, 2).reshape(-1, length, *shape)
