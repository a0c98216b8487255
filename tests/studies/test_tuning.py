"""The search: better than luck, the same again, and whole after a kill."""

import json
import math
import sys

import numpy as np
import pytest

from jaxq.errors import ConfigError
from jaxq.studies import tuning
from jaxq.studies.spaces import Choice, Range
from jaxq.studies.tuning import JOURNAL, tune

optuna = pytest.importorskip("optuna")

SPACE = {"x": Range(-5.0, 5.0), "rate": Range(1e-5, 1e-1, log=True)}


def score(settings):
    """1 at x = 2, rate = 1e-3, and lower around."""
    return 1.0 - (settings["x"] - 2.0) ** 2 - math.log10(settings["rate"] / 1e-3) ** 2


def evaluate(settings, numbers):
    assert len(settings) == len(numbers)
    return [score(setting) for setting in settings]


def study_in(directory):
    storage = optuna.storages
    backend = storage.journal.JournalFileBackend(str(directory / JOURNAL))
    return optuna.load_study(study_name="jaxq", storage=storage.JournalStorage(backend))


def states_in(directory):
    return [trial.state.name for trial in study_in(directory).get_trials()]


def test_the_optimum_is_found_and_better_than_by_chance(tmp_path):
    found, by_chance = [], []
    for seed in range(3):
        trials = tune(
            SPACE, evaluate, num_trials=40, batch=4, directory=tmp_path / f"{seed}", seed=seed
        )
        assert len(trials) == 40
        assert all(trial.value == score(trial.settings) for trial in trials)
        found.append(max(trial.value for trial in trials))
        random = np.random.default_rng(seed)
        draws = zip(random.uniform(-5, 5, 40), 10 ** random.uniform(-5, -1, 40))
        by_chance.append(max(score({"x": x, "rate": rate}) for x, rate in draws))
    assert min(found) > 0.9
    assert np.mean(found) > np.mean(by_chance)


def test_batches_kinds_of_values_and_failures(tmp_path):
    space = {
        "rate": Range(1e-4, 1e-2, log=True),
        "width": Range(2, 5, integer=True),
        "name": Choice(("a", "b")),
    }
    seen = []

    def fails_on_b(settings, numbers):
        seen.append(numbers)
        for setting in settings:
            assert 1e-4 <= setting["rate"] <= 1e-2 and setting["name"] in ("a", "b")
            assert isinstance(setting["width"], int) and 2 <= setting["width"] <= 5
        ends = {"a": 1.0, "b": math.nan if numbers[0] else math.inf}
        return [ends[setting["name"]] for setting in settings]

    trials = tune(space, fails_on_b, num_trials=10, batch=4, directory=tmp_path)
    assert seen == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    failed = [trial.number for trial in trials if trial.settings["name"] == "b"]
    assert 0 < len(failed) < 10  # failures were trained to their end and count
    assert [trial.number for trial in trials if trial.value is None] == failed
    assert [n for n, state in enumerate(states_in(tmp_path)) if state == "PRUNED"] == failed


def test_the_same_seed_draws_the_same(tmp_path):
    def draws(name, seed):
        return tune(SPACE, evaluate, num_trials=16, batch=4, directory=tmp_path / name, seed=seed)

    assert draws("one", 0) == draws("two", 0) != draws("three", 1)


def test_trials_of_one_batch_keep_apart(tmp_path):
    """In the unit square, 0.13 from trial to trial of a batch; 0.05 without the constant liar."""
    square = {"x": Range(0.0, 1.0), "y": Range(0.0, 1.0)}

    def near_a_point(settings, numbers):
        return [-((s["x"] - 0.3) ** 2) - (s["y"] - 0.3) ** 2 for s in settings]

    trials = tune(square, near_a_point, num_trials=48, batch=12, directory=tmp_path)
    points = [(trial.settings["x"], trial.settings["y"]) for trial in trials[-12:]]
    apart = np.linalg.norm(np.array(points)[:, None] - points, axis=-1) + np.eye(12)
    assert apart.min(axis=1).mean() > 0.08


def stops_at(first):
    """``evaluate`` that dies in the batch that begins with trial ``first``."""

    def stopping(settings, numbers):
        if numbers[0] == first:
            raise KeyboardInterrupt
        return evaluate(settings, numbers)

    return stopping


def test_a_stopped_batch_is_stale_and_replaced(tmp_path):
    arguments = {"num_trials": 12, "batch": 4, "directory": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        tune(SPACE, stops_at(4), **arguments)
    assert states_in(tmp_path) == ["COMPLETE"] * 4 + ["RUNNING"] * 4
    trials = tune(SPACE, evaluate, **arguments)
    assert [trial.number for trial in trials] == [0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15]
    assert states_in(tmp_path) == ["COMPLETE"] * 4 + ["FAIL"] * 4 + ["COMPLETE"] * 8
    assert tune(SPACE, pytest.fail, **arguments) == trials  # nothing is left to train


def test_a_stopped_batch_that_can_continue_does_as_if_nothing_had_happened(tmp_path):
    whole = {"num_trials": 12, "batch": 4, "directory": tmp_path / "whole"}
    stopped = {**whole, "directory": tmp_path / "stopped"}
    with pytest.raises(KeyboardInterrupt):
        tune(SPACE, stops_at(8), **stopped)
    asked = []
    trials = tune(SPACE, evaluate, **stopped, can_continue=lambda n: not asked.append(n))
    assert asked == [[8, 9, 10, 11]]
    assert trials == tune(SPACE, evaluate, **whole)


def test_a_batch_stopped_between_two_of_its_scores_keeps_those_it_has_told(tmp_path):
    arguments = {"num_trials": 8, "batch": 4, "directory": tmp_path}

    class Dies:
        def __float__(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(SPACE, lambda *_: [0.5, math.nan, Dies(), 0.5], **arguments)
    assert states_in(tmp_path) == ["COMPLETE", "PRUNED", "RUNNING", "RUNNING"]
    trials = tune(SPACE, evaluate, **arguments, can_continue=lambda numbers: True)
    assert [trial.number for trial in trials] == list(range(8))
    assert trials[0].value == 0.5 and trials[1].value is None
    assert trials[2].value == score(trials[2].settings)


def test_a_journal_cut_short_goes_on(tmp_path):
    """A line half written and Optuna's lock, as a process leaves that is killed as it writes."""
    arguments = {"num_trials": 12, "batch": 4, "directory": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        tune(SPACE, stops_at(8), **arguments)
    journal = tmp_path / JOURNAL
    with open(journal, "a") as file:
        file.write('{"op_code":5,"worker')
    (tmp_path / (JOURNAL + ".lock")).symlink_to(journal)
    trials = tune(SPACE, evaluate, **arguments)
    assert len(trials) == 12
    assert states_in(tmp_path).count("FAIL") == 4
    assert all(json.loads(line) for line in journal.read_text().splitlines())


def test_a_directory_holds_one_study_of_one_process(tmp_path):
    arguments = {"num_trials": 4, "batch": 4, "directory": tmp_path}

    def intrudes(settings, numbers):
        with pytest.raises(ConfigError, match="by another process"):
            tune(SPACE, evaluate, **arguments)
        return evaluate(settings, numbers)

    tune(SPACE, intrudes, **arguments)
    with pytest.raises(ConfigError, match="a different space"):
        tune({"x": Range(-5.0, 6.0)}, evaluate, **arguments)
    with pytest.raises(ConfigError, match="a different seed"):
        tune(SPACE, evaluate, **arguments, seed=1)
    (tmp_path / JOURNAL).write_text("{no json\n{}\n")
    with pytest.raises(ConfigError, match="cannot be read"):
        tune(SPACE, evaluate, **arguments)


def test_values_of_a_choice_that_are_almost_equal_stay_apart(tmp_path):
    values = (0.1234567, 0.1234568)
    trials = tune(
        {"x": Choice(values)}, lambda s, n: [0.0] * 8, num_trials=8, batch=8, directory=tmp_path
    )
    assert {trial.settings["x"] for trial in trials} == set(values)


@pytest.mark.parametrize(
    "space, message",
    [
        ({}, "space is empty"),
        ({"x": Range(1.0, 1.0)}, "must go up"),
        ({"x": Range(0.0, math.inf)}, "must go up"),
        ({"x": Range(0.0, 1.0, log=True)}, "begins above 0"),
        ({"x": Range(0.5, 3.0, integer=True)}, "whole ends"),
        ({"x": Choice(())}, "each of them once"),
        ({"x": Choice((1.0, 1.0))}, "each of them once"),
    ],
)
def test_a_space_that_nothing_can_be_drawn_from(space, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        tune(space, evaluate, num_trials=1, batch=1, directory=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_without_optuna_it_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"pip install -e '\.\[tune\]'"):
        tuning.tune(SPACE, evaluate, num_trials=1, batch=1, directory=tmp_path)
