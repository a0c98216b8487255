"""Datasets hold what a ring holds, in order; their windows have no seam, and one column."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_replay import block_at, clock_at, spec

from jaxq.replay import datasets, prioritized, rings
from jaxq.replay.records import make_codec

pytestmark = pytest.mark.usefixtures("compiled_quickly")

E, ROWS = 3, 8


def one(tree):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), tree)


CODEC = make_codec(one(spec(E)))


def filled(replay, rows, carry=()):
    """The replay after so many rows in blocks of two, on the host."""
    state, add = replay.init(), jax.jit(replay.add)
    for first in range(0, rows, 2):
        block = block_at(first, 2, E)
        held = jax.tree.map(lambda x: jnp.ones((2, E, *x.shape[1:]), x.dtype), carry)
        state = add(state, clock_at(first, E), block._replace(carry=held))
    return jax.device_get(state)


@pytest.mark.parametrize("rows", [4, ROWS, ROWS + 2, 3 * ROWS - 2])
@pytest.mark.parametrize("kind", ["uniform", "prioritized"])
@pytest.mark.parametrize("carry", [(), jax.ShapeDtypeStruct((E, 5), jnp.float32)])
def test_contents_are_the_newest_steps_in_order_bit_for_bit(kind, carry, rows):
    """While the ring fills and when it has wrapped around; a carry is left out."""
    make = {"uniform": rings.uniform, "prioritized": prioritized.prioritized}[kind]
    replay = make(spec(E)._replace(carry=carry), capacity=ROWS * E, batch_size=4, window=2)
    found = replay.contents(filled(replay, rows, carry), clock_at(rows, E))
    first = max(0, rows - ROWS)
    expected = CODEC.pack(block_at(first, rows - first, E))
    np.testing.assert_array_equal(found, expected)


def test_newest_steps_alone_are_no_dataset():
    assert rings.latest(spec(E), rows_per_block=2).contents is None


@pytest.mark.parametrize("window", [1, 3, ROWS])
def test_every_window_is_drawn_and_none_crosses_a_seam(window):
    records = CODEC.pack(block_at(5, ROWS, E))
    windows = datasets.uniform_windows(one(spec(E)), batch_size=2048, window=window)
    sample = jax.jit(windows.sample)(records, jax.random.key(0))
    num_windows = (ROWS - window + 1) * E
    assert set(np.asarray(sample.indices)) == set(range(num_windows))
    np.testing.assert_allclose(sample.probabilities, 1.0 / num_windows, rtol=1e-6)
    row, column = np.divmod(np.asarray(sample.indices), E)
    rows = block_at(5, ROWS, E)
    for back in range(window):
        for name in ("obs", "action", "reward", "terminated", "done", "next_obs"):
            expected = np.asarray(getattr(rows, name))[row + back, column]
            np.testing.assert_array_equal(getattr(sample.steps, name)[:, back], expected)
