"""Functions of one member as functions of a batch, and trees of members as plain arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from common import same_bits

from jaxq.runs.members import batched, key_data, row, with_keys, with_row


@pytest.mark.parametrize("batch", [1, 3])
def test_members_have_a_leading_axis_and_what_is_common_has_none(batch):
    state = {"x": jnp.arange(2.0 * batch).reshape(batch, 2)}

    def step(state, clock, rate):
        assert state["x"].shape == (2,) and clock.shape == rate.shape == ()
        return {"x": rate * state["x"]}, clock + 1, (state["x"].sum(), 7.0)

    function = batched(step, batch, in_axes=(0, None, 0), out_axes=(0, None, 0))
    after, clock, (total, constant) = function(state, jnp.int32(4), jnp.full(batch, 2.0))
    np.testing.assert_array_equal(after["x"], 2 * state["x"])
    np.testing.assert_array_equal(total, state["x"].sum(axis=1))
    assert clock.shape == () and clock == 5 and constant.shape == (batch,)


@pytest.mark.parametrize("batch", [1, 3])
def test_one_result_belongs_to_the_members(batch):
    function = batched(lambda x, clock: {"y": x + clock}, batch, in_axes=(0, None))
    np.testing.assert_array_equal(function(jnp.arange(batch), 2)["y"], np.arange(batch) + 2)


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_keys_become_integers_and_keys_of_the_same_kind_again(impl):
    """Trap: an environment may keep keys of another kind than JAX's default in its state."""
    tree = {"key": jax.random.split(jax.random.key(3, impl=impl), 4), "x": jnp.ones(4)}
    plain = key_data(tree)
    assert plain["key"].dtype == np.uint32
    like = jax.eval_shape(lambda: tree)
    assert same_bits(with_keys(plain, like), tree)


def test_a_member_can_be_taken_and_put():
    tree = (jnp.arange(6).reshape(3, 2), jnp.arange(3.0))
    moved = with_row(tree, row(tree, 2), 0)
    assert same_bits(row(moved, 0), row(tree, 2)) and same_bits(row(moved, 1), row(tree, 1))
