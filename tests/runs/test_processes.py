"""Runs as users start, stop and kill them: in processes of their own.

Only what needs a process; the rest is in ``test_runner.py``, ``test_checkpoint.py`` and
``cli/test_requests.py``.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from commands import CAPTURE, TINY, assert_same_run, execute, refused, start

from jaxq.runs import files
from jaxq.runs.machine import num_threads

pytestmark = pytest.mark.slow

FILES = {"config.json", "meta.json", "metrics.npz", "metrics.jsonl", "scores.json", "curves.png"}
FILES |= {"lanes.csv", "checkpoints", "policy", "COMPLETE"}


def wait_for_checkpoint(process, directory: Path, after: int = 0) -> None:
    """Until the run has saved a step beyond ``after``."""
    for _ in range(3_000):
        steps = [int(p.stem) for p in directory.glob("checkpoints/*") if p.stem.isdigit()]
        if any(step > after for step in steps):
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    raise AssertionError("no checkpoint appeared")


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


def test_killed_and_resumed_is_bitwise_the_same(tmp_path):
    """SIGKILL at random moments, twice, then to the end; long enough for a fast machine. The time
    of what was killed counts: reference data said 61 s of a run of thirteen minutes."""
    whole, directory = tmp_path / "whole", tmp_path / "killed"
    long = (*TINY, "--steps", "12000", "--out")
    assert execute(*long, whole).returncode == 0
    rng, seen, spent = random.Random(os.getpid()), 0, 0.0
    process = start(*long, directory)
    for _ in range(2):
        wait_for_checkpoint(process, directory, after=seen)
        time.sleep(rng.uniform(0.0, 0.2))
        process.kill()
        process.communicate()
        saved = [int(p.stem) for p in directory.glob("checkpoints/*") if p.stem.isdigit()]
        seen = max(saved)
        assert seen < 12_000, "the run ended before it was killed"
        before, spent = spent, files.read_json(directory / files.META)["seconds"]
        assert before < spent
        process = start("--resume", directory, "--save-every", "0")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert_same_run(whole, directory)


@pytest.mark.skipif(num_threads() == 1, reason="there is one core")
@pytest.mark.parametrize("preset", ["dqn-cartpole", "dqn-breakout"])
def test_a_seed_is_the_same_alone_and_beside_another(preset, tmp_path):
    """On Breakout products are so large that XLA shares them among threads, and their number shows
    in the bits: a seed that is alone must not have fewer."""
    short = "--steps 3000 --prefill 1000 --chunk-steps 1000 --eval-episodes 10 --batch 1 --seeds"
    for seeds in "12":
        run = execute(preset, *short.split(), seeds, "--out", tmp_path / seeds)
        assert run.returncode == 0, run.stderr
    alone, beside = (files.read_arrays(tmp_path / seeds / files.METRICS) for seeds in "12")
    for name in ("loss", "eval_return", "eval_value"):
        np.testing.assert_array_equal(alone[name][:, 0], beside[name][:, 0], err_msg=name)


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
    assert (directory / "checkpoints" / f"{done}.safetensors").exists()


def test_seeds_and_devices_survive_a_resume(tmp_path):
    """Seeds not from 0, begun on one device and continued on two."""
    options = [*TINY, "--seeds", "4", "--first-seed", "7", "--out"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    execute(*options, whole, "--steps", "800", "--batch", "2")
    execute(*options, parts, "--steps", "400", "--devices", "1", "--batch", "2")
    run = execute(f"--resume={parts}", "--steps", "800")
    assert run.returncode == 0, run.stderr
    meta = json.loads((parts / "meta.json").read_text())
    assert meta["members"]["batch"] == 2 and len(meta["sessions"]) == 2
    assert json.loads((parts / "config.json").read_text())["seeds"] == [7, 8, 9, 10]
    assert_same_run(whole, parts)
    more = execute(f"--resume={parts}", "--seeds", "6")
    assert more.returncode == 0, more.stderr
    assert "Seeds [11, 12], up to step 800" in more.stdout
    execute(*options, tmp_path / "six", "--steps", "800", "--batch", "2", "--seeds", "6")
    assert_same_run(tmp_path / "six", parts)


def test_four_devices_are_one_bitwise(tmp_path):
    """Seven members in batches of two: the last is padded, the last device has less to do."""
    options = [*TINY, "--seeds", "7", "--steps", "800", "--batch", "2", "--out"]
    execute(*options, tmp_path / "one", "--devices", "1")
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "4"}
    execute(*options, tmp_path / "four", env=environment)
    meta = json.loads((tmp_path / "four" / "meta.json").read_text())
    assert meta["members"]["num_devices"] == 4 and meta["members"]["groups"] == 4
    assert_same_run(tmp_path / "one", tmp_path / "four")


def snapshot(directory: Path) -> dict[str, bytes]:
    paths = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path.relative_to(directory)): path.read_bytes() for path in paths}


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 10 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=10m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_one_sentence_and_nothing_is_lost(reference, small_disk):
    directory, ballast = small_disk / "run", small_disk / "ballast"
    process = start(*TINY, "--out", directory)
    wait_for_checkpoint(process, directory)
    with open(ballast, "wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1, errors
    (line,) = [line for line in errors.splitlines() if line.strip()]
    assert line.startswith("error: ") and "No space left on device" in line
    ballast.unlink()
    again = execute("--resume", directory)
    assert again.returncode == 0, again.stderr
    assert_same_run(reference, directory)


def test_a_run_goes_on_on_another_machine(reference, tmp_path):
    """Copied while incomplete and continued under another name; the original is as it was."""
    here, there = tmp_path / "here", tmp_path / "there" / "copy"
    execute(*TINY, "--out", here, "--steps", "2000")
    shutil.copytree(here, there)
    before = snapshot(here)
    run = execute("--resume", there, "--steps", "4000")
    assert run.returncode == 0, run.stderr
    assert_same_run(reference, there)
    assert snapshot(here) == before


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("dqn-cartpol", "preset=dqn-cartpol does not exist; did you mean dqn-cartpole"),
        ("dqn-cartpole --capacity 1000000000", "members fit"),
    ],
)
def test_bad_input_is_one_sentence(arguments, message, tmp_path):
    refused(message, *arguments.split(), "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_evaluate_plays_the_exported_policy(reference):
    arguments = (reference, "--seed-index", "1", "--episodes", "5", "--no-gif")
    run = execute(*arguments, script="evaluate.py")
    assert run.returncode == 0 and "over 5 episodes" in run.stdout
    refused("lane=3 must be between 0 and 0", reference, "--lane", "3", script="evaluate.py")


def test_evaluate_writes_a_gif(reference):
    pytest.importorskip("pygame")
    pytest.importorskip("seaborn")
    run = execute(reference, "--episodes", "2", "--max-frames", "5", script="evaluate.py")
    assert run.returncode == 0, run.stderr
    (gif,) = reference.glob("*.gif")
    assert gif.read_bytes().startswith(b"GIF8")
    gif.unlink()
