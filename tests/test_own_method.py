"""A method of one's own, as experiments/own_method.py has it, through every script, by name."""

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from commands import (
    assert_same_arrays,
    assert_same_run,
    assert_success,
    execute,
    pair,
    refused,
    start,
    told,
    wait_until,
)
from conftest import ROOT

from jaxq.recipes.presets import PRESETS

# Everything of one's own: environment, agent (network, loss, metric), backup, numbers, structure.
NAMES = ("own_method:Corridor", "own_method:make_agent", "own_method:gap_increasing")
OWN = [
    *f"dqn-cartpole --env {NAMES[0]} --agent {NAMES[1]} --backup {NAMES[2]}".split(),
    *"--prefill 200 --chunk-steps 500 --eval-episodes 2 --eval-max-steps 100".split(),
    *"--seeds 2 --save-every 0 --steps 3000".split(),
]
TRUST = ["--trust", *NAMES]


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Path:
    """A directory outside of the repository with a copy of the file and nothing else."""
    directory = tmp_path_factory.mktemp("work")
    shutil.copy(ROOT / "experiments" / "own_method.py", directory)
    return directory


@pytest.fixture(scope="module")
def trained(here: Path) -> Path:
    run = execute(*OWN, "--extra", "alpha", "0.5", "depth=1", "--out", "run", cwd=here)
    assert run.returncode == 0, run.stderr
    return here / "run"


@pytest.mark.slow
def test_it_trains_and_records_what_it_was_made_of(trained):
    document = json.loads((trained / "config.json").read_text())
    assert document["lanes"][0]["extra"] == {"alpha": 0.5}
    assert document["config"]["extra"] == ["depth=1"]
    assert {part["name"] for part in document["made_of"].values()} == set(NAMES)
    with np.load(trained / "metrics.npz") as arrays:
        assert arrays["action_gap"].shape == arrays["loss"].shape


@pytest.mark.slow
def test_killed_and_resumed_it_ends_with_the_same_bits(here, trained):
    own = [*OWN, "--extra", "alpha", "0.5", "depth=1"]
    process = start(*own, "--out", "killed", cwd=here)
    wait_until(lambda: (here / "killed" / "checkpoints").is_dir(), process, 200)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    refused("is named by a file, and a file never decides", "--resume", "killed", cwd=here)
    assert execute("--resume", "killed", *TRUST, cwd=here).returncode == 0
    assert_same_run(trained, here / "killed")


@pytest.mark.slow
def test_changed_code_is_refused_or_recorded(here, trained):
    run = shutil.copytree(trained, here / "changed")
    source = here / "own_method.py"
    text = source.read_text()
    try:
        source.write_text(text.replace("-hparams.extra", "-2.0 * hparams.extra"))
        more = ["--resume", "changed", *TRUST, "--steps", "4000"]
        refused("source of backup own_method:gap_increasing", *more, cwd=here)
        assert execute(*more, "--accept-changed-code", cwd=here).returncode == 0
    finally:
        source.write_text(text)
    made_of = json.loads((run / "config.json").read_text())["made_of"]
    assert all(len(part["earlier"]) == 1 for part in made_of.values())


@pytest.mark.slow
def test_it_is_evaluated_drawn_and_reported(here, trained):
    pytest.importorskip("PIL")
    refused("is named by a file", "run", "--episodes", "2", script="evaluate.py", cwd=here)
    run = execute("run", "--episodes", "2", *TRUST, script="evaluate.py", cwd=here)
    assert run.returncode == 0, run.stderr
    assert (trained / "policy-lane0-seed0.gif").read_bytes()[:3] == b"GIF"
    assert execute("run", script="report.py", cwd=here).returncode == 0
    page = (here / "report.md").read_text()
    assert "own" in page and "trust" in page and PRESETS["dqn-cartpole"].config.env not in page


@pytest.mark.slow
def test_its_number_is_swept(here):
    sweep = [*OWN, "--grid", "extra.alpha=0,0.9", "--fresh-seeds", "0", "--out", "sweep"]
    run = execute(*sweep, script="sweep.py", cwd=here)
    assert run.returncode == 0, run.stderr
    lines = (here / "sweep" / "lanes.csv").read_text().splitlines()
    assert lines[0].startswith("lane,extra.alpha,iqm") and len(lines) == 3


@pytest.mark.slow
def test_two_processes_share_its_sweep(here):
    """Importing an environment may use JAX, and JAX must know of the other process before."""
    sweep = [*OWN, "--grid", "extra.alpha=0,0.9", "--fresh-seeds", "0", "--batch", "2"]
    assert_success(pair(told, *sweep, "--out", "two", cwd=here))
    assert execute(*sweep, "--out", "one", script="sweep.py", cwd=here).returncode == 0
    assert len([*(here / "two" / "parts").iterdir()]) == 2
    assert_same_arrays(here / "one" / "metrics.npz", here / "two" / "metrics.npz")
