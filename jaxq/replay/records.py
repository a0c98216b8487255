"""Trees of arrays as rows of 32-bit words and back, exactly; used by the replay and nothing else.

Words, because XLA's CPU code gathers and converts one element at a time: a float that is one word
costs a quarter of one that is four bytes. Booleans take one bit each, all other types the bytes
they are made of; a row ends with at most three bytes that mean nothing.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxq.types import PyTree

_WORD = 4  # bytes


class Codec(NamedTuple):
    """``pack(tree [..., *leaf]) -> uint32 [..., num_words]`` and its inverse ``unpack``."""

    num_words: int
    pack: Callable[[PyTree], jax.Array]
    unpack: Callable[[jax.Array], PyTree]


def make_codec(record: PyTree) -> Codec:
    """The codec for trees like ``record`` (arrays or shapes) with any leading axes in front.

    A row holds the leaves whose elements fill whole words, then all booleans, then the others.

    Raises:
      TypeError: a leaf's type has no fixed number of bytes, such as a PRNG key or a complex.
    """
    leaves, structure = jax.tree.flatten(record)
    for leaf in leaves:
        if not _is_plain(leaf.dtype):
            raise TypeError(f"a record holds {leaf.dtype}; only booleans, integers and floats fit.")
    shapes, dtypes = [leaf.shape for leaf in leaves], [jnp.dtype(leaf.dtype) for leaf in leaves]
    sizes = [math.prod(shape) for shape in shapes]
    is_bits = [dtype == jnp.bool_ for dtype in dtypes]
    is_words = [dtype.itemsize % _WORD == 0 for dtype in dtypes]
    num_bytes = [size * dtype.itemsize for size, dtype in zip(sizes, dtypes)]
    num_bits = sum(size for size, bits in zip(sizes, is_bits) if bits)
    bit_bytes = -(-num_bits // 8)
    whole_words = sum(n for n, words in zip(num_bytes, is_words) if words) // _WORD
    rest = [not (bits or words) for bits, words in zip(is_bits, is_words)]
    rest_bytes = bit_bytes + sum(n for n, others in zip(num_bytes, rest) if others)
    padding = -rest_bytes % _WORD

    def pack(tree: PyTree) -> jax.Array:
        values = structure.flatten_up_to(tree)
        lead = values[0].shape[: values[0].ndim - len(shapes[0])]
        words, bits, others = [], [], []
        for i, value in enumerate(values):
            flat = value.astype(dtypes[i]).reshape(*lead, sizes[i])
            if is_bits[i]:
                bits.append(flat)
            elif is_words[i]:
                words.append(_cast(flat, jnp.uint32).reshape(*lead, -1))
            else:
                others.append(_cast(flat, jnp.uint8).reshape(*lead, -1))
        if bits:
            bits = jnp.concatenate(bits, axis=-1)
            others.insert(0, jnp.packbits(bits, axis=-1, bitorder="little"))
        if others:
            others.append(jnp.zeros((*lead, padding), jnp.uint8))
            packed = jnp.concatenate(others, axis=-1).reshape(*lead, -1, _WORD)
            words.append(_cast(packed, jnp.uint32))
        return jnp.concatenate(words, axis=-1)

    def unpack(rows: jax.Array) -> PyTree:
        # One axis in front: a TPU would lay out the bits with the last of several, such as the
        # three steps of a window, along its 128 lanes, and fill the rest.
        axes, lead = rows.shape[:-1], (math.prod(rows.shape[:-1]),)
        rows = rows.reshape(*lead, rows.shape[-1])
        others = rows[..., whole_words:]
        bit_words = others[..., : -(-num_bits // 32), None]
        bits = (bit_words >> jnp.arange(32, dtype=jnp.uint32) & 1).astype(bool).reshape(*lead, -1)
        others = _cast(others, jnp.uint8).reshape(*lead, -1)
        values, word, bit, byte = [], 0, 0, bit_bytes
        for i, (shape, dtype) in enumerate(zip(shapes, dtypes)):
            if is_bits[i]:
                value = bits[..., bit : bit + sizes[i]]
                bit += sizes[i]
            elif is_words[i]:
                value = rows[..., word : word + num_bytes[i] // _WORD]
                word += num_bytes[i] // _WORD
            else:
                value = others[..., byte : byte + num_bytes[i]]
                byte += num_bytes[i]
            if not is_bits[i]:
                ratio = dtype.itemsize // value.dtype.itemsize
                value = value.reshape(*lead, sizes[i], ratio) if ratio > 1 else value
                value = _cast(value, dtype)
            values.append(value.reshape(*axes, *shape))
        return structure.unflatten(values)

    return Codec(whole_words + (rest_bytes + padding) // _WORD, pack, unpack)


def _cast(values: jax.Array, dtype) -> jax.Array:
    """The same bits as another type; a last axis appears or goes where the sizes differ."""
    return jax.lax.bitcast_convert_type(values, dtype)


def _is_plain(dtype) -> bool:
    """Booleans, and numbers whose bits fill whole bytes."""
    if jnp.issubdtype(dtype, jnp.bool_):
        return True
    if jnp.issubdtype(dtype, jnp.integer):
        return jnp.iinfo(dtype).bits % 8 == 0
    return jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits % 8 == 0
