"""Scripts as users start them, in processes of their own; what several test files share."""

import importlib.util
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
from conftest import ROOT
from safetensors.numpy import load_file

# A small run of a few seconds with many chunks.
SMALLEST = (
    "--num-envs 2 --widths 16 --capacity 400 --batch-size 16 --prefill 100 --train-every 4 "
    "--target-period 20 --chunk-steps 100 --eval-episodes 2 --eval-max-steps 50 "
    "--epsilon-steps 1000"
).split()
# The same with two seeds, and a checkpoint after every chunk.
TINY = [*"dqn-cartpole --seeds 2 --steps 4000 --save-every 0".split(), *SMALLEST]
CAPTURE = {"capture_output": True, "text": True, "timeout": 300}


def module_of(script: str) -> ModuleType:
    """A script of ``experiments`` as a module, made anew."""
    path = ROOT / "experiments" / script
    spec = importlib.util.spec_from_file_location(f"script_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def command(*arguments, script="train.py") -> list[str]:
    return [sys.executable, str(ROOT / "experiments" / script), *map(str, arguments)]


def execute(*arguments, script="train.py", **options) -> subprocess.CompletedProcess:
    run = subprocess.run(command(*arguments, script=script), **CAPTURE, **options)
    assert "Traceback" not in run.stderr, run.stderr
    return run


def start(*arguments, script="train.py", **options) -> subprocess.Popen:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command(*arguments, script=script), **pipes, **options)


def refused(message: str, *arguments, script="train.py", **options) -> None:
    """Exit code 2 and one sentence, quickly, whose words include ``message``."""
    run = execute(*arguments, script=script, **options)
    assert run.returncode == 2, run.stdout + run.stderr
    (line,) = [line for line in run.stderr.splitlines() if line.strip()]
    assert line.startswith("error: ") and line.count(". ") == 0 and line.endswith((".", "?"))
    assert message in line, line


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def told(port: int, index: int) -> dict:
    return {"arguments": ["--distributed", f"127.0.0.1:{port},2,{index}"], "env": os.environ}


def pair(where, *arguments, **options) -> list[subprocess.Popen]:
    """Two processes that share a sweep."""
    port, processes = free_port(), []
    for index in range(2):
        how = where(port, index)
        shared = [*arguments, "--devices", "1", "--heartbeat", "10", *how["arguments"]]
        processes.append(start(*shared, script="sweep.py", env=how["env"], **options))
    return processes


def assert_success(processes) -> None:
    for process in processes:
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, output + errors


def wait_until(condition, process=None, seconds: float = 200.0) -> None:
    """Until ``condition()`` holds, while ``process`` lives."""
    end = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def assert_same_run(a: Path, b: Path) -> None:
    """Two run directories hold the same bits."""
    assert_same_arrays(a / "metrics.npz", b / "metrics.npz")
    x, y = (load_file(run / "policy" / "params.safetensors") for run in (a, b))
    assert all(x[name].tobytes() == y[name].tobytes() for name in x) and set(x) == set(y)


def assert_same_arrays(a: Path, b: Path) -> None:
    with np.load(a) as x, np.load(b) as y:
        assert set(x.files) == set(y.files)
        for name in x.files:
            assert x[name].tobytes() == y[name].tobytes(), name
