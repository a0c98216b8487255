"""Fields as options: all of them understood, those that have an effect shown."""

from dataclasses import replace

import pytest

from jaxq.cli.arguments import FIELDS, field_sentences, group_of, parse
from jaxq.cli.main import RunOptions
from jaxq.config import Config, HParams, Preset
from jaxq.documents import FromFile
from jaxq.errors import ConfigError
from jaxq.recipes.presets import PRESETS

PRESET = Preset("A preset.", Config(), HParams(extra={"alpha": 0.5}), 20_000, 2)


def words(text: str, preset: Preset = PRESET):
    return parse(text.split(), "train.py x", preset, RunOptions())


def test_every_field_has_one_group_and_a_sentence():
    assert set(group_of()) == set(FIELDS) == set(field_sentences())


def test_fields_options_and_numbers_of_ones_own():
    parsed = words("--seeds 3 --n-step 5 --gamma 0.9 --widths 8 4 --extra beta 2 depth=3")
    assert parsed.options.seeds == 3
    assert parsed.config == replace(Config(), n_step=5, widths=(8, 4), extra=("depth=3",))
    assert parsed.hparams == HParams(gamma=0.9, extra={"alpha": 0.5, "beta": 2})
    assert parsed.asked == parsed.typed == {"n_step", "gamma", "widths", "extra"}
    typed = words("--optimizer adam --no-dueling --gamma=0.99 --seeds 2").typed
    assert typed == {"optimizer", "dueling", "gamma"}  # at their defaults, and asked for
    with pytest.raises(ConfigError, match="extra=beta must be names and numbers in turn"):
        words("--extra beta")


def test_a_name_from_a_file_becomes_the_callers_when_he_says_it():
    preset = PRESET._replace(config=replace(Config(), agent=FromFile("m:f")))
    assert type(words("", preset).config.agent) is FromFile
    assert type(words("--trust m:f", preset).config.agent) is str
    assert type(words("--agent m:f", preset).config.agent) is str
    assert type(words("--trust m:g", preset).config.agent) is FromFile


def shown(name: str, text: str, capsys) -> str:
    with pytest.raises(SystemExit):
        words(text, PRESETS[name])
    return capsys.readouterr().out


def test_help_shows_what_has_an_effect(capsys):
    short = shown("dqn-cartpole", "--help", capsys)
    assert "--epsilon-steps" in short and "--capacity" in short
    for option in ("--num-atoms", "--td-lambda", "--memory", "--priority-exponent", "--tau-"):
        assert option not in short
    assert "--priority-exponent" in shown("dqn-cartpole", "--replay prioritized --help", capsys)
    assert "--num-atoms" in shown("dqn-cartpole", "--help-all", capsys)


def test_words_of_a_preset_stay_as_they_are_written():
    """Trap: a run made in Python with rate=1e-3 could not be gone on with by train.py."""
    preset = PRESET._replace(config=Config(extra=("rate=1e-3", "version='3'", "depth=2")))
    typed = lambda *words: parse(words, "prog", preset, RunOptions()).config.extra  # noqa: E731
    assert typed() == preset.config.extra
    assert typed("--extra", "depth=4", "rate=0.001", "name='5'") == (
        "rate=1e-3",
        "version='3'",
        "depth=4",
        "name='5'",
    )


def test_an_option_alone_drops_what_the_preset_has():
    """Parameters of its environment mean nothing to another one."""
    numbers = HParams(env_params={"length": 2.0}, extra={"alpha": 0.5})
    preset = PRESET._replace(hparams=numbers, config=Config(extra=("depth=2",)))
    found = parse(["--env-params", "--extra"], "prog", preset, RunOptions())
    assert (found.hparams.env_params, found.hparams.extra, found.config.extra) == ({}, {}, ())
