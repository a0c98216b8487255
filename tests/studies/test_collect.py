"""What the parts of a study have measured, joined."""

import numpy as np
import pytest

from jaxq.config import Config, HParams
from jaxq.runs import files
from jaxq.scoring.protocol import lane_protocols
from jaxq.studies.study import Part, Study, collect, part_directory


def test_a_study_says_the_protocol_of_every_setting(tmp_path):
    """Not that of its first part: what settings do not share stands beside each."""
    settings = [{"env_kwargs": ("size=10",)}, {"env_kwargs": ("size=20",)}]
    parts = [Part((lane,), (0, 1), batch=2, steps=10) for lane in range(2)]
    study = Study("a", Config(), HParams(), settings, (0, 1), 10, (), parts)
    shared = {"environment": "DeepSea-bsuite", "evaluation": "greedy"}
    curve = np.ones((1, 2, 1))
    for index, setting in enumerate(settings):
        directory = part_directory(tmp_path, index)
        directory.mkdir(parents=True)
        arrays = {name: curve for name in ("loss", "eval_value", "eval_return")}
        files.write_arrays(directory / files.METRICS, {"steps": np.array([10]), **arrays})
        protocol = {**shared, "env_kwargs": setting["env_kwargs"]}
        files.write_json(directory / files.SCORES, {"protocol": protocol, "lanes": [{}]})
    collect(tmp_path, study)
    scores = files.read_scores(tmp_path)
    assert scores["protocol"] == shared
    assert [p["env_kwargs"] for p in lane_protocols(scores)] == [["size=10"], ["size=20"]]


def test_what_all_parts_have_measured_is_joined(tmp_path):
    """A metric of somebody's own, too; not what only some have, counts, or single episodes."""
    parts = [Part((lane,), (0, 1), batch=2, steps=10 * (lane + 1)) for lane in range(2)]
    settings = [{"gamma": 0.5}, {"gamma": 0.9}]
    study = Study("a", Config(), HParams(), settings, (0, 1), 20, (), parts)
    for index, part in enumerate(parts):
        directory = part_directory(tmp_path, index)
        directory.mkdir(parents=True)
        names = ("loss", "eval_value", "eval_return", "churn", *["alone"][index:])
        arrays = {name: np.full((1, 2, 1), 1.0 + index, np.float32) for name in names}
        arrays |= {"steps": np.array([part.steps]), "episodes": np.ones((1, 2, 1), int)}
        arrays |= {"eval_returns": np.ones((1, 2, 1, 3)), "hparams/gamma": np.ones((1, 2, 1))}
        files.write_arrays(directory / files.METRICS, arrays)
        files.write_json(directory / files.SCORES, {"protocol": {}, "lanes": [{}]})
    collect(tmp_path, study)
    arrays = files.read_arrays(tmp_path / files.METRICS)
    assert set(arrays) == {"steps", "loss", "eval_value", "eval_return", "churn"}
    nan = np.nan
    np.testing.assert_array_equal(arrays["churn"], [[[1, nan]] * 2, [[nan, 2]] * 2])


def collected(place, settings, *parts, **curves):
    """The scores of a study of gamma on seeds 0 and 1, whose parts have measured these returns
    [H, S, T]; a member whose last return is below 0 has diverged there."""
    seeds, steps = (0, 1), max(part.steps for part in parts)
    named = [{"gamma": gamma} for gamma in settings]
    study = Study("a", Config(), HParams(), named, seeds, steps, (), list(parts))
    for index, part in enumerate(parts):
        directory = part_directory(place, index)
        directory.mkdir(parents=True)
        returns = np.array(curves[f"part_{index}"], float)
        loss = np.where(returns < 0.0, np.nan, 1.0)
        arrays = {"eval_return": np.abs(returns), "loss": loss, "eval_value": np.ones_like(loss)}
        times = part.steps - 10 * np.arange(returns.shape[-1])[::-1]
        files.write_arrays(directory / files.METRICS, {"steps": times, **arrays})
        lanes = [{}] * len(part.settings)
        files.write_json(directory / files.SCORES, {"protocol": {}, "lanes": lanes})
    return collect(place, study)


def test_a_seed_that_diverged_is_named_and_its_setting_is_not_the_best(tmp_path):
    """In another part than the rest of its setting, under its own seed."""
    parts = [Part((0, 1), (seed,), batch=2, steps=20) for seed in (0, 1)]
    returns = {"part_0": [[[1, 1]], [[99, 99]]], "part_1": [[[1, 1]], [[99, -99]]]}
    scores = collected(tmp_path, [0.5, 0.9], *parts, **returns)
    first, second = scores["lanes"]
    assert (first["diverged"], second["diverged"]) == ({}, {"1": 20}) and scores["best"] == 0
    assert (
        second["iqm"] == 99.0
    )  # of the seed that is left, which one in four resamples draws twice
    assert first["chosen"] == pytest.approx(0.75, abs=0.03)


def test_a_setting_that_was_cut_has_the_scores_of_its_last_evaluation(tmp_path):
    """And is neither the best nor ever chosen, however good it was."""
    parts = [Part((0, 1), (0, 1), batch=4, steps=10), Part((1,), (0, 1), batch=2, steps=20)]
    returns = {"part_0": [[[9]] * 2, [[1]] * 2], "part_1": [[[2]] * 2]}
    scores = collected(tmp_path, [0.5, 0.9], *parts, **returns)
    cut, whole = scores["lanes"]
    assert cut["per_seed"] == [9.0, 9.0] and cut["cut"] and cut["steps"] == 10
    assert whole["per_seed"] == [2.0, 2.0] and not whole["cut"] and scores["best"] == 1
    assert "chosen" not in cut and whole["chosen"] == 1.0
