"""A sweep in this process: what is asked for, what is found, what a script makes of words."""

import io
import shutil
from typing import NamedTuple

import numpy as np
import pytest
from commands import module_of
from common import SMALL, SMALL_HPARAMS, words_of
from rich.console import Console

from jaxq.config import Preset
from jaxq.errors import ConfigError
from jaxq.runs import files as results
from jaxq.runs.runner import Spread
from jaxq.studies import ending, executors, planning, searches, spaces, sweeping
from jaxq.studies import study as studies
from jaxq.studies.asking import make_study
from jaxq.studies.spaces import Range

pytestmark = pytest.mark.usefixtures("shared_programs", "compiled_quickly")

BASE = Preset("Small.", SMALL, SMALL_HPARAMS, steps=240, seeds=2)
GRID = {"learning_rate": [1e-4, 1e-2], "gamma": [0.9, 0.99]}
SPREAD = Spread(batch=2, num_devices=1)
RATES = {"learning_rate": Range(1e-4, 1e-2, log=True)}


class Swept(NamedTuple):
    directory: object
    scores: dict
    reports: list
    words: str


@pytest.fixture(scope="module")
def swept(tmp_path_factory, shared_programs, compiled_quickly):
    directory, reports = tmp_path_factory.mktemp("sweep") / "run", []
    console = Console(file=io.StringIO(), width=200)
    scores = sweeping.sweep(
        BASE,
        grid=GRID,
        directory=directory,
        spread=SPREAD,
        report=lambda study, scores: reports.append((study, scores)),
        console=console,
    )
    return Swept(directory, scores, reports, console.file.getvalue())


def test_a_sweep_ends_with_scores_a_winner_and_figures(swept):
    assert swept.scores == results.read_scores(swept.directory)
    assert [lane["setting"] for lane in swept.scores["lanes"]] == spaces.grid(spaces.as_space(GRID))
    assert swept.scores["lanes"][0]["seeds"] == [0, 1]
    assert swept.scores["winner"]["seeds"] == [2, 3]
    best = swept.scores["lanes"][swept.scores["best"]]["setting"]
    winner = results.read_document(swept.directory / "winner")
    assert {name: winner["lanes"][0][name] for name in best} == best
    assert sum(lane["chosen"] for lane in swept.scores["lanes"]) == pytest.approx(1.0, abs=1e-5)
    assert "on 2 fresh seeds" in swept.words and "biased upwards" in swept.words
    rows = (swept.directory / results.TABLE).read_text().splitlines()
    assert rows[0].startswith("lane,learning_rate,gamma,iqm,low,high") and len(rows) == 5
    arrays = results.read_arrays(swept.directory / results.METRICS)
    assert arrays["eval_return"].shape == (4, 2, 2)
    for figure in ("sensitivity.png", "heatmap.png", "curves.png"):
        assert (swept.directory / figure).read_bytes().startswith(b"\x89PNG")
    assert executors.is_complete(swept.directory)


def test_lanes_that_were_evaluated_at_other_steps_are_lines():
    """Trap: on the steps of all, every other value is none, and nothing is drawn between."""
    returns = np.full((2, 3, 4), np.nan)
    returns[0, :, ::2], returns[1, :, 1::2] = 1.0, 2.0
    arrays = {"steps": np.array([10, 15, 20, 30]), "eval_return": returns}
    scored = [{"seeds": [7, 8, 9], "diverged": gone} for gone in ({}, {"9": 30})]
    first, second = (ending._curve(arrays, scored, lane) for lane in (0, 1))
    assert first["steps"].tolist() == [10, 20] and (first["eval_return"] == 1.0).all()
    assert second["steps"].tolist() == [15, 30]
    np.testing.assert_array_equal(second["eval_return"], [[[2, 2], [2, 2], [np.nan] * 2]])


def test_a_report_hears_of_all_settings_before_the_winner(swept):
    ((study, scores),) = swept.reports
    assert study == studies.read_study(swept.directory)
    assert "winner" not in scores and scores["lanes"] == swept.scores["lanes"]


def test_a_complete_sweep_is_not_trained_again(swept, monkeypatch):
    monkeypatch.setattr(executors, "run", pytest.fail)
    assert sweeping.sweep(resume=swept.directory) == swept.scores


def test_a_complete_sweep_is_open_while_its_scores_are_without_a_winner(
    swept, tmp_path, monkeypatch
):
    """Trap: killed at that moment, it was complete and had no fresh seeds for good."""
    copy = shutil.copytree(swept.directory, tmp_path / "copy")

    def kill(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(sweeping, "confirm", kill)
    with pytest.raises(KeyboardInterrupt):
        sweeping.sweep(resume=copy)
    assert not executors.is_complete(copy) and "winner" not in results.read_scores(copy)


def test_a_directory_is_not_swept_into_twice(swept):
    with pytest.raises(ConfigError, match="holds another"):
        sweeping.sweep(BASE, grid=GRID, directory=swept.directory, spread=SPREAD)


def test_whoever_follows_knows_the_study_it_was_asked_for(swept):
    def follow(directory, read, spread):
        assert read() == studies.read_study(directory)

    how = {"spread": SPREAD, "executor": executors.Executor(pytest.fail, 2, follow)}
    asked = make_study(BASE, grid=GRID)
    assert sweeping.carry_out(swept.directory, asked, **how) == swept.scores
    with pytest.raises(ConfigError, match="holds another sweep"):
        sweeping.carry_out(swept.directory, asked._replace(steps=300), **how)


def test_a_sweep_is_begun_or_resumed(tmp_path):
    with pytest.raises(ConfigError, match="base and directory, or resume"):
        sweeping.sweep("dqn-cartpole")
    with pytest.raises(ConfigError, match="steps=9 cannot be changed"):
        sweeping.sweep(resume=tmp_path, steps=9)


@pytest.mark.parametrize(
    "asked, message",
    [
        ({"grid": GRID, "random": 3, "space": RATES}, "random cannot be combined"),
        ({"random": 3, "sobol": 3, "space": RATES}, "random and sobol cannot be combined"),
        ({"random": 3}, "give both"),
        ({"space": RATES}, "give both"),
        ({"grid": {"gama": [1.0]}}, "did you mean gamma"),
        ({"grid": GRID, "halving": 2, "pbt": 2}, "halving, pbt and optuna"),
        ({"random": 0, "space": RATES}, "random=0 must be a whole number of at least 1"),
        ({"grid": GRID, "fresh_seeds": -1}, "fresh_seeds=-1"),
        ({"grid": GRID, "seeds": 0}, "seeds=0"),
        ({"grid": {"gamma": Range(0.5, 1.0)}}, "grid=gamma is a range"),
        ({"random": 3, "space": {"gamma": Range(1.0, 0.5)}}, "must go up"),
        ({"random": True, "space": RATES}, "random=True must be a whole number of at least 1"),
        ({"grid": ["gamma=0.9"]}, r"grid=\['gamma=0.9'\] must be a mapping of names to values"),
        ({"grid": "gamma=0.9"}, "grid=gamma=0.9 must be a mapping"),
        ({"grid": None}, "grid=None must be a mapping"),
        ({"grid": {1: [0.9]}}, "grid=1 must name a field"),
        ({"random": 3, "space": ["gamma=0.9..1"]}, r"space=\[.* must be a mapping"),
        ({"grid": GRID, "pbt_replay": "no"}, "pbt_replay=no must be true or false"),
        ({"grid": GRID, "seeds": -1}, "seeds=-1 must be a whole number of at least 1"),
        ({"grid": GRID, "name": 3}, "name=3 must be a text"),
    ],
)
def test_what_cannot_be_asked_for_is_one_sentence(asked, message):
    with pytest.raises(ConfigError, match=message):
        make_study(BASE, **asked)


@pytest.mark.parametrize(
    "asked, message",
    [
        ({"base": ["dqn-cartpole"]}, r"base=\['dqn-cartpole'\] must be the name of a preset"),
        ({"gird": GRID}, "argument=gird does not exist; did you mean grid"),
        ({"exekutor": executors.HERE}, "did you mean executor"),
        ({"executor": "ray"}, "executor=ray must be a jaxq Executor"),
        ({"report": "scores.txt"}, "report=scores.txt must be a function"),
        ({"num_parts": 0}, "num_parts=0"),
    ],
)
def test_what_a_sweep_is_not_made_of_is_one_sentence(asked, message, tmp_path):
    directory = tmp_path / "sweep"
    with pytest.raises(ConfigError, match=message):
        sweeping.sweep(**{"base": BASE, "directory": directory, "spread": SPREAD, **asked})
    assert not directory.exists()


def test_what_is_asked_for_is_a_study():
    study = make_study("dqn-cartpole", random=5, space=RATES, seeds=[3, 4], steps=20_000)
    assert study.name == "dqn-cartpole" and study.seeds == (3, 4) and study.fresh_seeds == (5, 6)
    assert len(study.settings) == 5 and study.search == {"kind": "fixed"}
    assert make_study(BASE, grid=GRID, fresh_seeds=0).fresh_seeds == ()
    assert make_study(BASE, grid={"gamma": [0.9]}).fresh_seeds == ()  # nothing is chosen
    assert make_study(BASE, grid={"env_params.length": [0.5, 1.0]}).fresh_seeds == ()
    evolving = make_study(BASE, random=4, space=RATES, pbt=2)
    assert evolving.fresh_seeds == () and searches.search_of(evolving).moves
    halving = make_study(BASE, grid=GRID, halving=2)
    assert halving.search == {"kind": "halving", "eta": 2}


@pytest.mark.parametrize("num_parts, duration", [(1, "17 min"), (8, "33 min")])
def test_a_plan_counts_every_member(num_parts, duration, monkeypatch):
    """4 settings x 2 seeds, two at a time or in parts of their own, 200 s after prefill; a quarter
    more for the best one on two fresh seeds."""
    cost = planning.Cost(1_000_000, 0, 0.0, 0.0, 1.0, 0.0)
    monkeypatch.setattr(planning, "measure", lambda *_: cost)
    how, study = {"spread": SPREAD, "num_parts": num_parts}, make_study(BASE, grid=GRID)
    words = words_of(lambda console: sweeping.plan(study, console, **how))
    assert "4 settings x 2 seeds" in words and "1 program to compile" in words
    assert f"about {duration} here" in words


def test_a_plan_needs_settings():
    pytest.importorskip("optuna")
    with pytest.raises(ConfigError, match="settings that are known"):
        sweeping.plan(make_study(BASE, optuna=4, space=RATES), Console(quiet=True))


@pytest.fixture(scope="module")
def script():
    return module_of("sweep.py")


def test_words_ask_for_the_same_as_data(script):
    words = "dqn-cartpole --seeds 2 --steps 20000 --batch 2 --grid gamma=0.9,0.99 --halving 2"
    options, study = script.parse(words.split())
    grid = {"gamma": (0.9, 0.99)}
    assert options.batch == 2
    assert study == make_study("dqn-cartpole", seeds=2, steps=20_000, grid=grid, halving=2)
    options, _ = script.parse("dqn-cartpole --grid gamma=0.9 --plan --for v5e".split())
    assert options.plan and options.for_ == "v5e"
    words = "dqn-cartpole --seeds 1 --sobol 4 --space learning_rate=log:1e-4..1e-2 --search-seed 1"
    _, study = script.parse(words.split())
    assert study == make_study("dqn-cartpole", seeds=1, sobol=4, space=RATES, search_seed=1)


@pytest.mark.parametrize(
    "words, message",
    [
        ("--resume somewhere --grid gamma=0.9", "grid="),
        ("dqn-cartpole --grid gama=1", "sweep=gama does not exist; did you mean gamma"),
        ("dqn-cartpole --grid gamma=0.9 --seeds 0", "seeds=0"),
        ("dqn-cartpole --grid gamma=0.9 --for v5e", "for=v5e says what fits there, and needs"),
    ],
)
def test_words_that_are_refused(script, words, message):
    with pytest.raises(ConfigError, match=message):
        script.parse(words.split())


@pytest.mark.parametrize(
    "words, message",
    [
        ("--distributed auto", "distributed needs --out"),
        ("--distributed=auto --out here --plan", "has no plan"),
        ("--distributed 127.0.0.1:1 --out here", "must be auto, or HOST:PORT,COUNT,INDEX"),
        ("--distributed auto --out here --heartbeat 0", "heartbeat=0"),
    ],
)
def test_processes_are_joined_before_anything_is_imported(script, words, message):
    """What a run is made of may use JAX when it is imported, and JAX must know of them before."""
    with pytest.raises(ConfigError, match=message):
        script.join([*"dqn-cartpole --env nowhere:Corridor".split(), *words.split()])


def test_one_setting_is_swept_from(script, swept):
    config = swept.directory / "parts" / "000" / results.CONFIG
    with pytest.raises(ConfigError, match="several lanes"):
        script.parse([str(config)])
    assert np.shape(results.read_document(config)["lanes"]) == (4,)
