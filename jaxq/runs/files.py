"""The run directory: what it holds and how it is written.

    config.json    what was asked for; can be given back to train.py
    meta.json      versions, device, commit, spread of members, times
    metrics.npz    ``steps`` [T] and one array [H, S, T] per metric, eval_returns [H, S, T, K]
    metrics.jsonl  one line per chunk, aggregated over seeds, for reading along
    scores.json    the last evaluation of every lane with its interval and protocol
    lanes.csv      the same as a table, a row per lane, with the members that have diverged
    curves.png     learning curves
    checkpoints/   to resume from
    policy/        the trained networks
    COMPLETE       written last

Every file is replaced whole, so it is readable at every moment. A directory that holds a run is
never written by another.
"""

import csv
import io
import json
import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

try:
    import fcntl
except ImportError:  # Windows, where two runs are not kept apart
    fcntl = None

from jaxq.errors import ConfigError

CONFIG, META, METRICS, LINES = "config.json", "meta.json", "metrics.npz", "metrics.jsonl"
SCORES, CURVES, CHECKPOINTS, COMPLETE = "scores.json", "curves.png", "checkpoints", "COMPLETE"
TABLE = "lanes.csv"
STUDY, PARTS, WINNER = "study.json", "parts", "winner"  # of a sweep


def create(directory: Path, document: Mapping[str, Any], name: str = CONFIG) -> None:
    """Make ``directory`` the home of the run ``document``, kept as the file ``name``.

    Raises:
      ConfigError: it already holds something, or cannot be written.
    """
    with _writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
        if (directory / name).exists():
            raise ConfigError(
                f"out={directory} holds another run; choose an empty directory, or continue that "
                f"run with --resume {directory}."
            )
        partial = "." + name  # of a process that was killed while it wrote this very file
        if any(path.name != partial for path in directory.iterdir()):
            raise ConfigError(f"out={directory} is not empty; an empty or new one is accepted.")
        write_json(directory / name, document)


@contextmanager
def _writing(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"out={directory} cannot be written: {reason}.") from error


def read_document(directory: Path) -> dict[str, Any]:
    """The ``config.json`` of a run directory, or of the path of the file itself.

    Raises:
      ConfigError: there is none, or it cannot be read.
    """
    path = directory / CONFIG if directory.is_dir() else directory
    if not path.is_file():
        raise ConfigError(f"run={directory} holds no {CONFIG}; a run directory is accepted.")
    try:
        document = json.loads(path.read_text())
        kinds = {"preset": str, "config": dict, "lanes": list, "seeds": list, "steps": int}
        for name, kind in kinds.items():
            if not isinstance(document[name], kind) or document[name] == []:
                raise ValueError(f"{name}={document[name]!r} is no {kind.__name__} with content")
    except KeyError as error:
        raise ConfigError(f"config={path} cannot be read: {error} is missing.") from error
    except (ValueError, TypeError) as error:
        raise ConfigError(f"config={path} cannot be read: {error}.") from error
    return document


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """What ``write_arrays`` wrote."""
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Replace an ``.npz`` file."""
    partial = path.with_name("." + path.name)
    with open(partial, "wb") as file:
        np.savez(file, **arrays)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def write_scores(directory: Path, scores: Mapping[str, Any], rows: Sequence[Mapping]) -> None:
    """Replace ``scores.json`` and ``lanes.csv``."""
    write_json(directory / SCORES, scores)
    write_table(directory / TABLE, rows)


def read_scores(directory: Path) -> dict[str, Any]:
    """The ``scores.json`` of a run or a study; what is not finite is a number again."""
    return _with_numbers(read_json(directory / SCORES))


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Replace a CSV file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


@contextmanager
def lock(directory: Path) -> Iterator[None]:
    """Keep other processes from writing into a run directory, which is made if there is none.

    Raises:
      ConfigError: another process is writing into it, or it cannot be made.
    """
    with _writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"run={directory} is being written by another process; wait for it, or choose "
                f"another directory."
            ) from None
        except OSError as error:  # some file systems of clusters have no locks
            warnings.warn(f"run={directory} cannot be locked: {error.strerror}.", stacklevel=3)
        yield
    finally:
        os.close(handle)


def read_json(path: Path) -> Any:
    """What ``write_json`` wrote."""
    return json.loads(path.read_text())


def write_json(path: Path, document: Any) -> None:
    """Replace ``path`` with ``document``; infinities become strings, as JSON has none."""
    write_text(path, json.dumps(jsonable(document), indent=2, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` in one move."""
    partial = path.with_name("." + path.name)
    with open(partial, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _with_numbers(value: Any) -> Any:
    """What ``jsonable`` made strings, as numbers again."""
    if isinstance(value, dict):
        return {name: _with_numbers(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_numbers(item) for item in value]
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
