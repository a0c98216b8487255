"""Packing and unpacking is exact, bit for bit, for every dtype."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jaxq.replay.records import make_codec

DTYPES = [bool, "uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32"]
DTYPES += [ml_dtypes.bfloat16]
pytestmark = pytest.mark.usefixtures("compiled_quickly")

SHAPES = st.lists(st.integers(0, 5), max_size=3).map(tuple)


def random_bits(random, shape, dtype):
    """Any bit pattern, including NaN and infinities."""
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return random.integers(0, 2, shape).astype(bool)
    size = int(np.prod(shape, dtype=int)) * dtype.itemsize
    return np.frombuffer(random.bytes(size), dtype).reshape(shape)


@settings(max_examples=8, deadline=None)
@example([((3,), kind) for kind in DTYPES], (2,), 0)
@given(
    leaves=st.lists(st.tuples(SHAPES, st.sampled_from(DTYPES)), min_size=1, max_size=5),
    lead=st.lists(st.integers(1, 3), max_size=2).map(tuple),
    seed=st.integers(0, 2**31),
)
def test_round_trip_is_exact(leaves, lead, seed):
    random = np.random.default_rng(seed)
    tree = {str(i): random_bits(random, lead + shape, t) for i, (shape, t) in enumerate(leaves)}
    spec = {str(i): jax.ShapeDtypeStruct(shape, t) for i, (shape, t) in enumerate(leaves)}
    codec = make_codec(spec)
    rows = jax.jit(codec.pack)({name: jnp.asarray(value) for name, value in tree.items()})
    assert rows.dtype == jnp.uint32 and rows.shape == (*lead, codec.num_words)
    for name, value in jax.jit(codec.unpack)(rows).items():
        assert value.shape == tree[name].shape and value.dtype == tree[name].dtype
        assert np.asarray(value).tobytes() == tree[name].tobytes()


def test_minatar_breakout_takes_50_bytes_per_observation_and_two_of_padding():
    image = jax.ShapeDtypeStruct((10, 10, 4), jnp.bool_)
    assert make_codec(image).num_words == 13


def test_all_booleans_share_their_words():
    flag = jax.ShapeDtypeStruct((), jnp.bool_)
    assert make_codec((flag,) * 32).num_words == 1


def test_types_without_fixed_bytes_are_refused():
    with pytest.raises(TypeError, match="complex64"):
        make_codec(jax.ShapeDtypeStruct((), jnp.complex64))
    with pytest.raises(TypeError, match="key"):
        make_codec(jax.eval_shape(lambda: jax.random.key(0)))
