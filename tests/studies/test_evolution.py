"""Halving and population-based training: schedules, selection, and members that move."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from common import SMALL, SMALL_HPARAMS, SharedPopulation, host, same_bits, small
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxq.config import HParams
from jaxq.errors import ConfigError
from jaxq.loops.evaluation import Evaluation
from jaxq.runs.history import History
from jaxq.runs.members import stack_members
from jaxq.runs.population import LEARNER
from jaxq.studies import evolution, searches
from jaxq.studies.evolution import Rung, exploit, explore, keys_of, members_of, rungs, survivors
from jaxq.studies.spaces import Range, space_document
from jaxq.studies.study import Part, Study

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def test_a_schedule_by_hand():
    """27 lanes at eta 3: every stage but the last costs 2/3 of one whole lane, the last one 1."""
    schedule = rungs(27_000, 27, 1_000)
    assert schedule == [Rung(1_000, 9), Rung(3_000, 3), Rung(9_000, 1)]
    assert evolution.total_steps(schedule, 27, 27_000) == 3 * 27_000
    assert rungs(1_000, 4, 100, eta=2) == [Rung(300, 2), Rung(500, 1)]  # at 250, next whole chunk
    assert rungs(1_000, 4, 100, eta=2, start=40) == [Rung(340, 2), Rung(540, 1)]


@given(
    lanes=st.integers(2, 300),
    eta=st.integers(2, 5),
    chunk=st.integers(1, 50),
    start=st.integers(0, 50),
    chunks=st.integers(1, 400),
)
@settings(max_examples=200, deadline=None)
def test_every_schedule_goes_down_in_whole_chunks(lanes, eta, chunk, start, chunks):
    steps = eta * (start + chunk) + chunks * chunk
    schedule = rungs(steps, lanes, chunk, eta, start)
    ends, keeps = zip(*schedule)
    assert start + chunk <= ends[0] and ends[-1] < steps + chunk
    assert sorted(set(ends)) == list(ends)
    assert all((end - start) % chunk == 0 for end in ends)
    for before, after in zip((lanes, *keeps), keeps):
        assert after == -(-before // eta) < before


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((1_000, 1, 100), "lanes=1 leave nothing"),
        ((1_000, 4, 100, 1), "eta=1 must be at least 2"),
        ((299, 4, 100), "at least 300 are accepted"),
    ],
)
def test_what_cannot_be_halved_says_so(arguments, message):
    with pytest.raises(ConfigError, match=message):
        rungs(*arguments)


def test_survivors_by_hand():
    nan, inf = np.nan, np.inf
    scores = np.array([[1.0, 1.0], [3.0, 3.0], [nan, 9.0], [3.0, 3.0], [inf, 2.0], [2.0, 2.0]])
    np.testing.assert_array_equal(survivors(scores, 1), [1])  # of equals the first
    np.testing.assert_array_equal(survivors(scores, 3), [1, 3, 5])
    np.testing.assert_array_equal(survivors(jnp.asarray(scores), 5), [0, 1, 2, 3, 5])
    forgiven = np.array([[5.0, 5.0, 5.0, nan], [4.0, 4.0, 4.0, 4.0]])
    np.testing.assert_array_equal(survivors(forgiven, 1), [0])


def test_halving_keeps_the_best_of_curves_that_crossed_before_the_cut():
    """Lane h ends at h and starts the slower the higher it ends; all cross before the first cut."""
    num_lanes, steps, chunk = 27, 27_000, 1_000
    limits = np.arange(num_lanes, dtype=float)
    rates = 1.0 / (20.0 + 8.0 * limits)  # at 50 steps the lowest lanes are ahead

    def scores(lanes, at):
        curve = limits[lanes] * (1.0 - np.exp(-rates[lanes] * at))
        noise = np.random.default_rng(at).normal(0.0, 0.1, (len(lanes), 8))
        return curve[:, None] + noise

    alive, done, spent = np.arange(num_lanes), 0, 0
    for rung in rungs(steps, num_lanes, chunk):
        spent += len(alive) * (rung.steps - done)
        done = rung.steps
        alive = alive[survivors(scores(alive, done), rung.keep)]
        assert num_lanes - 1 in alive
    spent += len(alive) * (steps - done)
    assert list(alive) == [num_lanes - 1]
    assert spent == evolution.total_steps(rungs(steps, num_lanes, chunk), num_lanes, steps)


choose = jax.jit(exploit, static_argnames="quantile")
draw_keys = jax.jit(keys_of)
ONE = np.array([0])


def test_exploit_moves_the_worst_to_the_best_and_the_diverged_always():
    scores = jnp.array([[3.0], [9.0], [8.0], [jnp.nan], [5.0], [0.0], [4.0], [jnp.inf], [6.0], [1]])
    drawn = set()
    for step in range(40):
        source = np.asarray(choose(draw_keys(ONE, step)[0], scores, 0.2))[:, 0]
        movers = np.flatnonzero(source != np.arange(10))
        np.testing.assert_array_equal(movers, [3, 7])  # the diverged are the worst two
        drawn |= set(source[movers])
    assert drawn == {1, 2}
    source = np.asarray(choose(draw_keys(ONE, 0)[0], scores[jnp.array([0, 1, 2, 4, 5])], 0.2))[:, 0]
    np.testing.assert_array_equal(source, [0, 1, 2, 3, 1])


def test_exploit_at_its_edges():
    same = np.arange(4)[:, None]
    for scores in (jnp.ones((4, 1)), jnp.full((4, 1), jnp.nan)):  # nobody is better
        np.testing.assert_array_equal(choose(draw_keys(ONE, 0)[0], scores, 0.5), same)
    alone = jnp.array([[jnp.nan], [jnp.nan], [2.0], [jnp.nan]])  # one is left
    np.testing.assert_array_equal(choose(draw_keys(ONE, 0)[0], alone, 0.2), np.full((4, 1), 2))
    np.testing.assert_array_equal(choose(draw_keys(ONE, 0)[0], jnp.ones((1, 1))), [[0]])


def spread_of_numbers(num_lanes, num_seeds):
    """Leaves [H, S], different in every member; one parameter of the environment."""
    shape = (num_lanes, num_seeds)
    values = np.geomspace(1e-4, 1e-2, num_lanes * num_seeds, dtype=np.float32).reshape(shape)
    hparams = HParams(learning_rate=values, gamma=1.0 - values, env_params={"mass": 5.0 * values})
    cast = lambda leaf: jnp.broadcast_to(jnp.asarray(leaf, jnp.float32), shape)  # noqa: E731
    return jax.tree.map(cast, hparams)


SPACE = {
    "learning_rate": Range(1e-4, 5e-3, log=True),
    "env_params.mass": Range(0.0, 1.0),
}
perturb = jax.jit(partial(explore, space=SPACE))


def test_explore_perturbs_the_copies_alone_and_within_the_range():
    hparams = spread_of_numbers(6, 3)
    source = np.tile(np.arange(6)[:, None], 3)
    source[0], source[1, 1] = [5, 4, 3], 0
    moved = perturb(keys_of([7, 8, 9], 0)[1], hparams, source)
    is_copy = source != np.arange(6)[:, None]
    for new, old in zip(jax.tree.leaves(moved), jax.tree.leaves(hparams)):
        assert np.asarray(new)[~is_copy].tobytes() == np.asarray(old)[~is_copy].tobytes()
    taken = np.take_along_axis(np.asarray(hparams.learning_rate), source, axis=0)[is_copy]
    ratio = np.asarray(moved.learning_rate)[is_copy] / taken
    clipped = np.asarray(moved.learning_rate)[is_copy] == np.float32(5e-3)
    assert np.all(np.isclose(ratio, 0.8) | np.isclose(ratio, 1.25) | clipped)
    assert np.max(moved.learning_rate[is_copy]) <= np.float32(5e-3)
    expected = np.take_along_axis(np.asarray(hparams.gamma), source, axis=0)
    np.testing.assert_array_equal(moved.gamma, expected)  # not in the space: copied as it is


def test_both_factors_are_equally_likely_and_fields_independent():
    hparams = spread_of_numbers(400, 5)._replace(
        learning_rate=jnp.full((400, 5), 1e-3), env_params={"mass": jnp.full((400, 5), 0.1)}
    )
    source = np.roll(np.tile(np.arange(400)[:, None], 5), 1, axis=0)
    moved = perturb(keys_of(range(5), 3)[1], hparams, source)
    up_rate = np.asarray(moved.learning_rate) > 1e-3
    up_mass = np.asarray(moved.env_params["mass"]) > 0.1
    for share in (up_rate.mean(), up_mass.mean(), (up_rate == up_mass).mean()):
        assert abs(share - 0.5) < 0.05


def test_whole_numbers_stay_whole_and_do_not_get_stuck():
    hparams = spread_of_numbers(50, 1)._replace(tau=jnp.ones((50, 1)))
    source = np.roll(np.arange(50), 1)[:, None]
    seen = set()
    perturb_tau = jax.jit(partial(explore, space={"tau": Range(1, 4, integer=True)}))
    for step in range(5):
        hparams = perturb_tau(draw_keys(ONE, step)[1], hparams, source)
        seen |= set(np.unique(hparams.tau))
    assert seen == {1.0, 2.0, 3.0, 4.0}


def test_seeds_never_mix():
    """A column's choice depends on its seed and its scores, not on what is beside it."""
    scores = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)
    hparams, seeds, seed = spread_of_numbers(10, 4), np.array([3, 1, 4, 9]), np.array([4])
    source = choose(draw_keys(seeds, 5)[0], scores)
    moved = perturb(draw_keys(seeds, 6)[1], hparams, source)
    other = scores.copy()
    other[:, 1] = other[::-1, 1]
    changed = np.any(np.asarray(choose(draw_keys(seeds, 5)[0], other)) != source, axis=0)
    np.testing.assert_array_equal(changed, [False, True, False, False])
    column = lambda tree: jax.tree.map(lambda leaf: np.asarray(leaf)[:, 2:3], tree)  # noqa: E731
    np.testing.assert_array_equal(choose(draw_keys(seed, 5)[0], column(scores)), column(source))
    alone = perturb(draw_keys(seed, 6)[1], column(hparams), column(source))
    assert same_bits(alone, column(moved))


def test_population_based_training_follows_the_best_step_size():
    """A target that takes a random step every time, seen through a curvature that grows.

    With a = rate * curvature the mean squared error follows v <- (1 - a)**2 v + 1. It is smallest,
    1, at a = 1, is 4/3 at a = 1/2 and 3/2, and diverges from a = 2 on. So the best rate falls as
    the curvature grows, from 1 to 1/30, and no fixed rate is good all the time.
    """
    num_lanes, seeds, intervals = 20, range(4), 150
    curvature = np.geomspace(1.0, 30.0, intervals)
    space = {"learning_rate": Range(1e-3, 2.0, log=True)}

    def follow(error, rate, curvature):
        for _ in range(10):
            error = (1.0 - rate * curvature) ** 2 * error + 1.0
        return error

    @jax.jit
    def interval(error, hparams, step, curvature):
        error = follow(error, hparams.learning_rate, curvature)
        key_exploit, key_explore = keys_of(seeds, step)
        source = exploit(key_exploit, -error)
        hparams = explore(key_explore, hparams, source, space)
        return error, jnp.take_along_axis(error, source, axis=0), hparams

    start = jnp.geomspace(1e-3, 2.0, num_lanes)[:, None] * jnp.ones((1, len(seeds)))
    hparams = jax.tree.map(
        lambda leaf: jnp.broadcast_to(jnp.asarray(leaf, jnp.float32), start.shape),
        HParams(learning_rate=start),
    )
    error, best = jnp.ones(start.shape), []
    for step in range(intervals):
        measured, error, hparams = interval(error, hparams, step, curvature[step])
        best.append(host(measured).min(axis=0))  # [S]
    rates = host(hparams.learning_rate)
    scale = np.median(rates, axis=0) * curvature[-1]
    assert np.all(best[-1] < 1.05)  # the optimum is 1
    assert np.all((scale > 0.5) & (scale < 1.5))
    # Searches of their own. All rates, not medians: factors of 0.8 and 1.2 from the clipped end
    # make a grid, on which two medians can agree.
    assert len({tuple(column) for column in rates.T}) == len(seeds)

    fixed = np.geomspace(1e-3, 2.0, 500)
    error, errors = np.ones(500), []
    with np.errstate(over="ignore"):
        for value in curvature:
            error = follow(error, fixed, value)
            errors.append(error)
    assert np.mean(best, axis=0).max() < 0.5 * np.mean(errors, axis=0).min()


LANES = [SMALL_HPARAMS._replace(learning_rate=rate) for rate in (1e-3, 2e-3, 3e-3, 4e-3, 5e-3)]


@pytest.fixture(scope="module")
def trained(compiled_quickly):
    """Five members in three groups on two devices, the last one padded, after a chunk."""
    experiment = small()
    members = SharedPopulation(
        experiment.trainer, experiment.evaluate, LANES, [0], batch=2, num_devices=2
    )
    assert members.plan.num_groups == 3
    states, clock = members.init()
    states, clock, _ = members.chunk(states, clock)
    return members, members.fetch(states), clock


def rows(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


@pytest.mark.parametrize("fields", [None, (*LEARNER, "replay", "env_state", "obs", "carry")])
def test_members_continue_from_others_bit_for_bit(trained, fields):
    members, before, _ = trained
    sources = np.array([4, 1, 0, 2, 2])  # across devices, in a chain, and into the padded group
    states = members.gather(members.place(before), sources, fields)
    after = members.fetch(states)
    for name in before._fields:
        is_taken = name in (fields or LEARNER)
        expected = rows(getattr(before, name), sources if is_taken else np.arange(5))
        assert same_bits(getattr(after, name), expected), name
    devices = [jax.tree.leaves(state)[0].devices() for state in states]
    assert devices[0] == devices[2] != devices[1]
    padding = [rows(host(states[2]), index) for index in (0, 1)]
    assert same_bits(padding[0].params, padding[1].params)


def test_members_that_stay_are_not_touched(trained):
    members, before, _ = trained
    states = members.place(before)
    after = members.gather(states, np.arange(5))
    assert all(new is old for new, old in zip(after, states))
    with pytest.raises(ValueError, match="share a key"):
        members.gather(states, np.arange(5), ("params", "key"))


def test_a_member_with_new_numbers_trains_as_if_it_always_had_them(trained):
    """Bit for bit, from the same state; the same program serves."""
    members, before, clock = trained
    hparams, _ = stack_members(LANES, [0])
    source = np.array([[4], [1], [2], [3], [4]])
    by_lane = jax.tree.map(lambda leaf: leaf[:, None], hparams)
    space = {"learning_rate": Range(1e-4, 1e-2, log=True)}
    moved = explore(keys_of(ONE, 1)[1], by_lane, source, space)
    numbers = jax.tree.map(lambda leaf: np.asarray(leaf)[:, 0], moved)
    start = members.fetch(members.gather(members.place(before), members_of(source)))
    after = members.fetch(members.chunk(members.place(start), clock, numbers)[0])

    experiment = small()
    lanes = [rows(numbers, index) for index in range(5)]
    fresh = SharedPopulation(
        experiment.trainer, experiment.evaluate, lanes, [0], batch=2, num_devices=2
    )
    assert same_bits(after, fresh.fetch(fresh.chunk(fresh.place(start), clock)[0]))
    same = members.fetch(members.chunk(members.place(start), clock)[0])
    assert same_bits(rows(same, slice(1, 5)), rows(after, slice(1, 5)))
    assert not same_bits(rows(same, 0).params, rows(after, 0).params)


def test_members_are_counted_lane_by_lane():
    source = np.array([[0, 2], [1, 1], [0, 2]])
    np.testing.assert_array_equal(members_of(source), [0, 5, 2, 3, 0, 5])


def test_the_worst_go_on_from_the_best():
    space = {"learning_rate": Range(1e-4, 5e-3, log=True)}
    search = {"kind": "pbt", "every": 1, "space": space_document(space), "replay": False}
    numbers = [{"learning_rate": lane.learning_rate} for lane in LANES]
    part = Part(tuple(range(5)), (0,), 5, 240)
    study = Study("small", SMALL, SMALL_HPARAMS, numbers, (0,), 240, (), [part], search=search)
    _, evolve = searches.run_of(study, part)
    history, hparams = History(5, 1), stack_members(LANES, [0])[0]
    metrics = dict.fromkeys(("loss", "episodes", "train_return", "train_length"), np.ones(5))
    returns = np.array([3.0, 1.0, 2.0, 5.0, 4.0], np.float32)[:, None]
    history.append(140, metrics, Evaluation(returns, returns, returns > 0, returns), hparams)
    np.testing.assert_array_equal(evolve.decide(history).sources, [0, 3, 2, 3, 4])
    returns = np.array([5.0, 1.0, 2.0, 3.0, 4.0], np.float32)[:, None]  # the newest counts
    history.append(240, metrics, Evaluation(returns, returns, returns > 0, returns), hparams)
    np.testing.assert_array_equal(evolve.decide(history).sources, [0, 0, 2, 3, 4])


def test_keys_of_selection_are_not_those_of_training_and_evaluation():
    """A seed's key is split into these two; what selects folds in a number of its own."""
    key = jax.random.key(3)
    others = [key, *jax.random.split(key)]
    stream = jax.random.fold_in(key, evolution._STREAM)
    assert not any(same_bits(stream, other) for other in others)
