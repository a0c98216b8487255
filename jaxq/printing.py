"""Text for people: consoles whose stream may vanish, and words from outside as they are."""

import io
import sys
from contextlib import suppress
from typing import Any, TextIO

from rich.console import Console
from rich.markup import escape

__all__ = ("escape", "make_console")


def make_console(stderr: bool = False) -> Console:
    """A console that never raises: what cannot be written is left out, and training goes on."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(file=_Patient(stream or io.StringIO()))  # None, if it was closed from outside


class _Patient:
    """A text stream to a pipe that may be closed, a disk that may be full, any encoding."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except UnicodeEncodeError as error:
            self._stream.write(text.encode(error.encoding, "replace").decode(error.encoding))
        except (OSError, ValueError):  # ValueError: it is closed
            pass
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
