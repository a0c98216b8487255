"""Reference results: what is kept of a run says the same, and seeds are added to it."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from common import SMALL, SMALL_HPARAMS
from conftest import ROOT
from rich.console import Console

import jaxq
from jaxq.config import Preset
from jaxq.errors import ConfigError
from jaxq.recipes import suites
from jaxq.recipes.presets import PRESETS
from jaxq.recipes.suites import SUITES, Cell
from jaxq.recipes.validation import validate
from jaxq.reports import reference as kept
from jaxq.reports.published import PUBLISHED, Published
from jaxq.reports.report import write_report
from jaxq.reports.sources import read_run
from jaxq.runs import files
from jaxq.runs.locking import hold
from jaxq.runs.runner import RunSpec, run

pytestmark = pytest.mark.usefixtures("no_figures", "compiled_quickly")

sys.path.insert(0, str(ROOT / "experiments"))
QUIET = Console(quiet=True)
SPEC = RunSpec("dqn-cartpole", SMALL, [SMALL_HPARAMS], [0, 1, 2, 3], steps=340)
HALVES = SPEC._replace(seeds=[2, 3]), SPEC._replace(seeds=[0, 1])


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """A run of four seeds, and two of two each, as they are kept."""
    made = []
    for spec in (SPEC, *HALVES):
        place = tmp_path_factory.mktemp("runs") / "run"
        run(spec, place, console=QUIET, spread=jaxq.Spread(batch=1))
        made.append(kept.as_cell(read_run(place), f"train {list(spec.seeds)}"))
    return made


def test_what_is_kept_comes_back_and_says_who_made_it(cells, tmp_path):
    kept.write_cell(tmp_path / "cell.npz", cells[0])
    back = kept.read_cell(tmp_path / "cell.npz")
    assert back.document == cells[0].document and back.scores == cells[0].scores
    assert set(back.arrays) == {"steps", "eval_return", "train_return", "eval_value", "loss"}
    for name, values in back.arrays.items():
        assert values.tobytes() == cells[0].arrays[name].tobytes()
        assert name == "steps" or (values.dtype == np.float32 and values.shape == (1, 4, 3))
    (session,) = back.meta["sessions"]
    assert session["command"] == "train [0, 1, 2, 3]" and session["versions"]["jax"]
    assert (tmp_path / "cell.npz").stat().st_size < 6_000


def test_a_file_whose_curves_do_not_fit_its_seeds_is_damaged(cells, tmp_path):
    path = tmp_path / "small.npz"
    for arrays in (
        {"loss": np.ones((1, 9, 2), np.float32)},
        {"steps": np.arange(99)},
    ):
        kept.write_cell(path, cells[0]._replace(arrays={**cells[0].arrays, **arrays}))
        with pytest.raises(ConfigError, match=r"cannot be read: .* is not of shape \[1, "):
            kept.read_cell(path)


def test_seeds_that_were_measured_apart_are_those_that_were_measured_together(cells):
    whole, late, early = cells
    joined = kept.joined(late, early)
    assert joined.document == whole.document
    for name in whole.arrays:
        assert joined.arrays[name].tobytes() == whole.arrays[name].tobytes(), name
    ours, theirs = joined.scores["lanes"][0], whole.scores["lanes"][0]
    assert ours["per_seed"] == theirs["per_seed"] and ours["seeds"] == [0, 1, 2, 3]
    assert ours["iqm"] == pytest.approx(theirs["iqm"], abs=1e-5)
    assert ours["iqm_95"] == pytest.approx(theirs["iqm_95"], abs=1e-5)
    assert ours["episodes_cut"] == theirs["episodes_cut"]
    assert joined.meta["command"] == "train [2, 3] && train [0, 1]"
    with pytest.raises(ConfigError, match="some of these seeds"):
        kept.joined(joined, early)
    with pytest.raises(ConfigError, match="measured with another steps"):
        kept.joined(late, early._replace(document={**early.document, "steps": 7}))


def test_what_a_manifest_says_is_what_the_joined_seeds_say(cells, tmp_path):
    """A seed that diverged is still named, and the hours of both are added."""
    _, late, early = cells
    loss = late.arrays["loss"].copy()
    loss[0, 0] = np.nan
    both = kept.joined(late._replace(arrays={**late.arrays, "loss": loss}), early)
    lane = both.scores["lanes"][0]
    assert list(lane["diverged"]) == ["2"] and lane["num_diverged"] == 1
    assert both.meta["seconds"] == late.meta["seconds"] + early.meta["seconds"]
    scores = {**both.scores, "lanes": [{**lane, "iqm": 3.0, "median": 2.0}]}
    described = kept._described(both._replace(scores=scores))
    assert described["iqm"] == 3.0 and described["iqm_95"] == lane["iqm_95"]
    assert described["diverged"] == lane["diverged"] and described["seeds"] == 4


def test_seeds_that_others_have_added_meanwhile_are_kept(cells, small_suite, tmp_path):
    """Trap: the file was read before an hour of training, and replaced after it."""
    _, late, early = cells
    for cell in (late, early):
        path = kept.keep("tiny", "small", cell, tmp_path)
    assert kept.read_cell(path).document["seeds"] == [0, 1, 2, 3]
    assert files.read_json(tmp_path / "tiny.json")["small"]["seeds"] == 4
    with hold(path.parent, ""), pytest.raises(ConfigError, match="by another process"):
        kept.keep("tiny", "small", late, tmp_path)


def test_a_run_that_went_on_elsewhere_says_so(cells):
    _, late, early = cells
    (session,) = late.meta["sessions"]
    went_on = {**late.meta, "sessions": [session, {**session, "commit": "another"}]}
    run = kept.as_cell(late._replace(meta=went_on), "train [2, 3]")
    assert [one["commit"] for one in run.meta["sessions"]] == [session["commit"], "another"]
    assert kept.joined(run, early).meta["command"] == "train [2, 3] && train [0, 1]"


def test_a_cell_from_before_a_number_existed_takes_more_seeds(cells):
    """Trap: a new field of the configuration would have closed every cell, after its training."""
    _, late, early = cells
    (lane,) = early.document["lanes"]
    lane, config = dict(lane), dict(early.document["config"])
    del lane["cql_weight"], config["max_duration"]
    before = early._replace(document={**early.document, "lanes": [lane], "config": config})
    assert kept.joined(before, late).document["seeds"] == [0, 1, 2, 3]
    with pytest.raises(ConfigError, match="measured with another cql_weight"):
        other = {**late.document["lanes"][0], "cql_weight": 2.0}
        kept.joined(before, late._replace(document={**late.document, "lanes": [other]}))
    with pytest.raises(ConfigError, match="measured with another extra"):  # which both have
        other = {**late.document["config"], "extra": {"depth": 3}}
        kept.joined(before, late._replace(document={**late.document, "config": other}))


@pytest.fixture
def small_suite(monkeypatch):
    preset = Preset("Small.", SMALL, SMALL_HPARAMS, steps=340, seeds=1)
    changed = preset._replace(hparams=SMALL_HPARAMS._replace(gamma=0.9))
    monkeypatch.setitem(PRESETS, "small", preset)
    suite = {"small": Cell("small", changed, seeds=3, at_once=2)}
    monkeypatch.setitem(SUITES, "tiny", suite)


def test_a_suite_is_measured_where_it_lacks_something(small_suite, tmp_path, monkeypatch):
    import reference as script

    asked = ["tiny", "--out", str(tmp_path / "data"), "--runs", str(tmp_path / "runs")]
    script.reference([*asked, "--seeds", "1"], QUIET)
    script.reference(asked, QUIET)
    names = sorted(path.name for path in (tmp_path / "runs" / "tiny").iterdir())
    assert names == ["small-0-0", "small-1-2"]
    (cell,) = jaxq.reference("tiny", tmp_path / "data").values()
    assert cell.document["seeds"] == [0, 1, 2] and cell.arrays["eval_return"].shape == (1, 3, 3)
    manifest = files.read_json(tmp_path / "data" / "tiny.json")["small"]
    commands = [run["command"] for run in manifest["runs"]]
    assert commands[1].startswith("python experiments/train.py small --steps 340 --seeds 2 --first")
    assert commands[1].endswith("--gamma 0.9") and manifest["seeds"] == 3
    before = (tmp_path / "data" / "tiny" / "small.npz").read_bytes()
    files.write_json(tmp_path / "data" / "tiny.json", {})  # as if killed before it was written
    script.reference(asked, QUIET)  # nothing is missing
    assert files.read_json(tmp_path / "data" / "tiny.json")["small"] == manifest
    assert script._in_a_row([3, 4, 6]) == [3, 4] and script._in_a_row([5]) == [5]
    assert (tmp_path / "data" / "tiny" / "small.npz").read_bytes() == before
    monkeypatch.setattr(kept, "DIRECTORY", tmp_path / "data")
    monkeypatch.setattr(kept.reference, "__defaults__", (tmp_path / "data",))
    page = tmp_path / "page.html"
    write_report([tmp_path / "runs" / "tiny" / "small-0-0"], page, "tiny")
    text = page.with_suffix(".md").read_text()
    assert "small (reference)" in text and commands[0] in text
    assert "what others have published" not in text
    theirs = Published("12 to 14", 500, 30, "Somebody 2020", "their network is larger")
    monkeypatch.setitem(PUBLISHED, "tiny", {"small": [theirs]})
    write_report([], page, "tiny", latex=True)
    text = page.with_suffix(".md").read_text()
    assert "# Report on the reference results of tiny" in text and "(reference)" not in text
    assert "| 340 | 3 | 12 to 14 | 500 | 30 | Somebody 2020 (their network is larger) |" in text
    assert page.with_suffix(".tex").is_file()
    other = SUITES["tiny"]["small"].preset._replace(steps=680)
    monkeypatch.setitem(SUITES["tiny"], "small", Cell("small", other, seeds=4))
    with pytest.raises(ConfigError, match="measured with another steps"):  # before it is trained
        script.reference(asked, QUIET)
    with pytest.raises(ConfigError, match="measured with another steps"):  # nor is nothing said
        script.reference([*asked, "--seeds", "3"], QUIET)
    assert len(list((tmp_path / "runs" / "tiny").iterdir())) == 2
    with pytest.raises(ConfigError, match="suite=tinny does not exist; did you mean tiny"):
        jaxq.reference("tinny")


@pytest.mark.parametrize("suite", SUITES)
def test_every_cell_of_a_suite_is_valid_and_named_after_its_preset(suite):
    for name, cell in suites.cells(suite).items():
        assert name == cell.name and name in PRESETS and cell.at_once <= cell.seeds
        validate(cell.preset.config, cell.preset.hparams)
        assert cell.preset.config == PRESETS[name].config  # so that a command can name it
    assert json.dumps(list(SUITES[suite]))


@pytest.mark.parametrize("suite", PUBLISHED)
def test_what_others_have_published_is_about_cells_of_the_suite(suite):
    assert set(PUBLISHED[suite]) <= set(SUITES[suite])


def test_a_method_on_cartpole_has_its_schedules_in_its_steps():
    preset = suites.on_cartpole("prioritized-dqn", 100_000)
    assert preset.steps == 100_000 and preset.hparams.epsilon_steps == 50_000
    assert preset.hparams.importance_exponent_steps == 100_000
    assert suites.on_cartpole("pqn").steps == 500_000
    assert suites.on_cartpole("noisy-dqn").hparams == PRESETS["noisy-dqn-cartpole"].hparams
    assert replace(preset.config) == PRESETS["prioritized-dqn-cartpole"].config
