"""Every file of a run's directory and of a sweep's: what each is, and how it is written.

``RUN_FILES`` and ``SWEEP_FILES`` name them. Every file is replaced whole, so it is readable at
every moment; only what other packages write themselves is not (their folders, and the journal of a
search, to which a line is added at a time). A directory that holds a run is never written by
another. For a time there is also what begins with a dot, and ``added``, seeds on their way.
"""

import csv
import io
import json
import math
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from jaxq.errors import ConfigError
from jaxq.replay.datasets import DATASET

CONFIG, META, METRICS, LINES = "config.json", "meta.json", "metrics.npz", "metrics.jsonl"
SCORES, TABLE, CURVES, COMPLETE = "scores.json", "lanes.csv", "curves.png", "COMPLETE"
DIAGNOSTICS = "diagnostics.png"
CHECKPOINTS, TENSORBOARD, WANDB = "checkpoints", "tensorboard", "wandb"
ADDED = "added"  # a run directory inside of one, until its seeds have joined that
POLICY, PARAMS = "policy", "params.safetensors"
GIFS = "policy-lane*-seed*.gif"
STUDY, PARTS, WINNER, JOURNAL = "study.json", "parts", "winner", "journal.log"
SENSITIVITY, HEATMAP = "sensitivity.png", "heatmap.png"
LOCK = ".lock"  # where a file system locks no directory
VERSION = "0.2"  # of jaxq, which reads what this one writes

RUN_FILES = {
    CONFIG: "what was asked for; train.py takes it in place of a preset",
    META: "identity, versions, device, commit, spread of members, times, why it ended",
    METRICS: "steps [T] and one array [H, S, T] per metric; eval_returns [H, S, T, K]",
    LINES: "one line per chunk and lane, means over seeds, for reading along",
    SCORES: "the last evaluation of every lane with its interval, every seed and the protocol",
    TABLE: "the same as a table, a row per lane, with the members that have diverged",
    CURVES: "learning curves",
    DIAGNOSTICS: "what diagnostics have measured, with --diagnose",
    f"{CHECKPOINTS}/": "the states of all members, the newest and the one before, to resume from",
    f"{POLICY}/{PARAMS}": "the trained networks of all members",
    f"{POLICY}/{CONFIG}": "what it takes to act with them",
    f"{DATASET}/": "the steps that the replay holds and what they are, with --keep-replay",
    GIFS: "an episode of one of them, by evaluate.py",
    f"{TENSORBOARD}/": "event files of every lane, with --track tensorboard",
    f"{WANDB}/": "what W&B keeps of every lane, with --track wandb",
    COMPLETE: "the last step, written last",
}
SWEEP_FILES = {
    STUDY: "the settings, the seeds, and which part trains which",
    f"{PARTS}/": "a run directory for every part: some settings of one program, on some seeds",
    f"{WINNER}/": "a run directory: the best setting again, on fresh seeds",
    METRICS: "steps [T] and an array [L, S, T] per metric that all parts have, of all settings, "
    "NaN where one was not measured",
    SCORES: "the last evaluation of every setting with its interval, and every seed",
    TABLE: "the same as a table, a row per setting",
    CURVES: "learning curves of the best settings",
    SENSITIVITY: "the score over every field that is swept",
    HEATMAP: "the score over two fields",
    JOURNAL: "the trials of a search with Optuna",
    COMPLETE: "written last",
}


def listing(files: Mapping[str, str]) -> str:
    """``RUN_FILES`` or ``SWEEP_FILES`` as lines, for people."""
    width = max(map(len, files))
    return "\n".join(f"{name:<{width}}  {what}" for name, what in files.items())


def create(directory: Path, document: Mapping[str, Any], name: str = CONFIG) -> None:
    """Make ``directory`` the home of the run ``document``, kept as the file ``name``.

    Raises:
      ConfigError: it already holds something, or cannot be written.
    """
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
        if (directory / name).exists():
            raise ConfigError(
                f"out={directory} holds another run; choose an empty directory, or continue that "
                f"run with --resume {directory}."
            )
        # Of this process, and of one that was killed while it wrote this very file.
        known = directory / LOCK, _partial(directory / name)
        if any(path not in known for path in directory.iterdir()):
            raise ConfigError(f"out={directory} is not empty; an empty or new one is accepted.")
        (write_document if name == CONFIG else write_json)(directory / name, document)


@contextmanager
def writing(directory: Path) -> Iterator[None]:
    """What goes wrong inside is that ``directory`` cannot be written.

    Raises:
      ConfigError: says why.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"out={directory} cannot be written: {reason}.") from error


def check_directory(run: Path, name: str = "run") -> None:
    """Refuse what is no directory.

    Raises:
      ConfigError: ``run``, called ``name``, is none; of a file in one, such as its config.json,
        that one is named.
    """
    if not run.is_dir():
        it = f"{run.parent}, where this file lies," if run.is_file() else "a run directory"
        raise ConfigError(f"{name}={run} is not a directory; {it} is accepted.")


def read_document(directory: Path) -> dict[str, Any]:
    """The ``config.json`` of a run directory, or of the path of the file itself.

    Raises:
      ConfigError: there is none, it cannot be read, or another version of jaxq has made the run.
    """
    path = directory / CONFIG if directory.is_dir() else directory
    if not path.is_file():
        if (directory / STUDY).is_file():
            raise ConfigError(
                f"run={directory} is a sweep; sweep.py --resume {directory} continues it."
            )
        raise ConfigError(f"run={directory} holds no {CONFIG}; a run directory is accepted.")
    try:
        document = read_json(path)
        if not isinstance(document, dict):
            raise ValueError(f"it holds a {type(document).__name__}, and no names")
        kinds = {"preset": str, "config": dict, "lanes": list, "seeds": list, "steps": int}
        for name, kind in kinds.items():
            if not isinstance(document[name], kind) or document[name] == []:
                raise ValueError(f"{name}={document[name]!r} is no {kind.__name__} with content")
        for name in ("made_of", "dataset"):
            if not isinstance(document.get(name, {}), dict):
                raise ValueError(f"{name}={document[name]!r} is no dict")
        if not all(isinstance(part, dict) for part in document.get("made_of", {}).values()):
            raise ValueError(f"made_of={document['made_of']!r} does not describe parts by name")
        if not all(isinstance(lane, dict) for lane in document["lanes"]):
            raise ValueError(f"lanes={document['lanes']!r} are not all numbers by name")
    except KeyError as error:
        raise ConfigError(f"config={path} cannot be read: {error} is missing.") from error
    except (ValueError, TypeError) as error:
        raise ConfigError(f"config={path} cannot be read: {error}.") from error
    return of_this_version(document, directory)


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """Replace a ``config.json``, which says by which version of jaxq it can be read."""
    write_json(path, {"version": VERSION, **document})


def of_this_version(document: Mapping[str, Any], run: Path) -> dict[str, Any]:
    """What ``write_document`` was given; ``run`` is where it was found.

    Raises:
      ConfigError: another version of jaxq has made the run.
    """
    version = str(document.get("version", "0.1.0"))  # which did not say so
    if version != VERSION:
        raise ConfigError(f"run={run} was made by jaxq {version}; runs of {VERSION} are accepted.")
    return {name: value for name, value in document.items() if name != "version"}


def write_scores(directory: Path, scores: Mapping[str, Any], rows: Sequence[Mapping]) -> None:
    """Replace ``scores.json`` and ``lanes.csv``."""
    write_json(directory / SCORES, scores)
    write_table(directory / TABLE, rows)


def read_scores(directory: Path) -> dict[str, Any]:
    """The ``scores.json`` of a run or a study; what is not finite is a number again."""
    return from_jsonable(read_json(directory / SCORES))


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Replace a CSV file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def read_json(path: Path) -> Any:
    """What ``write_json`` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def read_names(path: Path) -> dict[str, Any]:
    """What ``write_json`` wrote of values by name.

    Raises:
      ValueError: it is no JSON, or holds something else.
    """
    document = read_json(path)
    if not isinstance(document, dict):
        raise ValueError(f"{path.name} holds a {type(document).__name__}, and no names")
    return document


def write_json(path: Path, document: Any) -> None:
    """Replace ``path`` with ``document``; infinities become strings, as JSON has none."""
    write_text(path, json.dumps(jsonable(document), indent=2, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` with a text."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def read_arrays(path: Path, but: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """What ``write_arrays`` wrote, but for some names.

    Raises:
      OSError: it cannot be read.
      ValueError: it is no such file, or a damaged one.
    """
    if not zipfile.is_zipfile(path):
        raise ValueError("it is no file of several arrays")
    try:
        with np.load(path) as arrays:
            return {name: arrays[name] for name in arrays.files if name not in but}
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, RuntimeError) as error:
        raise ValueError(f"it is damaged ({error})") from error


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Replace an ``.npz`` file."""
    with replacing(path) as partial, open(partial, "wb") as file:
        np.savez(file, **arrays)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, with the ending of ``path``; what is there at the end, once the disk has
    it, replaces ``path`` in one move. After an exception ``path`` is as it was.
    """
    partial = _partial(path)
    try:
        yield partial
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # the system does not say what could not be written
        raise


def _partial(path: Path) -> Path:
    return path.with_name("." + path.name)


def from_jsonable(value: Any) -> Any:
    """What ``jsonable`` made strings, as numbers again."""
    if isinstance(value, dict):
        return {name: from_jsonable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [from_jsonable(item) for item in value]
    return float(value) if value in ("nan", "inf", "-inf") else value


def jsonable(value: Any) -> Any:
    """The same with tuples as lists, arrays as lists, and infinities and NaN as strings."""
    if isinstance(value, Mapping):
        return {str(name): jsonable(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [jsonable(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return jsonable(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
