"""What the loops hand on: weights, priorities, actions, batches, the clock, scaled rewards."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tabular
from common import RECIPES, SMALL, SMALL_HPARAMS, TABLE, cast, small, tabular_env

from jaxq.config import HParams
from jaxq.envs.episodes import RawEnv, from_raw
from jaxq.learning import optimizers, regularisers, traces
from jaxq.learning.targets import polyak
from jaxq.loops import offline
from jaxq.loops.off_policy import Lengths, make_trainer
from jaxq.loops.on_policy import make_on_policy_trainer
from jaxq.loops.rollout import Schedules, episode_metrics, episode_totals, record_shapes
from jaxq.loops.streaming import make_streaming_trainer
from jaxq.loops.updating import make_update
from jaxq.networks.statistics import NAME
from jaxq.recipes import experiment
from jaxq.recipes.agents import make_agent_from
from jaxq.recipes.lengths import make_round_lengths
from jaxq.recipes.presets import PRESETS
from jaxq.replay.records import make_codec
from jaxq.types import Agent, Clock, Episode, LossOutput, Replay, Sample, Step

pytestmark = pytest.mark.usefixtures("compiled_quickly")

KEY, HPARAMS = jax.random.key(0), cast(HParams())
SGD = optimizers.make_optimizer(optimizers.sgd)
ALWAYS = Schedules(lambda hparams, steps: 0.0, lambda hparams, steps: 1.0)


def updated(weights, rewards, regulariser=regularisers.NONE, scale=1.0):
    """One update of one weight, at first 0, whose loss is itself times a window's first reward."""

    def loss(params, target_params, key, steps, hparams):
        return LossOutput(params["w"] * steps.reward[:, 0], 0.0, {})

    network = small().agent.network
    scaled = lambda params, reward: scale * reward  # noqa: E731
    agent = Agent(None, None, None, None, loss, scale_rewards=scaled, network=network)
    rewards, params = jnp.array(rewards), {"w": jnp.float32(0.0)}
    zero, action = jnp.zeros(rewards.shape, jnp.uint8), jnp.arange(rewards.size)
    steps = Step(zero, action.reshape(rewards.shape), rewards, zero > 0, zero > 0, zero)
    opt_state = SGD(HPARAMS, 1.0).init(params)
    state = offline.OfflineState(params, None, opt_state, None, KEY, KEY)
    sample = Sample(steps, None, None, jnp.array(weights))
    update = make_update(agent, SGD, ALWAYS, regulariser)
    return update(state, Clock(0, 0), HPARAMS, sample, KEY, None)


def test_losses_are_weighed_as_the_replay_says():
    state, *_ = updated([1.0, 0.25], [[2.0], [4.0]])
    assert state.params["w"] == -(1.0 * 2.0 + 0.25 * 4.0) / 2


def test_scaled_rewards_are_what_is_learned():
    assert updated([1.0, 1.0], [[2.0], [4.0]], scale=0.5)[0].params["w"] == -1.5


def test_a_term_sees_the_first_action_of_a_window():
    term = lambda params, state, look, hparams: (0.0, {"seen": look.here()[1]})  # noqa: E731
    regulariser = regularisers.NONE._replace(term=term)
    *_, metrics = updated([1.0, 1.0], [[0.0, 0.0], [0.0, 0.0]], regulariser)
    np.testing.assert_array_equal(metrics["seen"], [0, 2])


def test_a_priority_goes_to_the_window_that_it_is_of():
    env = tabular_env(TABLE.num_envs)

    def make_replay(step):
        zeros = jax.tree.map(lambda x: jnp.zeros((2, 1, *x.shape[1:]), x.dtype), step)
        ends, rewards = jnp.ones((2, 1), bool), jnp.array([[1.0], [3.0]])
        steps = zeros._replace(reward=rewards, terminated=ends)
        sample = Sample(steps, jnp.arange(2), jnp.ones(2), jnp.ones(2))
        return Replay(
            lambda: jnp.zeros(2),
            lambda state, *_: state,
            lambda *_: sample,
            lambda state, indices, priority, hparams: state.at[indices].max(priority),
        )

    how = make_replay, SGD, ALWAYS, polyak(), Lengths(1, 2, 1, 2, 2)
    trainer = make_trainer(env, make_agent_from(TABLE, env), *how)
    state, *_ = jax.jit(trainer.chunk)(*jax.jit(trainer.init)(KEY, HPARAMS), HPARAMS)
    np.testing.assert_allclose(state.replay, [1.0, 3.0])


def test_what_is_looked_at_elsewhere_is_another_batch():
    def term(params, state, look, hparams):
        return 0.0, {"apart": jnp.abs(look.elsewhere()(params) - look.here()[0](params)).mean()}

    made, hparams = small(), cast(SMALL_HPARAMS)
    how = experiment.make_replay_from(SMALL), SGD, ALWAYS, polyak(), Lengths(10, 2, 1, 2, 2)
    regulariser = regularisers.NONE._replace(term=term)
    trainer = make_trainer(made.env, made.agent, *how, regulariser)
    *_, metrics = jax.jit(trainer.chunk)(*jax.jit(trainer.init)(KEY, hparams), hparams)
    assert metrics["apart"] > 0.0


@pytest.mark.parametrize("loop", ["off-policy", "on-policy"])
def test_schedules_are_asked_at_environment_steps(loop):
    asked = {"exploration": [], "rate": []}

    def note(name, hparams, steps):
        jax.debug.callback(lambda x: asked[name].append(int(x)), steps)
        return 0.0 * steps

    schedules = Schedules(partial(note, "exploration"), partial(note, "rate"))
    config, env = RECIPES["pqn"] if loop == "on-policy" else TABLE, tabular_env(4)
    agent = make_agent_from(config, env)
    if loop == "off-policy":
        how = experiment.make_replay_from(config), SGD, schedules, polyak()
        trainer = make_trainer(env, agent, *how, Lengths(1, 2, 1, 2, 2))
        first, period = 8, 8
    else:
        lengths = make_round_lengths(config)._replace(rounds_per_chunk=3)
        how = experiment.make_optimizer_from(config), schedules, lengths
        trainer = make_on_policy_trainer(env, agent, *how)
        first, period = 0, 80
    begun = jax.jit(trainer.init)(KEY, HPARAMS)
    jax.effects_barrier()
    for steps in asked.values():
        steps.clear()
    _, end, _ = jax.jit(trainer.chunk)(*begun, HPARAMS)
    jax.effects_barrier()
    expected = set(range(first, int(end.steps), period))
    assert set(asked["rate"]) == expected
    assert set(asked["exploration"]) == expected | {int(end.steps)}  # and as a metric


@pytest.mark.parametrize("name", ["pqn", "stream-q"])
def test_loops_learn_from_scaled_rewards(name):
    """Rewards of an agent that doubles them are rewards that ``reward_scale`` doubles."""
    config = replace(RECIPES[name], chunk_steps=80)
    env, found = tabular_env(config.num_envs), []
    agent = make_agent_from(config, env)
    doubling = agent._replace(scale_rewards=lambda params, reward: 2.0 * reward)
    for scale, made in ((2.0, agent), (1.0, doubling)):
        hparams = cast(HParams(reward_scale=scale, env_params=tabular.random_mdp(0)))
        trainer = experiment.make_trainer_from(config, env, made)
        begun = jax.jit(trainer.init)(KEY, hparams)
        found.append(jax.jit(trainer.chunk)(*begun, hparams)[0].params)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), *found)


def test_a_stream_sees_a_step_through_statistics_before_and_after_it():
    config = replace(RECIPES["stream-q"], observations="normalized", chunk_steps=20)
    env, seen = tabular_env(1), []
    agent = make_agent_from(config, env)

    def loss(before, after, step, hparams):
        counts = [params[NAME]["observations"]["count"] for params in (before, after)]
        jax.debug.callback(lambda *numbers: seen.append(tuple(map(int, numbers))), *counts)
        return agent.loss(before, after, step, hparams)

    trainer = experiment.make_trainer_from(config, env, agent._replace(loss=loss))
    jax.jit(trainer.chunk)(*jax.jit(trainer.init)(KEY, HPARAMS), HPARAMS)
    jax.effects_barrier()
    assert seen and all(after == before + 1 for before, after in seen)


def test_minibatches_are_drawn_anew_in_every_epoch():
    config, env, seen = RECIPES["pqn"], tabular_env(4), []
    agent = make_agent_from(config, env)

    def loss(params, key, steps, returns, hparams):
        jax.debug.callback(lambda x: seen.append(x.ravel()), returns, ordered=True)
        return agent.loss(params, key, steps, returns, hparams)

    config = replace(config, chunk_steps=80)
    trainer = experiment.make_trainer_from(config, env, agent._replace(loss=loss))
    hparams = cast(HParams(env_params=tabular.random_mdp(0)))
    jax.jit(trainer.chunk)(*jax.jit(trainer.init)(KEY, hparams), hparams)
    jax.effects_barrier()
    first, second = np.split(np.concatenate(seen[: 2 * config.minibatches]), 2)
    assert (first != second).any()
    np.testing.assert_array_equal(np.sort(first), np.sort(second))


def test_episodes_are_counted_one_by_one():
    """Also those that end in one step in several environments."""
    numbers = jnp.array([[1.0, 2.0], [9.0, 4.0]])
    ended = jnp.array([[True, True], [False, True]])
    totals = episode_totals(Episode(ended, numbers, 10 * numbers.astype(int)))
    assert {name: float(x) for name, x in totals.items()} == {
        "episodes": 3,
        "return": 7,
        "length": 70,
    }
    found = episode_metrics(totals)
    np.testing.assert_allclose((found["train_return"], found["train_length"]), (7 / 3, 70 / 3))


def test_metrics_are_means_over_updates():
    env = tabular_env(TABLE.num_envs)
    agent = make_agent_from(TABLE, env)

    def loss(*arguments):
        zero = 0.0 * agent.loss(*arguments).loss
        return LossOutput(7.0 + zero, zero, {"three": 3.0 + zero})

    how = experiment.make_replay_from(TABLE), SGD, ALWAYS, polyak(), Lengths(1, 2, 2, 2, 2)
    trainer = make_trainer(env, agent._replace(loss=loss), *how)
    *_, metrics = jax.jit(trainer.chunk)(*jax.jit(trainer.init)(KEY, HPARAMS), HPARAMS)
    assert metrics["loss"] == 7.0 and metrics["three"] == 3.0


def test_a_stream_asks_its_schedules_at_every_step():
    asked = {"exploration": [], "rate": []}

    def note(name, hparams, steps):
        jax.debug.callback(lambda step: asked[name].append(int(step)), steps)
        return 0.0 * steps

    config, env = RECIPES["online-q-adam"], tabular_env(1)
    schedules = Schedules(partial(note, "exploration"), partial(note, "rate"))
    rule, cut = experiment.make_trace_from(config), traces.cut_after
    agent = make_agent_from(config, env)
    trainer = make_streaming_trainer(env, agent, rule, cut, schedules, 5)
    jax.jit(trainer.chunk)(*jax.jit(trainer.init)(KEY, HPARAMS), HPARAMS)
    jax.effects_barrier()
    assert set(asked["rate"]) == {*range(5)} and set(asked["exploration"]) == {*range(6)}


def test_statistics_count_the_observations_that_were_acted_on():
    made = small(observations="normalized")
    state, clock = jax.jit(made.trainer.init)(KEY, cast(SMALL_HPARAMS))
    records = made.trainer.contents(jax.device_get(state), clock)
    obs = np.asarray(make_codec(record_shapes(made.env)).unpack(records).obs).reshape(-1, 4)
    seen = state.params[NAME]["observations"]
    np.testing.assert_allclose(seen["mean"], obs.mean(axis=0), atol=1e-5)


@pytest.mark.parametrize(
    "preset, in_order",
    [
        ("pqn-cartpole", [0, 1, 2] * 4),  # what was acted on, also where an episode ends
        ("stream-q-cartpole", [0, *[1, 2, 3, 0] * 4]),  # what follows a step, and what begins
    ],
)
def test_statistics_count_a_rollout_and_a_stream(preset, in_order):
    """An episode observes 0, 1 and 2, and ends with 3."""

    def step(key, state, action, params):
        return jnp.float32([state + 1]), state + 1, 1.0, state == 2, False

    def make_env(config, num_envs):
        raw = RawEnv(num_actions=2, reset=lambda *_: (jnp.zeros(1), 0), step=step)
        return from_raw(raw, "Counting", num_envs)

    lengths = {} if preset.startswith("stream") else {"rollout_steps": 6, "minibatches": 1}
    config, hparams = PRESETS[preset].config, PRESETS[preset].hparams
    config = replace(config, observations="normalized", num_envs=1, chunk_steps=12, **lengths)
    trainer = experiment.make_experiment(config, hparams, make_env=make_env).trainer
    hparams = cast(hparams)
    state, *_ = jax.jit(trainer.chunk)(*jax.jit(trainer.init)(KEY, hparams), hparams)
    seen = state.params[NAME]["observations"]
    found = [float(seen[name].sum()) for name in ("count", "mean", "variance")]
    expected = len(in_order), np.mean(in_order), np.var(in_order, ddof=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
