"""Trees of members: how they are stacked, mapped over, and made of plain arrays."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxq.config import HParams
from jaxq.types import PyTree


def stack_members(lanes: Sequence[HParams], seeds: Sequence[int]) -> tuple[HParams, np.ndarray]:
    """Hyperparameters [M] and seeds [M] of all members, in fixed dtypes.

    Fixed, because a Python float and an array must not be two different programs.
    """
    cast = [
        HParams(
            **_floats(lane),
            env_params=jax.tree.map(_number, lane.env_params),
            extra={name: np.float32(value) for name, value in lane.extra.items()},
        )
        for lane in lanes
    ]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *cast)
    hparams = jax.tree.map(lambda leaf: np.repeat(leaf, len(seeds), axis=0), stacked)
    return hparams, np.tile(np.asarray(seeds, np.uint32), len(lanes))


def batched(
    function: Callable, batch: int, in_axes: tuple[int | None, ...], out_axes: Any = 0
) -> Callable:
    """``function`` of one member as a function of ``batch`` members, as ``jax.vmap`` makes it.

    A batch of one runs without ``vmap``: over an axis of length 1 XLA's CPU code is 2.4 times
    slower than over none.

    Args:
      in_axes: of every argument in turn, 0 if it belongs to a member and None if it is common.
      out_axes: the same of the result, or of the results in a tuple.
    """
    if batch > 1:
        return jax.vmap(function, in_axes, out_axes)

    def alone(*arguments):
        results = function(
            *(row(value, 0) if axis == 0 else value for value, axis in zip(arguments, in_axes))
        )
        return jax.tree.map(
            lambda axis, result: result if axis is None else _as_row(result),
            out_axes,
            results,
            is_leaf=lambda axis: axis is None,
        )

    return alone


def row(tree: PyTree, index: Any) -> PyTree:
    """One member of a tree with leaves [M, ...], or several by an array of indices."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


def with_row(tree: PyTree, member: PyTree, index: int) -> PyTree:
    """The tree with one of its members replaced."""
    return jax.tree.map(lambda leaf, new: leaf.at[index].set(new), tree, member)


def leading(tree: PyTree, size: int) -> PyTree:
    """The shapes of a tree's leaves with a leading axis."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((size, *x.shape), x.dtype), tree)


def key_data(tree: PyTree) -> PyTree:
    """The tree with its keys as plain integers, which can be saved."""
    return jax.tree.map(lambda x: jax.random.key_data(x) if _is_key(x) else x, tree)


def with_keys(tree: PyTree, like: PyTree) -> PyTree:
    """The inverse of ``key_data``, by a tree of the same structure with keys of the same kinds."""

    def wrap(data: Any, like: Any) -> Any:
        if not _is_key(like):
            return data
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(jnp.empty((), like.dtype)))

    return jax.tree.map(wrap, tree, like)


def _as_row(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], tree)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _floats(lane: HParams) -> dict[str, Any]:
    return {k: np.float32(v) for k, v in lane._asdict().items() if not isinstance(v, dict)}


def _number(value: Any) -> np.ndarray:
    array = np.asarray(value)
    return array.astype(np.float32 if array.dtype.kind == "f" else np.int32)
