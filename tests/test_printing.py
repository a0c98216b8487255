"""Text for people: what cannot be written stops nothing."""

import io
import sys

import pytest
from rich.console import Console

from jaxq.printing import check_written, escape, make_console


class Broken(io.StringIO):
    encoding = "utf-8"

    def write(self, *text):
        raise BrokenPipeError(32, "Broken pipe")

    flush = write


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_stream_that_is_gone_is_nobodys_concern(stream, monkeypatch):
    """Trap: `| head -1` ended a training."""
    monkeypatch.setattr(sys, stream, Broken())
    console = make_console(stderr=stream == "stderr")
    console.print("[bold]3 steps[/]")
    console.print("4 steps")
    with pytest.raises(BrokenPipeError, match="standard output"):
        check_written(console)


def test_what_is_written_is_not_lost(capsys):
    console = make_console()
    console.print("3 steps")
    check_written(console)
    check_written(Console(quiet=True))


def test_a_stream_that_is_closed_is_as_well(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    console = make_console()
    stream.close()
    console.print("3 steps")


def test_what_an_encoding_does_not_have_is_a_question_mark(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    console = make_console()
    console.print("3 ± 1")
    sys.stdout.flush()
    assert raw.getvalue() == b"3 ? 1\n"


def test_no_columns_are_not_known_ones(monkeypatch, capsys):
    """Trap: with COLUMNS=0 nothing was shown at all."""
    monkeypatch.setenv("COLUMNS", "0")
    make_console().print("3 steps")
    assert capsys.readouterr().out == "3 steps\n"


def test_words_from_outside_are_no_markup(capsys):
    make_console().print(f"[bold]{escape('R[lr] [/nope]')}[/]")
    assert capsys.readouterr().out == "R[lr] [/nope]\n"


def test_control_characters_from_outside_are_seen(capsys):
    """Trap: network=mlp does not exist; did you mean mlp? It was typed with a Windows line end."""
    make_console().print(escape("mlp\r \x1b[31m é"))
    assert capsys.readouterr().out == "mlp\\r \\x1b[31m é\n"


def test_output_that_was_closed_from_outside_is_no_error(monkeypatch):
    """As by ``>&-``: Python then has no stream at all."""
    monkeypatch.setattr(sys, "stdout", None)
    make_console().print("unheard")
