"""What is swept: text to values, values to settings, settings to configurations."""

import numpy as np
import pytest

from jaxq.config import Config, HParams
from jaxq.errors import ConfigError
from jaxq.settings import apply, describe, differing, flatten
from jaxq.studies.spaces import (
    Choice,
    Range,
    grid,
    parse_space,
    sample,
    space_document,
    space_from_document,
)

SPACE = parse_space(["learning_rate=log:1e-5..1e-1", "batch-size=16..64", "backup=greedy,double"])


def test_values_take_the_type_of_their_field():
    texts = ["gamma=0.9,1", "layer_norm=true,false", "widths=64,120x84", "env_params.gravity=9,12"]
    assert parse_space(texts) == {
        "gamma": Choice((0.9, 1.0)),
        "layer_norm": Choice((True, False)),
        "widths": Choice(((64,), (120, 84))),
        "env_params.gravity": Choice((9.0, 12.0)),
    }


def test_ranges():
    assert SPACE["learning_rate"] == Range(1e-5, 1e-1, log=True)
    assert SPACE["batch_size"] == Range(16, 64, integer=True)
    assert parse_space(["tau=log:0.001..1/4"])["tau"] == Choice((0.001, 0.01, 0.1, 1.0))
    assert parse_space(["gamma=0.5..1/3"])["gamma"] == Choice((0.5, 0.75, 1.0))


@pytest.mark.parametrize(
    "text, message",
    [
        ("learning_rat=1,2", "sweep=learning_rat does not exist; did you mean learning_rate"),
        ("gamma=0.9,big", "gamma=0.9,big is not of the form"),
        ("gamma=0.9,0.9", "a value is named twice"),
        ("gamma=0.9..1/0", "at least one value"),
        ("env=CartPole-v1,Acrobot-v1", "different tasks"),
        ("gamma=1..0.5", "a range rises"),
        ("tau=log:0..1", "begins above 0"),
        ("backup=greedy,doubl", "doubl is not one of greedy, double"),
        ("layer_norm=1..2", "only numbers have ranges"),
        ("support=1,2", "cannot be swept"),
        ("env_params=1", "sweep=env_params does not exist"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_space([text])


def test_a_grid_runs_through_the_last_name_fastest():
    settings = grid(parse_space(["gamma=0.9,0.99", "tau=0.1,1"]))
    assert [tuple(setting.values()) for setting in settings] == [
        (0.9, 0.1),
        (0.9, 1.0),
        (0.99, 0.1),
        (0.99, 1.0),
    ]
    assert grid({}) == [{}]
    with pytest.raises(ConfigError, match="grid=learning_rate is a range"):
        grid(SPACE)


def test_grids_become_lanes():
    settings = grid(parse_space(["learning-rate=1e-4,1e-3", "env_params.gravity=5,9.8"]))
    lanes = [apply(Config(), HParams(), setting)[1] for setting in settings]
    assert [(lane.learning_rate, lane.env_params["gravity"]) for lane in lanes] == [
        (1e-4, 5.0),
        (1e-4, 9.8),
        (1e-3, 5.0),
        (1e-3, 9.8),
    ]


def test_rounding_does_not_lead_out_of_a_range():
    assert Range(0.99, 0.99999).at(1.0) == 0.99999
    assert Range(10_000, 123_456, integer=True).at(1.0) == 123_456
    assert Range(0.12346, 0.2).at(0.0) == 0.1235 and Range(0.12344, 0.2).at(0.0) == 0.12344


@pytest.mark.parametrize("sobol", [False, True])
def test_samples_fill_their_space(sobol):
    settings = sample(SPACE, 64, seed=1, sobol=sobol)
    assert settings == sample(SPACE, 64, seed=1, sobol=sobol)
    assert settings != sample(SPACE, 64, seed=2, sobol=sobol)
    rates = np.array([setting["learning_rate"] for setting in settings])
    decades = np.histogram(np.log10(rates), bins=[-5, -4, -3, -2, -1])[0]
    assert decades.min() >= (16 if sobol else 5)  # a Sobol sequence has as many in each
    assert all(isinstance(s["batch_size"], int) and 16 <= s["batch_size"] <= 64 for s in settings)
    assert {setting["backup"] for setting in settings} == {"greedy", "double"}


@pytest.mark.parametrize("sobol", [False, True])
def test_no_setting_comes_twice(sobol):
    """Its seeds would be counted again, though they say nothing new."""
    few = parse_space(["batch_size=32,64", "window=1..2"])
    settings = sample(few, 32, sobol=sobol)
    assert len(settings) == 4 and all(settings.count(setting) == 1 for setting in settings)
    assert len(grid(parse_space(["window=1..3/5"]))) == 3


def test_a_setting_changes_structure_numbers_and_the_environment():
    setting = {"widths": (8,), "gamma": 0.5, "env_params.gravity": 9.0}
    config, hparams = apply(Config(), HParams(env_params={"length": 1.0}), setting)
    assert config.widths == (8,) and hparams.gamma == 0.5
    assert hparams.env_params == {"length": 1.0, "gravity": 9.0}
    assert differing([flatten(HParams()), flatten(hparams._replace(env_params={}))]) == ["gamma"]
    assert describe(setting) == "widths=8 gamma=0.5 gravity=9"


def test_a_space_survives_json():
    assert space_from_document(space_document(SPACE)) == SPACE
