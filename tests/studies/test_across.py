"""One setting for several environments: what is asked for, trained, chosen and shown."""

import io
from typing import NamedTuple

import numpy as np
import pytest
from common import SMALL, SMALL_HPARAMS
from rich.console import Console

from jaxq.config import Preset
from jaxq.errors import ConfigError
from jaxq.reports import sources, tuning
from jaxq.reports.report import write_report
from jaxq.reports.terminal import print_study
from jaxq.runs import files as results
from jaxq.runs.runner import Spread
from jaxq.scoring import cross
from jaxq.scoring.stats import Interval
from jaxq.studies import study as studies
from jaxq.studies import sweeping
from jaxq.studies.asking import make_study
from jaxq.studies.crossing import on_fresh_seeds

pytestmark = pytest.mark.usefixtures("shared_programs", "compiled_quickly")

BASE = Preset("Small.", SMALL, SMALL_HPARAMS, steps=240, seeds=2)
ENVS = ["Catch-bsuite", "CartPole-v1"]
GRID = {"learning_rate": [1e-4, 1e-2], "gamma": [0.9, 0.99]}
SPREAD = Spread(batch=2, num_devices=1)


class Swept(NamedTuple):
    directory: object
    scores: dict
    words: str


@pytest.fixture(scope="module")
def swept(tmp_path_factory, shared_programs, compiled_quickly):
    directory = tmp_path_factory.mktemp("across") / "run"
    console = Console(file=io.StringIO(), width=200)
    how = {"spread": SPREAD, "console": console}
    scores = sweeping.sweep(BASE, envs=ENVS, grid=GRID, directory=directory, **how)
    return Swept(directory, scores, console.file.getvalue())


def test_every_setting_is_trained_on_every_environment(swept):
    study = studies.read_study(swept.directory)
    assert study.environments() == ENVS
    assert len(study.settings) == 8 and len(study.parts) == 2
    for part, env in zip(study.parts, ENVS):
        assert study.spec(part).config.env == env and len(part.settings) == 4
    assert "best" not in swept.scores


def test_the_choice_is_that_of_the_pure_functions(swept):
    one = cross.cube(swept.scores["lanes"])
    scores = cross.normalised(one, cross.make_scales("cdf", [one]))
    across = swept.scores["across"]
    assert across["best"] == scores.mean(axis=(0, 2)).argmax()
    np.testing.assert_allclose(
        [s["value"] for s in across["settings"]], scores.mean(axis=(0, 2)), atol=1e-6
    )
    best = across["settings"][across["best"]]["setting"]
    for lane, env in zip(across["lanes"], ENVS):
        assert swept.scores["lanes"][lane]["setting"] == {"env": env, **best}


def test_the_winner_is_trained_on_every_environment_with_fresh_seeds(swept):
    across = swept.scores["across"]
    best = across["settings"][across["best"]]["setting"]
    for env in ENVS:
        run = results.read_document(swept.directory / "winner" / env)
        assert run["config"]["env"] == env and run["seeds"] == [2, 3]
        assert {k: run["lanes"][0][k] for k in best} == best
        assert swept.scores["winner"][env]["seeds"] == [2, 3]
    assert 0.0 <= across["fresh"]["value"] <= 1.0
    (method,) = tuning.methods_of([sources.read(swept.directory, "a")], "cdf")
    assert method.fresh.point == pytest.approx(across["fresh"]["value"], abs=1e-6)
    assert "on 2 fresh seeds" in swept.words and "mean cdf score" in swept.words


def test_a_complete_sweep_says_the_same_again(swept):
    assert sweeping.sweep(resume=swept.directory) == swept.scores
    for figure in ("sensitivity.png", "heatmap.png", "curves.png"):
        assert (swept.directory / figure).read_bytes().startswith(b"\x89PNG")


def test_a_terminal_shows_a_column_per_environment(swept):
    console = Console(file=io.StringIO(), width=160)
    print_study(console, swept.scores, [])
    words = console.file.getvalue()
    assert "2 environments, 2 seeds" in words and "one setting for all environments" in words
    assert all(env in words for env in ENVS)


def test_a_report_compares_methods_on_one_scale(swept, tmp_path):
    source = sources.read(swept.directory, "a")
    assert [run.path.name for run in source.runs[2:]] == sorted(ENVS)  # winners
    out = tmp_path / "report.html"
    words = write_report([swept.directory], out)[0].read_text()
    assert "One setting for 2 environments" in words
    assert "14 + 29" in words  # numbers and structure that a DQN has
    assert "Sensitivity of" not in words  # raw scores of several environments share no axis


def test_a_report_runs_no_code_that_a_sweep_names(swept):
    """Trap: to count what is to be chosen it looked for the functions themselves."""
    (method,) = tuning.methods_of([sources.read(swept.directory, "a")], "cdf")
    assert tuning._has(method) == "14 + 29"
    run = method.source.runs[0]
    config = {**run.document["config"], "backup": "nobody_has:this"}
    theirs = run._replace(document={**run.document, "config": config})
    named = method._replace(source=method.source._replace(runs=[theirs]))
    assert tuning._has(named) == "parts of one's own"


def test_a_report_says_where_its_choice_is_not_the_one_that_was_confirmed(swept):
    """On the scale of all methods together another setting may be best."""
    (method,) = tuning.methods_of([sources.read(swept.directory, "a")], "cdf")
    assert method.confirmed == method.tuned.best
    assert tuning._on_fresh_seeds(method).note == ""
    other = method._replace(confirmed=1 - method.tuned.best)
    assert tuning._on_fresh_seeds(other).note == "of another"
    names = [name for _, name, *_ in tuning._choices([other]).rows if name]
    assert sorted(names) == ["best", "on fresh seeds"]


def test_fresh_seeds_are_judged_by_the_scale_of_those_that_chose():
    def lane(env, value, **setting):
        return {"setting": {"env": env, **setting}, "seeds": [0], "per_seed": [value]}

    chose = [
        {**lane(env, value, gamma=value), "diverged": {}} for env in ENVS for value in (0.0, 10.0)
    ]
    fresh = {env: {**lane(env, 5.0), "diverged": {}} for env in ENVS}
    assert on_fresh_seeds(chose, fresh, "min-max")["value"] == 0.5


def test_a_table_has_the_best_of_each_and_the_best_for_all_in_their_columns(swept):
    (method,) = tuning.methods_of([sources.read(swept.directory, "a")], "cdf")
    tuned = method.tuned._replace(each=Interval(0.9, 0.8, 1.0), all=Interval(0.6, 0.5, 0.7))
    table = tuning._table([method._replace(tuned=tuned)], "")
    row = dict(zip(table.columns, table.rows[0]))
    assert "0.900" in str(row["tuned for each (95%)"])
    assert "0.600" in str(row["one for all (95%)"])


@pytest.mark.parametrize(
    "asked, message",
    [
        ({"envs": ["CartPole-v1"]}, "envs=CartPole-v1 must be at least two"),
        ({"envs": ["CartPole-v1"] * 2}, "each of them once"),
        ({"envs": "CartPole-v1"}, "list of names"),
        ({"envs": ENVS, "scale": "cfd"}, "scale=cfd .*did you mean cdf"),
        ({"envs": ENVS, "halving": 2}, "envs and halving cannot be combined"),
        ({"grid": {"env": ENVS}}, "envs brings them to a scale"),
    ],
)
def test_what_cannot_be_asked_for_is_one_sentence(asked, message):
    with pytest.raises(ConfigError, match=message):
        make_study(BASE, **{"grid": GRID, **asked})


def test_an_environment_that_does_not_exist_is_named_before_anything_is_made(tmp_path):
    with pytest.raises(ConfigError, match="env=Catch-bsiute"):
        sweeping.sweep(BASE, tmp_path / "run", envs=["Catch-bsiute", "CartPole-v1"], grid=GRID)
    assert not (tmp_path / "run").exists()


def test_one_setting_may_be_compared_on_several_environments_and_is_not_trained_again():
    study = make_study(BASE, envs=ENVS)
    assert [s["env"] for s in study.settings] == ENVS and study.fresh_seeds == ()


def test_a_command_goes_on_with_its_own_sweep_and_no_other(swept, monkeypatch):
    asked = make_study(BASE, envs=ENVS, grid=GRID)
    monkeypatch.setattr(sweeping, "carry_out", pytest.fail)
    how = {"spread": SPREAD}
    assert sweeping.begin_or_go_on(swept.directory, asked, **how) == swept.scores
    with pytest.raises(ConfigError, match="holds another sweep"):
        sweeping.begin_or_go_on(swept.directory, asked._replace(steps=300), **how)
