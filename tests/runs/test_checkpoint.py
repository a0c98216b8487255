"""Checkpoints: what is read is what was saved, or it is not read."""

import errno
import io
import os
import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from common import same_bits

from jaxq.errors import ConfigError
from jaxq.runs import checkpoint, tensors
from jaxq.runs.files import CHECKPOINTS
from jaxq.runs.history import History
from jaxq.runs.listening import Moment
from jaxq.types import Clock


class State(NamedTuple):
    params: Any
    key: Any
    carry: Any = ()


def state(seed: int) -> State:
    draw = np.random.default_rng(seed)
    params = {"a/b": draw.normal(size=(3, 2)).astype(np.float32), "a": {"b": np.arange(3)}}
    params["half"] = np.asarray(jnp.arange(3, dtype=jnp.bfloat16) * seed)
    params["empty"] = np.zeros((3, 0), np.float32)  # of an environment whose state has one
    return State(params, draw.integers(9, size=(3, 2), dtype=np.uint32))


def clock(steps: int) -> Clock:
    return Clock(np.int32(steps), np.int32(steps // 4))


SHAPES = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state(0))


@pytest.fixture
def saved(tmp_path):
    """Three were saved, of which two are kept."""
    place = tmp_path / "checkpoints"
    for steps in (100, 200, 300):
        checkpoint.save(place, state(steps), clock(steps), "me")
    return place


def names(place):
    return sorted(path.name for path in place.iterdir())


def test_the_newest_comes_back_bit_for_bit_and_the_one_before_is_kept(saved):
    assert names(saved) == ["200.safetensors", "300.safetensors"]
    found = checkpoint.restore(saved, SHAPES, "me")
    assert same_bits(found.tree, state(300)) and found.clock == clock(300)
    assert jax.tree.structure(found.tree) == jax.tree.structure(SHAPES)
    assert found.evaluated == 300 and found.pending == {}


def test_what_was_measured_since_an_evaluation_is_kept(saved):
    pending = {"loss": np.arange(6.0).reshape(3, 2)}
    checkpoint.save(saved, state(400), clock(400), "me", 200, pending)
    found = checkpoint.restore(saved, SHAPES, "me")
    assert same_bits(found.tree, state(400)) and found.evaluated == 200
    assert same_bits(found.pending, pending)


def test_there_may_be_none_yet(tmp_path):
    assert checkpoint.restore(tmp_path / "checkpoints", SHAPES, "me") is None


@pytest.mark.parametrize("spoil", ["cut", "empty", "a bit", "a bit of the seal"])
def test_a_damaged_one_is_noticed_and_the_one_before_is_taken(spoil, saved):
    newest = saved / "300.safetensors"
    content = bytearray(newest.read_bytes())
    if spoil == "cut":
        content = content[:-7]
    elif spoil == "empty":
        content = b""
    elif spoil == "a bit":
        content[-1] ^= 1
    else:
        content = content.replace(b'"updates": "75"', b'"updates": "57"')
    assert content != newest.read_bytes()
    newest.write_bytes(content)
    with pytest.warns(UserWarning, match=r"300.* is damaged; .*200.* is taken"):
        _, tree, when, *_ = checkpoint.restore(saved, SHAPES, "me")
    assert same_bits(tree, state(200)) and when == clock(200)
    checkpoint.save(saved, state(250), clock(250), "me")  # the run goes on from there
    assert names(saved) == ["200.safetensors", "250.safetensors"]

    for path in saved.iterdir():
        path.write_bytes(b"nothing")
    before = names(saved)
    with pytest.raises(ConfigError, match="is damaged and cannot be read; it was left as it is"):
        checkpoint.restore(saved, SHAPES, "me")
    assert names(saved) == before


def test_that_of_another_run_or_another_state_is_refused(saved):
    with pytest.raises(ConfigError, match="belongs to another run"):
        checkpoint.restore(saved, SHAPES, "you")
    for other in (
        SHAPES._replace(carry=SHAPES.key),
        SHAPES._replace(key=jax.ShapeDtypeStruct((3, 3), np.uint32)),
        SHAPES._replace(key=jax.ShapeDtypeStruct((3, 2), np.int32)),
    ):
        with pytest.raises(ConfigError, match=r"cannot be restored: \.(carry|key) of its state"):
            checkpoint.restore(saved, other, "me")


def test_one_that_cannot_be_written_leaves_the_others(saved, monkeypatch):
    class Full(io.FileIO):
        def write(self, part):
            if len(part) > 8:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(part)

    with monkeypatch.context() as patch:
        patch.setattr(tensors, "open", Full, raising=False)
        with pytest.raises(OSError, match=r"No space left on device: .*400\.safetensors"):
            checkpoint.save(saved, state(400), clock(400), "me")
    assert names(saved) == ["200.safetensors", "300.safetensors"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert checkpoint.restore(saved, SHAPES, "me").clock == clock(300)


def test_what_a_killed_process_has_begun_does_not_count_and_is_cleared(saved):
    (saved / ".400.safetensors").write_bytes((saved / "300.safetensors").read_bytes()[:50])
    assert checkpoint.restore(saved, SHAPES, "me").clock == clock(300)
    checkpoint.save(saved, state(500), clock(500), "me")
    assert names(saved) == ["300.safetensors", "500.safetensors"]


def test_one_of_the_version_before_is_refused(tmp_path):
    (tmp_path / "4000").mkdir()
    (tmp_path / "4000.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"were made by jaxq 0\.1, and cannot be read"):
        checkpoint.restore(tmp_path, SHAPES, "me")


def test_a_run_saves_when_it_is_time_and_once_at_its_end(tmp_path):
    fetched = []

    def moment(steps):
        fetch = lambda: (fetched.append(steps), state(steps))[1]  # noqa: E731
        return Moment(clock(steps), History(1, 3), {}, {}, fetch)

    always = checkpoint.keep_checkpoints(tmp_path, "me", every=0.0)
    for listener, steps in ((always.evaluated, 100), (always.closed, 100)):
        listener(moment(steps))
    never = checkpoint.keep_checkpoints(tmp_path, "me", every=1e9)
    never.passed(moment(200))
    never.closed(moment(300))
    assert fetched == [100, 300]
    assert names(tmp_path / CHECKPOINTS) == ["100.safetensors", "300.safetensors"]
