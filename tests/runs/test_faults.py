"""A write that fails, at every place where a run writes: nothing is lost, and resume ends the same.

Every file is written by ``files.replacing``, which waits for the disk and then moves it, so the
n-th of either fails here, for every n of a short run; the rest as well ("full"), or not ("once").
"""

import errno
import itertools
import os
import shutil
from pathlib import Path

import pytest
from commands import assert_same_run
from common import SMALL, SMALL_HPARAMS, small
from rich.console import Console

from jaxq.reports.sources import read_run
from jaxq.runs import files
from jaxq.runs.policy import load_policy
from jaxq.runs.runner import RunSpec, Spread, run

pytestmark = pytest.mark.usefixtures("shared_programs", "no_figures", "compiled_quickly")

QUIET = Console(quiet=True)
SPEC = RunSpec("small", SMALL, [SMALL_HPARAMS], [0, 1], steps=240)  # prefill and two chunks


def train(directory: Path, **options):
    how = {"spread": Spread(save_every=0.0), "console": QUIET, "experiment": small()}
    return run(SPEC, directory, **how, **options)


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "reference"
    train(directory)
    return directory


def assert_readable(directory: Path) -> None:
    """What is there can be read."""
    if not (directory / files.CONFIG).exists():
        return
    files.read_document(directory)
    for name in (files.META, files.SCORES):
        if (directory / name).exists():
            files.read_json(directory / name)
    if (directory / files.METRICS).exists():
        files.read_arrays(directory / files.METRICS)
    if (directory / files.SCORES).exists():
        read_run(directory)
    if (directory / files.POLICY / files.CONFIG).exists():
        load_policy(directory)


@pytest.mark.parametrize("lasting", ["once", pytest.param("full", marks=pytest.mark.slow)])
@pytest.mark.parametrize("where, what", [(os, "fsync"), (Path, "replace")])
def test_whatever_write_fails_the_run_goes_on_later(
    where, what, lasting, reference, tmp_path, monkeypatch
):
    original = getattr(where, what)
    for n in itertools.count():
        directory, calls = tmp_path / str(n), itertools.count()

        def fail(*arguments, n=n, calls=calls):
            call = next(calls)
            if call == n or (call > n and lasting == "full"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return original(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(where, what, fail)
            try:
                train(directory)
                break  # there is no n-th
            except OSError as error:
                assert error.errno == errno.ENOSPC and error.filename
            except Exception as error:  # before anything was trained: a sentence
                assert "No space left" in str(error) and n == 0
        assert_readable(directory)
        assert not (directory / files.COMPLETE).exists()
        train(directory, resume=(directory / files.CONFIG).exists())
        assert_same_run(reference, directory)
        assert (directory / files.COMPLETE).exists()
        shutil.rmtree(directory)
    assert n > 15
