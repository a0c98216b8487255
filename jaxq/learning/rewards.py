"""Rewards divided by the spread of their discounted sums, which the parameters keep count of."""

import jax
import jax.numpy as jnp

from jaxq.config import HParams
from jaxq.networks.statistics import EPSILON, join, moments, observe, split
from jaxq.types import Agent, PyTree, rows_of


def with_scaled_rewards(agent: Agent) -> Agent:
    """``agent`` with rewards over the standard deviation of ``u`` (Elsayed et al. 2024, alg. 5).

    ``u <- gamma (1 - done) u + r`` in every environment; nothing is subtracted. As published, the
    step that ends an episode has lost the sum before it, and its own reward joins the next
    episode's. The values that it learns are in these units.
    """

    def init(key: jax.Array, obs: jax.Array) -> PyTree:
        weights, statistics = split(agent.init(key, obs))
        seen = {**moments(), "sums": jnp.zeros(rows_of(obs))}
        return join(weights, {**statistics, "rewards": seen})

    def observe_rewards(params: PyTree, reward: jax.Array, done: jax.Array, hparams: HParams):
        params = agent.observe_rewards(params, reward, done, hparams)
        weights, statistics = split(params)

        def add(sums, x):
            reward, done = x
            sums = hparams.gamma * jnp.where(done, 0.0, sums) + reward
            return sums, sums

        seen = dict(statistics["rewards"])
        sums, every = jax.lax.scan(add, seen.pop("sums"), (reward, done))
        seen = {**observe(seen, every.reshape(-1)), "sums": sums}
        return join(weights, {**statistics, "rewards": seen})

    def scale_rewards(params: PyTree, reward: jax.Array) -> jax.Array:
        variance = jax.lax.stop_gradient(split(params)[1]["rewards"]["variance"])
        return agent.scale_rewards(params, reward) / jnp.sqrt(variance + EPSILON)

    return agent._replace(init=init, observe_rewards=observe_rewards, scale_rewards=scale_rewards)
