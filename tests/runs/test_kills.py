"""Killed at random moments, many times over, and resumed to the same bits every time.

``JAXQ_KILLS=1000 python -m pytest -m slow -n 0 -s tests/runs/test_kills.py`` kills that often, in
every case; by default a few times, in two of them.
"""

import json
import multiprocessing
import os
import random
import runpy
import shutil
import sys
import time
from pathlib import Path

import pytest
from commands import SMALLEST, assert_same_arrays, assert_same_run
from conftest import ROOT

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("JAXQ_KILLS", 0))
BASE = ["dqn-cartpole", "--seeds", "2", *SMALLEST]
SWEEP = [*BASE, "--steps", "500", "--fresh-seeds", "2"]
SPACE = ["--space", "learning_rate=log:1e-4..1e-2"]
# What is started: the script, and what it is asked for.
CASES = {
    "train": ("train.py", [*BASE, "--steps", "1000", "--save-every", "0"]),
    "prioritized": (
        "train.py",
        [*BASE, "--steps", "1000", "--save-every", "0.3", "--replay", "prioritized"],
    ),
    "grid": ("sweep.py", [*SWEEP, "--save-every", "0", "--grid", "gamma=0.9,0.99", "widths=16,8"]),
    "halving": ("sweep.py", [*SWEEP, "--random", "4", "--halving", "2", *SPACE]),
    "pbt": ("sweep.py", [*SWEEP, "--save-every", "0", "--random", "4", "--pbt", "1", *SPACE]),
    "optuna": ("sweep.py", [*SWEEP, "--optuna", "4", "--at-once", "2", *SPACE]),
}


def _script(name: str, arguments: list[str], log: Path) -> None:
    """A script as from the command line, in a process that has imported what it needs."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    sys.argv = [name, *arguments]
    runpy.run_path(str(ROOT / "experiments" / name), run_name="__main__")


@pytest.fixture(scope="module")
def processes():
    """Starts processes that need not import JAX again; none of them shares anything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["jax", "optax", "jaxq.cli.tasks", "jaxq.studies.sweeping"])
    return context


def begin(processes, script: str, arguments: list[str], directory: Path, kept: str):
    """What a user does: resume what there is, start it otherwise."""
    if (directory / kept).exists():
        arguments = ["--resume", str(directory)]
        if script == "train.py":  # which is asked again how often it saves
            arguments += ["--save-every", "0"]
    else:
        arguments = [*arguments, "--out", str(directory)]
    log = directory.with_suffix(".log")
    process = processes.Process(target=_script, args=(script, arguments, log))
    process.start()
    return process


def assert_same(script: str, ours: Path, theirs: Path) -> None:
    if script == "train.py":
        assert_same_run(ours, theirs)
        return
    assert_same_arrays(ours / "metrics.npz", theirs / "metrics.npz")
    parts = [sorted(p.relative_to(d) for p in d.glob("*/**/policy")) for d in (ours, theirs)]
    assert parts[0] == parts[1] != []
    for policy in parts[0]:
        assert_same_run((ours / policy).parent, (theirs / policy).parent)
    scores = [json.loads((place / "scores.json").read_text()) for place in (ours, theirs)]
    assert scores[0] == scores[1]


@pytest.mark.parametrize("case", CASES if KILLS else ("train", "grid"))
def test_killed_at_random_moments(case, processes, tmp_path):
    """Every directory is readable after every kill, and its run ends with the same bits."""
    if case == "optuna":
        pytest.importorskip("optuna")
    script, arguments = CASES[case]
    kept = "config.json" if script == "train.py" else "study.json"
    whole, seconds = tmp_path / "whole", 0.0
    for _ in range(2):  # the first fills the compilation cache
        shutil.rmtree(whole, ignore_errors=True)
        begun = time.monotonic()
        process = begin(processes, script, arguments, whole, kept)
        process.join()
        seconds = time.monotonic() - begun
        assert process.exitcode == 0, whole.with_suffix(".log").read_text()
    rng, kills, runs = random.Random(os.getpid()), 0, 0
    while kills < (KILLS // len(CASES) or 2):
        directory = tmp_path / f"run{runs}"
        while True:
            process = begin(processes, script, arguments, directory, kept)
            process.join(rng.uniform(0.05, 1.0) * seconds)
            if process.exitcode is None:
                process.kill()
                process.join()
            if process.exitcode == 0:
                break
            assert process.exitcode == -9, directory.with_suffix(".log").read_text()
            kills += 1
        assert "Traceback" not in directory.with_suffix(".log").read_text()
        assert_same(script, whole, directory)
        shutil.rmtree(directory)
        runs += 1
        print(f"{case}: {kills} kills, {runs} runs the same, {seconds:.1f} s whole", flush=True)
