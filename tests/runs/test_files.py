"""The files of a run directory: named in one place, replaced whole, written by one process."""

import errno
import os

import numpy as np
import pytest

from jaxq.cli.main import load_preset
from jaxq.errors import ConfigError
from jaxq.reports.sources import read_run
from jaxq.runs import files
from jaxq.runs.policy import load_policy, save_policy
from jaxq.runs.resuming import check_same
from jaxq.runs.tensors import read_tensors, write_tensors


def test_the_listing_says_what_every_file_is():
    for table in (files.RUN_FILES, files.SWEEP_FILES):
        lines = files.listing(table).splitlines()
        assert [line.split()[0] for line in lines] == list(table)
        assert all(line.endswith(what) for line, what in zip(lines, table.values()))


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "notes.txt"
    files.write_text(path, "old\n")
    with pytest.raises(KeyboardInterrupt), files.replacing(path) as partial:
        partial.write_text("ne")
        assert partial.suffix == path.suffix and path.read_text() == "old\n"
        raise KeyboardInterrupt
    assert path.read_text() == "old\n" and os.listdir(tmp_path) == ["notes.txt"]
    with files.replacing(path) as partial:
        partial.write_text("new\n")
    assert path.read_text() == "new\n" and os.listdir(tmp_path) == ["notes.txt"]


def test_what_cannot_be_written_is_named(tmp_path):
    path = tmp_path / "notes.txt"
    with pytest.raises(OSError, match="No space left") as raised, files.replacing(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert raised.value.filename == str(path)


def test_json_holds_what_it_has_no_word_for(tmp_path):
    files.write_json(tmp_path / "a.json", {"x": np.float32(np.inf), "y": (np.arange(2), None)})
    assert files.read_json(tmp_path / "a.json") == {"x": "inf", "y": [[0, 1], None]}


def test_arrays_come_back(tmp_path):
    files.write_arrays(tmp_path / "a.npz", {"x": np.arange(3)})
    np.testing.assert_array_equal(files.read_arrays(tmp_path / "a.npz")["x"], np.arange(3))


@pytest.mark.parametrize("kind", ["float64", "float32", "float16", "int8", "uint32", "bool"])
def test_tensors_come_back_bit_for_bit(kind, tmp_path):
    values = np.arange(24).reshape(2, 3, 4).astype(kind)
    arrays = {
        "a/whole": values,
        "b": values.T,  # whose bytes lie in another order
        "none": values[:0],
        "one": values[0, 0, 1],
        "odd": np.ones(3, np.uint8),
    }
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    write_tensors(tmp_path / "x.safetensors", arrays, {"what": "a test"})
    again, metadata = read_tensors(tmp_path / "x.safetensors")
    assert metadata == {"what": "a test"} and set(again) == set(arrays)
    for name, array in arrays.items():
        assert again[name].dtype == array.dtype and again[name].shape == array.shape
        assert again[name].tobytes() == array.tobytes()


def test_a_file_of_something_else_is_no_tensors(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"something else")
    with pytest.raises(ValueError):
        read_tensors(tmp_path / "x.safetensors")
    with pytest.raises(OSError):
        read_tensors(tmp_path / "missing.safetensors")


def test_a_directory_that_holds_something_is_not_made_a_run(tmp_path):
    files.create(tmp_path / "run", {"preset": "x"})
    with pytest.raises(ConfigError, match="holds another run"):
        files.create(tmp_path / "run", {"preset": "x"})
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ConfigError, match="is not empty"):
        files.create(tmp_path, {"preset": "x"})
    with pytest.raises(ConfigError, match="cannot be written: Not a directory"):
        files.create(tmp_path / "notes.txt" / "run", {"preset": "x"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lanes": [1]}, r"lanes=\[1\] are not all numbers by name"),
        ({"made_of": [1]}, r"made_of=\[1\] is no dict"),
        ({"made_of": {"env": 1}}, "made_of={'env': 1} does not describe parts by name"),
        ({"dataset": "x"}, "dataset='x' is no dict"),
        ({"lanes": []}, r"lanes=\[\] is no list with content"),
        (None, "it holds a list, and no names"),
    ],
)
def test_a_document_that_was_edited_says_what_is_wrong(tmp_path, change, message):
    document = {"preset": "x", "config": {"env": "y"}, "lanes": [{}], "seeds": [0], "steps": 9}
    files.create(tmp_path / "run", document)
    path = tmp_path / "run" / files.CONFIG
    files.write_json(path, [] if change is None else files.read_json(path) | change)
    with pytest.raises(ConfigError, match=f"cannot be read: {message}"):
        files.read_document(path)


def test_a_run_of_another_version_is_refused_wherever_it_is_read(tmp_path):
    document = {"preset": "x", "config": {"env": "y"}, "lanes": [{}], "seeds": [0], "steps": 9}
    files.create(tmp_path / "run", document)
    path = tmp_path / "run" / files.CONFIG
    assert files.read_json(path) == {"version": "0.2", **document}
    assert files.read_document(path) == files.read_document(path.parent) == document
    save_policy(path.parent / files.POLICY, document, {})
    for version, words in (({}, "jaxq 0.1.0"), ({"version": "9"}, "jaxq 9")):
        for place in (path, path.parent / files.POLICY / files.CONFIG):
            files.write_json(place, document | version)
        for read in (files.read_document, load_policy, read_run):
            with pytest.raises(ConfigError, match=f"was made by {words}; runs of 0.2 are accepted"):
                read(path.parent)
        with pytest.raises(ConfigError, match=words):
            check_same(document, path.parent, None)
        with pytest.raises(ConfigError, match=words):
            load_preset(str(path))
