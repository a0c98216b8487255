"""Legal actions: nobody takes or values another one, and where all are legal nothing changes.

What every loss learns of masked problems stands in ``test_fixed_points``.
"""

from dataclasses import replace

import exact
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tabular
from common import RECIPES, cast, same_bits, tabular_env

from jaxq.config import HParams
from jaxq.loops.evaluation import make_evaluator
from jaxq.recipes import agents
from jaxq.recipes.experiment import make_experiment, make_trainer_from
from jaxq.recipes.methods import METHODS
from jaxq.recipes.parts import find
from jaxq.types import ObservationLegalActions

pytestmark = pytest.mark.usefixtures("hardly_optimized")

CASES = {
    **{name: config for name, config in RECIPES.items() if not config.reset_period},
    "soft-q": replace(RECIPES["soft-q"], action_selection="softmax"),
    "dqn, random ties": replace(RECIPES["dqn"], break_ties=True),
}
FAST = ("table",)
NAMES = [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
ALL = np.ones((tabular.NUM_STATES, tabular.NUM_ACTIONS), bool)
HPARAMS = HParams(learning_rate=1e-2, gamma=0.9, epsilon_end=0.3, epsilon_steps=600.0)


def masked_env(num_envs):
    """The tabular environment, which says by its parameter ``legal`` [S, A] what is legal, counts
    steps that are not in its state, and makes them cost a million."""
    env = tabular_env(num_envs)

    def params(overrides):
        others = {name: value for name, value in overrides.items() if name != "legal"}
        return env.params(others), jnp.asarray(overrides.get("legal", ALL)) > 0

    def shown(obs, legal):
        return ObservationLegalActions(obs, legal[jnp.argmax(obs, axis=-1)])

    def reset(key, env_params):
        obs, env_state = env.reset(key, env_params[0])
        obs = shown(obs, env_params[1])
        return obs, (env_state, obs.legal, jnp.int32(0))

    def step(key, env_state, action, env_params):
        env_state, legal, count = env_state
        wrong = ~legal[jnp.arange(num_envs), action]
        obs, env_state, outcome, episode = env.step(key, env_state, action, env_params[0])
        obs = shown(obs, env_params[1])
        outcome = outcome._replace(
            reward=jnp.where(wrong, -1e6, outcome.reward),
            next_obs=shown(outcome.next_obs, env_params[1]),
        )
        return obs, (env_state, obs.legal, count + wrong.sum()), outcome, episode

    legal = jax.ShapeDtypeStruct((tabular.NUM_ACTIONS,), bool)
    spec = ObservationLegalActions(env.obs_spec, legal)
    return env._replace(obs_spec=spec, params=params, reset=reset, step=step)


def programs(config, make_env):
    """A chunk after the prefill, and an evaluation."""
    see = find("memory_inputs", config.memory_inputs).make
    env = see(make_env(config.num_envs))
    agent = agents.make_agent_from(config, env)
    trainer = make_trainer_from(config, env, agent)
    evaluate = make_evaluator(see(make_env(config.eval_episodes)), agent, config.eval_max_steps)

    @jax.jit
    def train(key, hparams):
        state, clock = trainer.init(key, hparams)
        return trainer.chunk(state, clock, hparams)

    return train, jax.jit(evaluate)


def some_legal(seed=0):
    random = np.random.default_rng(seed)
    legal = random.random(ALL.shape) < 0.4
    legal[np.arange(len(legal)), random.integers(legal.shape[1], size=len(legal))] = True
    return legal


@pytest.mark.parametrize("name", NAMES)
def test_nobody_takes_an_illegal_action_and_a_mask_of_all_changes_no_bit(name):
    config = CASES[name]
    unit = config.rollout_steps if config.agent == "pqn" else config.target_period
    unit = max(unit, config.shift_period if config.target == "shift-networks" else 1)
    config = replace(config, chunk_steps=unit * max(1, 400 // unit))
    mdp, key = tabular.random_mdp(0), jax.random.key(1)
    method = METHODS[name].hparams if name in METHODS else {}
    base = HPARAMS._replace(**{k: v for k, v in method.items() if "epsilon" not in k})
    hparams = cast(base._replace(env_params=mdp))
    train, evaluate = programs(config, tabular_env)
    state, _, metrics = train(key, hparams)
    result = evaluate(state.params, key, hparams)

    train, evaluate = programs(config, masked_env)
    hparams = cast(base._replace(env_params={**mdp, "legal": ALL.astype(np.int32)}))
    other, _, other_metrics = train(key, hparams)
    learned = ("params", "target_params", "opt_state", "key")
    parts = [(getattr(state, field, ()), getattr(other, field, ())) for field in learned]
    changed = [field for field, part in zip(learned, parts) if not same_bits(*part)]
    evaluated = same_bits(result, evaluate(other.params, key, hparams))
    assert not changed and evaluated
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), metrics, other_metrics)

    legal = some_legal()
    hparams = cast(base._replace(env_params={**mdp, "legal": legal.astype(np.int32)}))
    state, _, metrics = train(key, hparams)
    assert int(state.env_state[2]) == 0
    learns_otherwise = not same_bits(state.params, other.params)
    assert learns_otherwise
    for epsilon in (0.0, 1.0):
        result = evaluate(state.params, key, hparams._replace(eval_epsilon=jnp.float32(epsilon)))
        assert result.returns.min() > -1e5 and np.abs(result.values).max() < 1e5
    for name in ("loss", "q_value"):
        assert np.abs(metrics[name]).max() < 1e5


def test_values_of_a_masked_problem():
    """Learned from a replay by acting at random: the optimal values of legal actions, where every
    action has one outcome; a time limit brings all states about."""
    config, masked = replace(RECIPES["table"], chunk_steps=24_000), exact.masked_mdp()
    masked = masked._replace(transition=np.eye(10)[masked.transition.argmax(axis=2)])
    legal = np.zeros_like(ALL)
    legal[:10, :3] = masked.legal
    mdp = tabular.make_params(masked.transition, masked.reward, [9], range(9), limit=10)
    hparams = HParams(
        learning_rate=2.0,
        gamma=0.9,
        epsilon_end=1.0,
        env_params={**mdp, "legal": legal.astype(np.int32)},
    )
    train, _ = programs(config, masked_env)
    state, *_ = train(jax.random.key(0), cast(hparams))
    values = np.asarray(jax.tree.leaves(state.params)[0])[:9, :3]  # [S, A] of a table
    expected, seen = exact.optimal(masked, 0.9)[:9], masked.legal[:9]
    np.testing.assert_allclose(values[seen], expected[seen], atol=0.02)
    assert not values[~seen].any()  # never taken, and so never learned


@pytest.mark.parametrize(
    "changes",
    [
        {"diagnose": True},
        {"regulariser": "cql"},
        {"regulariser": "chain", "agent": "c51"},
        {"reset_period": 8_000, "reset": "redo"},
        {"observations": "normalized", "rewards": "scaled"},
    ],
)
def test_every_part_that_sees_observations_takes_them(changes):
    """Traced only; beside those that learn in the test above."""
    config = replace(RECIPES["dqn"], **changes)
    env_params = {**tabular.random_mdp(0), "legal": ALL.astype(np.int32)}
    hparams = HParams(env_params=env_params)
    experiment = make_experiment(config, hparams, make_env=lambda config, num: masked_env(num))
    trainer, hparams, key = experiment.trainer, cast(hparams), jax.random.key(0)
    state, clock = jax.eval_shape(trainer.init, key, hparams)
    after, _, _ = jax.eval_shape(trainer.chunk, state, clock, hparams)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    jax.eval_shape(experiment.evaluate, state.params, key, hparams)
    if experiment.diagnostics:
        begin, measure = experiment.diagnostics
        beginning = jax.eval_shape(begin, state.params, key, hparams)
        found = jax.eval_shape(measure, state, clock, beginning, key, hparams)
        assert {"policy_churn", "dormant"} <= found.keys()


def test_a_replay_holds_what_is_legal_as_one_bit_an_action():
    """Before and after a step: 8 bits more beside 36, which are still two words."""
    config = RECIPES["dqn"]
    words = {}
    for make_env in (tabular_env, masked_env):
        env = make_env(config.num_envs)
        trainer = make_trainer_from(config, env, agents.make_agent_from(config, env))
        env_params = tabular.random_mdp(0)
        hparams = cast(HPARAMS._replace(env_params=env_params))
        state, _ = jax.eval_shape(trainer.init, jax.random.key(0), hparams)
        words[make_env] = state.replay.ring.shape[1]
    assert words[masked_env] - words[tabular_env] <= 1
