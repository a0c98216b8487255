"""Studies: which part trains what, and what the parts have found together."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from common import SMALL, SMALL_HPARAMS
from rich.console import Console

from jaxq.errors import ConfigError
from jaxq.reports.sources import read_all
from jaxq.runs import files as results
from jaxq.runs.runner import Spread
from jaxq.studies import cutting, executors, searches
from jaxq.studies import study as studies
from jaxq.studies.spaces import Choice, Range, space_document
from jaxq.studies.study import Part, Study

pytestmark = pytest.mark.usefixtures("shared_programs", "compiled_quickly")

SETTINGS = [
    {"learning_rate": rate, "widths": widths} for widths in ((16,), (8,)) for rate in (1e-4, 1e-3)
]


def study_of(settings=SETTINGS, seeds=(0, 1), steps=240, **search) -> Study:
    search = {"kind": "fixed", **search}
    return Study("small", SMALL, SMALL_HPARAMS, settings, seeds, steps, (2, 3), search=search)


def covered(parts) -> set:
    return {(setting, seed) for part in parts for setting in part.settings for seed in part.seeds}


@pytest.mark.parametrize("num_parts", [1, 2, 3, 8])
def test_parts_cover_every_member_once(num_parts):
    study = study_of(seeds=(3, 4, 5))
    parts = cutting.cut(study, range(4), 240, num_parts)
    assert covered(parts) == {(setting, seed) for setting in range(4) for seed in (3, 4, 5)}
    assert sum(len(part.settings) * len(part.seeds) for part in parts) == 12
    for part in parts:  # one program each
        assert len({study.settings[index]["widths"] for index in part.settings}) == 1
    for program in ((0, 1), (2, 3)):
        assert len({part.batch for part in parts if set(part.settings) & set(program)}) == 1
    if num_parts == 1:
        assert len(parts) == 2


def test_what_does_not_fit_at_once_is_cut_into_more_parts(monkeypatch):
    monkeypatch.setattr(cutting, "most_members", lambda size, num_devices: 3)
    parts = cutting.cut(study_of(settings=SETTINGS[:2], seeds=(0, 1, 2, 3)), range(2), 240)
    assert max(len(part.settings) * len(part.seeds) for part in parts) <= 3
    assert covered(parts) == {(s, seed) for s in range(2) for seed in range(4)}


def test_whole_settings_and_whole_batches_fit(monkeypatch):
    """Trap: two settings beside one, or a batch that is padded, were refused and not cut again."""
    study = study_of(settings=[{"learning_rate": r / 1e4} for r in (1, 2, 3)], seeds=(0, 1, 2, 3))
    monkeypatch.setattr(cutting, "most_members", lambda size, num_devices: 6)
    parts = cutting.cut(study, range(3), 240)
    assert [len(part.settings) * len(part.seeds) for part in parts] == [4, 4, 4]
    make_plan, asked = cutting.make_plan, []

    def padded(num_members, *how):
        asked.append(num_members)
        if num_members > 2:
            raise ConfigError("members=4 need more.")
        return make_plan(num_members, *how)

    monkeypatch.setattr(cutting, "make_plan", padded)
    parts = cutting.cut(study, range(3), 240)
    assert covered(parts) == {(s, seed) for s in range(3) for seed in range(4)}
    assert max(asked) == 4 and asked[-1] == 2


def test_survivors_that_are_fewer_than_a_batch_are_not_filled_up():
    study = study_of()._replace(parts=[Part((0, 1), (0, 1), 4, 240), Part((2, 3), (0, 1), 2, 240)])
    parts = cutting.go_on(study, [1, 2, 3], 340, [0, 1])
    assert parts == [Part((1,), (0, 1), 2, 340, 0), Part((2, 3), (0, 1), 2, 340, 1)]


def test_a_part_that_cannot_be_read_is_one_sentence(tmp_path):
    with pytest.raises(ConfigError, match=r"part=.*metrics\.npz cannot be read"):
        studies._measured(tmp_path, 0)


def test_a_study_describes_an_environment_that_is_no_function(tmp_path, monkeypatch):
    """Trap: every sweep over a RawEnv was refused."""
    text = "import jaxq\nENV = jaxq.RawEnv(2, reset=len, step=max)\n"
    (tmp_path / "an_environment.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    study = study_of()._replace(config=replace(SMALL, env="an_environment:ENV"))
    assert list(study.described()) == ["an_environment:ENV"]


def test_parts_by_seeds_keep_all_settings_together():
    study = study_of(settings=SETTINGS[:2], seeds=(0, 1, 2))
    parts = cutting.cut(study, range(2), 240, 2, by_seeds=True)
    assert [part.settings for part in parts] == [(0, 1), (0, 1)]
    assert [part.seeds for part in parts] == [(0, 1), (2,)]


def test_a_study_survives_its_file(tmp_path):
    study = study_of()._replace(parts=[Part((0, 1), (0, 1), 2, 240), Part((2,), (0,), 1, 240, 0)])
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / ".study.json").write_text('{"na')  # of a process killed as it wrote
    studies.create(tmp_path / "study", study)
    assert studies.read_study(tmp_path / "study") == study
    with pytest.raises(ConfigError, match="holds another"):
        studies.create(tmp_path / "study", study)
    with pytest.raises(ConfigError, match=r"holds no study\.json"):
        studies.read_study(tmp_path)
    (tmp_path / "study" / results.STUDY).write_text('{"name": 3}')
    with pytest.raises(ConfigError, match="cannot be read"):
        studies.read_study(tmp_path / "study")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"seeds": [1, 2]}, r"seeds=\[1, 2\] lack \[0\], which its parts have"),
        ({"seeds": [0, "1"]}, r"seeds=\[0, '1'\] are not all whole numbers"),
        ({"fresh_seeds": "x"}, "fresh_seeds=x are not all whole numbers"),
        ({"search": {}}, r"search=\{\} has no kind"),
        ({"name": None}, "name=None is no text"),
        ({"made_of": None}, "made_of=None does not describe functions by name"),
    ],
)
def test_a_file_that_was_edited_by_hand_is_one_sentence(changes, message, tmp_path):
    study = study_of()._replace(parts=[Part((0, 1), (0, 1), 2, 240)])
    studies.create(tmp_path / "study", study)
    path = tmp_path / "study" / results.STUDY
    results.write_json(path, {**results.read_json(path), **changes})
    with pytest.raises(ConfigError, match=rf"study={path} cannot be read: {message}"):
        studies.read_study(tmp_path / "study")


def train(directory, study, indices):
    executors.HERE.train(directory, study, indices, Spread(num_devices=1), Console(quiet=True))


def trained(directory, study, num_parts):
    search = searches.search_of(study)

    def cut(study, indices, steps):
        return cutting.cut(study, indices, steps, num_parts, 2, 1, search.moves)

    study = study._replace(parts=search.begin(study, cut))
    studies.create(directory, study)
    study = search.go_on(directory, study, partial(train, directory), cut)
    return study, studies.collect(directory, study)


@pytest.mark.slow
def test_what_is_found_does_not_depend_on_the_parts(tmp_path):
    _, whole = trained(tmp_path / "whole", study_of(), 1)
    study, pieces = trained(tmp_path / "pieces", study_of(), 2)
    assert len(study.parts) == 4 and whole == pieces
    for name in ("metrics.npz", "lanes.csv"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "pieces" / name).read_bytes()
    arrays = results.read_arrays(tmp_path / "whole" / results.METRICS)
    assert arrays["eval_return"].shape == (4, 2, 2) and arrays["steps"].tolist() == [140, 240]
    ranking = [lane["iqm"] for lane in whole["lanes"]]
    assert ranking[whole["best"]] == max(ranking)
    with np.load(tmp_path / "whole/parts/001/metrics.npz") as part:
        np.testing.assert_array_equal(arrays["eval_return"][2:], part["eval_return"])
    row = (tmp_path / "whole" / "lanes.csv").read_text().splitlines()[1]
    assert row.startswith("0,0.0001,16,")


def test_halving_continues_the_survivors_as_if_they_had_never_stopped(tmp_path):
    """The same batch, so the same bits; the others keep the score they were cut at."""
    settings = [{"learning_rate": rate} for rate in (1e-2, 1e-3, 1e-4, 1e-5)]  # the best are last
    halved = study_of(settings, steps=640, kind="halving", eta=2)
    study, scores = trained(tmp_path / "halved", halved, 1)
    assert [len(part.settings) for part in study.parts] == [4, 2, 1]
    assert [part.steps for part in study.parts] == [240, 340, 640]
    _, whole = trained(tmp_path / "whole", study_of(settings, steps=640), 1)
    arrays = results.read_arrays(tmp_path / "whole" / results.METRICS)
    assert study.parts[1].settings != (0, 1)
    for before, after in zip(study.parts, study.parts[1:]):
        time = list(arrays["steps"]).index(before.steps)
        at = arrays["eval_return"][:, :, time].mean(axis=1)  # the IQM of two seeds
        gone = set(before.settings) - set(after.settings)
        assert min(at[list(after.settings)]) >= max(at[list(gone)])
    (last,) = study.parts[-1].settings
    assert scores["best"] == last
    assert scores["lanes"][last]["per_seed"] == whole["lanes"][last]["per_seed"]
    assert sorted(lane["steps"] for lane in scores["lanes"]) == [240, 240, 340, 640]
    (source,) = read_all([tmp_path / "halved"])
    (lane,) = source.lanes  # a report compares what was trained to the end
    assert lane.scores.tolist() == scores["lanes"][last]["per_seed"]
    ours, theirs = (
        results.read_arrays(tmp_path / name / results.METRICS)["loss"][last]
        for name in ("halved", "whole")
    )
    np.testing.assert_array_equal(ours, theirs)


def test_seeds_in_different_parts_are_one_lane_of_a_report(tmp_path):
    study, scores = trained(tmp_path / "study", study_of(SETTINGS[:1]), 2)
    assert [part.seeds for part in study.parts] == [(0,), (1,)]
    (source,) = read_all([tmp_path / "study"])
    (lane,) = source.lanes
    assert lane.scores.tolist() == scores["lanes"][0]["per_seed"]
    assert lane.curves["eval_return"].shape == (1, 2, 2)


def test_population_based_training_changes_numbers_within_their_range(tmp_path):
    settings = [{"learning_rate": rate} for rate in (1e-4, 3e-4, 1e-3, 3e-3)]
    space = {"learning_rate": Range(1e-4, 3e-3, log=True)}
    search = {"kind": "pbt", "every": 2, "space": space_document(space)}
    trained(tmp_path / "study", study_of(settings, steps=640, **search), 1)
    arrays = results.read_arrays(tmp_path / "study/parts/000/metrics.npz")
    rates = arrays["hparams/learning_rate"]  # [4, 2, 6]
    changed = (np.diff(rates, axis=-1) != 0).any(axis=(0, 1))  # [5]
    assert not changed[::2].any() and changed[1::2].any()  # after every second evaluation
    assert rates.min() >= np.float32(1e-4) and rates.max() <= np.float32(3e-3)
    gamma = arrays["hparams/gamma"]
    assert (gamma == np.float32(SMALL_HPARAMS.gamma)).all()
    mixed = study_of(SETTINGS, **search)
    with pytest.raises(ConfigError, match="must share one program"):
        searches.search_of(mixed).begin(mixed, lambda s, i, n: cutting.cut(s, i, n, 1, 2, 1, True))


@pytest.mark.slow
def test_population_based_training_rescues_a_diverged_member_and_its_replay(tmp_path):
    """It goes on as a whole copy; NaN priorities and memories would spoil the network again."""
    settings = [{"learning_rate": rate} for rate in (1e30, 3e-4, 1e-3, 3e-3)]
    space = {"learning_rate": Range(1e-4, 3e-3, log=True)}
    study = study_of(settings, steps=640, kind="pbt", every=1, space=space_document(space))
    prioritized = replace(SMALL, replay="prioritized")
    numbers = SMALL_HPARAMS._replace(priority_exponent=0.6)
    _, scores = trained(tmp_path / "study", study._replace(config=prioritized, hparams=numbers), 1)
    arrays = results.read_arrays(tmp_path / "study/parts/000/metrics.npz")
    assert not np.isfinite(arrays["loss"][0, :, 0]).any()
    assert np.isfinite(arrays["loss"][0, :, 2:]).all()
    assert scores["lanes"][0]["num_diverged"] == 0


@pytest.mark.slow
def test_population_based_training_resumes_to_the_same_bits(tmp_path):
    """Numbers are found again from the history, networks in the checkpoint."""
    settings = [{"learning_rate": rate} for rate in (1e-4, 3e-4, 1e-3, 3e-3)]
    space = {"learning_rate": Range(1e-4, 3e-3, log=True)}
    search = {"kind": "pbt", "every": 1, "space": space_document(space)}
    for name, stops in (("whole", (640,)), ("parts", (240, 440, 640))):
        for steps in stops:
            study = study_of(settings, steps=steps, **search)
            study = study._replace(parts=[Part((0, 1, 2, 3), (0, 1), 2, steps)])
            directory = tmp_path / name
            directory.mkdir(exist_ok=True)
            results.write_json(directory / results.STUDY, study.document())
            (directory / "parts/000/COMPLETE").unlink(missing_ok=True)
            train(directory, study, [0])
    whole, parts = (
        results.read_arrays(tmp_path / name / "parts/000/metrics.npz")
        for name in ("whole", "parts")
    )
    for name in whole:
        np.testing.assert_array_equal(whole[name], parts[name])


def test_a_space_is_tried_at_its_ends_before_a_search_begins():
    pytest.importorskip("optuna")
    space = {"gamma": Range(0.9, 1.5)}
    search = {"kind": "optuna", "space": space_document(space), "trials": []}
    study = study_of([], **search)
    with pytest.raises(ConfigError, match=r"gamma=1\.5 must be between 0 and 1"):
        searches.search_of(study).begin(study, cutting.cut)


def test_settings_are_refused_before_anything_is_made():
    wrong = study_of([{"batch_size": 16}, {"batch_size": 500}])
    with pytest.raises(ConfigError, match="capacity=200 must be at least 500"):
        cutting.cut(wrong, range(2), 240)
    assert replace(SMALL, batch_size=16) == SMALL


def test_a_file_does_not_decide_what_code_a_study_runs(tmp_path):
    """A name that a caller has given stays one; one that study.json gives is not resolved."""
    space = {"network": Choice(("somewhere:mine", "mlp"))}
    search = {"kind": "optuna", "space": space_document(space), "trials": []}
    study = study_of([{"backup": "greedy"}, {"backup": "somewhere:own"}], **search)
    assert study.functions() == ("somewhere:own", "somewhere:mine")
    studies.create(tmp_path, study)
    assert studies.read_study(tmp_path).functions() == ()
    assert studies.read_study(tmp_path, ["somewhere:own"]).functions() == ("somewhere:own",)
    assert studies.read_study(tmp_path, study.functions()).functions() == study.functions()
    assert searches.is_same(studies.read_study(tmp_path), study)


def test_a_search_is_told_scores_as_they_are_the_higher_the_better(tmp_path, monkeypatch):
    """Trap: with another sign Optuna would look for the worst setting."""
    told, gammas = [], [{"gamma": 0.5}, {"gamma": 0.9}]

    def tune(space, evaluate, **how):
        told.extend(evaluate(gammas, [0, 1]))

    def measured(directory, study):
        return {
            "lanes": [
                {"per_seed": [setting["gamma"]], "seeds": [0], "diverged": {}}
                for setting in study.settings
            ]
        }

    search = {"kind": "optuna", "space": space_document({"gamma": Range(0.1, 0.9)}), "trials": []}
    search |= {"num_trials": 2, "at_once": 2, "seed": 0}
    study = study_of([], **search)._replace(parts=[])
    studies.create(tmp_path, study)
    monkeypatch.setattr(searches, "tune", tune)
    monkeypatch.setattr(searches.studies, "collect", measured)
    cut = lambda study, lanes, steps: [Part(tuple(lanes), (0, 1), 2, steps)]  # noqa: E731
    searches.SEARCHES["optuna"].go_on(tmp_path, study, lambda *_: None, cut)
    assert told == [0.5, 0.9]
