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
