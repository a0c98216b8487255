"""The loop: keys, bits and traces."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tabular
from common import (
    SMALL,
    SMALL_HPARAMS,
    cast,
    host,
    programs,
    recipe,
    same_bits,
    small,
    tabular_env,
)

from jaxq.config import Config, HParams
from jaxq.learning import losses
from jaxq.recipes import agents, experiment

HPARAMS = cast(SMALL_HPARAMS)


def train(seed: int, chunks: int = 2, hparams=HPARAMS, **changes):
    init, chunk = programs(small(**changes).trainer)
    state, clock = init(jax.random.key(seed), hparams)
    for _ in range(chunks):
        state, clock, metrics = chunk(state, clock, hparams)
    return state, clock, metrics


def test_the_same_seed_gives_the_same_bits():
    assert same_bits(train(3), train(3))


def test_different_seeds_differ_from_step_zero():
    """In parameters, actions and batches; peers have shipped programs where they did not."""
    init, _ = programs(small().trainer)
    (first, _), (second, _) = init(jax.random.key(0), HPARAMS), init(jax.random.key(1), HPARAMS)
    kernels = [jax.tree.leaves(state.params)[1] for state in (first, second)]
    assert not np.allclose(*kernels)
    assert not np.array_equal(first.replay.ring[:20], second.replay.ring[:20])
    assert not np.array_equal(jax.random.key_data(first.key), jax.random.key_data(second.key))


def test_the_clock_counts_steps_and_updates():
    _, clock, metrics = train(0)
    assert int(clock.steps) == SMALL.prefill + 2 * SMALL.chunk_steps
    assert int(clock.updates) == 2 * SMALL.chunk_steps // SMALL.train_every
    assert set(metrics) >= {"loss", "episodes", "train_return", "train_length", "epsilon"}
    assert float(metrics["train_return"]) == float(metrics["train_length"])  # CartPole


def test_several_updates_per_iteration():
    trainer = small(updates_per_iteration=3).trainer

    def train(key):
        state, clock, _ = trainer.chunk(*trainer.init(key, HPARAMS), HPARAMS)
        return state, clock

    clock = jax.jit(lambda key: train(key)[1])(jax.random.key(0))  # and nothing else is computed
    assert int(clock.updates) == 3 * SMALL.chunk_steps // SMALL.train_every


def test_keys_are_consumed_once():
    """Traced only: the checker works on the program, not on numbers."""
    experiment = small()
    with jax.debug_key_reuse(True):
        state, clock = jax.jit(experiment.trainer.init).trace(jax.random.key(0), HPARAMS).out_info
        jax.jit(experiment.trainer.chunk).trace(state, clock, HPARAMS)
        jax.jit(experiment.evaluate).trace(state.params, jax.random.key(1), HPARAMS)


def test_floats_and_arrays_are_one_program():
    """The clock and the numbers arrive as they leave: no second compilation on any chunk."""
    init, chunk = programs(small().trainer)
    state, clock = init(jax.random.key(0), HPARAMS)
    for _ in range(3):
        state, clock, _ = chunk(state, clock, HPARAMS)
    assert chunk._cache_size() == 1


def test_the_environment_is_traced_twice_for_training_and_once_for_evaluation():
    counts = {"train": 0, "evaluate": 0}

    def counted(name, env):
        def step(*arguments):
            counts[name] += 1
            return env.step(*arguments)

        return env._replace(step=step)

    env = counted("train", experiment.make_env_from(SMALL, SMALL.num_envs))
    agent = agents.make_agent_from(SMALL, env)
    trainer = experiment.make_trainer_from(SMALL, env, agent)
    state, clock = jax.eval_shape(trainer.init, jax.random.key(0), HPARAMS)
    assert counts["train"] == 1  # prefill
    jax.eval_shape(trainer.chunk, state, clock, HPARAMS)
    assert counts["train"] == 2  # collect
    eval_env = counted("evaluate", experiment.make_env_from(SMALL, 3))
    evaluate = experiment.make_evaluator(eval_env, agent, 50)
    jax.eval_shape(evaluate, state.params, jax.random.key(0), HPARAMS)
    assert counts["evaluate"] == 1


def test_target_network_is_the_parameters_of_the_last_period():
    """After whole periods tau 1 has copied the parameters; with tau 0 the target never moves."""
    state, _, _ = train(0)
    assert same_bits(state.params, state.target_params)
    init, chunk = programs(small().trainer)
    frozen = cast(SMALL_HPARAMS._replace(tau=0.0))
    state, clock = init(jax.random.key(0), frozen)
    start = host(state.target_params)
    state, _, _ = chunk(state, clock, frozen)
    assert same_bits(start, state.target_params)
    assert not same_bits(state.params, state.target_params)


def test_tabular_composition_is_the_textbook_rule_step_by_step():
    """Q[s, a] += alpha (r + gamma (1 - terminal) max Q[s'] - Q[s, a]) in a NumPy loop."""
    config = Config(
        num_envs=1,
        network="linear",
        optimizer="sgd",
        replay="latest",
        prefill=1,
        train_every=1,
        target_period=1,
        chunk_steps=1,
    )
    env = tabular_env(1)
    agent = agents.make_agent_from(config, env)
    trainer = experiment.make_trainer_from(config, env, agent)
    hparams = cast(
        HParams(
            learning_rate=0.3,
            learning_rate_steps=400.0,
            gamma=0.9,
            epsilon_start=0.5,
            epsilon_end=0.5,
            env_params=tabular.random_mdp(0),
        )
    )
    options = {"xla_backend_optimization_level": 0}
    state, clock = jax.jit(trainer.init, compiler_options=options)(jax.random.key(0), hparams)
    chunk = jax.jit(trainer.chunk, compiler_options=options)
    sample = jax.jit(experiment.make_replay_from(config)(_shapes(env, agent)).sample)
    table = np.zeros((16, 4))
    for _ in range(300):
        step = sample(state.replay, clock, jax.random.key(0), hparams).steps
        s, a = int(step.obs[0, 0].argmax()), int(step.action[0, 0])
        future = 0.0 if step.terminated[0, 0] else table[int(step.next_obs[0, 0].argmax())].max()
        rate = 0.3 * (1.0 - int(clock.steps) / 400.0)
        table[s, a] += rate * (float(step.reward[0, 0]) + 0.9 * future - table[s, a])
        state, clock, _ = chunk(state, clock, hparams)
        np.testing.assert_allclose(jax.tree.leaves(state.params)[0], table, atol=2e-5)


def _shapes(env, agent):
    from jaxq.loops.rollout import step_shapes

    return step_shapes(env, agent)


@pytest.mark.slow
def test_a_loss_from_a_script_takes_one_line():
    """What the README promises a fork: a new loss touches the call of ``make_agent``."""

    def clipped_q_loss(network, params, target_params, key, steps, hparams):
        output = losses.q_loss(network, params, target_params, key, steps, hparams)
        return output._replace(loss=jnp.minimum(output.loss, 1.0))

    network = agents.make_network_from(SMALL, small().env)
    agent = agents.make_agent(network, clipped_q_loss)
    trainer = experiment.make_trainer_from(SMALL, small().env, agent)
    options = {"xla_backend_optimization_level": 0}
    state, clock = jax.jit(trainer.init, compiler_options=options)(jax.random.key(0), HPARAMS)
    metrics = jax.jit(trainer.chunk, compiler_options=options)(state, clock, HPARAMS)[2]
    assert float(metrics["loss"]) <= 1.0


@pytest.mark.parametrize("name", ["table", "dqn"])
def test_state_structure_is_unchanged_by_a_chunk(name):
    trainer = recipe(name).trainer
    hparams = cast(HParams(env_params=tabular.truncation()))
    state, clock = jax.eval_shape(trainer.init, jax.random.key(0), hparams)
    after, clock_after, _ = jax.eval_shape(trainer.chunk, state, clock, hparams)
    describe = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), tree)  # noqa: E731
    assert describe((state, clock)) == describe((after, clock_after))


@pytest.mark.usefixtures("compiled_quickly")
@pytest.mark.parametrize(
    ("agent", "target", "shifts"),
    [
        ("is-dqn", "shift-heads", 5),
        pytest.param("i-dqn", "shift-networks", 2, marks=pytest.mark.slow),
    ],
)
def test_a_chain_is_shifted_by_the_clock(agent, target, shifts):
    """Without learning, after 100 steps: at every update of 20, or after 80 and 120 in all."""
    changes = {"agent": agent, "target": target, "ensemble_size": 8, "eval_episodes": 1}
    experiment = small(**changes, **({"shift_period": 40} if agent == "i-dqn" else {}))
    hparams = cast(SMALL_HPARAMS._replace(learning_rate=0.0))
    init, chunk = programs(experiment.trainer)
    state, clock = init(jax.random.key(0), hparams)
    before = host(state.params)
    after = host(chunk(state, clock, hparams)[0].params)
    for path, leaf in jax.tree_util.tree_leaves_with_path(before):
        found = after
        for entry in path:
            found = found[entry.key]
        chained = agent == "i-dqn" or any(entry.key == "head" for entry in path)
        places = np.minimum(np.arange(len(leaf)) + shifts, len(leaf) - 1)
        np.testing.assert_array_equal(found, leaf[places] if chained else leaf)
