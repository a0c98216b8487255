"""Evaluation: exactly K whole episodes per member, from their own keys."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxq.config import HParams
from jaxq.learning.exploration import mix_uniform
from jaxq.legal import legal_actions
from jaxq.types import Agent, Env, PyTree


class Evaluation(NamedTuple):
    """The K episodes of one member."""

    returns: jax.Array  # [K] float32, undiscounted
    lengths: jax.Array  # [K] int32
    finished: jax.Array  # [K] bool; False where the step cap cut the episode
    values: jax.Array  # [K] float32, greedy value averaged over the steps of the episode
    overestimation: jax.Array | tuple = ()  # [K] float32, see ``make_evaluator``


def make_evaluator(
    env: Env, agent: Agent, max_steps: int, diagnose: bool = False
) -> Callable[[PyTree, jax.Array, HParams], Evaluation]:
    """``evaluate(params, key, hparams) -> Evaluation`` on one episode of each environment.

    K is ``env.num_envs``. Each environment contributes its first episode and nothing else, so
    short episodes are not counted more often than long ones. Actions are greedy, or random with
    probability ``hparams.eval_epsilon``. ``values`` is an alarm: on a task that ends only by a
    time limit, with reward 1, it should approach 1 / (1 - gamma). It is in the units that the
    method learns: of scaled rewards, or rescaled where the loss rescales.

    With ``diagnose`` there is the overestimation as well, in those units: the greedy value of the
    first observation minus the discounted return that followed it (van Hasselt et al. 2016, section
    3). Of an episode that was cut, or that a time limit ended, only what was seen counts.
    """
    num_episodes = env.num_envs

    def evaluate(params: PyTree, key: jax.Array, hparams: HParams) -> Evaluation:
        env_params = env.params(hparams.env_params)
        key, key_env, key_carry = jax.random.split(key, 3)
        obs, env_state = env.reset(key_env, env_params)
        carry = agent.initial_carry(key_carry, num_episodes)
        zeros = jnp.zeros(num_episodes)
        result = Evaluation(zeros, zeros.astype(jnp.int32), zeros.astype(bool), zeros)
        estimate = (zeros, zeros) if diagnose else ()  # the first value, what came of it

        def is_running(loop):
            step, result = loop[0], loop[-1]
            return (step < max_steps) & ~jnp.all(result.finished)

        def play(loop):
            step, key, obs, env_state, carry, estimate, result = loop
            key, _, key_mix, key_env = jax.random.split(key, 4)  # of three the bits are others
            action, value, carry = agent.act_greedy(params, carry, obs)
            epsilon, legal = hparams.eval_epsilon, legal_actions(obs)
            action = mix_uniform(key_mix, action, epsilon, env.num_actions, legal)
            obs, env_state, outcome, _ = env.step(key_env, env_state, action, env_params)
            counts = ~result.finished  # [K] still in its first episode
            if diagnose:
                first, discounted = estimate
                reward = hparams.reward_scale * agent.scale_rewards(params, outcome.reward)
                reward *= hparams.gamma ** step.astype(jnp.float32)
                first = jnp.where(step == 0, value, first)
                estimate = first, discounted + jnp.where(counts, reward, 0.0)
            result = Evaluation(
                returns=result.returns + jnp.where(counts, outcome.reward, 0.0),
                lengths=result.lengths + counts,
                finished=result.finished | outcome.done,
                values=result.values + jnp.where(counts, value, 0.0),
            )
            return step + 1, key, obs, env_state, carry, estimate, result

        loop = (jnp.int32(0), key, obs, env_state, carry, estimate, result)
        *_, estimate, result = jax.lax.while_loop(is_running, play, loop)
        result = result._replace(values=result.values / result.lengths)
        if not diagnose:
            return result
        first, discounted = estimate
        return result._replace(overestimation=first - agent.rescale(discounted))

    return evaluate
