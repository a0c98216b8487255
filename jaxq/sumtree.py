"""A tree of partial sums, from which leaves are drawn in proportion to their value.

Used by the prioritized replay and by nothing else. A tree is a tuple of flat levels, the top
first and the leaves last; every node has ``FAN`` children, so that a million leaves are four
levels deep. A node is always recomputed as the sum of its children: nothing drifts.
"""

import jax
import jax.numpy as jnp

FAN = 32
NOWHERE = 2**31 - 1  # an index that ``assign`` ignores

SumTree = tuple[jax.Array, ...]


def make(num_leaves: int) -> SumTree:
    """A tree of zeros."""
    sizes = [-(-num_leaves // FAN) * FAN]
    while sizes[0] > FAN:
        sizes.insert(0, -(-(sizes[0] // FAN) // FAN) * FAN)
    return tuple(jnp.zeros(size) for size in sizes)


def assign(tree: SumTree, indices: jax.Array, values: jax.Array) -> SumTree:
    """Set the leaves ``indices`` [N] to the non-negative ``values`` [N].

    Of several values for one leaf the largest holds, whatever their order.
    """
    leaves = tree[-1].at[indices].set(0.0, mode="drop").at[indices].max(values, mode="drop")
    levels = [leaves]
    for level in reversed(tree[:-1]):
        indices = indices // FAN
        sums = levels[0].reshape(-1, FAN).at[indices].get(mode="clip").sum(axis=-1)
        levels.insert(0, level.at[indices].set(sums, mode="drop"))
    return tuple(levels)


def total(tree: SumTree) -> jax.Array:
    """The sum of all leaves."""
    return tree[0].sum()


def find(tree: SumTree, targets: jax.Array) -> jax.Array:
    """The leaf at which the running sum of all leaves first exceeds each of ``targets`` [B].

    Never an empty leaf, unless all are: where rounding would lead past the last leaf, the last one
    with a value is returned.
    """
    node = jnp.zeros(targets.shape, jnp.int32)
    for level in tree:
        children = level.reshape(-1, FAN)[node]  # [B, FAN]
        sums = jnp.cumsum(children, axis=-1)
        is_hit = (sums > targets[:, None]) & (children > 0)
        last = FAN - 1 - jnp.argmax(children[:, ::-1] > 0, axis=-1)
        child = jnp.where(is_hit.any(axis=-1), jnp.argmax(is_hit, axis=-1), last)
        pick = lambda x, child=child: jnp.take_along_axis(x, child[:, None], axis=-1)[:, 0]  # noqa: E731
        targets = targets - (pick(sums) - pick(children))
        node = node * FAN + child
    return node
