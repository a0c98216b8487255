"""On-policy Q(lambda): segments, minibatches, and what its rounds learn from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tabular
from common import RECIPES, cast, programs, recipe, same_bits, tabular_env

from jaxq.config import HParams
from jaxq.loops import on_policy as pqn
from jaxq.recipes.experiment import make_optimizer_from, make_schedules
from jaxq.recipes.lengths import make_round_lengths
from jaxq.types import Agent, LossOutput

pytestmark = pytest.mark.usefixtures("compiled_quickly")

HPARAMS = cast(
    HParams(
        gamma=0.5,
        td_lambda=1.0,
        reward_scale=0.1,
        epsilon_start=1.0,
        epsilon_end=1.0,
        env_params=tabular.truncation(),
    )
)

ENV = tabular_env(4)


def test_segments_are_consecutive_steps_of_one_environment():
    rollout = jnp.arange(12)[:, None] + jnp.array([0, 100, 200])  # [T=12, E=3]
    segments = pqn._segments(rollout, 4)
    assert segments.shape == (9, 4)
    rows = {tuple(row) for row in np.asarray(segments).tolist()}
    assert rows == {tuple(range(t + e, t + e + 4)) for t in (0, 4, 8) for e in (0, 100, 200)}


def make_learn(agent, rounds: int):
    """A function of numbers: the clock after rounds of ``agent`` on the tabular environment."""
    config = RECIPES["pqn"]
    lengths = make_round_lengths(config)._replace(rounds_per_chunk=rounds)
    optimizer, schedules = make_optimizer_from(config), make_schedules(config)
    trainer = pqn.make_on_policy_trainer(ENV, agent, optimizer, schedules, lengths)
    init, chunk = jax.jit(trainer.init), jax.jit(trainer.chunk)

    def learn(hparams):
        _, clock, _ = chunk(*init(jax.random.key(0), hparams), hparams)
        jax.effects_barrier()
        return clock

    return learn


def test_every_step_is_seen_once_an_epoch_with_its_return():
    """The returns restart at the limit of 10 steps, from the value of the final observation.

    One state, reward 1 scaled by 0.1, value 4, gamma 0.5, lambda 1: k steps before the limit (or
    the end of the rollout) the return is 0.1 (2 - 2^(1-k)) + 4 / 2^k.
    """
    seen = []

    def loss(params, key, steps, returns, hparams):
        jax.debug.callback(lambda *x: seen.append(x), returns, steps.reward, steps.done)
        zeros = 0.0 * params.sum() + jnp.zeros(len(returns))
        return LossOutput(zeros, zeros, {})

    agent = Agent(
        init=lambda key, obs: jnp.ones(3),
        initial_carry=lambda key, num_envs: (),
        act=lambda params, carry, key, obs, epsilon: (jnp.zeros(4, jnp.int32), ()),
        act_greedy=lambda params, carry, obs: (None, jnp.full(4, 4.0), ()),
        loss=loss,
        loop="on-policy",
    )
    clock = make_learn(agent, rounds=1)(HPARAMS)
    targets = np.concatenate([np.asarray(targets)[:, 0] for targets, _, _ in seen])
    assert int(clock.steps) == 80 and int(clock.updates) == 8
    assert targets.size == 2 * 80  # two epochs
    after = np.arange(1, 11)
    expected = 0.1 * (2 - 2.0 ** (1 - after)) + 4 / 2.0**after
    values, counts = np.unique(np.round(targets, 4), return_counts=True)
    np.testing.assert_allclose(np.sort(expected.round(4)), values, atol=2e-4)
    np.testing.assert_array_equal(counts, 16)  # 4 environments x 2 episodes x 2 epochs


def test_the_value_after_a_step_is_that_of_its_own_next_observation():
    """With lambda 0 the returns are ``r + gamma (1 - terminated) V(next_obs)``, whichever way an
    episode ends; memory included, and with the rollout's last step."""
    params = {"limit": tabular.truncation(), "terminal": tabular.probes()["delayed reward"]}
    params["none"] = {**params["limit"], "max_steps_in_episode": 10**6}
    weights = 1.0 + jnp.arange(ENV.obs_spec.shape[0])
    seen = []

    def evaluate(carry, obs):
        carry = 0.5 * carry + obs @ weights
        return jnp.sin(carry), carry

    def act(params, carry, key, obs, epsilon):
        return jnp.zeros(4, jnp.int32), evaluate(carry, obs)[1]

    def loss(params, key, steps, returns, hparams):
        value, _ = evaluate(evaluate(steps.carry, steps.obs)[1], steps.next_obs)
        expected = 0.1 * steps.reward + 0.5 * (1.0 - steps.terminated) * value
        jax.debug.callback(lambda *x: seen.append(x), returns, expected, steps.done)
        zeros = 0.0 * params.sum() + jnp.zeros(len(returns))
        return LossOutput(zeros, zeros, {})

    agent = Agent(
        init=lambda key, obs: jnp.ones(3),
        initial_carry=lambda key, num_envs: jnp.zeros(num_envs),
        act=act,
        act_greedy=lambda params, carry, obs: (None, *evaluate(carry, obs)),
        loss=loss,
        loop="on-policy",
    )
    learn = make_learn(agent, rounds=2)
    for ends, env_params in params.items():
        seen.clear()
        learn(cast(HPARAMS._replace(td_lambda=0.0, env_params=env_params)))
        targets, expected, done = (np.concatenate(arrays) for arrays in zip(*seen))
        np.testing.assert_allclose(targets, expected, atol=1e-6)
        assert done.any() == (ends != "none")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pqn", "pqn-lstm"])
def test_the_same_seed_gives_the_same_bits(name):
    init, chunk = programs(recipe(name).trainer)
    runs = [chunk(*init(jax.random.key(3), HPARAMS), HPARAMS) for _ in range(2)]
    assert same_bits(*runs)
