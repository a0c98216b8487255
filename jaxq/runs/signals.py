"""SIGINT and SIGTERM, collected until a run can stop."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Interrupted(Exception):
    """A signal stopped the run between two chunks; everything is saved."""

    def __init__(self, signum: int, steps: int):
        super().__init__(f"stopped by {signal.Signals(signum).name} at step {steps:,}")
        self.exit_code = 128 + signum


@contextmanager
def catch_signals() -> Iterator[list[signal.Signals]]:
    """Collect SIGINT and SIGTERM instead of dying; a second one acts as usual."""
    caught: list[signal.Signals] = []
    handlers = {}

    def handle(signum, frame):
        caught.append(signal.Signals(signum))
        for number, handler in handlers.items():
            signal.signal(number, handler)

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            handlers[number] = signal.signal(number, handle)
    except ValueError:  # not in the main thread, which alone receives signals
        pass
    try:
        yield caught
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
