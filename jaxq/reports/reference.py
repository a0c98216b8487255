"""Reference results: curves of every seed of a suite's cells, measured once and kept as data.

A cell is one compressed file, which holds what a run directory says but for its states and its
single episodes; whatever reads runs reads it. Beside the files of a suite lies their manifest, for
people: the command that repeats each cell, commit, versions, device, seconds, diverged members.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxq.config import Config, HParams
from jaxq.documents import plain_numbers
from jaxq.errors import ConfigError
from jaxq.recipes.suites import cells
from jaxq.reports.sources import Run
from jaxq.runs import files
from jaxq.runs.joining import by_seed
from jaxq.runs.locking import hold
from jaxq.runs.resuming import differences
from jaxq.runs.spreading import as_path
from jaxq.scoring.protocol import completed
from jaxq.scoring.scores import divergence, score_seeds

DIRECTORY = Path(__file__).parents[2] / "experiments" / "reference"
ENDING = ".npz"
_CURVES = ("eval_return", "train_return", "eval_value", "loss")  # [1, S, T], float32
_TEXTS = ("document", "meta", "scores")
_MACHINE = ("device", "processor", "threads", "platform", "backend", "xla_flags")
_SESSION = ("commit", "versions", *_MACHINE, "started")


def reference(suite: str, directory: str | Path = DIRECTORY) -> dict[str, Run]:
    """The cells of a suite that have been measured, by their names.

    ``reference("control")["dqn-cartpole"].arrays`` holds ``steps`` [T] and, of every seed,
    ``eval_return``, ``train_return``, ``eval_value`` and ``loss`` [1, S, T].

    Args:
      directory: where the data lies; the checkout's by default.

    Raises:
      ConfigError: there is no such suite, or a file cannot be read.
    """
    paths = {name: path_of(suite, name, as_path("directory", directory)) for name in cells(suite)}
    if not Path(directory).is_dir():
        raise ConfigError(f"directory={directory} is no directory, so it holds no results.")
    return {name: read_cell(path) for name, path in paths.items() if path.is_file()}


def path_of(suite: str, cell: str, directory: Path = DIRECTORY) -> Path:
    """The file of a cell."""
    return directory / suite / f"{cell}{ENDING}"


def read_cell(path: Path) -> Run:
    """The cell in a file.

    Raises:
      ConfigError: it cannot be read.
    """
    try:
        arrays = files.read_arrays(path)
        texts = {name: json.loads(arrays.pop(name).tobytes()) for name in _TEXTS}
        if not all(isinstance(text, dict) for text in texts.values()):
            raise ValueError("what describes it is no document")
        shape = 1, len(texts["document"]["seeds"]), len(arrays["steps"])
        if wrong := [name for name in _CURVES if arrays[name].shape != shape]:
            raise ValueError(f"{', '.join(wrong)} is not of shape {list(shape)}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"reference={path} cannot be read: {error}.") from error
    texts["scores"] = files.from_jsonable(texts["scores"])
    return Run(path.with_suffix(""), **texts, arrays=arrays, complete=True)


def keep(suite: str, name: str, run: Run, directory: Path = DIRECTORY) -> Path:
    """Add a run's seeds to its cell, as it lies there now, and describe the suite anew.

    Returns:
      The cell's file.

    Raises:
      ConfigError: another process writes into the suite, or as ``joined``.
    """
    path = path_of(suite, name, directory)
    path.parent.mkdir(parents=True, exist_ok=True)
    busy = f"reference={path} is being written by another process; try again, nothing is lost."
    with hold(path.parent, busy):
        write_cell(path, joined(read_cell(path), run) if path.is_file() else run)
        _write_manifest(suite, directory)
    return path


def describe(suite: str, directory: Path = DIRECTORY) -> None:
    """Describe a suite anew, as ``keep`` would have if it had not been killed before.

    Raises:
      ConfigError: as ``keep``.
    """
    if (folder := directory / suite).is_dir():
        with hold(folder, f"reference={folder} is being written by another process; try again."):
            _write_manifest(suite, directory)


def write_cell(path: Path, cell: Run) -> None:
    """Replace a file."""
    texts = {name: files.jsonable(getattr(cell, name)) for name in _TEXTS}
    texts = {k: np.frombuffer(json.dumps(v).encode(), np.uint8) for k, v in texts.items()}
    with files.replacing(path) as partial, open(partial, "wb") as file:
        np.savez_compressed(file, **cell.arrays, **texts)


def as_cell(run: Run, command: str) -> Run:
    """What is kept of a finished run of one lane.

    Args:
      command: repeats it.
    """
    arrays = {name: run.arrays[name].astype(np.float32) for name in _CURVES}
    seeds = run.document["seeds"]
    sessions = [
        {"seeds": seeds, "command": command, **{name: session.get(name) for name in _SESSION}}
        for session in run.meta["sessions"]
    ]
    meta = {name: run.meta[name] for name in ("protocol", "members", "seconds")}
    meta |= {"command": command, "sessions": sessions}
    return run._replace(arrays={"steps": run.arrays["steps"], **arrays}, meta=meta)


def check_same(cell: Run, document: Mapping[str, Any]) -> None:
    """Refuse to add seeds to a cell that is not what ``document`` asks for, but for its seeds.

    Raises:
      ConfigError: names what differs.
    """
    if found := differing(cell, document):
        raise ConfigError(
            f"reference={cell.path}{ENDING} was measured with another {'; another '.join(found)}; "
            f"another --out is accepted."
        )


def differing(cell: Run, document: Mapping[str, Any]) -> list[str]:
    """How a cell differs from what ``document`` asks for, but for its seeds; [] if it does not."""
    found = []
    for there, here in zip(_asked(cell.document), _asked(document)):
        found += differences(there, here, dict.fromkeys([*there, *here]))
    return found


def _asked(document: Mapping[str, Any]) -> tuple[dict, dict, dict]:
    """Structure, numbers and the rest; a younger field has the value that all had before."""
    rest = {k: v for k, v in document.items() if k not in ("seeds", "config", "lanes")}
    (lane,) = document["lanes"]
    structure, numbers = files.jsonable([vars(Config()), plain_numbers(HParams())])
    return {**structure, **document["config"]}, {**numbers, **lane}, rest


def joined(cell: Run, more: Run) -> Run:
    """One cell with the seeds of both.

    Raises:
      ConfigError: they are not the same but for their seeds.
    """
    check_same(cell, more.document)
    protocols = [
        completed(one.scores["protocol"], one.document["config"], one.document["lanes"][0])
        for one in (cell, more)
    ]
    if protocols[0] != protocols[1]:
        raise ConfigError(f"reference={cell.path} was measured under another protocol.")
    seeds_of = [one.document["seeds"] for one in (cell, more)]
    if not set(seeds_of[0]).isdisjoint(seeds_of[1]):
        raise ConfigError(f"reference={cell.path} has some of these seeds already.")
    seeds = sorted([*seeds_of[0], *seeds_of[1]])

    def both(values: Sequence[Any]) -> np.ndarray:
        return by_seed([np.asarray(value) for value in values], seeds_of, seeds)

    arrays = {name: both([cell.arrays[name], more.arrays[name]]) for name in _CURVES}
    arrays["steps"] = cell.arrays["steps"]
    lanes = [one.scores["lanes"][0] for one in (cell, more)]
    (returns,) = both([[lane["per_seed"]] for lane in lanes])
    scored = score_seeds(returns, seeds, divergence(arrays)[0])
    cut = sum(lane["episodes_cut"] for lane in lanes)
    lane = {**lanes[0], **scored, "episodes_cut": cut}
    meta = {**cell.meta, "seconds": cell.meta["seconds"] + more.meta["seconds"]}
    meta["sessions"] = [*cell.meta["sessions"], *more.meta["sessions"]]
    commands = [session["command"] for session in meta["sessions"]]
    meta["command"] = " && ".join(dict.fromkeys(commands))  # a run that went on has two sessions
    document = {**cell.document, "seeds": seeds}
    scores = {**cell.scores, "protocol": protocols[0], "lanes": [lane]}
    return Run(cell.path, document, meta, scores, arrays, complete=True)


def _write_manifest(suite: str, directory: Path) -> None:
    """Replace ``SUITE.json``, which describes the files of a suite."""
    described = {name: _described(cell) for name, cell in reference(suite, directory).items()}
    files.write_json(directory / f"{suite}.json", described)


def _described(cell: Run) -> Mapping[str, Any]:
    lane = cell.scores["lanes"][0]
    return {
        "preset": cell.document["preset"],
        "steps": int(cell.scores["steps"]),
        "seeds": len(cell.document["seeds"]),
        "iqm": lane["iqm"],
        "iqm_95": lane["iqm_95"],
        "diverged": lane["diverged"],
        "protocol": cell.scores["protocol"],
        "seconds": round(cell.meta["seconds"]),
        "runs": cell.meta["sessions"],
    }
