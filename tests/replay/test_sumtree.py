"""The sum tree against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxq.replay import sumtree

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def assert_sums(tree):
    """Every node is the sum of its children, to the rounding of one sum."""
    sums = np.zeros(tree.size, np.float32)
    families = jnp.sum(tree.reshape(-1, sumtree.FAN), axis=-1)
    sums[: len(families) - 1] = families[1:]  # the children of node i are family i + 1
    num_parents = tree.size - len(sumtree.leaves(tree))
    np.testing.assert_allclose(tree[:num_parents], sums[:num_parents], rtol=1e-6)


PRIORITIES = st.floats(0, 100, width=32, allow_subnormal=False)  # XLA takes those for 0


assign = jax.jit(sumtree.assign)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([1, 33, 2_000, 3_000]),
    st.sampled_from([1, 40]).flatmap(
        lambda size: st.lists(
            st.tuples(st.integers(0, 2_999), PRIORITIES), min_size=size, max_size=size
        )
    ),
)
def test_leaves_and_sums(num_leaves, writes):
    """Duplicates in one call take the largest value; what lies beyond the leaves is ignored."""
    tree, expected = sumtree.make(num_leaves), np.zeros(num_leaves, np.float32)
    indices = np.array([i if i < num_leaves else sumtree.NOWHERE for i, _ in writes], np.int32)
    values = np.array([v for _, v in writes], np.float32)
    for index in set(indices) - {sumtree.NOWHERE}:
        expected[index] = values[indices == index].max()
    tree = assign(tree, jnp.array(indices), jnp.array(values))
    np.testing.assert_array_equal(sumtree.leaves(tree)[:num_leaves], expected)
    assert not sumtree.leaves(tree)[num_leaves:].any()
    assert_sums(tree)
    assert float(sumtree.total(tree)) == pytest.approx(float(expected.sum()), rel=1e-5)


def test_members_that_write_at_the_same_places_are_each_their_own():
    random = np.random.default_rng(0)
    trees = jnp.stack([sumtree.make(2_000)] * 3)
    indices, values = jnp.array([5, 1_999, 5]), jnp.array(random.random((3, 3)), jnp.float32)
    together = jax.vmap(sumtree.assign, in_axes=(0, None, 0))(trees, indices, values)
    for tree, before, mine in zip(together, trees, values):
        np.testing.assert_array_equal(tree, assign(before, indices, mine))


def test_find_is_the_running_sum():
    random = np.random.default_rng(0)
    values = random.integers(0, 4, 2_000).astype(np.float32)  # whole numbers: sums are exact
    tree = assign(sumtree.make(2_000), jnp.arange(2_000), jnp.array(values))
    targets = np.arange(values.sum(), dtype=np.float32)
    expected = np.searchsorted(np.cumsum(values), targets, side="right")
    found, value = jax.jit(sumtree.find)(tree, jnp.array(targets))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(value, values[expected])


def test_an_empty_leaf_is_never_found():
    """Also at and beyond the total, where rounding may lead."""
    values = jnp.zeros(5_000).at[jnp.array([7, 1_234, 4_000])].set(jnp.array([0.1, 1e-6, 0.3]))
    tree = assign(sumtree.make(5_000), jnp.arange(5_000), values)
    targets = jnp.concatenate([jnp.linspace(0.0, 0.5, 10_001), jnp.array([jnp.inf])])
    found, _ = jax.jit(sumtree.find)(tree, targets)
    assert set(np.unique(found)) <= {7, 1_234, 4_000}
    assert int(found[-1]) == 4_000


def test_a_million_leaves_are_four_levels():
    """The work of a draw or an update grows with the logarithm only, memory with the leaves."""
    for size, levels in ((1, 1), (32, 1), (33, 2), (1_000, 2), (100_000, 4), (1_000_000, 4)):
        tree = sumtree.make(size)
        above = sum(sumtree.FAN**level for level in range(1, levels))
        assert tree.size == above + -(-size // sumtree.FAN) * sumtree.FAN
        assert len(sumtree.leaves(tree)) == tree.size - above


@pytest.mark.slow
def test_ten_million_updates_do_not_drift():
    """Differences added to parents would; sums of children cannot."""

    def body(tree, key):
        key_index, key_value = jax.random.split(key)
        indices = jax.random.randint(key_index, (100,), 0, 5_000)
        values = jax.random.uniform(key_value, (100,)) ** 8 * 1e4
        return sumtree.assign(tree, indices, values), None

    def many(tree, key):
        return jax.lax.scan(body, tree, jax.random.split(key, 100_000))[0]

    tree = jax.jit(many)(sumtree.make(5_000), jax.random.key(0))
    assert_sums(tree)
    exact = np.asarray(sumtree.leaves(tree), np.float64).sum()
    assert float(sumtree.total(tree)) == pytest.approx(exact, rel=1e-6)
