"""Signals are answered at once, whatever the main thread does."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from conftest import ROOT

from jaxq.runs.signals import catch_signals

# The main thread is busy without Python for a minute, as in a program of XLA.
BUSY = """
import hashlib
from jaxq.runs.signals import catch_signals
with catch_signals():
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 200_000_000)
"""


@pytest.fixture
def busy():
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_the_first_is_answered_and_the_second_ends_it(busy, number):
    """Trap: nothing on the screen for the minutes that a chunk takes, and then a second press."""
    busy.send_signal(number)
    assert busy.stderr.readline() == "\n"
    line = busy.stderr.readline()
    assert line.startswith(f"{signal.Signals(number).name}: stopping after this chunk, or when")
    assert "the same again stops at once and loses what came since" in line
    assert busy.poll() is None
    started = time.monotonic()
    busy.send_signal(number)
    # The first may come before the main thread is busy; then the second one's own handler is back.
    assert busy.wait(timeout=30) in (128 + number, -number)
    assert time.monotonic() - started < 10


def test_a_warning_and_the_end_after_it_are_two_signals(busy):
    """Trap: SIGTERM, a minute after a cluster's warning, would lose what the warning saves."""
    busy.send_signal(signal.SIGUSR1)
    busy.stderr.readline(), busy.stderr.readline()
    busy.send_signal(signal.SIGTERM)
    busy.stderr.readline()
    assert busy.stderr.readline().startswith("SIGTERM: stopping after this chunk")
    assert busy.poll() is None


def test_all_are_collected_and_given_back(capfd):
    names = "SIGINT SIGTERM SIGHUP SIGUSR1 SIGUSR2 SIGXCPU".split()
    numbers = [getattr(signal, name) for name in names]
    before = [signal.getsignal(number) for number in numbers]
    threads = threading.active_count()
    with catch_signals() as caught:
        for number in numbers:
            os.kill(os.getpid(), number)
        assert caught == numbers
    assert [signal.getsignal(number) for number in numbers] == before
    assert signal.set_wakeup_fd(-1) == -1 and threading.active_count() == threads
    assert capfd.readouterr().err.count("stopping after this chunk") == 6


def test_what_the_process_was_started_to_ignore_stays_ignored(capfd):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with catch_signals() as caught:
            os.kill(os.getpid(), signal.SIGHUP)
        assert not caught and not capfd.readouterr().err
    finally:
        signal.signal(signal.SIGHUP, before)


def test_another_thread_leaves_signals_alone():
    before, seen = signal.getsignal(signal.SIGINT), []

    def work():
        with catch_signals() as caught:
            seen.append(caught)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [[]] and signal.getsignal(signal.SIGINT) is before
