"""Arrays in a file: read whole, or only where they are used."""

import json

import numpy as np
import pytest

from jaxq.runs.policy import load_policy, save_policy
from jaxq.runs.tensors import map_tensors, read_tensors, write_tensors

ARRAYS = {
    "bytes": np.arange(5, dtype=np.uint8),
    "params/kernel": np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32),
    "none": np.zeros((0, 3), np.float32),
    "counts": np.arange(3, dtype=np.int64),
    "flag": np.array(True),
}


def test_mapped_arrays_are_those_that_were_written(tmp_path):
    path = tmp_path / "arrays.safetensors"
    write_tensors(path, ARRAYS, {"a": "b"})
    whole, _ = read_tensors(path)
    mapped = map_tensors(path)
    assert set(whole) == set(mapped) == set(ARRAYS)
    for name, array in ARRAYS.items():
        for found in (whole[name], mapped[name]):
            assert found.dtype == array.dtype and found.shape == array.shape
            np.testing.assert_array_equal(found, array)


def test_what_is_no_such_file_is_a_value_error(tmp_path):
    path = tmp_path / "arrays.safetensors"
    write_tensors(path, ARRAYS)
    path.write_bytes(path.read_bytes()[:-8])  # cut short
    with pytest.raises(ValueError):
        map_tensors(path)
    header = json.dumps({"a": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0")
    with pytest.raises(ValueError, match="a is of BF16"):
        map_tensors(path)


def test_of_the_policies_of_many_members_one_is_read(tmp_path):
    """4,096 members of which one is evaluated: the file is mapped, and a member is a copy."""
    kernel = np.arange(64 * 64 * 5, dtype=np.float32).reshape(64, 64, 5)
    document = {"config": {}, "lanes": [{}] * 64, "seeds": list(range(64))}
    save_policy(tmp_path / "policy", document, {"params": {"kernel": kernel}})
    policy = load_policy(tmp_path)
    assert isinstance(policy.params["params"]["kernel"].base, np.memmap)
    member = policy.member(3, 5)["params"]["kernel"]
    np.testing.assert_array_equal(member, kernel[3, 5])
    assert member.flags.owndata
