"""Seeds that join a run later have the bits that they would have had from the beginning."""

import io
import itertools
import shutil
from pathlib import Path

import pytest
from commands import assert_same_run
from common import SMALL, SMALL_HPARAMS, small
from rich.console import Console

from jaxq.errors import ConfigError
from jaxq.runs import adding, files, joining
from jaxq.runs.adding import add_seeds
from jaxq.runs.locking import lock
from jaxq.runs.runner import RunSpec, Spread, run

pytestmark = pytest.mark.usefixtures("shared_programs", "no_figures")

QUIET = Console(quiet=True)
LANES = [SMALL_HPARAMS, SMALL_HPARAMS._replace(gamma=0.9)]
SPEC = RunSpec("small", SMALL, LANES, [7, 3, 4], steps=340)  # prefill and three chunks
FEW = SPEC._replace(seeds=[3])  # the rest come before and after it
HOW = {"spread": Spread(save_every=0.0, batch=2), "console": QUIET, "experiment": small()}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, Path, Path]:
    """The whole run, the same with few seeds, and that as far as its first chunk."""
    places = [tmp_path_factory.mktemp("runs") / name for name in ("whole", "few", "begun")]
    for spec, place in zip((SPEC, FEW, FEW._replace(steps=140)), places):
        run(spec, place, **HOW)
    return tuple(places)


def join_all(directory: Path) -> None:
    """What train.py does for ``--resume RUN --seeds``."""
    add_seeds(SPEC, directory, **HOW)
    run(SPEC, directory, resume=True, **HOW)


@pytest.mark.parametrize("which", ["few", "begun"])
def test_added_seeds_are_bit_for_bit_those_of_the_whole_run(which, made, tmp_path, monkeypatch):
    whole, few, begun = made
    directory = Path(shutil.copytree({"few": few, "begun": begun}[which], tmp_path / "run"))
    before = files.read_json(directory / files.META)
    added = []

    def join(place, document):
        added.append(files.read_json(place / files.ADDED / files.META)["seconds"])
        joining.join(place, document)

    monkeypatch.setattr(adding, "join", join)
    add_seeds(SPEC, directory, **HOW)
    seconds = files.read_json(directory / files.META)["seconds"]
    assert seconds == pytest.approx(before["seconds"] + added[0]) and added[0] > 0.0
    assert not (directory / files.COMPLETE).exists()  # its scores lack the new seeds
    run(SPEC, directory, resume=True, **HOW)
    assert_same_run(whole, directory)
    for name in (files.SCORES, files.CONFIG, files.TABLE, files.LINES):
        assert (whole / name).read_bytes() == (directory / name).read_bytes(), name
    names = {path.name for path in directory.rglob("*")}
    assert names == {path.name for path in whole.rglob("*")} - {"240.safetensors"} | {
        path.name for path in (directory / files.CHECKPOINTS).iterdir()
    }
    meta = files.read_json(directory / files.META)
    assert meta["id"] == before["id"] and meta["members"]["num_members"] == 6
    assert [session.get("seeds") for session in meta["sessions"]] == [None, [7, 4], None]
    run(SPEC._replace(steps=440), directory, resume=True, **HOW)  # and further
    run(SPEC._replace(steps=440), Path(shutil.copytree(whole, tmp_path / "w")), resume=True, **HOW)
    assert_same_run(tmp_path / "w", directory)


def test_nothing_is_lost_wherever_joining_is_killed(made, tmp_path, monkeypatch):
    """The n-th operation on a file never happens, for all n; the same command then ends well."""
    whole, few, _ = made
    start = Path(shutil.copytree(few, tmp_path / "start"))
    with monkeypatch.context() as patch:  # as far as joining
        patch.setattr("jaxq.runs.adding.join", lambda *_: None)
        add_seeds(SPEC, start, **HOW)
    for n in itertools.count():
        directory, calls = Path(shutil.copytree(start, tmp_path / str(n))), 0

        def die(function, n=n):
            def operation(*arguments, **options):
                nonlocal calls
                calls += 1
                if calls > n:
                    raise KeyboardInterrupt  # as nothing else would pass through all handlers
                return function(*arguments, **options)

            return operation

        with monkeypatch.context() as patch:
            for owner, name in ((Path, "replace"), (Path, "mkdir"), (shutil, "rmtree")):
                patch.setattr(owner, name, die(getattr(owner, name)))
            try:
                joining.join(directory, SPEC.document())
                break
            except KeyboardInterrupt:
                pass
        join_all(directory)
        assert_same_run(whole, directory)
        assert not (directory / files.ADDED).exists()
        shutil.rmtree(directory)
    assert n > 8


def test_what_another_process_is_joining_is_left_alone(made, tmp_path):
    """Trap: it moved the checkpoints a second time, and so removed them."""
    directory = Path(shutil.copytree(made[1], tmp_path / "run"))
    whole = directory / ".joined"
    shutil.copytree(directory / files.CHECKPOINTS, whole / files.CHECKPOINTS)
    (whole / files.COMPLETE).touch()
    with lock(directory), pytest.raises(ConfigError, match="written by another process"):
        joining.finish(directory)
    assert whole.exists()
    joining.finish(directory)
    assert not whole.exists() and any((directory / files.CHECKPOINTS).iterdir())


@pytest.mark.parametrize(
    "spec, message",
    [
        (SPEC._replace(seeds=[7, 4]), r"different seeds \(\[3\] there"),
        (SPEC._replace(lanes=LANES[:1]), "lanes"),
        (SPEC._replace(steps=240), "only 240 here"),
    ],
)
def test_what_is_another_run_gets_no_seeds(spec, message, made, tmp_path):
    directory = Path(shutil.copytree(made[1], tmp_path / "run"))
    with pytest.raises(ConfigError, match=message):
        add_seeds(spec, directory, **HOW)
        run(spec, directory, resume=True, **HOW)
    assert not (directory / files.ADDED).exists()


def test_what_is_no_specification_is_said():
    with pytest.raises(ConfigError, match="spec=runs/mine must be a jaxq RunSpec"):
        add_seeds("runs/mine", 3)


def test_a_run_that_has_saved_nothing_gets_no_seeds(made, tmp_path):
    directory = Path(shutil.copytree(made[1], tmp_path / "run"))
    shutil.rmtree(directory / files.CHECKPOINTS)
    with pytest.raises(ConfigError, match="has saved nothing"):
        add_seeds(SPEC, directory, **HOW)


def test_seeds_on_their_way_are_named_to_whoever_asks_for_others(made, tmp_path, monkeypatch):
    directory = Path(shutil.copytree(made[1], tmp_path / "run"))
    with monkeypatch.context() as patch:
        patch.setattr("jaxq.runs.adding.join", lambda *_: None)
        add_seeds(SPEC, directory, **HOW)
    more = SPEC._replace(seeds=[3, 9])
    with pytest.raises(ConfigError, match=r"has the seeds \[7, 4\] on their way in .*added; ask"):
        add_seeds(more, directory, **HOW)
    console = Console(file=io.StringIO(), width=200)
    run(FEW, directory, resume=True, **{**HOW, "console": console})
    assert "are left as they are" in " ".join(console.file.getvalue().split())


def test_seeds_that_are_added_leave_no_tracks_and_are_not_trained_in_vain(
    made, tmp_path, monkeypatch
):
    """Trap: event files of the part were removed with it; a seed whose replay cannot be kept was
    refused after its training."""
    directory, seen = Path(shutil.copytree(made[1], tmp_path / "run")), []

    def stop(*arguments, spread, **how):
        seen.append(spread)
        raise KeyboardInterrupt

    monkeypatch.setattr(adding, "run", stop)
    spread = HOW["spread"]._replace(track=("tensorboard",))
    with pytest.raises(KeyboardInterrupt):
        add_seeds(SPEC, directory, **{**HOW, "spread": spread})
    assert [one.track for one in seen] == [()]
    with pytest.raises(ConfigError, match="keep_replay needs a run of one lane"):
        add_seeds(SPEC, directory, **{**HOW, "spread": spread._replace(keep_replay=(99,))})
