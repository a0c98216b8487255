"""Observations as networks see them: what follows from a space, and what can be said."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import spaces

from jaxq.envs.encoding import MAX_ONE_HOT, make_encoder
from jaxq.errors import ConfigError


def encoded(space, observations="auto"):
    """Shape and dtype of what networks see."""
    obs = jax.ShapeDtypeStruct(space.shape, space.dtype)
    return jax.eval_shape(make_encoder("Mine", space, obs, observations), obs)


@pytest.mark.parametrize(
    "space, shape, dtype",
    [
        (spaces.Box(-1.0, 1.0, (3,), jnp.float32), (3,), jnp.float32),
        (spaces.Box(0.0, 1.0, (3, 2), jnp.bool_), (3, 2), jnp.bool_),
        (spaces.Discrete(16), (16,), jnp.bool_),
        (spaces.Box(1, 11, (4,), jnp.int32), (44,), jnp.bool_),
        (spaces.Box(0, 255, (84, 84, 4), jnp.uint8), (84, 84, 4), jnp.uint8),
        (spaces.Box(0, 32, (2, 2), jnp.uint8), (2, 2), jnp.uint8),  # 33 values
        (spaces.Box(0, 31, (2, 2), jnp.uint8), (128,), jnp.bool_),  # a grid of categories
        (spaces.Box(0, 255, (4,), jnp.uint8), (1024,), jnp.bool_),  # a row is no image
        (spaces.Box(0, 255, (4, 1), jnp.int32), (1024,), jnp.bool_),  # nor are large integers
    ],
)
def test_what_follows_from_a_space(space, shape, dtype):
    spec = encoded(space)
    assert (spec.shape, spec.dtype) == (shape, dtype)


def test_bytes_stay_as_they_are_and_integers_become_one_hot():
    pixels = jnp.array([[0, 200], [255, 7]], jnp.uint8)
    spec = jax.ShapeDtypeStruct((2, 2), jnp.uint8)
    show = make_encoder("Mine", spaces.Box(0, 255, (2, 2), jnp.uint8), spec, "auto")
    np.testing.assert_array_equal(show(pixels), pixels)
    spec = jax.ShapeDtypeStruct((2,), jnp.int32)
    show = make_encoder("Mine", spaces.Box(-1, 1, (2,), jnp.int32), spec, "auto")
    np.testing.assert_array_equal(show(jnp.array([-1, 1])), [1, 0, 0, 0, 0, 1])


def test_the_caller_can_say_what_observations_are():
    box = spaces.Box(0, 255, (2, 3), jnp.int32)
    assert encoded(box, "image").dtype == jnp.uint8
    assert encoded(box, "numbers").dtype == jnp.float32
    assert encoded(box, "binary").dtype == jnp.bool_
    assert encoded(spaces.Box(0, 255, (2, 3), jnp.uint8), "one-hot").shape == (1536,)
    assert encoded(spaces.Box(-np.inf, np.inf, (2,), jnp.int32), "numbers").shape == (2,)


@pytest.mark.parametrize(
    "space, observations, message",
    [
        (spaces.Box(0, 2**31 - 1, (3,), jnp.int32), "auto", "6,442,450,944 inputs, more than"),
        (spaces.Discrete(MAX_ONE_HOT + 1), "auto", "env=Mine .* observations='numbers'"),
        (spaces.Box(0, 255, (84, 84, 4), jnp.uint8), "one-hot", "7,225,344 inputs"),
        (spaces.Box(-np.inf, np.inf, (2,), jnp.int32), "auto", "env=Mine .*without finite bounds"),
        (spaces.Box(0, 256, (2, 2), jnp.int32), "image", "from 0 to 255, not from 0 to 256"),
        (spaces.Box(0, 1, (2, 2), jnp.float32), "image", "takes integers, not float32"),
        (spaces.Box(0, 1, (2,), jnp.float32), "one-hot", "takes integers, not float32"),
        (spaces.Discrete(4), "onehot", "observations of Mine=onehot .*did you mean one-hot"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(space, observations, message):
    with pytest.raises(ConfigError, match=message):
        encoded(space, observations)


def test_as_many_inputs_as_documented_are_accepted():
    assert encoded(spaces.Discrete(MAX_ONE_HOT)).shape == (MAX_ONE_HOT,)
