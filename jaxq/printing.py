"""Text for people: consoles whose stream may vanish, and words from outside as they are."""

import errno
import io
import os
import shutil
import sys
from collections.abc import Collection, Iterable
from typing import Any, TextIO

from rich.console import Console
from rich.markup import escape as _without_markup
from rich.table import Table

__all__ = ("add_columns", "check_written", "escape", "make_console")


def make_console(stderr: bool = False) -> Console:
    """A console that never raises: what cannot be written is left out, and training goes on."""
    stream, width = sys.stderr if stderr else sys.stdout, None
    if os.environ.get("COLUMNS") == "0":  # as inside some editors; rich would show nothing
        width = shutil.get_terminal_size().columns
    return Console(file=_Patient(stream or io.StringIO()), width=width)  # None, if it was closed


def escape(text: str) -> str:
    """Words from outside for a console that reads markup: as they are, control characters as Python
    writes them, so that a name with the end of a Windows line is not mistaken for another."""
    shown = (c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)
    return _without_markup("".join(shown))


def add_columns(table: Table, names: Iterable[str], left: Collection[str]) -> None:
    """Columns of numbers and, to the ``left``, of words; in a narrow terminal they are folded, and
    nothing is cut."""
    for name in names:
        table.add_column(name, justify="left" if name in left else "right", overflow="fold")


def check_written(console: Console) -> None:
    """Refuse to have printed for nobody, where what is printed is the only result.

    Raises:
      OSError: something that was printed on a ``make_console`` could not be written.
    """
    if lost := getattr(console.file, "lost", None):
        raise OSError(lost, os.strerror(lost), "standard output")


class _Patient:
    """A text stream to a pipe that may be closed, a disk that may be full, any encoding."""

    def __init__(self, stream: TextIO):
        self.lost = 0  # number of the error with which something was
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            self._try("write", text)
        except UnicodeEncodeError as error:
            self._try("write", text.encode(error.encoding, "replace").decode(error.encoding))
        return len(text)

    def flush(self) -> None:
        self._try("flush")

    def _try(self, what: str, *text: str) -> None:
        try:
            getattr(self._stream, what)(*text)
        except UnicodeEncodeError:
            raise
        except (OSError, ValueError) as error:  # ValueError: it is closed
            self.lost = getattr(error, "errno", None) or errno.EBADF

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
