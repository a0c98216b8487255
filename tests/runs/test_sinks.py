"""Sinks: what they write can be read back, and their failures never reach the run."""

import io
import os
import struct
import subprocess
import sys
import textwrap
import time
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT
from rich.console import Console

from jaxq.errors import ConfigError
from jaxq.runs import progress, sinks
from jaxq.runs.listening import Moment
from jaxq.runs.sinks import Sink, copy_to, guarded, make_sink
from jaxq.types import Clock

DOCUMENT = {
    "preset": "small",
    "id": "0123456789abcdef",
    "steps": 300,
    "seeds": [3, 7],
    "config": {"env": "CartPole-v1"},
    "lanes": [{"learning_rate": 0.1}, {"learning_rate": 0.2}],
}
LABELS = ["learning_rate=0.1", "learning_rate=0.2"]


def measured(steps):
    """Two lanes x two seeds; the second seed of the second lane has no episode yet."""
    returns = np.array([[1.0, 2.0], [3.0, np.nan]]) * steps
    return {"eval_return": returns, "loss": np.full((2, 2), 0.5, np.float32)}


def console():
    return Console(file=io.StringIO(), width=200)


def printed(console):
    return console.file.getvalue()


def events(folder):
    """The events of all files of a folder, in order."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted(folder.iterdir()):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            found.append(Event.FromString(data[at + 12 : at + 12 + length]))
            at += 16 + length
    return found


def scalars(folder):
    """``{(tag, step): value}``, as TensorBoard shows it after restarts."""
    known = {}
    for event in events(folder):
        if event.HasField("session_log"):
            known = {key: value for key, value in known.items() if key[1] < event.step}
        for value in event.summary.value:
            known[value.tag, event.step] = value.simple_value
    return known


def test_tensorboard_holds_every_seed_of_every_lane(tmp_path):
    pytest.importorskip("tensorboardX")
    screen = console()
    sink = make_sink("tensorboard", tmp_path, DOCUMENT, LABELS, screen)
    for steps in (100, 200):
        sink.log(steps, measured(steps))
    sink.close()
    folders = sorted((tmp_path / "tensorboard").iterdir())
    assert [folder.name for folder in folders] == [
        "lane0 learning_rate=0.1",
        "lane1 learning_rate=0.2",
    ]
    first, second = map(scalars, folders)
    assert first["eval_return/seed3", 100] == 100 and first["eval_return/seed7", 200] == 400
    assert first["eval_return/mean", 100] == first["eval_return/iqm", 100] == 150
    assert second["eval_return/mean", 100] == 300 and np.isnan(second["eval_return/seed7", 100])
    assert second["loss/iqm", 200] == 0.5
    assert len(first) == 2 * 2 * 4
    assert printed(screen) == ""


def test_a_resumed_run_replaces_what_came_after_its_checkpoint(tmp_path):
    pytest.importorskip("tensorboardX")
    sink = make_sink("tensorboard", tmp_path, DOCUMENT, LABELS, console())
    for steps in (100, 200, 300):
        sink.log(steps, measured(steps))
    sink.close()
    sink = make_sink("tensorboard", tmp_path, DOCUMENT, LABELS, console(), resumed_at=100)
    sink.log(200, measured(2_000))
    sink.close()
    found = scalars(tmp_path / "tensorboard" / "lane0 learning_rate=0.1")
    returns = {step: value for (tag, step), value in found.items() if tag == "eval_return/seed3"}
    assert returns == {100: 100, 200: 2_000}


def test_a_run_tells_a_sink_the_newest_values():
    heard = []
    listener = copy_to(Sink(lambda *what: heard.append(what), lambda: heard.append("closed")))
    moment = Moment(Clock(300, 75), SimpleNamespace(last=lambda: measured(300)), {}, {}, None)
    assert listener.evaluated(moment) is None
    listener.closed(moment)
    (steps, values), closed = heard
    assert steps == 300 and values.keys() == measured(300).keys() and closed == "closed"


def test_a_sink_that_fails_warns_once_and_is_off():
    screen, calls = console(), []

    def fail(*arguments):
        calls.append(arguments)
        raise OSError(28, "No space left [on] device")

    sink = guarded(lambda: Sink(fail, fail), "tensorboard", screen)
    for steps in (1, 2, 3):
        sink.log(steps, {})
    sink.close()
    assert len(calls) == 1
    assert printed(screen).count("\n") == 1
    assert "tensorboard is switched off, training goes on" in printed(screen)
    assert "No space left [on] device" in printed(screen)


def test_a_sink_that_cannot_start_or_end_warns_and_is_off():
    def fail():
        raise RuntimeError

    screen = console()
    sink = guarded(fail, "wandb", screen)
    sink.log(1, {})
    sink.close()
    assert printed(screen).splitlines() == ["wandb is switched off, training goes on: RuntimeError"]
    screen = console()
    sink = guarded(lambda: Sink(lambda *_: None, fail), "wandb", screen)
    sink.log(1, {})
    sink.close()
    sink.close()
    assert printed(screen).count("switched off") == 1


def test_ctrl_c_is_not_a_failure_of_the_sink():
    def interrupted(*_):
        raise KeyboardInterrupt

    sink = guarded(lambda: Sink(interrupted, interrupted), "wandb", console())
    with pytest.raises(KeyboardInterrupt):
        sink.log(1, {})


def test_a_full_disk_does_not_stop_a_run(tmp_path):
    """tensorboardX's own writer has a thread; when that dies, the run would wait for ever."""
    pytest.importorskip("tensorboardX")
    (tmp_path / "tensorboard").write_text("in the way")
    screen = console()
    sink = make_sink("tensorboard", tmp_path, DOCUMENT, LABELS, screen)
    for steps in range(30):
        sink.log(steps, measured(steps))
    assert printed(screen).count("switched off") == 1


@pytest.mark.parametrize("kind, package", [("wandb", "wandb"), ("tensorboard", "tensorboardX")])
def test_without_its_package_a_sink_says_how_to_install_it(kind, package, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"pip install -e '\.\[{kind}\]'"):
        make_sink(kind, tmp_path, DOCUMENT, LABELS, console())


def test_an_unknown_kind_names_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match="did you mean tensorboard"):
        make_sink("tensorbord", tmp_path, DOCUMENT, LABELS, console())


def in_a_process(directory, **environment):
    """Two chunks logged to W&B in a process of their own: what it printed, and its seconds."""
    pytest.importorskip("wandb")
    script = """
        import sys, time
        from pathlib import Path
        from rich.console import Console
        from test_sinks import DOCUMENT, LABELS, make_sink, measured
        import wandb
        start = time.monotonic()
        sink = make_sink("wandb", Path(sys.argv[1]), DOCUMENT, LABELS, Console(width=200))
        for steps in (100, 200):
            sink.log(steps, measured(steps))
        sink.close()
        print("done", time.monotonic() - start)
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    home = {"HOME": str(directory), "WANDB_ERROR_REPORTING": "false"}
    here = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "runs")]
    home["PYTHONPATH"] = os.pathsep.join(here)
    started = time.monotonic()
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(directory)],
        env={**clean, **home, **environment},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines(), time.monotonic() - started


def test_wandb_offline_leaves_a_run_for_every_lane(tmp_path):
    lines, _ = in_a_process(tmp_path, WANDB_MODE="offline")
    assert len(lines) == 1 and lines[0].startswith("done")
    runs = sorted((tmp_path / "wandb").glob("offline-run-*"))
    assert len(runs) == 2
    assert all(list(run.glob("run-*.wandb")) for run in runs)


@pytest.mark.slow
def test_wandb_without_a_server_warns_once_and_lets_go(tmp_path):
    lines, seconds = in_a_process(
        tmp_path, WANDB_BASE_URL="http://127.0.0.1:1", WANDB_API_KEY="0" * 40
    )
    assert len(lines) == 2 and "wandb is switched off" in lines[0]
    assert float(lines[1].split()[1]) < 20 and seconds < 60


def test_wandb_without_a_key_does_not_ask(tmp_path):
    lines, _ = in_a_process(tmp_path)
    assert len(lines) == 2 and "no API key" in lines[0]


def test_a_lane_keeps_its_wandb_id(tmp_path, monkeypatch):
    """The same directory and lane give the same id; with ``resume`` only when a run goes on."""
    wandb = pytest.importorskip("wandb")
    started = []

    class Run:
        define_metric = log = finish = staticmethod(lambda *_, **__: None)

    class Setup:
        def __init__(self, _):
            self.settings = wandb.Settings(mode="offline")

    monkeypatch.setattr(wandb, "setup", Setup)
    monkeypatch.setattr(wandb, "init", lambda **given: started.append(given) or Run())
    moved = tmp_path / "moved" / tmp_path.name
    moved.mkdir(parents=True)
    for place, resumed_at in ((tmp_path, None), (moved, 100)):
        make_sink("wandb", place, DOCUMENT, LABELS, console(), resumed_at).close()
    ids = [given["id"] for given in started]
    assert ids[:2] == ids[2:] and ids[0] != ids[1]
    assert [given["resume"] for given in started] == [None, None, "allow", "allow"]
    assert {given["group"] for given in started} == {tmp_path.name}
    assert [given["config"]["hparams"] for given in started[:2]] == DOCUMENT["lanes"]
    assert sinks.summarise(np.array([np.nan]), [0], "x").keys() == {"x/seed0"}


def test_what_a_terminal_shows_is_the_best_lane():
    nan, none = float("nan"), {"iqm": float("nan"), "iqm_95": [float("nan")] * 2}
    lanes = [none, {"iqm": 1.0, "iqm_95": [0.5, 2.0]}, {"iqm": 3.0, "iqm_95": [nan, nan]}]
    assert progress._headline({"lanes": lanes[:2]}) == "best of 2 lanes: return 1 [0.5, 2]"
    assert progress._headline({"lanes": lanes}) == "best of 3 lanes: return 3"
    assert progress._headline({"lanes": [none, none]}) == "all members have diverged"
    counts = [progress.format_count(x) for x in (950.0, 999.6, 12_345.0, 4.56e6, 2e9)]
    assert counts == ["950", "1k", "12.3k", "4.56M", "2G"]
