"""Runs in this process: what they leave, how they end, and how they go on."""

import io
import json
import os
import shutil
import signal
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest
from commands import assert_same_run
from common import SMALL, SMALL_HPARAMS, small
from rich.console import Console

from jaxq.errors import ConfigError
from jaxq.loops.evaluation import Evaluation
from jaxq.runs import files, progress, provenance, runner
from jaxq.runs.history import History
from jaxq.runs.listening import Listener, Moment
from jaxq.runs.locking import lock
from jaxq.runs.policy import load_policy
from jaxq.runs.runner import Interrupted, RunSpec, Spread, run
from jaxq.runs.stopping import Stop, reason
from jaxq.scoring import plots

pytestmark = pytest.mark.usefixtures("shared_programs", "compiled_quickly")

QUIET = Console(quiet=True)
EVERY_CHUNK = Spread(save_every=0.0)
SPEC = RunSpec("small", SMALL, [SMALL_HPARAMS], [0, 1], steps=440)  # prefill and four chunks
HALF = SPEC._replace(steps=240)


def train(spec, directory, *, spread=EVERY_CHUNK, console=QUIET, **options):
    """A run without its figure, which takes longer to draw than to train."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "draw_curves", lambda path, *_: path.touch())
        how = {"spread": spread, "console": console, "experiment": small(), **options}
        return run(spec, directory, **how)


def snapshot(directory: Path) -> dict[str, bytes]:
    paths = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path.relative_to(directory)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Path:
    """The run of ``SPEC``, never interrupted."""
    directory = tmp_path_factory.mktemp("runs") / "reference"
    run(SPEC, directory, spread=EVERY_CHUNK, experiment=small(), console=QUIET)
    return directory


@pytest.fixture(scope="module")
def halfway(tmp_path_factory) -> Path:
    """The same run as far as its second chunk, where it was to end."""
    directory = tmp_path_factory.mktemp("runs") / "halfway"
    train(HALF, directory)
    return directory


@pytest.fixture
def copy(halfway, tmp_path) -> Path:
    return Path(shutil.copytree(halfway, tmp_path / "copy"))


def test_a_run_leaves_the_files_that_are_listed(reference):
    found = {str(path.relative_to(reference)) for path in reference.rglob("*") if path.is_file()}
    folder = f"{files.CHECKPOINTS}/"
    saved = {name for name in found if name.startswith(folder)}
    optional = {files.GIFS, f"{files.DATASET}/", f"{files.TENSORBOARD}/", f"{files.WANDB}/", folder}
    optional |= {files.DIAGNOSTICS}
    assert saved and found - saved == set(files.RUN_FILES) - optional
    with np.load(reference / files.METRICS) as arrays:
        assert arrays["steps"].tolist() == [140, 240, 340, 440]
        assert arrays["loss"].shape == (1, 2, 4) and np.isfinite(arrays["loss"]).all()
        assert arrays["eval_returns"].shape == (1, 2, 4, SMALL.eval_episodes)
    scores = files.read_json(reference / files.SCORES)
    assert scores["protocol"]["environment"] == "CartPole-v1"
    assert scores["protocol"]["time_limit"] == "bootstrap"
    assert len(scores["lanes"][0]["per_seed"]) == 2
    meta = files.read_json(reference / files.META)
    assert meta["stopped_by"] == "steps" and meta["compile_seconds"] < meta["seconds"]
    lines = (reference / files.LINES).read_text().splitlines()
    assert [json.loads(line)["steps"] for line in lines] == [140, 240, 340, 440]
    assert (reference / files.CURVES).read_bytes().startswith(b"\x89PNG")
    assert (reference / files.COMPLETE).read_text() == "440\n"


def test_what_a_run_exports_can_be_loaded(reference):
    policy = load_policy(reference)
    assert policy.config == SMALL and policy.lanes == [SMALL_HPARAMS] and policy.seeds == [0, 1]
    shapes = jax.tree.map(lambda leaf: leaf.shape[2:], policy.params)
    assert shapes == jax.tree.map(lambda leaf: leaf.shape, policy.member(0, 1))
    with pytest.raises(ConfigError, match="lane=3 must be between 0 and 0"):
        policy.member(3, 0)


def test_a_run_that_breaks_off_goes_on_where_it_was_saved(reference, tmp_path, monkeypatch):
    """Between two chunks, before the third is on the disk."""
    with monkeypatch.context() as patch:
        patch.setattr(runner, "record", lambda *_: _at(340, KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train(SPEC, tmp_path / "run")
    with pytest.raises(ConfigError, match=r"metrics\.npz cannot be read"):  # was not recorded
        train(SPEC, tmp_path / "run", resume=True)
    shutil.rmtree(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(runner, "stop_early", lambda *_: _at(340, KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train(SPEC, tmp_path / "run")
    assert not (tmp_path / "run" / files.COMPLETE).exists()
    train(SPEC, tmp_path / "run", resume=True)
    assert_same_run(reference, tmp_path / "run")


def test_a_checkpoint_that_its_metrics_do_not_reach_gives_way_to_the_one_before(reference, copy):
    """A disk that was full had room for the one and not for the other."""
    arrays = files.read_arrays(copy / files.METRICS)
    steps = arrays.pop("steps")
    cut = {"steps": steps[:-1], **{name: values[:, :, :-1] for name, values in arrays.items()}}
    files.write_arrays(copy / files.METRICS, cut)
    with pytest.warns(UserWarning, match="does not reach step 240"):
        train(SPEC, copy, resume=True)
    assert_same_run(reference, copy)


def _at(steps, error):
    def evaluated(moment):
        if int(moment.clock.steps) == steps:
            raise error

    return Listener(evaluated)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_run_after_its_chunk(signum, tmp_path, monkeypatch):
    def evaluated(moment):
        if int(moment.clock.steps) == 240:
            os.kill(os.getpid(), signum)

    monkeypatch.setattr(runner, "stop_early", lambda stop: Listener(evaluated))
    with pytest.raises(Interrupted, match=f"{signum.name} at step 240") as raised:
        train(SPEC, tmp_path / "run", spread=Spread(save_every=1e9))
    assert raised.value.exit_code == 128 + signum
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert files.SCORES in names and files.POLICY in names and files.COMPLETE not in names
    assert files.read_json(tmp_path / "run" / files.META)["stopped_by"] == signum.name
    assert list((tmp_path / "run" / files.CHECKPOINTS).glob("240*"))


def test_a_finished_run_is_extended_elsewhere_and_on_other_devices(reference, halfway, copy):
    before = snapshot(halfway)
    train(SPEC, copy, resume=True, spread=EVERY_CHUNK._replace(num_devices=1))
    assert_same_run(reference, copy)
    assert snapshot(halfway) == before
    meta = files.read_json(copy / files.META)
    assert len(meta["sessions"]) == 2 and meta["members"]["num_devices"] == 1
    assert files.read_json(copy / files.CONFIG)["steps"] == 440
    with pytest.raises(
        ConfigError, match=r"different steps \(440 there, only 240 here; they may be r"
    ):
        train(HALF, copy, resume=True)
    with pytest.raises(ConfigError, match="batch=2 must stay 1"):
        train(SPEC, copy, resume=True, spread=Spread(batch=2))


def test_a_directory_with_another_run_is_never_written(halfway, tmp_path):
    before = snapshot(halfway)
    changes = {
        r"different gamma \(0.99 there, 0.5 here\)": {"lanes": [SMALL_HPARAMS._replace(gamma=0.5)]},
        "different seeds": {"seeds": [1, 2]},
        r"different lanes \(1 there, 2 here\)": {"lanes": [SMALL_HPARAMS] * 2},
    }
    for message, change in changes.items():
        with pytest.raises(ConfigError, match=message):
            train(SPEC._replace(**change), halfway, resume=True)
    with pytest.raises(ConfigError, match="holds another run"):
        train(SPEC, halfway)
    with lock(halfway), pytest.raises(ConfigError, match="written by another process"):
        train(SPEC, halfway, resume=True)
    assert snapshot(halfway) == before
    with pytest.raises(ConfigError, match=r"holds no config\.json"):
        train(SPEC, tmp_path, resume=True)


@pytest.mark.parametrize(
    "field, value, said",
    [
        ("processor", "another", r"another processor \(another there, "),
        ("threads", 99, r"another number of threads \(99 there, \d+ here\)"),
    ],
)
def test_another_kind_of_processor_is_told(field, value, said, reference, tmp_path):
    """Trap: on another machine C51 on CartPole parted from its own curves, and nothing said why."""
    copy = Path(shutil.copytree(reference, tmp_path / "copy"))
    meta = files.read_json(copy / files.META)
    assert meta["sessions"][-1].pop(field)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        files.write_json(copy / files.META, meta)  # of a run that did not say it yet
        train(SPEC, copy, resume=True)
    meta["sessions"][-1][field] = value
    files.write_json(copy / files.META, meta)
    with pytest.warns(UserWarning, match=f"goes on with {said}"):
        train(SPEC, copy, resume=True)


def test_other_flags_of_xla_are_told(reference, tmp_path, monkeypatch):
    """They may choose other kernels, and did: without one flag Craftax is computed wrongly."""
    copy = Path(shutil.copytree(reference, tmp_path / "copy"))
    here = files.read_json(copy / files.META)["sessions"][-1]["xla_flags"]
    monkeypatch.setenv("XLA_FLAGS", f"{here} --xla_step_marker_location=0")
    with pytest.warns(UserWarning, match=r"goes on with another XLA_FLAGS \(.* there, .*=0 here\)"):
        train(SPEC, copy, resume=True)


def test_the_commit_is_the_one_that_was_imported(monkeypatch):
    """Trap: of ten runs of a long process the last said what was checked out when it began."""
    before = provenance.commit()
    monkeypatch.setattr(provenance, "_git", lambda *arguments: "another")
    assert provenance.commit() == before


def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(reference, tmp_path):
    copy = Path(shutil.copytree(reference, tmp_path / "copy"))
    newest = copy / files.CHECKPOINTS / "440.safetensors"
    newest.write_bytes(newest.read_bytes()[:-7])
    with pytest.warns(UserWarning, match="440.safetensors is damaged; .*340.safetensors is taken"):
        train(SPEC, copy, resume=True)
    assert_same_run(reference, copy)
    for path in (copy / files.CHECKPOINTS).iterdir():
        path.write_bytes(b"")
    before = snapshot(copy)
    with pytest.raises(ConfigError, match="is damaged"):
        train(SPEC, copy, resume=True)
    assert snapshot(copy) == before


def test_a_complete_run_without_checkpoints_is_not_begun_anew(reference, tmp_path):
    """Trap: somebody saves room, raises the steps later, and finds the run at its beginning."""
    copy = Path(shutil.copytree(reference, tmp_path / "copy"))
    shutil.rmtree(copy / files.CHECKPOINTS)
    before = snapshot(copy)
    with pytest.raises(ConfigError, match="is complete and has no checkpoint to go on from"):
        train(SPEC._replace(steps=SPEC.steps + 100), copy, resume=True)
    assert snapshot(copy) == before


@pytest.mark.parametrize("stop, steps", [(Stop(until_return=1.0), 340), (Stop(episodes=1), 140)])
def test_a_run_ends_early_for_a_reason(stop, steps, tmp_path):
    train(SPEC, tmp_path / "run", stop=stop)
    assert (tmp_path / "run" / files.COMPLETE).read_text() == f"{steps}\n"
    why = "episodes" if stop.episodes else "until_return"
    assert files.read_json(tmp_path / "run" / files.META)["stopped_by"] == why


def test_progress_is_shown_unless_silence_is_asked_for(tmp_path, capsys):
    train(HALF, tmp_path / "silent")
    assert capsys.readouterr() == ("", "")
    train(HALF, tmp_path / "shown", console=None)
    output, errors = capsys.readouterr()
    lines = errors.splitlines()
    assert output == "" and len(lines) == 2 and all("steps/s" in line for line in lines)


def test_who_waits_long_for_a_chunk_is_told_once_how_to_wait_less(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    train(HALF, tmp_path / "run", console=None)
    text = " ".join(capsys.readouterr().err.split())
    assert text.count("a smaller --chunk-steps with --eval-period 100 leaves evaluations") == 1


def test_all_hear_of_a_chunk_and_the_first_reason_counts():
    heard = []
    answers = [None, "first", "second", None]
    listeners = [Listener(lambda moment, a=a: (heard.append(a), a)[1]) for a in answers]
    assert runner._tell(listeners, Moment(None, None, {}, {}, None), evaluated=True) == "first"
    assert heard == answers
    assert runner._tell(listeners[:1], Moment(None, None, {}, {}, None), evaluated=True) is None


class FullDisk(OSError):
    """As the system says it, of one file."""


@pytest.mark.parametrize("when", ["evaluated", "closed"])
def test_what_is_small_is_kept_where_a_checkpoint_does_not_fit(when, tmp_path, monkeypatch):
    """Trap: the policy was not written because the states of all members did not fit."""

    def no_room(run, owner, every):
        def fail(moment):
            raise FullDisk(28, "No space left on device", str(run / "checkpoints"))

        return Listener(**{"evaluated": lambda moment: None, when: fail})

    monkeypatch.setattr(runner, "keep_checkpoints", no_room)
    with pytest.raises(FullDisk):
        train(SPEC, tmp_path / "run")
    steps = 140 if when == "evaluated" else 440
    assert json.loads((tmp_path / "run" / "scores.json").read_text())["steps"] == steps
    assert load_policy(tmp_path / "run").seeds == [0, 1]
    assert not (tmp_path / "run" / "COMPLETE").exists()
    assert json.loads((tmp_path / "run" / "meta.json").read_text())["stopped_by"]


@pytest.mark.parametrize("steps, last", [(440, 440), (441, 540), (539, 540), (41, 140)])
def test_the_last_step_is_known_from_the_start(steps, last, reference):
    """Trap: a progress that ends at 31,000 / 30,000."""
    assert SPEC._replace(steps=steps).last_step == last
    assert json.loads((reference / "scores.json").read_text())["steps"] == SPEC.last_step


def test_the_identity_of_a_run_goes_with_its_directory(halfway, reference, tmp_path):
    """Trap: made of the path, two machines overwrote each other's, and a moved run lost its own."""
    moved = shutil.copytree(halfway, tmp_path / "moved")
    identity = lambda run: json.loads((run / "meta.json").read_text())["id"]  # noqa: E731
    before = identity(moved)
    train(SPEC, moved, resume=True)
    assert identity(moved) == before != identity(reference)


def test_brackets_of_a_name_are_no_markup(tmp_path):
    directory = tmp_path / "R[lr]" / "[/nope]"
    console = Console(width=200)
    train(SPEC._replace(preset="[/bold] a[b]", steps=140), directory, console=console)
    assert (directory / "COMPLETE").exists()


def test_what_was_changed_by_hand_is_named(copy):
    document = files.read_json(copy / files.CONFIG)
    document["lanes"][0]["gamma"] = 0.5
    document["seeds"] = [0, 7]
    files.write_json(copy / files.CONFIG, document)
    changed = SPEC._replace(lanes=[SMALL_HPARAMS._replace(gamma=0.5)], seeds=[0, 7])
    with pytest.raises(ConfigError, match=r"describes \(another gamma and seeds\); it was left"):
        train(changed, copy, resume=True)


def test_a_dumb_terminal_shows_lines(tmp_path):
    """Trap: not one byte until the end."""
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=80, _environ={"TERM": "dumb"})
    train(SPEC, tmp_path / "run", console=console)
    assert output.getvalue().count("/ 440") == 4


@pytest.mark.parametrize("meta", ["", "[]", '{"sessions": []}', '{"sessions": [{}], "members": 3}'])
def test_a_record_of_sessions_that_was_edited_is_one_sentence(halfway, copy, meta):
    (copy / files.META).write_text(meta)
    with pytest.raises(ConfigError, match=r"cannot be read: meta\.json: "):
        train(SPEC, copy, resume=True)


def test_a_return_must_hold_at_each_of_three_evaluations():
    history, one = History(1, 1), np.ones(1)
    metrics = dict.fromkeys(("loss", "episodes", "train_return", "train_length"), one)
    for steps, value in enumerate((2.0, 0.0, 2.0, 2.0, 2.0), start=1):
        returns = np.full((1, 1), value, np.float32)
        history.append(steps, metrics, Evaluation(returns, returns, returns > -1, returns))
        assert (reason(Stop(until_return=1.0), history) is None) == (steps < 5)
