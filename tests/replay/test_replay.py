"""The rings against a NumPy reference, and the edges of their windows."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxq.config import HParams
from jaxq.replay import prioritized, sumtree
from jaxq.replay import rings as replay
from jaxq.types import Clock, Replay, Step

pytestmark = pytest.mark.usefixtures("compiled_quickly")

# Priorities as they are given, weights of a power 1/2.
HPARAMS = HParams(priority_exponent=1.0, importance_exponent=0.5)


def spec(num_envs):
    def leaf(shape, dtype):
        return jax.ShapeDtypeStruct((num_envs, *shape), dtype)

    flag = leaf((), jnp.bool_)
    obs = leaf((3,), jnp.float32)
    return Step(obs, leaf((), jnp.uint8), leaf((), jnp.float32), flag, flag, obs)


def block_at(first_row, num_rows, num_envs):
    """Steps whose reward says which row and environment they are: row + env / 100."""
    rows = np.arange(first_row, first_row + num_rows)[:, None]
    marks = (rows + np.arange(num_envs) / 100.0).astype(np.float32)  # [K, E]
    flags = (rows + np.arange(num_envs)) % 3 == 0
    obs = marks[..., None] + np.array([0.0, 1000.0, 2000.0], np.float32)
    return Step(obs, (rows + 0 * marks).astype(np.uint8), marks, flags, ~flags, -obs)


def clock_at(rows, num_envs):
    return Clock(jnp.int32(rows * num_envs), jnp.int32(0))


def compiled(ring):
    """Its functions compiled whole: operation by operation takes many times as long."""
    return Replay(ring.init, jax.jit(ring.add), jax.jit(ring.sample), jax.jit(ring.update))


@pytest.mark.parametrize(
    "num_envs, rows_per_block, blocks_held, window",
    [(1, 1, 1, 1), (3, 2, 3, 4), (2, 3, 4, 3), (4, 1, 5, 2)],
)
def test_uniform_samples_every_valid_window_and_no_other(
    num_envs, rows_per_block, blocks_held, window
):
    """After every block, while the ring fills and when it has wrapped around twice."""
    rows = rows_per_block * blocks_held
    ring = compiled(
        replay.uniform(spec(num_envs), capacity=rows * num_envs, batch_size=2048, window=window)
    )
    state = ring.init()
    for written in range(rows_per_block, 2 * rows + 2 * rows_per_block, rows_per_block):
        first = written - rows_per_block
        block = block_at(first, rows_per_block, num_envs)
        state = ring.add(state, clock_at(first, num_envs), block)
        if min(rows, written) >= window:
            check_uniform(ring, state, num_envs, rows, window, written)


def check_uniform(ring, state, num_envs, rows, window, written):
    held = min(rows, written)
    sample = ring.sample(state, clock_at(written, num_envs), jax.random.key(written), HPARAMS)

    # What a NumPy ring holds: the newest rows; windows start anywhere that leaves T of them.
    starts = np.arange(written - held, written - window + 1)
    marks = np.asarray(sample.steps.reward)  # [B, T]
    first_rows = np.floor(marks[:, 0] + 1e-3).astype(int)
    envs = np.round((marks[:, 0] - first_rows) * 100).astype(int)
    assert set(first_rows) <= set(starts)
    for steps_back in range(window):  # consecutive rows of one environment
        expected = (first_rows + steps_back + envs / 100.0).astype(np.float32)
        np.testing.assert_array_equal(marks[:, steps_back], expected)
    num_windows = len(starts) * num_envs
    assert num_windows > 60 or len(set(zip(first_rows, envs))) == num_windows
    np.testing.assert_allclose(sample.probabilities, 1.0 / num_windows, rtol=1e-6)
    # Every field of a step comes back as it went in.
    block = block_at(0, written, num_envs)
    rows_of = first_rows[:, None] + np.arange(window)
    for name in ("obs", "action", "terminated", "done", "next_obs"):
        stored = getattr(block, name)[rows_of, envs[:, None]]
        np.testing.assert_array_equal(getattr(sample.steps, name), stored)


def test_uniform_is_uniform():
    """Chi-square over 3 environments x 18 window starts, after wrapping around."""
    ring = compiled(replay.uniform(spec(3), capacity=60, batch_size=20_000, window=3))
    state = ring.init()
    for row in range(27):
        state = ring.add(state, clock_at(row, 3), block_at(row, 1, 3))
    sample = ring.sample(state, clock_at(27, 3), jax.random.key(0), HPARAMS)
    _, counts = np.unique(np.asarray(sample.steps.reward[:, 0]), return_counts=True)
    assert len(counts) == 54
    expected = 20_000 / 54
    assert ((counts - expected) ** 2 / expected).sum() < 95.0  # 99.9 % quantile for 53 degrees


@pytest.mark.parametrize("window", [1, 3])
@pytest.mark.parametrize("rows_per_block", [1, 2])
def test_latest_returns_the_windows_that_end_in_the_newest_block(window, rows_per_block):
    num_envs = 2
    ring = compiled(replay.latest(spec(num_envs), rows_per_block=rows_per_block, window=window))
    state = ring.init()
    for first in range(0, 8, rows_per_block):
        block = block_at(first, rows_per_block, num_envs)
        state = ring.add(state, clock_at(first, num_envs), block)
    sample = ring.sample(state, clock_at(8, num_envs), jax.random.key(0), HPARAMS)
    expected = [
        [last - window + 1 + back + env / 100.0 for back in range(window)]
        for last in range(8 - rows_per_block, 8)
        for env in range(num_envs)
    ]
    np.testing.assert_allclose(sample.steps.reward, expected, rtol=1e-6)
    assert len(expected) == len(sample.probabilities)


def test_update_is_the_identity_without_priorities():
    ring = replay.uniform(spec(1), capacity=4, batch_size=2)
    state = ring.init()
    assert ring.update(state, jnp.zeros(2), jnp.ones(2), HPARAMS) is state


def spec_with_carry(num_envs):
    carry = jax.ShapeDtypeStruct((num_envs, 5), jnp.float32)
    return spec(num_envs)._replace(carry=carry)


def block_with_carry(first_row, num_rows, num_envs):
    block = block_at(first_row, num_rows, num_envs)
    return block._replace(carry=block.reward[..., None] * np.arange(1.0, 6.0, dtype=np.float32))


@pytest.mark.parametrize(
    "num_envs, rows_per_block, periods_held, period, more",
    [(1, 1, 3, 1, 0), (2, 2, 3, 2, 3), (3, 5, 2, 3, 1), (1, 3, 4, 4, 2)],
)
def test_prioritized_samples_every_complete_window_and_no_other(
    num_envs, rows_per_block, periods_held, period, more
):
    """Windows, wrapping, carries at the beginnings, equal priorities: all against a NumPy ring,
    after every block."""
    window, rows = period + more, rows_per_block * period * periods_held
    ring = compiled(
        prioritized.prioritized(
            spec_with_carry(num_envs),
            capacity=rows * num_envs,
            batch_size=512,
            window=window,
            period=period,
        )
    )
    state = ring.init()
    for written in range(rows_per_block, 2 * rows + 2 * rows_per_block, rows_per_block):
        first = written - rows_per_block
        block = block_with_carry(first, rows_per_block, num_envs)
        state = ring.add(state, clock_at(first, num_envs), block)
        check_prioritized(ring, state, num_envs, rows, window, period, written)


def check_prioritized(ring, state, num_envs, rows, window, period, written):
    oldest = max(0, written - rows)
    starts = [s for s in range(oldest, written - window + 1) if s % period == 0]
    held = sorted((s, e) for s in starts for e in range(num_envs))
    assert float(sumtree.leaves(state.tree).sum()) == len(held)
    if not held:
        return
    sample = ring.sample(state, clock_at(written, num_envs), jax.random.key(written), HPARAMS)
    marks = np.asarray(sample.steps.reward)
    first_rows = np.floor(marks[:, 0] + 1e-3).astype(int)
    envs = np.round((marks[:, 0] - first_rows) * 100).astype(int)
    assert sorted(set(zip(first_rows, envs))) == held  # stratified: 512 draws miss none
    for back in range(window):
        expected = (first_rows + back + envs / 100.0).astype(np.float32)
        np.testing.assert_array_equal(marks[:, back], expected)
    np.testing.assert_allclose(sample.probabilities, 1.0 / len(held), rtol=1e-5)
    carry = (marks[:, :1] * np.arange(1.0, 6.0, dtype=np.float32))[:, None]
    np.testing.assert_array_equal(sample.steps.carry, carry)


def test_no_array_of_the_state_is_empty():
    """A checkpoint cannot hold arrays of no elements."""
    for shapes in (spec(2), spec_with_carry(2)):
        state = prioritized.prioritized(shapes, capacity=8, batch_size=2).init()
        assert all(leaf.size for leaf in jax.tree.leaves(state))


@cache
def prioritized_ring(rows, batch_size):
    ring = compiled(prioritized.prioritized(spec(1), capacity=rows, batch_size=batch_size))
    state = ring.init()
    for row in range(rows):
        state = ring.add(state, clock_at(row, 1), block_at(row, 1, 1))
    return ring, state


def test_the_importance_exponent_grows_with_environment_steps():
    ring, state = prioritized_ring(4, 64)
    grows = {"importance_exponent_end": 1.0, "importance_exponent_steps": 8.0}
    hparams = HPARAMS._replace(importance_exponent=0.0, **grows)
    state = ring.update(state, jnp.arange(4), jnp.array([1.0, 2.0, 3.0, 4.0]), hparams)
    sample = ring.sample(state, clock_at(4, 1), jax.random.key(0), hparams)  # half way
    np.testing.assert_allclose(sample.weights, (10 * sample.probabilities) ** -0.5, rtol=1e-5)


def test_prioritized_probabilities_and_weights_by_hand():
    """Priorities 1, 2, 3, 4: P = p / 10; an exponent is applied before, and only once."""
    ring, state = prioritized_ring(4, 10_000)
    state = ring.update(state, jnp.arange(4), jnp.array([1.0, 2.0, 3.0, 4.0]), HPARAMS)
    sample = ring.sample(state, clock_at(4, 1), jax.random.key(0), HPARAMS)
    counts = np.bincount(np.asarray(sample.steps.reward[:, 0]).astype(int))
    np.testing.assert_allclose(counts, [1000, 2000, 3000, 4000], atol=1)  # stratified
    np.testing.assert_allclose(
        sample.probabilities, np.asarray(sample.steps.reward[:, 0] + 1) / 10, rtol=1e-6
    )
    expected = (4 * np.asarray(sample.probabilities)) ** -0.5
    np.testing.assert_allclose(sample.weights, expected / expected.max(), rtol=1e-6)


def test_new_windows_take_the_largest_priority_so_far():
    ring, state = prioritized_ring(8, 4)
    state = ring.update(state, jnp.array([2, 3]), jnp.array([7.0, 0.5]), HPARAMS)
    state = ring.update(
        state, jnp.array([2]), jnp.array([0.1]), HPARAMS
    )  # the maximum is remembered
    state = ring.add(state, clock_at(8, 1), block_at(8, 1, 1))  # overwrites row 0
    np.testing.assert_allclose(sumtree.leaves(state.tree)[:8], [7.0, 1, 0.1, 0.5, 1, 1, 1, 1])


def test_a_priority_of_zero_can_be_drawn_again():
    ring, state = prioritized_ring(4, 4)
    state = ring.update(state, jnp.arange(4), jnp.zeros(4), HPARAMS)
    assert np.all(np.asarray(sumtree.leaves(state.tree)[:4]) > 0)
    sample = ring.sample(state, clock_at(4, 1), jax.random.key(0), HPARAMS)
    np.testing.assert_allclose(sample.probabilities, 0.25)


def test_exponent_zero_is_uniform_with_weights_of_one():
    ring, state = prioritized_ring(64, 32)
    errors = jax.random.uniform(jax.random.key(1), (64,)).at[3].set(0.0)
    uniform = HPARAMS._replace(priority_exponent=0.0, importance_exponent=1.0)
    state = ring.update(state, jnp.arange(64), errors, uniform)
    sample = ring.sample(state, clock_at(64, 1), jax.random.key(0), uniform)
    np.testing.assert_allclose(sample.probabilities, 1 / 64, rtol=1e-6)
    np.testing.assert_allclose(sample.weights, 1.0, rtol=1e-6)


def test_sampling_frequencies_equal_flashbax():
    """Both draw in proportion to priority ** exponent."""
    flashbax = pytest.importorskip("flashbax")
    priorities = np.random.default_rng(0).uniform(0.1, 3.0, 50).astype(np.float32)
    buffer = flashbax.make_prioritised_flat_buffer(
        max_length=51, min_length=2, sample_batch_size=50, priority_exponent=0.6
    )
    theirs = buffer.init({"x": jnp.float32(0)})
    add = jax.jit(buffer.add)
    for row in range(51):
        theirs = add(theirs, {"x": jnp.float32(row)})
    theirs = buffer.set_priorities(theirs, jnp.arange(50), jnp.array(priorities))
    keys = jax.random.split(jax.random.key(0), 400)
    drawn = jax.jit(jax.vmap(lambda key: buffer.sample(theirs, key)))(keys)
    counts = np.bincount(np.asarray(drawn.experience.first["x"]).astype(int).ravel(), minlength=50)
    ring, state = prioritized_ring(50, 50_000)
    state = ring.update(
        state, jnp.arange(50), jnp.array(priorities), HPARAMS._replace(priority_exponent=0.6)
    )
    sample = ring.sample(state, clock_at(50, 1), jax.random.key(1), HPARAMS)
    ours = np.bincount(np.asarray(sample.steps.reward[:, 0]).astype(int), minlength=50)
    np.testing.assert_allclose(ours / 50_000, priorities**0.6 / (priorities**0.6).sum(), atol=1e-4)
    np.testing.assert_allclose(ours / 50_000, counts[:50] / 20_000, atol=6e-3)


def test_integers_below_a_limit_are_the_exact_products():
    random = np.random.default_rng(0)
    words = random.integers(0, 2**32, 1_000, dtype=np.uint32)
    words[:2] = 0, 2**32 - 1
    for limit in (1, 2, 3, 65_535, 65_536, 1_000_003, 2**31 - 1):
        expected = words.astype(np.uint64) * np.uint64(limit) >> np.uint64(32)
        drawn = replay.below(jnp.int32(limit), jnp.asarray(words))
        np.testing.assert_array_equal(drawn, expected.astype(np.int32))


def test_importance_weights_by_hand():
    """P = 1/10, 2/10, 4/10: (N P)**-1/2 over its maximum is 1, 0.7071, 0.5."""
    weights = prioritized.importance_weights(jnp.array([0.1, 0.2, 0.4]), 0.5)
    np.testing.assert_allclose(weights, [1.0, 0.5**0.5, 0.5], rtol=1e-6)


@pytest.mark.parametrize("exponent", [0.0, 0.4, 1.0])
def test_equal_probabilities_weigh_one(exponent):
    np.testing.assert_array_equal(
        prioritized.importance_weights(jnp.full(5, 1e-5), exponent), np.ones(5)
    )


@pytest.mark.parametrize("kind", ["uniform", "prioritized"])
def test_a_ring_as_a_tpu_has_it_holds_and_gives_the_same(kind, monkeypatch):
    """Two members, filled beyond the end; records of 8 words in tiles of 3."""
    monkeypatch.setattr(replay, "_TILE", 3)
    make = getattr(replay if kind == "uniform" else prioritized, kind)
    num_envs, results = 2, []
    for last in (False, True):
        monkeypatch.setattr(replay, "slots_are_last", lambda last=last: last)
        ring = make(spec(num_envs), capacity=20, batch_size=16, window=3)
        states = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), ring.init())
        for first in (0, 4, 8):
            block = jax.tree.map(
                lambda leaf: jnp.stack([leaf, leaf[::-1]]), block_at(first, 4, num_envs)
            )
            clock = clock_at(first, num_envs)
            states = jax.vmap(ring.add, (0, None, 0))(states, clock, block)
        assert states.ring.shape == ((2, 9, 20) if last else (2, 20, 8))
        clock = clock_at(12, num_envs)
        sample = jax.vmap(ring.sample, (0, None, 0, None))(
            states, clock, jax.random.split(jax.random.key(0), 2), HPARAMS
        )
        one = jax.tree.map(lambda leaf: leaf[1], states)
        results.append((sample, ring.contents(one, clock)))
    jax.tree.map(np.testing.assert_array_equal, *results)


def test_a_priority_that_is_no_number_spoils_nothing():
    """It is the largest there was, and 0 is still drawn at times."""
    ring, state = prioritized_ring(4, 4)
    given = jnp.array([np.nan, np.inf, 0.0, 1e-3])
    state = ring.update(state, jnp.arange(4), given, HPARAMS)
    np.testing.assert_allclose(sumtree.leaves(state.tree)[:4], [1.0, 1.0, 1e-6, 1e-3], rtol=1e-6)
    assert state.maximum == 1.0
