"""Signals that ask a run to end, collected until it can, and answered at once.

While a program runs, Python's own handlers wait for it; so a thread hears of signals as soon as
they come, and says what will happen.
"""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

# Ctrl-C, a scheduler's end, a closed window, a cluster's warnings (Grid Engine's last one is
# SIGUSR2), the end of its time; Windows has the first two.
_CAUGHT = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
    if hasattr(signal, name)
)
_PATIENCE = 2.0  # seconds for a second signal to end the process as usual
_SHOW_CURSOR = "\x1b[?25h"  # which a progress bar hides


class Interrupted(Exception):
    """A signal stopped the run between two chunks; everything is saved."""

    def __init__(self, signum: int, steps: int):
        super().__init__(f"Stopped by {signal.Signals(signum).name} at step {steps:,}")
        self.exit_code = 128 + signum


@contextmanager
def catch_signals() -> Iterator[list[signal.Signals]]:
    """Collect what asks to end instead of dying; the same signal once more ends at once.

    A signal that the process was started to ignore, as ``nohup`` does, stays ignored. Outside the
    main thread, which alone receives signals, nothing is changed.
    """
    caught: list[signal.Signals] = []
    handlers = {}

    def handle(signum, frame):
        caught.append(signal.Signals(signum))
        signal.signal(signum, handlers[signum])

    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    try:
        for number in _CAUGHT:
            if signal.getsignal(number) is not signal.SIG_IGN:
                handlers[number] = signal.signal(number, handle)
        with _answering(handlers):
            yield caught
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextmanager
def _answering(numbers) -> Iterator[None]:
    """Say at once what a signal does, while the main thread may be busy with a program."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    thread = threading.Thread(target=_answer, args=(ours, frozenset(numbers)), daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        theirs.close()
        thread.join()
        ours.close()


def _answer(signals: socket.socket, numbers: frozenset[int]) -> None:
    """Until the other end is closed, which says that the run has ended."""
    seen: list[int] = []
    while byte := signals.recv(1):
        number = byte[0]
        if number not in numbers:
            continue
        name = signal.Signals(number).name
        if number not in seen:
            _say(
                f"{name}: stopping after this chunk, or when this is compiled; the same again "
                f"stops at once and loses what came since the last checkpoint."
            )
        elif not _is_interactive():
            _say(f"{name}: stopping at once.{_SHOW_CURSOR}")
            signals.settimeout(_PATIENCE)
            end = time.monotonic() + _PATIENCE
            with suppress(TimeoutError):
                while time.monotonic() < end:
                    if not signals.recv(1):
                        return
            os._exit(128 + number)  # the main thread is in a program, and cannot be reached
        seen.append(number)


def _is_interactive() -> bool:
    """Whether somebody would lose more than this run with the process."""
    return hasattr(sys, "ps1") or "ipykernel" in sys.modules


def _say(text: str) -> None:
    """Write without anything that the main thread may hold."""
    with suppress(OSError):  # nobody reads it
        os.write(2, f"\n{text}\n".encode())
