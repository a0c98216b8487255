"""Runs as users start, stop and kill them: in processes of their own."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from safetensors.numpy import load_file

# A small run of a few seconds with many chunks. A checkpoint after every chunk.
TINY = (
    "dqn-cartpole --seeds 2 --steps 4000 --save-every 0 --num-envs 2 --widths 16 "
    "--capacity 400 --batch-size 16 --prefill 100 --train-every 4 --target-period 20 "
    "--chunk-steps 100 --eval-episodes 2 --eval-max-steps 50 --epsilon-steps 1000"
).split()
CAPTURE = {"capture_output": True, "text": True, "timeout": 300}
FILES = {"config.json", "meta.json", "metrics.npz", "metrics.jsonl", "scores.json", "curves.png"}
FILES |= {"checkpoints", "policy", "COMPLETE"}


def command(*arguments, script="train.py") -> list[str]:
    return [sys.executable, str(ROOT / "experiments" / script), *map(str, arguments)]


def execute(*arguments, script="train.py") -> subprocess.CompletedProcess:
    run = subprocess.run(command(*arguments, script=script), **CAPTURE)
    assert "Traceback" not in run.stderr, run.stderr
    return run


def start(*arguments) -> subprocess.Popen:
    return subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for_checkpoint(process, directory: Path, after: int = 0) -> None:
    """Until the run has saved a step beyond ``after``."""
    for _ in range(3_000):
        steps = [int(p.name) for p in directory.glob("checkpoints/*") if p.name.isdigit()]
        if any(step > after for step in steps):
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    raise AssertionError("no checkpoint appeared")


def assert_same_run(a: Path, b: Path) -> None:
    with np.load(a / "metrics.npz") as x, np.load(b / "metrics.npz") as y:
        assert set(x.files) == set(y.files)
        for name in x.files:
            assert x[name].tobytes() == y[name].tobytes(), name
    x, y = (load_file(run / "policy" / "params.safetensors") for run in (a, b))
    assert all(x[name].tobytes() == y[name].tobytes() for name in x) and set(x) == set(y)


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Path:
    """The tiny run, never interrupted."""
    directory = tmp_path_factory.mktemp("runs") / "reference"
    run = execute(*TINY, "--out", directory)
    assert run.returncode == 0, run.stderr
    return directory


def test_a_run_leaves_all_its_files(reference):
    assert {path.name for path in reference.iterdir()} == FILES
    with np.load(reference / "metrics.npz") as arrays:
        assert arrays["steps"].tolist() == list(range(200, 4_001, 100))
        assert arrays["loss"].shape == (1, 2, 39) and np.isfinite(arrays["loss"]).all()
        assert arrays["eval_returns"].shape == (1, 2, 39, 2)
    scores = json.loads((reference / "scores.json").read_text())
    assert scores["protocol"]["environment"] == "CartPole-v1"
    assert scores["protocol"]["time_limit"] == "bootstrap"
    lane = scores["lanes"][0]
    assert lane["num_seeds"] == 2 and len(lane["per_seed"]) == 2
    meta = json.loads((reference / "meta.json").read_text())
    assert meta["stopped_by"] == "steps" and meta["compile_seconds"] < meta["seconds"]
    lines = (reference / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["steps"] for line in lines] == list(range(200, 4_001, 100))
    assert (reference / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_killed_and_resumed_is_bitwise_the_same(reference, tmp_path):
    """SIGKILL at random moments, twice, then to the end."""
    directory, rng, seen = tmp_path / "killed", random.Random(os.getpid()), 0
    process = start(*TINY, "--out", directory)
    for _ in range(2):
        wait_for_checkpoint(process, directory, after=seen)
        time.sleep(rng.uniform(0.0, 0.5))
        process.kill()
        process.communicate()
        saved = [int(p.name) for p in directory.glob("checkpoints/*") if p.name.isdigit()]
        seen = max(saved)
        assert seen < 4_000, "the run ended before it was killed"
        process = start("--resume", directory, "--save-every", "0")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert_same_run(reference, directory)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_says_how_to_resume(signum, reference, tmp_path):
    directory = tmp_path / "stopped"
    process = start(*TINY, "--out", directory, "--save-every", "1000", "--steps", "400000")
    for _ in range(3_000):
        if (directory / "metrics.npz").exists():
            break
        time.sleep(0.02)
    process.send_signal(signum)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + signum
    assert f"--resume {directory}" in output
    assert not (directory / "COMPLETE").exists() and (directory / "scores.json").exists()
    with np.load(directory / "metrics.npz") as arrays:
        done = int(arrays["steps"][-1])
    hint = output.split("Resume with: ")[1].splitlines()[0].split()
    more = subprocess.run([sys.executable, *hint[1:], "--steps", str(done)], **CAPTURE)
    assert more.returncode == 2 and "only" in more.stderr  # a run is not cut short
    assert (directory / "checkpoints" / f"{done}.json").exists()


def test_a_finished_run_can_be_extended(reference, tmp_path):
    directory = tmp_path / "longer"
    execute(*TINY, "--out", directory, "--steps", "2000")
    assert (directory / "COMPLETE").read_text() == "2000\n"
    run = execute("--resume", directory, "--steps", "4000")
    assert run.returncode == 0, run.stderr
    assert_same_run(reference, directory)


def test_its_config_can_be_given_back(reference, tmp_path):
    run = execute(reference / "config.json", "--out", tmp_path / "again")
    assert run.returncode == 0, run.stderr
    assert_same_run(reference, tmp_path / "again")


def test_seeds_devices_and_lanes_survive_a_resume(tmp_path):
    """Seeds not from 0, two lanes, begun on one device and continued on two."""
    options = [*TINY, "--grid", "gamma=0.9,0.99", "--first-seed", "7", "--out"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    execute(*options, whole, "--steps", "800", script="sweep.py")
    execute(*options, parts, "--steps", "400", "--devices", "1", "--batch", "2", script="sweep.py")
    run = execute(f"--resume={parts}", "--steps", "800")
    assert run.returncode == 0, run.stderr
    meta = json.loads((parts / "meta.json").read_text())
    assert meta["members"]["batch"] == 2 and len(meta["sessions"]) == 2
    assert json.loads((parts / "config.json").read_text())["seeds"] == [7, 8]
    assert json.loads((whole / "meta.json").read_text())["members"]["batch"] == 2
    assert_same_run(whole, parts)
    refused("has 2 lanes", "--resume", parts, "--gamma", "0.5")


def snapshot(directory: Path) -> dict[str, bytes]:
    paths = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path.relative_to(directory)): path.read_bytes() for path in paths}


def refused(message: str, *arguments, script="train.py") -> None:
    """Exit code 2 and one sentence, quickly, whose words include ``message``."""
    run = execute(*arguments, script=script)
    assert run.returncode == 2, run.stdout + run.stderr
    (line,) = [line for line in run.stderr.splitlines() if line.strip()]
    assert line.startswith("error: ") and line.count(". ") == 0 and line.endswith((".", "?"))
    assert message in line, line


def test_a_damaged_or_foreign_checkpoint_is_refused_and_kept(reference, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(reference, damaged)
    for path in (damaged / "checkpoints").rglob("*"):
        if path.is_file() and path.parent.name == "d":
            path.write_bytes(path.read_bytes()[:-7])
    before = snapshot(damaged)
    refused("is damaged", "--resume", damaged, "--steps", "5000")
    assert snapshot(damaged) == before

    foreign, other = tmp_path / "foreign", tmp_path / "other"
    execute(*TINY, "--out", other, "--steps", "500", "--gamma", "0.5")
    shutil.copytree(reference, foreign)
    shutil.rmtree(foreign / "checkpoints")
    shutil.copytree(other / "checkpoints", foreign / "checkpoints")
    before = snapshot(foreign)
    refused("belongs to another run", "--resume", foreign, "--steps", "5000")
    assert snapshot(foreign) == before


def test_a_directory_with_another_run_is_never_written(reference, tmp_path):
    before = snapshot(reference)
    refused("holds another run", *TINY, "--out", reference)
    refused(
        "different gamma (0.99 there, 0.5 here)", *TINY, "--gamma", "0.5", "--resume", reference
    )
    refused("different widths", *TINY, "--widths", "8", "--resume", reference)
    refused("different seeds", *TINY, "--seeds", "3", "--resume", reference)
    assert snapshot(reference) == before
    (tmp_path / "notes.txt").write_text("mine")
    refused("is not empty", *TINY, "--out", tmp_path)
    refused("holds no config.json", *TINY, "--resume", tmp_path)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("dqn-cartpol", "preset=dqn-cartpol does not exist; did you mean dqn-cartpole"),
        ("dqn-cartpole --env CartPole", "env=CartPole does not exist; did you mean CartPole-v1"),
        ("dqn-cartpole --env Pendulum-v1", "env=Pendulum-v1 has continuous actions"),
        ("dqn-cartpole --batch-size 20000", "capacity=10000 must be at least 20000"),
        ("dqn-cartpole --prefill 100", "prefill=100 must be at least 128, to hold batch_size=128"),
        ("dqn-cartpole --capacity 10001", "capacity=10001 must be a multiple of train_every=10"),
        ("dqn-cartpole --num-envs 0", "num_envs=0 must be a whole number of at least 1"),
        ("dqn-cartpole --seeds -1", "seeds=-1 must be"),
        ("dqn-cartpole --gamma 1.5", "gamma=1.5 must be between 0 and 1"),
        ("dqn-cartpole --steps 100", "steps=100 must be larger than prefill=10000"),
        ("dqn-cartpole --target-period 15", "target_period=15 must be a multiple of train_every"),
        ("dqn-cartpole --network minatar", "network=minatar needs image observations"),
        ("dqn-cartpole --env-params gravty 9", "env_params of CartPole-v1=gravty does not exist"),
        ("dqn-cartpole --capacity 1000000000", "members fit"),
    ],
)
def test_bad_input_is_one_sentence(arguments, message, tmp_path):
    refused(message, *arguments.split(), "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "grid, message",
    [
        ("learning_rat=1,2", "grid=learning_rat does not exist; did you mean learning_rate"),
        ("batch_size=1,2", "sweeps a structural field"),
        ("gamma=0.9,big", "not of the form name=number,number"),
        ("gamma=0.9,1.5", "gamma=1.5 must be between 0 and 1"),
    ],
)
def test_bad_grids_are_one_sentence(grid, message, tmp_path):
    refused(message, *TINY, "--grid", grid, "--out", tmp_path / "run", script="sweep.py")


def test_unknown_options_and_choices_exit_with_2_and_a_suggestion():
    run = execute("dqn-cartpole", "--learning-rat", "1")
    assert run.returncode == 2 and "--learning-rate" in run.stdout + run.stderr
    run = execute("dqn-cartpole", "--optimizer", "adamm")
    assert run.returncode == 2 and "rmsprop" in run.stdout + run.stderr


def test_help_lists_the_presets_and_every_option():
    assert "q-table-frozenlake" in execute("--help").stdout
    text = execute("dqn-cartpole", "--help").stdout
    assert "--learning-rate" in text and "Step size of the optimizer" in text


def test_until_return_stops_after_three_evaluations(tmp_path):
    execute(*TINY, "--until-return", "1", "--out", tmp_path / "run")
    meta = json.loads((tmp_path / "run" / "meta.json").read_text())
    assert meta["stopped_by"] == "until_return"
    assert (tmp_path / "run" / "COMPLETE").read_text() == "400\n"  # prefill and three chunks


def test_episodes_stops_once_every_seed_has_finished_them(tmp_path):
    execute(*TINY, "--episodes", "30", "--out", tmp_path / "run")
    with np.load(tmp_path / "run" / "metrics.npz") as arrays:
        finished = arrays["episodes"].sum(axis=-1)  # [1, 2]
        assert finished.min() >= 30
        assert (arrays["episodes"][..., :-1].sum(axis=-1)).min() < 30


def test_evaluate_plays_the_exported_policy(reference):
    arguments = (reference, "--seed-index", "1", "--episodes", "5", "--no-gif")
    run = execute(*arguments, script="evaluate.py")
    assert run.returncode == 0 and "over 5 episodes" in run.stdout
    refused("lane=3 must be between 0 and 0", reference, "--lane", "3", script="evaluate.py")


def test_sweep_leaves_a_table_and_a_plot(tmp_path):
    directory = tmp_path / "sweep"
    grid = ("--grid", "learning_rate=1e-4,1e-2", "gamma=0.9,0.99", "--steps", "300")
    run = execute(*TINY, *grid, "--out", directory, script="sweep.py")
    assert run.returncode == 0, run.stderr
    rows = (directory / "sensitivity.csv").read_text().splitlines()
    assert rows[0].startswith("learning_rate,gamma,iqm") and len(rows) == 5
    assert (directory / "sensitivity.png").exists()
    with np.load(directory / "metrics.npz") as arrays:
        assert arrays["loss"].shape == (4, 2, 2)


@pytest.mark.slow
def test_evaluate_writes_a_gif(reference):
    pytest.importorskip("pygame")
    pytest.importorskip("seaborn")
    run = execute(reference, "--episodes", "2", "--max-frames", "5", script="evaluate.py")
    assert run.returncode == 0, run.stderr
    (gif,) = reference.glob("*.gif")
    assert gif.read_bytes().startswith(b"GIF8")
    gif.unlink()
