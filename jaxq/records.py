"""Trees of arrays as rows of bytes and back, exactly; used by the replay and by nothing else.

Booleans take one bit each, all other types the bytes they are made of.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxq.types import PyTree


class Codec(NamedTuple):
    """``pack(tree [..., *leaf]) -> uint8 [..., num_bytes]`` and its inverse ``unpack``."""

    num_bytes: int
    pack: Callable[[PyTree], jax.Array]
    unpack: Callable[[jax.Array], PyTree]


def make_codec(record: PyTree) -> Codec:
    """The codec for trees like ``record`` (arrays or shapes) with any leading axes in front.

    Raises:
      TypeError: a leaf's type has no fixed number of bytes, such as a PRNG key or a complex.
    """
    leaves, structure = jax.tree.flatten(record)
    shapes = [leaf.shape for leaf in leaves]
    for leaf in leaves:
        if not _is_plain(leaf.dtype):
            raise TypeError(f"a record holds {leaf.dtype}; only booleans, integers and floats fit.")
    dtypes = [jnp.dtype(leaf.dtype) for leaf in leaves]
    is_bits = [dtype == jnp.bool_ for dtype in dtypes]
    sizes = [math.prod(shape) for shape in shapes]
    num_bits = sum(size for size, bits in zip(sizes, is_bits) if bits)
    bit_bytes = -(-num_bits // 8)
    widths = [0 if bits else size * d.itemsize for size, bits, d in zip(sizes, is_bits, dtypes)]

    def pack(tree: PyTree) -> jax.Array:
        values = structure.flatten_up_to(tree)
        lead = values[0].shape[: values[0].ndim - len(shapes[0])]
        bits, parts = [], []
        for value, dtype, size, width, as_bits in zip(values, dtypes, sizes, widths, is_bits):
            if as_bits:
                bits.append(value.reshape(*lead, size))
            else:
                raw = jax.lax.bitcast_convert_type(value.astype(dtype), jnp.uint8)
                parts.append(raw.reshape(*lead, width))
        if bits:
            parts.insert(0, jnp.packbits(jnp.concatenate(bits, axis=-1), axis=-1))
        return jnp.concatenate(parts, axis=-1)

    def unpack(rows: jax.Array) -> PyTree:
        lead = rows.shape[:-1]
        bits = jnp.unpackbits(rows[..., :bit_bytes], axis=-1).astype(bool)
        values, bit, byte = [], 0, bit_bytes
        for shape, dtype, size, width, as_bits in zip(shapes, dtypes, sizes, widths, is_bits):
            if as_bits:
                value = bits[..., bit : bit + size]
                bit += size
            else:
                raw = rows[..., byte : byte + width]
                groups = (size, dtype.itemsize) if dtype.itemsize > 1 else (size,)
                value = jax.lax.bitcast_convert_type(raw.reshape(*lead, *groups), dtype)
                byte += width
            values.append(value.reshape(*lead, *shape))
        return structure.unflatten(values)

    return Codec(bit_bytes + sum(widths), pack, unpack)


def _is_plain(dtype) -> bool:
    """Booleans, and numbers whose bits fill whole bytes."""
    if jnp.issubdtype(dtype, jnp.bool_):
        return True
    if jnp.issubdtype(dtype, jnp.integer):
        return jnp.iinfo(dtype).bits % 8 == 0
    return jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits % 8 == 0
