"""Selecting actions may remember something: until the episode ends, and in every loop."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from common import cast, recipe, tabular_env
from tabular import truncation

from jaxq.config import Config, HParams
from jaxq.learning.exploration import Persistence
from jaxq.loops.rollout import Actor, make_act_and_step
from jaxq.recipes.agents import make_agent_from
from jaxq.recipes.experiment import make_trainer_from

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def test_the_end_of_an_episode_ends_a_repetition():
    """Episodes of 10 steps, random actions for up to 100: every episode begins with a new one."""
    env = tabular_env(8)
    agent = make_agent_from(Config(action_selection="ez-greedy", num_envs=8), env)
    act_and_step, params = make_act_and_step(env, agent), env.params(truncation())

    @jax.jit
    def run(key):
        obs, env_state = env.reset(key, params)
        weights = agent.init(key, obs)
        amount = Persistence(1.0, 0.0)

        def step(actor, key):
            after, (step, _) = act_and_step(actor, key, weights, amount, params)
            return after, (step, actor.carry.selection, after.carry.selection)

        actor = Actor(obs, agent.initial_carry(key, 8), env_state)
        return jax.lax.scan(step, actor, jax.random.split(key, 100))[1]

    steps, before, after = jax.tree.map(np.asarray, run(jax.random.key(0)))
    held = before.remaining > 0
    assert held.mean() > 0.5 and steps.done.sum() == 80
    np.testing.assert_array_equal(steps.action[held], before.action[held])
    assert not after.remaining[steps.done].any() and after.remaining[~steps.done].any()
    assert not before.remaining[::10].any()
    first = steps.action[::10].reshape(-1)
    assert len(set(first)) > 1
    assert steps.carry == ()  # a replay keeps none of it


@pytest.mark.parametrize("name", ["r2d2", "pqn", "stream-q"])
def test_every_loop_carries_what_is_remembered(name):
    """Traced only; the network's own memory is stored as it was."""
    plain = recipe(name)
    config = replace(plain.config, action_selection="ez-greedy")
    agent = make_agent_from(config, plain.env)
    trainer, hparams = make_trainer_from(config, plain.env, agent), cast(HParams())
    with jax.debug_key_reuse(True):
        start = jax.jit(trainer.init).trace(jax.random.key(0), hparams).out_info
        after = jax.jit(trainer.chunk).trace(*start, hparams).out_info
    describe = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)  # noqa: E731
    assert describe(start) == describe(after[:2])
    carry = start[0].carry
    assert carry.selection.remaining.shape == (config.num_envs,) and after[2]["epsilon"].shape == ()
    own = jax.eval_shape(lambda: plain.agent.initial_carry(jax.random.key(0), config.num_envs))
    stored = jax.eval_shape(agent.stored, carry)
    assert jax.tree.structure(stored) == jax.tree.structure(own)
