"""What the parts of a study have measured, joined."""

import numpy as np

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
