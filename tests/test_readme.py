"""What the README shows is there: files, functions, options."""

import json
import re
from collections.abc import Mapping

import pytest
from conftest import ROOT

import jaxq
from jaxq.cli.arguments import FIELDS
from jaxq.recipes.methods import METHODS
from jaxq.recipes.own import OPEN
from jaxq.recipes.presets import PRESETS
from jaxq.recipes.suites import cells
from jaxq.runs.files import RUN_FILES, listing
from jaxq.scoring.scores import interval_text, score_text
from jaxq.settings import format_value

TEXT = (ROOT / "README.md").read_text()
TABLES = (ROOT / "experiments" / "README.md").read_text()


def test_it_can_be_read_in_one_sitting():
    assert len(TEXT.splitlines()) <= 250


def test_the_files_of_a_run_directory_are_those_that_are_written():
    lines = [f"    {line}" for line in listing(RUN_FILES).splitlines()]
    assert "\n".join(lines) in TEXT


@pytest.mark.parametrize("name", METHODS)
def test_a_row_is_what_a_method_changes(name):
    paper, idea, changes, score = re.search(rf"^\| `{name}` \| (.*) \|$", TABLES, re.M)[1].split(
        " | "
    )
    config = PRESETS[f"{name}-cartpole"].config  # which may take numbers of its own
    found = [f"{key}={format_value(getattr(config, key))}" for key in METHODS[name].config]
    assert changes.strip().strip("`") == ", ".join(found)
    assert (paper, idea) == METHODS[name][:2]
    assert f"`{name}` {score}" in TEXT  # the same number in both


@pytest.mark.parametrize("suite", ("minatar", "minatar-original", "streaming"))
def test_the_scores_of_a_suite_are_those_of_its_data(suite):
    manifest = json.loads((ROOT / "experiments" / "reference" / f"{suite}.json").read_text())
    for name, cell in manifest.items():
        low, high = cell["iqm_95"]
        assert f"| {cell['iqm']:.1f} ({low:.1f} to {high:.1f}) |" in TABLES, name
    for score in re.findall(r"\| (\d+\.\d \(\d+\.\d to \d+\.\d\))", TEXT):
        assert score in TABLES


@pytest.mark.parametrize("name", METHODS)
def test_the_score_of_a_method_is_that_of_its_data(name):
    manifest = json.loads((ROOT / "experiments" / "reference" / "control.json").read_text())
    cell = cells("control")[f"{name}-cartpole"]
    kept = manifest[cell.name]
    assert kept["seeds"] == cell.seeds
    assert _scored(name, kept) in TEXT


def test_the_scores_beyond_cartpole_are_those_of_their_data():
    manifest = json.loads((ROOT / "experiments" / "reference" / "control.json").read_text())
    for name, kept in manifest.items():
        if not name.endswith("-cartpole"):
            assert kept["seeds"] == cells("control")[name].seeds
            assert _scored(name, kept) in TABLES, name
    for name in ("dqn-acrobot", "dqn-mountaincar"):
        assert _scored(name, manifest[name])[:-1] in " ".join(TEXT.split())  # beside the zoo's


def test_the_scores_on_other_libraries_are_those_of_their_data():
    manifest = json.loads((ROOT / "experiments" / "reference" / "libraries.json").read_text())
    for name, kept in manifest.items():
        assert kept["seeds"] == cells("libraries")[name].seeds
        assert _scored(name, kept) in " ".join(TEXT.split()), name


def _scored(name: str, cell: Mapping) -> str:
    return f"`{name}` {score_text(cell['iqm'])} ({interval_text(*cell['iqm_95'])})"


def test_the_pieces_of_a_method_of_ones_own_are_its_file():
    source = (ROOT / "experiments" / "own_method.py").read_text()
    pieces = [piece for piece in re.findall(r"```python\n(.*?)```", TEXT, re.S) if "def " in piece]
    assert pieces and all(piece in source for piece in pieces)


def test_every_kind_of_part_that_can_be_ones_own_is_named():
    for field in OPEN:
        option = field.replace("_", "-")
        assert re.search(rf"^\|[^|]*`--{option}`[^|]*\|", TEXT, re.M), option


def test_presets_and_options_exist():
    for preset in re.findall(r"experiments/(?:train|sweep)\.py ([a-z][\w-]+)", TEXT):
        assert preset in PRESETS, preset
    options = {option.replace("-", "_") for option in re.findall(r"--([a-z][\w-]+)", TEXT)}
    others = {
        *"help help_all out seeds steps until_return episodes resume batch track trust".split(),
        *"grid random sobol space optuna at_once halving pbt plan ray parts ray_gpus".split(),
        *"for distributed purejaxrl purejaxql peer_python".split(),
        *"envs latex format label anchors reference keep_replay cores turns".split(),
    }
    assert options <= {*FIELDS, *others}, options - {*FIELDS, *others}


def test_the_notebook_needs_no_other_import():
    example = next(p for p in re.findall(r"```python\n(.*?)```", TEXT, re.S) if "RunSpec" in p)
    assert example.startswith("import jaxq\n") and example.count("import") == 1
    for name in re.findall(r"jaxq\.(\w+)", TEXT):
        assert name in jaxq.__all__, name
