"""Sweeps as users start, kill, share and resume them."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from commands import (
    SMALLEST,
    assert_same_arrays,
    assert_success,
    command,
    execute,
    pair,
    refused,
    start,
    told,
    wait_until,
)

SWEEP = ["dqn-cartpole", "--seeds", "2", "--save-every", "0", *SMALLEST]
GRID = ["--grid", "learning_rate=1e-4,1e-2", "gamma=0.9,0.99"]


def run_sweep(*arguments, directory, **options):
    run = execute(*SWEEP, *arguments, "--out", directory, script="sweep.py", **options)
    assert run.returncode == 0, run.stdout + run.stderr
    return run


def scores_of(directory: Path) -> dict:
    return json.loads((directory / "scores.json").read_text())


def parts_of(directory: Path) -> list[Path]:
    return sorted((directory / "parts").iterdir())


def checkpoints_of(directory: Path) -> int:
    """How many chunks have been saved, over all parts and the winner."""
    paths = [
        *directory.glob("parts/*/checkpoints/[0-9]*"),
        *directory.glob("winner/checkpoints/[0-9]*"),
    ]
    return sum(int(path.stem) for path in paths if path.stem.isdigit())


@pytest.mark.slow
def test_a_sweep_of_numbers_and_structure(tmp_path):
    """A program for every width, the best setting again on seeds that did not choose it."""
    directory = tmp_path / "sweep"
    grid = ["--grid", "learning_rate=1e-4,1e-2", "widths=16,8"]
    run = run_sweep(*grid, "--steps", "300", directory=directory)
    assert len(parts_of(directory)) == 2
    rows = (directory / "lanes.csv").read_text().splitlines()
    assert rows[0].startswith("lane,learning_rate,widths,iqm,low,high") and len(rows) == 5
    scores = scores_of(directory)
    assert scores["winner"]["seeds"] == [2, 3] and scores["lanes"][0]["seeds"] == [0, 1]
    assert "on 2 fresh seeds" in run.stdout and "biased upwards" in run.stdout
    with np.load(directory / "metrics.npz") as arrays:
        assert arrays["eval_return"].shape == (4, 2, 2)
    for figure in ("sensitivity.png", "heatmap.png", "curves.png"):
        assert (directory / figure).read_bytes().startswith(b"\x89PNG")
    refused("holds another", *SWEEP, *grid, "--out", directory, script="sweep.py")
    refused("grid=", "--resume", directory, *grid, script="sweep.py")
    refused("several lanes", parts_of(directory)[0] / "config.json", script="sweep.py")
    refused("cannot be combined", *SWEEP, *grid, "--random", "3", "--space", "gamma=0.5..1",
            script="sweep.py")  # fmt: skip
    refused("sweep=gama does not exist; did you mean gamma", *SWEEP, "--grid", "gama=1",
            script="sweep.py")  # fmt: skip


@pytest.mark.slow
def test_a_plan_runs_nothing(tmp_path):
    directory = tmp_path / "sweep"
    run = run_sweep(*GRID, "--steps", "300", "--plan", directory=directory)
    assert "4 settings x 2 seeds" in run.stdout and "1 program to compile" in run.stdout
    assert not directory.exists()


@pytest.mark.slow
def test_killed_at_twenty_random_moments_it_ends_with_the_same_arrays(tmp_path):
    """64 lanes x 4 seeds, 10,000 steps per member."""
    arguments = [
        *("--random", "64", "--space", "learning_rate=log:1e-5..1e-2", "gamma=0.9..0.999"),
        *("--seeds", "4", "--steps", "10000", "--chunk-steps", "200"),
    ]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run_sweep(*arguments, directory=whole)
    rng = random.Random(0)
    process = start(*SWEEP, *arguments, "--out", parts, script="sweep.py")
    # At least so many of its 100 chunks are done at each kill, however fast the machine; where
    # they were done before, it is killed at some moment of its start or soon after its next chunk.
    for chunks in sorted(rng.choices(range(45), k=20)):
        before, end = checkpoints_of(parts), time.monotonic() + rng.uniform(0.5, 6.0)
        if chunks > before:
            wait_until(lambda chunks=chunks: checkpoints_of(parts) >= chunks, process)
        while checkpoints_of(parts) <= before and time.monotonic() < end:
            time.sleep(0.02)
        time.sleep(rng.uniform(0.0, 0.1))
        process.kill()
        process.communicate()
        assert not (parts / "COMPLETE").exists(), "it ended before the last kill"
        again = ("--resume", parts) if (parts / "study.json").exists() else ()
        again = again or (*SWEEP, *arguments, "--out", parts)
        process = start(*again, "--save-every", "0", script="sweep.py")
    output, errors = process.communicate(timeout=600)
    assert process.returncode == 0, output + errors
    assert_same_arrays(whole / "metrics.npz", parts / "metrics.npz")
    assert_same_arrays(whole / "winner" / "metrics.npz", parts / "winner" / "metrics.npz")
    assert scores_of(whole) == scores_of(parts)


@pytest.mark.slow
def test_files_can_be_read_at_every_moment(tmp_path):
    directory = tmp_path / "sweep"
    process = start(*SWEEP, *GRID, "--steps", "6000", "--out", directory, script="sweep.py")
    run, reads = directory / "parts" / "000", 0
    wait_until((run / "lanes.csv").exists, process)  # written last
    while process.poll() is None:
        rows = (run / "lanes.csv").read_text().splitlines()
        assert len(rows) == 5 and len({row.count(",") for row in rows}) == 1
        assert len(json.loads((run / "scores.json").read_text())["lanes"]) == 4
        with np.load(run / "metrics.npz") as arrays:
            assert arrays["loss"].shape == (4, 2, len(arrays["steps"]))
        reads += 1
    assert process.returncode == 0 and reads > 20, process.communicate()


def slurm(port: int, index: int) -> dict:
    """What srun sets for the tasks of a step."""
    names = {"JOB_ID": port, "STEP_NODELIST": "127.0.0.1", "NTASKS": 2, "PROCID": index}
    variables = {
        f"SLURM_{name}": str(value) for name, value in (names | {"LOCALID": index}).items()
    }
    return {"arguments": ["--distributed", "auto"], "env": {**os.environ, **variables}}


@pytest.mark.slow
@pytest.mark.parametrize("where", [told, slurm])
def test_two_processes_share_a_sweep(where, tmp_path):
    """With halving, whose last rung is trained by one of them."""
    two, one = tmp_path / "two", tmp_path / "one"
    options = [*GRID, "--steps", "1600", "--halving", "2", "--batch", "2"]
    assert_success(pair(where, *SWEEP, *options, "--out", two))
    run_sweep(*options, directory=one)
    assert len(parts_of(two)) > len(parts_of(one)) == 3
    assert_same_arrays(one / "metrics.npz", two / "metrics.npz")
    assert scores_of(one) == scores_of(two)


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_when_a_process_dies_the_others_end_and_one_can_finish(killed, tmp_path):
    """Saved by two, resumed by one or two, with the bits of an undisturbed run."""
    directory = tmp_path / "two"
    options = [*GRID, "--steps", "10000", "--batch", "2"]
    processes = pair(told, *SWEEP, *options, "--out", directory)
    wait_until(lambda: len([*directory.glob("parts/*/checkpoints/[0-9]*")]) > 2, processes[0])
    processes[killed].kill()
    died = time.monotonic()
    processes[1 - killed].communicate(timeout=120)
    assert processes[1 - killed].returncode != 0 and time.monotonic() - died < 60
    assert not (directory / "COMPLETE").exists()
    if killed == 0:
        assert_success([start("--resume", directory, script="sweep.py")])
    else:
        assert_success(pair(told, "--resume", directory))
    run_sweep(*options, directory=tmp_path / "one")
    assert_same_arrays(tmp_path / "one" / "metrics.npz", directory / "metrics.npz")


@pytest.mark.slow
def test_a_task_of_ray_whose_worker_is_killed_twice_succeeds(tmp_path):
    """Nothing is lost or run twice. There are enough steps to be found while they are trained."""
    pytest.importorskip("ray")
    directory = tmp_path / "ray"
    arguments = [*GRID, "--batch", "2", "--fresh-seeds", "0", "--steps", "40000"]
    process = start(
        *SWEEP, *arguments, "--ray", "--parts", "2", "--out", directory, script="sweep.py"
    )
    victim, seen = directory / "parts" / "001", 0
    for _ in range(2):

        def saved(seen=seen) -> bool:
            steps = [int(p.stem) for p in victim.glob("checkpoints/[0-9]*")]
            return max(steps, default=0) > seen

        # a worker that has just been started again may not hold its directory yet
        wait_until(lambda: saved() and writers(victim, process.pid), process)
        (worker,) = writers(victim, process.pid)
        worker.kill()
        worker.wait(60)  # or it saves once more, and the next one is killed before it begins
        seen = max(int(p.stem) for p in victim.glob("checkpoints/[0-9]*"))
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, output + errors
    meta = json.loads((victim / "meta.json").read_text())
    assert len(meta["sessions"]) == 3
    run_sweep(*arguments, directory=tmp_path / "here")
    assert_same_arrays(tmp_path / "here" / "metrics.npz", directory / "metrics.npz")


def writers(directory: Path, parent: int) -> list[psutil.Process]:
    """The processes below ``parent`` that hold ``directory`` open, as its lock does."""
    found = []
    for process in psutil.Process(parent).children(recursive=True):
        targets = []
        with suppress(OSError):  # the process has ended
            for handle in Path(f"/proc/{process.pid}/fd").iterdir():
                with suppress(OSError):  # a file that was closed meanwhile
                    targets.append(os.readlink(handle))
        if str(directory) in targets:
            found.append(process)
    return found


@pytest.mark.slow
def test_an_optuna_study_that_is_killed_goes_on(tmp_path):
    pytest.importorskip("optuna")
    directory, space = tmp_path / "sweep", ["--space", "learning_rate=log:1e-5..1e-1"]
    arguments = ["--optuna", "6", "--at-once", "2", *space, "--steps", "800", "--fresh-seeds", "0"]
    run_sweep(*arguments, directory=tmp_path / "whole")
    process = start(*SWEEP, *arguments, "--out", directory, script="sweep.py")
    wait_until((directory / "parts" / "001" / "checkpoints").exists, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    run = execute("--resume", directory, script="sweep.py")
    assert run.returncode == 0, run.stdout + run.stderr
    assert scores_of(directory) == scores_of(tmp_path / "whole")


@pytest.mark.slow
def test_a_sweep_alone_needs_no_extra():
    """Optuna, Ray and W&B are loaded by those who ask for them."""
    code = "import sys; sys.argv=['x']; sys.path.insert(0, 'experiments'); import sweep;"
    code += "print([m for m in ('optuna', 'ray', 'wandb', 'tensorboardX') if m in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(command()[1]).parent.parent,
    )
    assert run.stdout.strip() == "[]"
