"""The parts of a training run, each alone in a scan: what they take one after the other.

Learning on batches that were sampled before, acting on observations that were seen before, and the
environment under random actions. All inputs rotate, or the compiler would compute once what never
changes. Every part is a ``Trainer``, so it is batched and spread over devices like the whole.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxq.config import Config, HParams
from jaxq.learning.traces import Online
from jaxq.loops.rollout import Actor, make_act_and_step, step_shapes
from jaxq.loops.updating import make_update
from jaxq.networks.statistics import join, split
from jaxq.recipes.experiment import (
    Experiment,
    make_optimizer_from,
    make_regulariser_from,
    make_replay_from,
    make_schedules,
    make_trace_from,
)
from jaxq.recipes.lengths import make_round_lengths
from jaxq.recipes.reading import prefill_of, updates_after
from jaxq.types import Clock, PyTree, Trainer

NUM_INPUTS = 8  # batches, or observations, that take turns


class PartState(NamedTuple):
    """What a part carries along, and what it is given in turn."""

    params: PyTree
    carried: PyTree
    inputs: PyTree  # leaves [NUM_INPUTS, ...]
    key: jax.Array


def part_trainer(part: str, config: Config, experiment: Experiment) -> Trainer:
    """``learning``, ``acting`` or ``environment`` of an experiment, as many times a chunk as the
    experiment does it; that number is a multiple of ``NUM_INPUTS``."""
    rows = config.chunk_steps // config.num_envs
    updates = updates_after(config, prefill_of(config) + config.chunk_steps)
    learning = {"streaming": _learning_online, "on-policy": _learning_on_policy}
    prepare, body = {
        "learning": learning.get(experiment.agent.loop, _learning),
        "acting": _acting,
        "environment": _environment,
    }[part](config, experiment)
    rounds = (updates if part == "learning" else rows) // NUM_INPUTS

    def init(key: jax.Array, hparams: HParams) -> tuple[PartState, Clock]:
        key, key_init, key_prepare = jax.random.split(key, 3)
        state, clock = experiment.trainer.init(key_init, hparams)
        return PartState(state.params, *prepare(state, clock, key_prepare, hparams), key), clock

    def chunk(state: PartState, clock: Clock, hparams: HParams):
        def one_round(state, _):
            key, key_round = jax.random.split(state.key)
            step = lambda state, x: (body(state, *x, clock, hparams), None)  # noqa: E731
            keys = jax.random.split(key_round, NUM_INPUTS)
            return jax.lax.scan(step, state._replace(key=key), (keys, state.inputs))[0], None

        return jax.lax.scan(one_round, state, length=rounds)[0], clock, {}

    return Trainer(init, chunk)


def _learning(config: Config, experiment: Experiment) -> tuple[Callable, Callable]:
    parts = make_optimizer_from(config), make_schedules(config), make_regulariser_from(config)
    update = make_update(experiment.agent, *parts)

    def prepare(state, clock, key, hparams):
        replay = make_replay_from(config)(step_shapes(experiment.env, experiment.agent))
        samples = jax.lax.map(
            lambda key: replay.sample(state.replay, clock, key, hparams),
            jax.random.split(key, NUM_INPUTS),
        )
        others = jax.tree.map(lambda leaf: jnp.roll(leaf[:, :, 0], 1, axis=0), samples.steps.obs)
        return state._replace(replay=()), (samples, others)

    def body(state, key, inputs, clock, hparams):
        sample, others = inputs
        learned, _, _ = update(state.carried, clock, hparams, sample, key, lambda: others)
        return state._replace(carried=learned)

    return prepare, body


def _learning_on_policy(config: Config, experiment: Experiment) -> tuple[Callable, Callable]:
    optimizer, schedules = make_optimizer_from(config), make_schedules(config)

    def prepare(state, clock, key, hparams):
        lengths = make_round_lengths(config)
        shape = NUM_INPUTS, lengths.batch_size, lengths.segment
        return state.opt_state, _rollout(config, experiment, state, key, hparams, shape)

    def body(state, key, steps, clock, hparams):
        def objective(params):  # rewards are as good as any other returns
            output = experiment.agent.loss(params, key, steps, steps.reward, hparams)
            return jnp.mean(output.loss)

        gradients = jax.grad(objective)(state.params)
        transform = optimizer(hparams, schedules.learning_rate(hparams, clock.steps))
        changes, opt_state = transform.update(gradients, state.carried, state.params)
        params = optax.apply_updates(state.params, changes)
        return state._replace(params=params, carried=opt_state)

    return prepare, body


def _learning_online(config: Config, experiment: Experiment) -> tuple[Callable, Callable]:
    rule, schedules, agent = make_trace_from(config), make_schedules(config), experiment.agent

    def prepare(state, clock, key, hparams):
        steps = _rollout(config, experiment, state, key, hparams, (NUM_INPUTS, 1, 1))
        return state.opt_state, jax.tree.map(lambda leaf: leaf[:, 0, 0], steps)

    def body(state, key, step, clock, hparams):
        weights, seen = split(state.params)
        predict = lambda w: agent.loss(join(w, seen), join(w, seen), step, hparams)  # noqa: E731
        online = Online(lambda w: predict(w).value, lambda w: predict(w).error)
        rate = schedules.learning_rate(hparams, clock.steps)
        decay = hparams.gamma * hparams.td_lambda
        weights, carried = rule.update(state.carried, weights, online, decay, hparams, rate)
        return state._replace(params=join(weights, seen), carried=carried)

    return prepare, body


def _acting(config: Config, experiment: Experiment) -> tuple[Callable, Callable]:
    agent, schedules = experiment.agent, make_schedules(config)

    def prepare(state, clock, key, hparams):
        shape = NUM_INPUTS, config.num_envs, 1
        steps = _rollout(config, experiment, state, key, hparams, shape)
        carry = agent.initial_carry(key, config.num_envs)
        return (carry, jnp.float32(0.0)), steps.obs[:, :, 0]

    def body(state, key, obs, clock, hparams):
        carry, total = state.carried
        amount = schedules.exploration(hparams, clock.steps)
        action, carry = agent.act(state.params, carry, key, obs, amount)
        total += action.sum()  # used, so that it is computed
        return state._replace(carried=(carry, total))

    return prepare, body


def _environment(config: Config, experiment: Experiment) -> tuple[Callable, Callable]:
    env = experiment.env

    def prepare(state, clock, key, hparams):
        shape = NUM_INPUTS, config.num_envs
        actions = jax.random.randint(key, shape, 0, env.num_actions)
        return (state.env_state, jnp.float32(0.0)), actions

    def body(state, key, action, clock, hparams):
        env_state, total = state.carried
        params = env.params(hparams.env_params)
        obs, env_state, outcome, _ = env.step(key, env_state, action, params)
        for used in (obs, outcome.next_obs, outcome.reward, outcome.done):
            total += used.sum(dtype=jnp.float32)
        return state._replace(carried=(env_state, total))

    return prepare, body


def _rollout(config, experiment, state, key, hparams, shape):
    """Steps [*shape, ...] as at the start of a run; the leading axes of a rollout, cut anew."""
    env = experiment.env
    act_and_step = make_act_and_step(env, experiment.agent)
    params = env.params(hparams.env_params)
    amount = make_schedules(config).exploration(hparams, jnp.int32(0))
    count = shape[0] * shape[1] * shape[2]
    rows = -(-count // config.num_envs)
    key_carry, key = jax.random.split(key)
    carry = experiment.agent.initial_carry(key_carry, config.num_envs)
    actor = Actor(state.obs, carry, state.env_state)
    _, (steps, _) = jax.lax.scan(
        lambda actor, key: act_and_step(actor, key, state.params, amount, params),
        actor,
        jax.random.split(key, rows),
    )

    def cut(leaf: jax.Array) -> jax.Array:
        return leaf.reshape(-1, *leaf.shape[2:])[:count].reshape(*shape, *leaf.shape[2:])

    return jax.tree.map(cut, steps)
