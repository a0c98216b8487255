"""Members: seeds x lanes, groups, devices, and what a member's bits depend on."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from common import SMALL_HPARAMS, SharedPopulation, cast, host, member, programs, same_bits, small
from common import train_small as train

from jaxq.errors import ConfigError
from jaxq.runs import placement, population
from jaxq.runs.members import stack_members
from jaxq.runs.population import Population
from jaxq.types import Clock, Trainer

LANES = [SMALL_HPARAMS, SMALL_HPARAMS._replace(learning_rate=1e-2, gamma=0.9)]

CLOCK = Clock(jnp.int32(0), jnp.int32(0))


class Tiny(NamedTuple):
    params: jax.Array
    key: jax.Array


def test_a_lane_equals_that_lane_of_a_larger_population_bitwise():
    """At the same batch, whatever the number of members, of devices, and the place among them."""
    _, alone, metrics, _ = train([LANES[1]], [4, 5], batch=2, num_devices=1)
    members, many, many_metrics, _ = train(LANES, [3, 4, 5], batch=2, num_devices=2)
    assert members.plan.num_groups == 3
    for seed, index in ((0, 4), (1, 5)):  # lane 1, seeds 4 and 5
        assert same_bits(member(alone, seed), member(many, index))
        assert same_bits(member(metrics, seed), member(many_metrics, index))


def test_one_device_equals_two_bitwise():
    """A program partitioned over devices rounds differently; ours is the same on each."""
    _, one, _, _ = train(LANES, [0, 1], batch=1, num_devices=1)
    _, two, _, _ = train(LANES, [0, 1], batch=1, num_devices=2)
    assert same_bits(one, two)


def test_padding_is_dropped():
    _, three, metrics, result = train([LANES[0]], [0, 1, 2], batch=2, num_devices=1, evaluate=True)
    assert metrics["loss"].shape == (3,) and result.returns.shape == (3, 3)
    _, two, _, _ = train([LANES[0]], [1, 2], batch=2, num_devices=1)
    assert same_bits(member(three, 2), member(two, 1))


def test_every_seed_is_evaluated_on_episodes_of_its_own():
    """The same network on every seed; and they are those that its key says."""
    experiment = small()
    members = SharedPopulation(experiment.trainer, experiment.evaluate, [LANES[0]], [0, 1], batch=2)
    states, clock = members.init()
    states = members.fetch(states)
    same = states._replace(params=jax.tree.map(lambda x: x[[0, 0]], states.params))
    found = members.evaluate(members.place(same), clock)
    assert not np.allclose(found.values[0], found.values[1])
    evaluate, hparams = jax.jit(experiment.evaluate), cast(LANES[0])
    for seed in (0, 1):
        key = jax.random.fold_in(jax.random.split(jax.random.key(seed))[1], clock.steps)
        alone = evaluate(member(same.params, 0), key, hparams)
        np.testing.assert_allclose(found.values[seed], alone.values, rtol=1e-4)


def test_evaluation_does_not_change_training():
    _, with_evaluation, _, _ = train(LANES, [0, 1], evaluate=True)
    _, without, _, _ = train(LANES, [0, 1])
    assert same_bits(with_evaluation, without)


@pytest.mark.parametrize("batch", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_member_equals_a_run_compiled_without_vmap(batch):
    """To rounding over the first 200 updates; beyond, rounding grows as any trajectory does."""
    seeds = [0, 1]
    _, states, _, _ = train([LANES[0]], seeds, chunks=8, batch=batch)
    init, chunk = programs(small().trainer)
    hparams = cast(LANES[0])
    for index, seed in enumerate(seeds):
        key = jax.random.split(jax.random.key(seed))[0]
        state, clock = init(key, hparams)
        for _ in range(8):
            state, clock, _ = chunk(state, clock, hparams)
        assert int(clock.updates) == 200
        ours, plain = host(member(states, index).params), host(state.params)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), ours, plain)


def test_lanes_of_one_seed_start_equal_and_differ_in_their_numbers_only():
    _, states, _, _ = train(LANES, [7], chunks=1)
    assert not same_bits(member(states, 0).params, member(states, 1).params)
    experiment = small()
    members = SharedPopulation(experiment.trainer, experiment.evaluate, LANES, [7])
    first = members.fetch(members.init()[0])
    assert same_bits(member(first, 0).params, member(first, 1).params)


def test_place_is_the_inverse_of_fetch():
    members, tree, _, _ = train(LANES, [0, 1, 2], batch=2, num_devices=2)
    assert same_bits(tree, members.fetch(members.place(tree)))
    shapes = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)
    assert shapes == jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), members.shapes)


def test_numbers_are_cast_once():
    """Python floats, ints, NumPy scalars and arrays all give one program."""
    plain, _ = stack_members([SMALL_HPARAMS], [0])
    odd = SMALL_HPARAMS._replace(gamma=np.float64(0.99), tau=1, huber_delta=np.inf)
    other, _ = stack_members([odd], [0])
    describe = lambda tree: [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)]  # noqa: E731
    assert describe(plain) == describe(other)
    assert all(dtype == np.float32 for _, dtype in describe(plain))


def test_a_population_that_does_not_fit_says_how_many_would():
    with pytest.raises(ConfigError, match=r"members=100 .* at most 40 members fit"):
        placement.check_memory(100, member_bytes=1_000_000, free_bytes=100_000_000)
    experiment = small(capacity=4_000_000)
    with pytest.raises(ConfigError, match="members fit"):
        Population(experiment.trainer, experiment.evaluate, LANES, range(10_000))


@pytest.mark.parametrize(
    "num_members, batch, devices, expected",
    [
        (8, None, 2, (2, 4, 2)),
        (1, None, 2, (1, 1, 1)),
        (3, None, 2, (2, 2, 2)),
        (8, 1, 2, (2, 1, 8)),
        (3, 2, 2, (2, 2, 2)),
        (4, 4, 2, (1, 4, 1)),  # a given batch is kept, even if a device stays idle
    ],
)
def test_plans(num_members, batch, devices, expected):
    shapes, _ = jax.eval_shape(small().trainer.init, jax.random.key(0), cast(SMALL_HPARAMS))
    plan = placement.make_plan(num_members, shapes, batch, devices)
    assert (plan.num_devices, plan.batch, plan.num_groups) == expected


def test_a_batch_that_does_not_fit_is_refused_with_one_that_does(monkeypatch):
    """The states fit, and not what the program needs beside them."""
    experiment = small()
    spread = {"batch": 2, "num_devices": 1}
    members = SharedPopulation(experiment.trainer, experiment.evaluate, LANES, [0, 1], **spread)
    states = placement.tree_bytes(members.shapes)
    needed = members.prepare(["chunk"])
    monkeypatch.setattr(population, "free_memory", lambda _: int((states + 0.6 * needed) / 0.4))
    members = SharedPopulation(experiment.trainer, experiment.evaluate, LANES, [0, 1], **spread)
    with pytest.raises(ConfigError, match=r"batch=2 needs .* at most --batch 1 fits"):
        members.prepare(["chunk"])


def test_running_out_of_memory_names_a_smaller_batch():
    def chunk(state, clock, hparams):
        many = jnp.ones((2**20, 2**20, 2**10)) * state.params  # 4 PB
        return state._replace(params=many.sum() + jnp.sort(many.ravel())[0]), clock, {}

    trainer = Trainer(lambda key, hparams: (Tiny(jnp.float32(1.0), key), CLOCK), chunk)
    members = Population(trainer, lambda *_: None, LANES[:1], [0, 1], 2, 1)
    with pytest.raises(ConfigError, match="--batch 1"):
        members.chunk(*members.init())


def test_every_evaluation_has_episodes_of_its_own():
    members, state, *_ = train([SMALL_HPARAMS], [0], chunks=1)
    states = members.place(state)
    clocks = (Clock(np.int32(steps), np.int32(0)) for steps in (100, 200))
    first, second = (members.evaluate(states, clock).values for clock in clocks)
    assert (first != second).any()


def test_what_is_taken_over_is_all_that_was_learned():
    learned = {"params", "target_params", "opt_state", "regulariser"}
    assert set(population.LEARNER) == learned
