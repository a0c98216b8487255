"""Learning from a dataset: exact values, the policy of the data, and what may not change."""

from dataclasses import replace
from functools import cache

import jax
import numpy as np
import pytest
import tabular
from common import SMALL, SMALL_HPARAMS, TABLE, cast, same_bits, tabular_env

from jaxq.config import Config, HParams
from jaxq.errors import ConfigError
from jaxq.loops.rollout import record_shapes
from jaxq.recipes import agents, reading
from jaxq.recipes.experiment import make_experiment, make_trainer_from
from jaxq.recipes.methods import METHODS
from jaxq.recipes.validation import validate
from jaxq.replay.records import make_codec
from jaxq.types import Step

pytestmark = pytest.mark.usefixtures("compiled_quickly")

GAMMA = 0.9
BASE = Config(
    dataset="nowhere",  # the records are handed over
    network="linear",
    optimizer="sgd",
    batch_size=64,
    target_period=5,
    chunk_steps=500,
)
HPARAMS = HParams(learning_rate=8.0, gamma=GAMMA)
_NET = replace(BASE, network="mlp", widths=(8,), optimizer="adam", batch_size=8, chunk_steps=5)
# Every loss and every backup learns from the same windows as it is.
COMPOSED = {
    **{
        name: replace(METHODS[name].apply(_NET, HParams())[0], replay="uniform")
        for name in (
            "double-dqn n-step-dqn c51 hl-gauss qr-dqn iqn rem munchausen-iqn bootstrapped-dqn "
            "averaged-dqn noisy-dqn redo-dqn chain-dqn i-dqn is-dqn"
        ).split()
    },
    "bc": replace(_NET, agent="bc"),
    "cql": replace(_NET, regulariser="cql"),
    "cql-qr-dqn": replace(_NET, agent="qr-dqn", regulariser="cql"),
    "r2d2": replace(
        _NET, agent="r2d2", memory="lstm", sequence_length=4, burn_in=1, memory_width=4
    ),
}
COMPOSED["redo-dqn"] = replace(COMPOSED["redo-dqn"], reset_period=10)
FAST = ("munchausen-iqn", "bootstrapped-dqn", "cql-qr-dqn", "r2d2", "redo-dqn")


def mdp():
    """7 states, 4 actions, every step leads to one state; the last one ends the task."""
    random = np.random.default_rng(3)
    transition = np.eye(7)[random.integers(0, 7, (7, 4))]
    return tabular.make_params(transition, random.normal(size=(7, 4)), [6])


def records_of(state, action, params):
    """Steps of a deterministic MDP as records [N, 1, words], in no order."""
    following = params["transition"][state, action].argmax(axis=-1)
    ends = params["terminal"][following] > 0
    rewards = params["reward"][state, action, following]
    eye = np.eye(tabular.NUM_STATES, dtype=bool)
    steps = Step(eye[state], action.astype(np.uint8), rewards, ends, ends, eye[following])
    return np.asarray(make_codec(record_shapes(tabular_env(1))).pack(steps))[:, None]


@cache
def everything():
    """Every action in every state but the last, once."""
    state, action = map(np.ravel, np.mgrid[:6, :4])
    return records_of(state, action, mdp())


def trainer_of(config):
    env = tabular_env(1)
    agent = agents.make_agent_from(config, env)
    return make_trainer_from(config, env, agent), agent


def learned(config, records, hparams=HPARAMS, chunks=1):
    """Parameters after some chunks, and the values [16, 4] that they give."""
    (trainer, agent), numbers = trainer_of(config), cast(hparams)
    state, clock = jax.jit(trainer.init)(jax.random.key(0), numbers, records)
    chunk = jax.jit(trainer.chunk)
    for _ in range(chunks):
        state, clock, metrics = chunk(state, clock, numbers, records)
    assert int(clock.steps) == int(clock.updates) == chunks * config.chunk_steps
    output, _ = agent.network.apply(state.params, np.eye(16, dtype=bool), None, ())
    return state, np.asarray(output.q_values), metrics


def test_every_transition_of_an_mdp_gives_its_exact_values():
    _, values, metrics = learned(BASE, everything(), chunks=2)
    expected = tabular.optimal_values(mdp(), GAMMA)
    np.testing.assert_allclose(values[:6], expected[:6], atol=1e-3)
    assert int(metrics["episodes"]) == 0 and float(metrics["loss"]) < 1e-3


def test_updates_to_be_looked_at_are_those_of_a_chunk():
    """From the same keys they lead to the same parameters, and only these have changed."""
    (trainer, _), numbers = trainer_of(BASE), cast(HPARAMS)

    @jax.jit
    def both(records):
        state, clock = trainer.init(jax.random.key(0), numbers, records)
        again = trainer.learn(state, clock, state.key, numbers, 1, records)
        key = jax.random.split(state.key, 1)[0]
        one = replace(BASE, target_period=1, chunk_steps=1)
        chunk = trainer_of(one)[0].chunk
        learned, *_ = chunk(state._replace(key=key), clock, numbers, records)
        return state, again, learned

    state, again, learned = both(everything())
    jax.tree.map(np.testing.assert_array_equal, again.params, learned.params)
    jax.tree.map(np.testing.assert_array_equal, again.opt_state, learned.opt_state)
    assert (jax.random.key_data(again.key) == jax.random.key_data(state.key)).all()
    assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (state.params, again.params))))


def test_cloning_does_what_the_data_do():
    """With how likely they do it: of a policy that draws, the frequencies."""
    random = np.random.default_rng(0)
    does = random.integers(0, 4, 6)
    config = replace(BASE, agent="bc")
    states = np.repeat(np.arange(6), 4)
    _, logits, metrics = learned(config, records_of(states, does[states], mdp()))
    np.testing.assert_array_equal(logits[:6].argmax(axis=1), does)
    assert float(metrics["accuracy"]) > 0.9
    often = np.tile([0, 0, 0, 2], 6)  # three times of four
    _, logits, _ = learned(
        config, records_of(states, often, mdp()), HPARAMS._replace(learning_rate=1.0), 4
    )
    chances = jax.nn.softmax(logits[:6])
    np.testing.assert_allclose(chances[:, [0, 2]], np.tile([0.75, 0.25], (6, 1)), atol=0.1)


def test_conservative_values_of_actions_that_no_step_takes_are_lower():
    """One action a state: its value is learned; of the others nothing is known, and they fall."""
    states = np.repeat(np.arange(6), 4)
    records = records_of(states, np.zeros_like(states), mdp())
    config = replace(BASE, regulariser="cql")
    _, values, metrics = learned(config, records, HPARAMS._replace(cql_weight=0.1))
    assert (values[:6, 0] > values[:6, 1:].max(axis=1)).all()
    assert 0.0 < float(metrics["cql_gap"]) < np.log(4.0)


def test_cql_of_weight_0_is_the_method_without_it_bit_for_bit():
    config = replace(BASE, network="mlp", widths=(16,), optimizer="adam", chunk_steps=50)
    numbers = HParams(cql_weight=0.0)
    plain, *_ = learned(config, everything(), numbers)
    conservative, *_ = learned(replace(config, regulariser="cql"), everything(), numbers)
    assert same_bits(plain, conservative)
    weighed, *_ = learned(replace(config, regulariser="cql"), everything())
    assert not same_bits(plain.params, weighed.params)


@pytest.mark.parametrize(
    "name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in COMPOSED]
)
def test_every_loss_learns_from_a_dataset_as_it_is(name):
    """And the state keeps its structure, so that it can be saved and go on."""
    config, trainer = COMPOSED[name], trainer_of(COMPOSED[name])[0]
    numbers = cast(HParams(huber_delta=1.0))
    state, clock = jax.eval_shape(trainer.init, jax.random.key(0), numbers, everything())
    after, _, metrics = jax.eval_shape(trainer.chunk, state, clock, numbers, everything())
    shapes = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)  # noqa: E731
    assert shapes(state) == shapes(after)
    assert not {"epsilon", "temperature"} & set(metrics)  # nothing acts
    assert reading.loop_of(config) == "offline"


def test_statistics_are_those_of_the_whole_dataset():
    config = replace(BASE, network="mlp", widths=(8,), observations="normalized", chunk_steps=5)
    trainer, _ = trainer_of(config)
    state, _ = jax.jit(trainer.init)(jax.random.key(0), cast(HPARAMS), everything())
    seen = state.params["statistics"]["observations"]
    obs = np.repeat(np.eye(16)[:6], 4, axis=0)
    assert float(seen["count"]) == 24.0
    np.testing.assert_allclose(seen["mean"], obs.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(seen["variance"], obs.var(axis=0, ddof=1), atol=1e-6)
    assert same_bits(state.target_params["statistics"], state.params["statistics"])


def test_who_learns_from_a_step_is_drawn_once():
    """Masks of an ensemble belong to steps: the same whenever a step comes."""
    seen = {}
    config = replace(COMPOSED["bootstrapped-dqn"], chunk_steps=50, target_period=50)
    env = tabular_env(1)
    agent = agents.make_agent_from(config, env)

    def note(masks, obs, action):
        for mask, state, taken in zip(masks[:, 0], obs[:, 0].argmax(axis=1), action[:, 0]):
            seen.setdefault((int(state), int(taken)), set()).add(mask.tobytes())

    def loss(params, target_params, key, steps, hparams):
        jax.debug.callback(note, steps.carry.mask, steps.obs, steps.action)
        return agent.loss(params, target_params, key, steps, hparams)

    trainer = make_trainer_from(config, env, agent._replace(loss=loss))
    numbers = cast(HParams())
    state, clock = jax.jit(trainer.init)(jax.random.key(0), numbers, everything())
    jax.block_until_ready(jax.jit(trainer.chunk)(state, clock, numbers, everything()))
    assert len(seen) == 24 and all(len(masks) == 1 for masks in seen.values())
    assert len(set.union(*seen.values())) > 8


@pytest.mark.parametrize(
    ("changes", "numbers", "message"),
    [
        ({"agent": "bc", "dataset": ""}, {}, "dataset= must be a run directory for agent=bc"),
        ({"agent": "pqn"}, {}, "dataset=nowhere has no effect on agent=pqn"),
        ({"num_envs": 4}, {}, "num_envs=4 has no effect with dataset=nowhere"),
        ({"replay": "prioritized"}, {}, "replay=prioritized has no effect with dataset=nowhere"),
        ({}, {"epsilon_end": 0.3}, r"epsilon_end=0\.3 has no effect with dataset=nowhere"),
        ({"chunk_steps": 7}, {}, "chunk_steps=7 must be a multiple of target_period=5"),
        ({"dataset": "a:b"}, {}, "dataset=a:b must be a path without a colon"),
        ({"agent": "bc", "n_step": 3}, {}, "n_step=3 has no effect"),
        (
            {"agent": "bc", "target_period": 10},
            {},
            "has no effect without an off-policy agent such as dqn;",
        ),
        (
            {"agent": "bc", "target_period": 500},
            {"tau": 0.5, "gamma": 0.99},
            "tau=0.5 has no effect without",
        ),
        ({"agent": "bc", "regulariser": "cql"}, {}, "regulariser=cql is the loss of agent=bc once"),
        ({"agent": "bc", "num_envs": 2}, {}, "num_envs=2 has no effect without acting"),
    ],
)
def test_what_has_no_effect_is_refused(changes, numbers, message):
    with pytest.raises(ConfigError, match=message):
        validate(replace(BASE, **changes), HPARAMS._replace(**numbers))


def test_a_preset_leaves_acting_behind():
    config, hparams = reading.settle(replace(TABLE, dataset="runs/x"), HParams(), {"dataset"})
    assert (config.num_envs, config.prefill) == (1, Config.prefill)
    validate(config, hparams)
    assert reading.updates_after(config, 1_000) == 1_000


def test_an_agent_of_ones_own_learns_from_a_dataset():
    make_agent = lambda config, env: agents.make_agent_from(config, env)  # noqa: E731
    config = replace(BASE, env="FrozenLake-misc")
    made = make_experiment(config, make_agent=make_agent)
    assert made.trainer.contents is None


def test_what_was_learned_from_a_dataset_is_composed_without_it():
    """Trap: a policy could not be evaluated where its dataset had moved."""
    config, hparams = reading.settle(
        replace(SMALL, dataset="gone"), SMALL_HPARAMS, asked=("dataset",)
    )
    assert make_experiment(config).agent.network
    with pytest.raises(ConfigError, match="dataset=gone is no directory"):
        make_experiment(config, hparams)
