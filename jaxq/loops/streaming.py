"""The loop of learning from a stream: one environment, and every step is used once.

    step:   act -> count what was seen -> one update by a trace rule
    chunk:  so many steps

No replay and no target network. What moves the weights is the trace rule's, when traces are cut is
another function's. Statistics count an observation once, when it is shown: the value before a step
is seen through what they were then, so that it is the value which acting has computed.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxq.config import HParams
from jaxq.learning.td import huber_loss
from jaxq.learning.traces import Online, TraceRule
from jaxq.loops.rollout import (
    Actor,
    Schedules,
    episode_metrics,
    episode_totals,
    exploration_metrics,
    make_act_and_step,
    observed,
)
from jaxq.networks.statistics import join, split
from jaxq.types import Agent, Clock, Env, PyTree, Trainer


class StreamState(NamedTuple):
    """Everything about one member that changes; with the clock, a complete checkpoint."""

    params: PyTree
    opt_state: PyTree  # of the trace rule
    env_state: PyTree
    obs: jax.Array  # [1, *obs]
    ended: jax.Array  # [] bool: the last step ended an episode
    explored: jax.Array  # [] bool: its action was exploratory
    key: jax.Array
    carry: PyTree = ()  # of selecting actions


def make_streaming_trainer(
    env: Env,
    agent: Agent,
    rule: TraceRule,
    cut: Callable,
    schedules: Schedules,
    steps_per_chunk: int,
) -> Trainer:
    """Compose a training run of one member.

    Args:
      env: one environment, ``num_envs`` 1.
      agent: one whose ``loop`` is ``streaming``; its network has no memory.
      cut: ``cut(done_tm1, exploratory_tm1, exploratory_t) -> [] bool``, see ``traces``.
    """
    act_and_step = make_act_and_step(env, agent)

    def one_step(state: StreamState, clock: Clock, hparams: HParams):
        key, key_step = jax.random.split(state.key)
        amount = schedules.exploration(hparams, clock.steps)
        actor, (steps, episode) = act_and_step(
            Actor(state.obs, state.carry, state.env_state),
            key_step,
            state.params,
            amount,
            env.params(hparams.env_params),
        )
        params = observed(agent, state.params, steps.next_obs, steps, hparams)
        step = jax.tree.map(lambda leaf: leaf[0], steps)
        step = step._replace(reward=agent.scale_rewards(params, step.reward))
        (weights, before), (_, after) = split(state.params), split(params)

        def predict(weights):
            return agent.loss(join(weights, before), join(weights, after), step, hparams)

        prediction = predict(weights)
        is_cut = cut(state.ended, state.explored, prediction.exploratory)
        weights, opt_state = rule.update(
            state.opt_state,
            weights,
            Online(lambda w: predict(w).value, lambda w: predict(w).error),
            jnp.where(is_cut, 0.0, hparams.gamma * hparams.td_lambda),
            hparams,
            schedules.learning_rate(hparams, clock.steps),
        )
        params = join(weights, after)
        begun = agent.observe(params, actor.obs)  # the first observation of a new episode
        state = StreamState(
            jax.tree.map(lambda new, old: jnp.where(step.done, new, old), begun, params),
            opt_state,
            actor.env_state,
            actor.obs,
            step.done,
            prediction.exploratory,
            key,
            actor.carry,
        )
        totals = {
            "loss": huber_loss(prediction.error, jnp.inf),
            "q_value": prediction.value,
            "exploratory": prediction.exploratory.astype(jnp.float32),
            **episode_totals(episode),
        }
        return state, Clock(clock.steps + 1, clock.updates + 1), totals

    def chunk(state: StreamState, clock: Clock, hparams: HParams):
        def body(loop, _):
            state, clock, sums = loop
            state, clock, totals = one_step(state, clock, hparams)
            return (state, clock, jax.tree.map(jnp.add, sums, totals)), None

        shapes = jax.eval_shape(lambda: one_step(state, clock, hparams)[2])
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        loop, _ = jax.lax.scan(body, (state, clock, zeros), length=steps_per_chunk)
        state, clock, totals = loop
        metrics = {
            **{name: totals[name] / steps_per_chunk for name in ("loss", "q_value", "exploratory")},
            **episode_metrics(totals),
            **exploration_metrics(schedules, hparams, clock.steps),
        }
        return state, clock, metrics

    def init(key: jax.Array, hparams: HParams) -> tuple[StreamState, Clock]:
        key, key_env, key_params, key_rule = jax.random.split(key, 4)
        obs, env_state = env.reset(key_env, env.params(hparams.env_params))
        params = agent.observe(agent.init(key_params, obs), obs)

        def make_weights(key: jax.Array) -> PyTree:
            return split(agent.init(key, obs))[0]

        opt_state = rule.init(key_rule, split(params)[0], make_weights, hparams)
        ended, explored = jnp.bool_(True), jnp.bool_(False)
        carry = agent.initial_carry(jax.random.fold_in(key_rule, 1), env.num_envs)
        state = StreamState(params, opt_state, env_state, obs, ended, explored, key, carry)
        return state, Clock(jnp.int32(0), jnp.int32(0))

    def learn(state: StreamState, clock: Clock, key: jax.Array, hparams: HParams, updates: int):
        shorter = make_streaming_trainer(env, agent, rule, cut, schedules, updates)
        return shorter.chunk(state._replace(key=key), clock, hparams)[0]

    return Trainer(init, chunk, learn=learn)
