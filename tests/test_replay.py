"""The rings against a NumPy reference, and the edges of their windows."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxq import replay
from jaxq.types import Clock, Step


class Ring(NamedTuple):
    """A replay, jitted, with the clock and the NumPy reference it is held against."""

    replay: object
    add: object
    sample: object


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


@settings(max_examples=40, deadline=None)
@given(
    num_envs=st.integers(1, 4),
    rows_per_block=st.integers(1, 3),
    blocks_held=st.integers(1, 5),
    window=st.integers(1, 4),
    blocks_written=st.integers(1, 13),
)
def test_uniform_samples_every_valid_window_and_no_other(
    num_envs, rows_per_block, blocks_held, window, blocks_written
):
    rows = rows_per_block * blocks_held
    written = rows_per_block * blocks_written
    held = min(rows, written)
    if window > held:
        return
    ring = replay.uniform(spec(num_envs), capacity=rows * num_envs, batch_size=2048, window=window)
    state = ring.init()
    for first in range(0, written, rows_per_block):
        block = block_at(first, rows_per_block, num_envs)
        state = ring.add(state, clock_at(first, num_envs), block)
    sample = ring.sample(state, clock_at(written, num_envs), jax.random.key(written))

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
    ring = replay.uniform(spec(3), capacity=60, batch_size=20_000, window=3)
    state = ring.init()
    for row in range(27):
        state = ring.add(state, clock_at(row, 3), block_at(row, 1, 3))
    sample = ring.sample(state, clock_at(27, 3), jax.random.key(0))
    _, counts = np.unique(np.asarray(sample.steps.reward[:, 0]), return_counts=True)
    assert len(counts) == 54
    expected = 20_000 / 54
    assert ((counts - expected) ** 2 / expected).sum() < 95.0  # 99.9 % quantile for 53 degrees


@pytest.mark.parametrize("window", [1, 3])
@pytest.mark.parametrize("rows_per_block", [1, 2])
def test_latest_returns_the_windows_that_end_in_the_newest_block(window, rows_per_block):
    num_envs = 2
    ring = replay.latest(spec(num_envs), rows_per_block=rows_per_block, window=window)
    state = ring.init()
    for first in range(0, 8, rows_per_block):
        block = block_at(first, rows_per_block, num_envs)
        state = ring.add(state, clock_at(first, num_envs), block)
    sample = ring.sample(state, clock_at(8, num_envs), jax.random.key(0))
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
    assert ring.update(state, jnp.zeros(2), jnp.ones(2)) is state
