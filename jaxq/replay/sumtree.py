"""A tree of partial sums, from which leaves are drawn in proportion to their value.

Used by the prioritized replay and by nothing else. A tree is ONE array of nodes, level after level
as in a heap: node ``i`` has the ``FAN`` children ``(i + 1) * FAN ...``, and the first ``FAN`` nodes
are the top. A million leaves are four levels deep. A node is always recomputed as the sum of its
children: nothing drifts.

One array, because then every write waits for the reads before it; of one array per level XLA copies
the leaves three times for each update, which takes longer than the update.
"""

import jax
import jax.numpy as jnp

FAN = 32
NOWHERE = 2**31 - 1  # an index that ``assign`` ignores


def make(num_leaves: int) -> jax.Array:
    """A tree of zeros, [nodes]."""
    before, widest = 0, FAN  # nodes above the leaves, and leaves there may be
    while widest < num_leaves:
        before, widest = before + widest, widest * FAN
    return jnp.zeros(before + -(-num_leaves // FAN) * FAN)


def leaves(tree: jax.Array) -> jax.Array:
    """The values of all leaves, and zeros up to a multiple of ``FAN``."""
    return tree[_first_leaf(tree) :]


def assign(tree: jax.Array, indices: jax.Array, values: jax.Array) -> jax.Array:
    """Set the leaves ``indices`` [N] to the non-negative ``values`` [N].

    Of several values for one leaf the largest holds, whatever their order.
    """
    return _assign(tree, indices, values)


def _assign_alone(tree: jax.Array, indices: jax.Array, values: jax.Array) -> jax.Array:
    # Never a single index: XLA would write it as a slice, fuse that with the reads, and copy.
    indices, values = jnp.append(indices, NOWHERE), jnp.append(values, 0.0)
    ignored = indices == NOWHERE
    nodes = jnp.where(ignored, NOWHERE, _first_leaf(tree) + indices)
    tree = tree.at[nodes].set(0.0, mode="drop").at[nodes].max(values, mode="drop")
    for _ in range(_depth(tree) - 1):
        families = nodes // FAN
        sums = _children(tree, families).sum(axis=-1)
        nodes = jnp.where(ignored, NOWHERE, families - 1)
        tree = tree.at[nodes].set(sums, mode="drop")
    return tree


_assign = jax.custom_batching.custom_vmap(_assign_alone)


@_assign.def_vmap
def _assign_batch(size: int, batched: list[bool], *arguments: jax.Array) -> tuple[jax.Array, bool]:
    """Every member has indices of its own, also where all have the same: a TPU writes those to all
    trees at once, for which it lays them out anew, and back again for the others."""
    whole = [
        value if is_batched else jnp.broadcast_to(value, (size, *value.shape))
        for value, is_batched in zip(arguments, batched)
    ]
    return jax.vmap(_assign_alone)(*whole), True


def total(tree: jax.Array) -> jax.Array:
    """The sum of all leaves."""
    return tree[:FAN].sum()


def find(tree: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The leaf at which the running sum of all leaves first exceeds each of ``targets`` [B], and
    its value [B].

    Never an empty leaf, unless all are: where rounding would lead past the last leaf, the last one
    with a value is returned.
    """
    node = jnp.full(targets.shape, -1)  # whose children are the top
    for _ in range(_depth(tree)):
        children = _children(tree, node + 1)  # [B, FAN]
        sums = jnp.cumsum(children, axis=-1)
        is_hit = (sums > targets[:, None]) & (children > 0)
        last = FAN - 1 - jnp.argmax(children[:, ::-1] > 0, axis=-1)
        child = jnp.where(is_hit.any(axis=-1), jnp.argmax(is_hit, axis=-1), last)
        pick = lambda x, child=child: jnp.take_along_axis(x, child[:, None], axis=-1)[:, 0]  # noqa: E731
        value = pick(children)
        targets = targets - (pick(sums) - value)
        node = (node + 1) * FAN + child
    return node - _first_leaf(tree), value


def _children(tree: jax.Array, families: jax.Array) -> jax.Array:
    """The nodes of ``families`` [N], [N, FAN]; of a family beyond the last one that of the last.

    As slices: a tree of rows of ``FAN`` would take four times its memory on a TPU.
    """
    return jax.vmap(lambda family: jax.lax.dynamic_slice(tree, (family * FAN,), (FAN,)))(families)


def _depth(tree: jax.Array) -> int:
    """The number of levels: all but the last are full."""
    depth, nodes = 1, FAN
    while nodes < tree.size:
        depth += 1
        nodes += FAN**depth
    return depth


def _first_leaf(tree: jax.Array) -> int:
    return sum(FAN**level for level in range(1, _depth(tree)))
