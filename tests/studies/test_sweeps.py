"""What is swept: text to values, values to settings, settings to configurations."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from jaxq.config import Config, HParams
from jaxq.errors import ConfigError
from jaxq.settings import (
    apply,
    describe,
    describe_all,
    differing,
    flatten,
    format_values,
    with_numbers,
)
from jaxq.studies.spaces import (
    Choice,
    Range,
    as_space,
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
        ("dense=plain,nois", "nois is not one of plain, noisy"),
        ("layer_norm=1..2", "only numbers have ranges"),
        ("support=1,2", "is not of the form"),
        ("env_kwargs=a,b", "cannot be swept"),
        ("env_params=1", "sweep=env_params does not exist"),
        ("alpha=0,1", r"does not exist; .*; extra\.alpha is a number of your own"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_space([text])


def test_pairs_of_numbers_are_values():
    (support,) = parse_space(["support=-10x10,0x99.5"]).values()
    assert support.values == ((-10.0, 10.0), (0.0, 99.5))


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


def test_settings_are_as_many_as_were_asked_for():
    near = parse_space(["gamma=0.999..0.9999"])
    assert len(sample(near, 64)) == 64
    settings = grid(parse_space(["gamma=0.999..0.9999/20"]))
    assert len(settings) == len(set(describe_all(settings))) == 20
    assert settings[0] == {"gamma": 0.999} and settings[-1] == {"gamma": 0.9999}


def test_evenly_spaced_decimals_are_round():
    assert parse_space(["gamma=0.1..0.5/5"])["gamma"].values == (0.1, 0.2, 0.3, 0.4, 0.5)
    decades = tuple(float(f"1e-{power}") for power in range(7, 0, -1))
    assert parse_space(["tau=log:1e-7..0.1/7"])["tau"].values == decades
    assert Range(0.0, 1.0).at(Fraction(1, 3)) == 1 / 3
    assert Range(10_000, 123_456, integer=True).at(1.0) == 123_456
    for low, high in ((0.99, 0.99999), (0.12346, 0.2)):
        assert Range(low, high, log=True).at(0.0) == low
        assert Range(low, high, log=True).at(1.0) == high


@pytest.mark.parametrize("log", [False, True])
def test_whole_numbers_at_the_ends_are_drawn_as_often_as_others(log):
    """Trap: rounded from between the ends they had half of their share."""
    values = Range(1, 4, log=log, integer=True)
    found = np.bincount([values.drawn(unit) for unit in np.linspace(0.0005, 0.9995, 1_000)])[1:]
    edges = np.array([0.5, 1.5, 2.5, 3.5, 4.5])
    shares = np.diff(np.log(edges) if log else edges)
    np.testing.assert_allclose(found, 1_000 * shares / shares.sum(), atol=1.0)
    assert [values.at(end) for end in (0.0, 1.0)] == [1, 4]


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
    few = parse_space(["batch_size=32,64", "n_step=1..2"])
    settings = sample(few, 32, sobol=sobol)
    assert len(settings) == 4 and all(settings.count(setting) == 1 for setting in settings)
    assert len(grid(parse_space(["n_step=1..3/5"]))) == 3


def test_a_setting_changes_structure_numbers_and_the_environment():
    setting = {"widths": (8,), "gamma": 0.5, "env_params.gravity": 9.0}
    config, hparams = apply(Config(), HParams(env_params={"length": 1.0}), setting)
    assert config.widths == (8,) and hparams.gamma == 0.5
    assert hparams.env_params == {"length": 1.0, "gravity": 9.0}
    assert differing([flatten(HParams()), flatten(hparams._replace(env_params={}))]) == ["gamma"]
    assert describe(setting) == "widths=8 gamma=0.5 gravity=9"


def test_a_space_survives_json():
    assert space_from_document(space_document(SPACE)) == SPACE


def test_labels_have_as_many_digits_as_tell_them_apart():
    assert format_values([0.000123456, 0.98765432]) == ["0.000123456", "0.9877"]
    assert format_values([0.98765432, 0.98765433, 0.5]) == ["0.98765432", "0.98765433", "0.5"]
    assert format_values([1, 1.0, True, (2, 3), 0.25]) == ["1", "1", "true", "2x3", "0.25"]
    settings = [{"gamma": 0.98765432, "env_params.size": 1.0}, {"gamma": 0.98765433}]
    assert describe_all(settings) == ["gamma=0.98765432 size=1", "gamma=0.98765433"]
    assert describe_all([]) == [] and describe_all([{}]) == [""]


def test_numbers_of_ones_own_are_lanes_and_structure_is_a_program_each():
    config = replace(Config(), extra=("depth=1", "kind=a"))
    space = parse_space(["extra.beta=1,2", "extra.depth=2,3"], config)
    assert space == {"extra.beta": Choice((1.0, 2.0)), "extra.depth": Choice(("2", "3"))}
    made, numbers = apply(config, HParams(extra={"alpha": 0.5}), grid(space)[1])
    assert made.extra == ("depth=3", "kind=a")
    assert numbers.extra == {"alpha": 0.5, "beta": 1.0}
    assert flatten(numbers)["extra.beta"] == 1.0 and "extra" not in flatten(numbers)
    assert with_numbers(HParams(), flatten(numbers)) == numbers
    assert describe({"extra.beta": 2.0}) == "beta=2"
    assert parse_space(["extra.depth=1..2"])["extra.depth"] == Range(1.0, 2.0)


def test_a_space_from_data():
    """As from the same words; a value is what its field says."""
    words = ["learning_rate=1e-4,0.3000000001", "widths=64,120x84", "layer_norm=true,false"]
    given = {
        "learning_rate": [1e-4, 0.3000000001],
        "widths": [(64,), (120, 84)],
        "layer_norm": [True, False],
    }
    assert as_space(given) == parse_space(words)
    assert as_space({"batch_size": Range(2, 4), "tau": "0.1..1"}) == {
        "batch_size": Range(2, 4, integer=True),
        "tau": Range(0.1, 1),
    }
    for wrong, message in (
        ({"gama": [1]}, "did you mean gamma"),
        ({"gamma": 0.5}, "must be a list"),
        ({"backup": Range(0, 1)}, "only numbers"),
        ({"batch_size": [1.5]}, "not of the form"),
    ):
        with pytest.raises(ConfigError, match=message):
            as_space(wrong)
