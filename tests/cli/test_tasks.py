"""Several runs as one comparison, and the scripts that compare."""

import runpy

import pytest
from commands import execute
from common import SMALL, SMALL_HPARAMS
from conftest import ROOT
from rich.console import Console

from jaxq.cli import tasks
from jaxq.config import Preset
from jaxq.errors import ConfigError
from jaxq.scoring import panels
from jaxq.studies import executors

pytestmark = pytest.mark.usefixtures("shared_programs", "compiled_quickly")

QUIET = Console(quiet=True)


@pytest.mark.slow
def test_a_comparison_trains_what_is_missing(tmp_path, monkeypatch):
    preset = Preset("Small.", SMALL, SMALL_HPARAMS, steps=200, seeds=1)
    jobs = {"first": ("a", preset, 1), "second": ("b", preset, 2)}
    with monkeypatch.context() as patch:  # stopped before the second
        patch.setattr(executors, "run", _only("a", executors.run))
        with pytest.raises(KeyboardInterrupt):
            tasks.train_each(jobs, tmp_path, QUIET)
    runs = tasks.train_each(jobs, tmp_path, QUIET)
    assert [run["eval_return"].shape for run in runs.values()] == [(1, 1, 2), (1, 2, 2)]
    assert runs["first"]["steps"].tolist() == [140, 240]
    with monkeypatch.context() as patch:  # nothing is trained again
        patch.setattr(executors, "run", _only("", executors.run))
        assert tasks.train_each(jobs, tmp_path, QUIET).keys() == jobs.keys()
    with pytest.raises(ConfigError, match="holds another a than the one asked for"):
        tasks.train_each({"first": ("a", preset, 3)}, tmp_path, QUIET)


def _only(name, run):
    def train(spec, *arguments, **options):
        if spec.preset != name:
            raise KeyboardInterrupt
        return run(spec, *arguments, **options)

    return train


def test_new_directories_are_never_shared(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = [tasks.new_directory("name") for _ in range(3)]
    assert len(set(made)) == 3 and all(path.is_dir() for path in made)


@pytest.mark.slow
@pytest.mark.parametrize(
    "script, names", [("ladder.py", []), ("methods.py", ["dqn", "double-dqn"])]
)
def test_the_scripts_that_compare(script, names, tmp_path):
    run = execute(*names, "--seeds", "2", "--steps", "20000", "--out", tmp_path, script=script)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / script.replace(".py", ".png")).read_bytes().startswith(b"\x89PNG")
    again = execute(*names, "--seeds", "2", "--steps", "20000", "--out", tmp_path, script=script)
    assert again.returncode == 0 and "Results" not in again.stdout  # nothing is trained again


def test_methods_are_those_of_the_data_or_trained(tmp_path, monkeypatch):
    """With the data's seeds and steps nothing is trained, unless a run is there already."""
    methods = runpy.run_path(str(ROOT / "experiments" / "methods.py"))["methods"]
    trained = []
    monkeypatch.setattr(tasks, "train_each", lambda jobs, *_: trained.append(list(jobs)) or {})
    monkeypatch.setattr(panels, "draw_grid", lambda *_: None)
    methods(["dqn", "double-dqn", "--out", str(tmp_path)], QUIET)
    assert not trained
    table = (tmp_path / "methods.md").read_text()
    (row,) = [line for line in table.splitlines() if line.startswith("| `double-dqn` |")]
    assert row in (ROOT / "experiments" / "README.md").read_text()
    (tmp_path / "dqn-cartpole").mkdir()
    (tmp_path / "dqn-cartpole" / "COMPLETE").touch()
    methods(["dqn", "--out", str(tmp_path)], QUIET)
    methods(["dqn", "--steps", "20000", "--out", str(tmp_path / "new")], QUIET)
    assert trained == [["dqn"], ["dqn"]]
