"""What people type: whole numbers, switches, and options as other libraries call them."""

import dataclasses
import os
from pathlib import Path

import pytest
import tyro

from jaxq.cli.words import _ELSEWHERE, _SCRIPTS, parse_whole, read
from jaxq.config import Config, HParams, field_names
from jaxq.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Inner:
    num_envs: int = 1
    widths: tuple[int, ...] = (120, 84)
    learning_rate: float = 1e-3
    dueling: bool = False


@dataclasses.dataclass(frozen=True)
class Options:
    inner: tyro.conf.OmitArgPrefixes[Inner] = Inner()
    steps: int | None = None
    gif: bool = True
    keep: tuple[int, ...] | None = None


@pytest.mark.parametrize(
    "words, expected",
    [
        ("--steps 1e6", Options(steps=1_000_000)),
        ("--steps=2_000", Options(steps=2_000)),
        ("--steps None", Options()),
        ("--steps 3 --steps None", Options()),
        ("--steps 3 --gif --steps=4", Options(steps=4)),
        ("--num-envs 8.0", Options(Inner(num_envs=8))),
        ("--num_envs -3", Options(Inner(num_envs=-3))),
        ("--widths 1e2 64", Options(Inner(widths=(100, 64)))),
        ("--widths 100x64 --gif", Options(Inner(widths=(100, 64)))),
        ("--dueling=True", Options(Inner(dueling=True))),
        ("--dueling true --no-gif", Options(Inner(dueling=True), gif=False)),
        ("--dueling --gif False", Options(Inner(dueling=True), gif=False)),
        ("--gif=no", Options(gif=False)),
        ("--learning_rate -1", Options(Inner(learning_rate=-1.0))),
    ],
)
def test_what_can_be_meant_in_one_way_only(words, expected):
    assert read(Options, words.split()) == expected


@pytest.mark.parametrize(
    "words, message",
    [
        ("--lr 1e-3", "option=lr does not exist; did you mean learning-rate?"),
        ("--total_timesteps=9", "option=total-timesteps does not exist; did you mean steps?"),
        ("--num-env 3", "option=num-env does not exist; did you mean num-envs"),
        ("--no-duelling", "option=no-duelling does not exist"),
        ("--no-steps", "option=no-steps does not exist"),
        ("--plan", "option=plan does not exist here; it is one of sweep.py."),
        ("--widths 3 --gif --widths=4", "option=widths is given twice; all its values follow"),
        ("--keep 0 --keep 1", "option=keep is given twice; all its values follow"),
        ("--gif=perhaps", "gif=perhaps must be true or false"),
    ],
)
def test_what_cannot_be_is_one_sentence(words, message):
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        read(Options, words.split())


@pytest.mark.parametrize("words", ["--steps 1.5", "--steps 1e-3", "--num-envs inf", "--steps x"])
def test_what_is_no_whole_number_is_refused_with_its_option(words, capsys):
    with pytest.raises(SystemExit) as caught:
        read(Options, words.split())
    assert caught.value.code == 2 and words.split()[0] in capsys.readouterr().err


def test_help_shows_what_an_option_takes(capsys):
    """Trap: `{None}|INT`, which nobody types."""
    with pytest.raises(SystemExit):
        read(Options, ["--help"])
    shown = capsys.readouterr().out
    assert "--steps INT" in shown and "{None}" not in shown


@pytest.mark.parametrize("columns", ["1", "3", "20"])
def test_help_in_a_narrow_terminal_is_as_wide_as_it_must_be(columns, monkeypatch, capsys):
    """Trap: with three columns it never ended, with twenty it was a letter a line."""
    monkeypatch.setenv("COLUMNS", columns)
    with pytest.raises(SystemExit):
        read(Options, ["--help"])
    assert "--steps INT" in capsys.readouterr().out and os.environ["COLUMNS"] == columns


def test_a_path_is_not_empty(capsys):
    """Trap: `--out "$UNSET"` was this directory."""

    @dataclasses.dataclass(frozen=True)
    class Places:
        out: Path | None = None

    assert read(Places, ["--out", "a b"]) == Places(Path("a b"))
    with pytest.raises(SystemExit):
        read(Places, ["--out", ""])
    assert "a path is not empty" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["1.5", "nan", "inf", "1e", ""])
def test_whole_numbers_only(text):
    with pytest.raises((ValueError, OverflowError)):
        parse_whole(text)


def test_names_from_elsewhere_stand_for_names_that_exist_here():
    here = {name.replace("_", "-") for name in (*field_names(Config), *field_names(HParams))}
    assert set(_ELSEWHERE) <= here | {"steps", "seeds", "first-seed", "track", "out", "resume"}
    words = [word for words in _ELSEWHERE.values() for word in words.split()]
    assert len(words) == len(set(words)) and not here & set(words)


def test_options_that_are_said_to_be_of_one_script_are_of_that_one_alone():
    root = Path(__file__).resolve().parents[2]
    texts = {script: (root / "experiments" / script).read_text() for script in _SCRIPTS}
    texts["train.py"] += (root / "jaxq" / "cli" / "main.py").read_text()
    for script, options in _SCRIPTS.items():
        for option in options.split():
            field = f"\n    {option.replace('-', '_')}: "
            assert [name for name, text in texts.items() if field in text] == [script], option


def test_a_word_that_belongs_to_nobody_is_left_to_who_asks_for_it():
    options, rest = read(Options, "--nonsense --steps 3".split(), return_unknown_args=True)
    assert options == Options(steps=3) and rest == ["--nonsense"]
