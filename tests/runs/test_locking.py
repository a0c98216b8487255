"""Who writes into a directory does so alone."""

import errno
import fcntl
import os
import stat
import subprocess
import sys

import pytest

from jaxq.errors import ConfigError
from jaxq.runs import files, locking


@pytest.mark.parametrize("is_file", [False, True])
def test_what_one_process_holds_another_finds_busy(is_file, tmp_path):
    path = tmp_path / "journal" if is_file else tmp_path
    if is_file:
        path.touch()
    code = (
        "import fcntl, os, sys; h = os.open(sys.argv[1], os.O_RDONLY);"
        "fcntl.flock(h, fcntl.LOCK_EX); print('held', flush=True); input()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code, str(path)], **pipes) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match="is busy"), locking.hold(path, f"{path} is busy."):
            raise AssertionError("two hold it")
        other.communicate("\n")
    with locking.hold(path, "never"):
        pass


def test_where_directories_cannot_be_locked_a_file_inside_is(tmp_path, monkeypatch):
    """As on NFS, which warned, and let two processes write into one run."""
    flock = fcntl.flock

    def as_on_nfs(handle, operation):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EBADF, "Bad file descriptor")
        flock(handle, operation)

    monkeypatch.setattr(locking.fcntl, "flock", as_on_nfs)
    run = tmp_path / "run"
    with locking.lock(run):
        with pytest.raises(ConfigError, match="written by another process"), locking.lock(run):
            raise AssertionError("two hold it")
        files.create(run, {"preset": "x"})  # it counts as empty
    with locking.lock(run):
        pass


def test_where_nothing_can_be_locked_it_is_said(tmp_path, monkeypatch):
    def no_locks(handle, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locking.fcntl, "flock", no_locks)
    with pytest.warns(UserWarning, match="cannot be locked: No locks"), locking.lock(tmp_path):
        pass
