"""The run directory: what it holds and how it is written.

    config.json    what was asked for; can be given back to train.py
    meta.json      versions, device, commit, spread of members, times
    metrics.npz    ``steps`` [T] and one array [H, S, T] per metric, eval_returns [H, S, T, K]
    metrics.jsonl  one line per chunk, aggregated over seeds, for reading along
    scores.json    the last evaluation of every lane with its interval and protocol
    curves.png     learning curves
    checkpoints/   to resume from
    policy/        the trained networks
    COMPLETE       written last

Every file is replaced whole, so it is readable at every moment. A directory that holds a run is
never written by another.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxq.errors import ConfigError
from jaxq.evaluation import Evaluation
from jaxq.stats import bootstrap_iqm

CONFIG, META, METRICS, LINES = "config.json", "meta.json", "metrics.npz", "metrics.jsonl"
SCORES, CURVES, CHECKPOINTS, COMPLETE = "scores.json", "curves.png", "checkpoints", "COMPLETE"


class History:
    """What was measured after every chunk: name -> list over time of arrays [M, ...]."""

    def __init__(self, num_lanes: int, num_seeds: int):
        self.shape = (num_lanes, num_seeds)
        self.steps: list[int] = []
        self.values: dict[str, list[np.ndarray]] = {}
        self.lines: list[str] = []  # of metrics.jsonl

    def append(self, steps: int, metrics: Mapping[str, np.ndarray], result: Evaluation) -> None:
        """Add the metrics [M] and the evaluation [M, K] at ``steps``."""
        measured = {
            **metrics,
            "eval_return": result.returns.mean(axis=1, dtype=np.float64),
            "eval_length": result.lengths.mean(axis=1, dtype=np.float64),
            "eval_value": result.values.mean(axis=1, dtype=np.float64),
            "eval_cut": (~result.finished).sum(axis=1),
            "eval_returns": result.returns,
        }
        self._add(steps, {name: np.asarray(value) for name, value in measured.items()})

    def _add(self, steps: int, measured: Mapping[str, np.ndarray]) -> None:
        self.steps.append(steps)
        for name, value in measured.items():
            self.values.setdefault(name, []).append(value)
        by_lane = {
            name: value.reshape(*self.shape)
            for name, value in sorted(measured.items())
            if name != "eval_returns"
        }
        for lane in range(self.shape[0]):
            means = {
                name: _plain(np.nanmean(values[lane]))
                for name, values in by_lane.items()
                if not np.all(np.isnan(values[lane]))
            }
            self.lines.append(json.dumps(jsonable({"steps": steps, "lane": lane, **means})))

    def arrays(self) -> dict[str, np.ndarray]:
        """``steps`` [T] and every other metric [H, S, T, ...]."""
        stacked = {
            name: np.stack(values, axis=1).reshape(*self.shape, len(values), *values[0].shape[1:])
            for name, values in self.values.items()
        }
        return {"steps": np.asarray(self.steps, np.int64), **stacked}

    @classmethod
    def load(cls, path: Path, num_lanes: int, num_seeds: int, until: int) -> "History":
        """The history in ``metrics.npz`` up to and including step ``until``."""
        history = cls(num_lanes, num_seeds)
        with np.load(path) as arrays:
            count = int(np.searchsorted(arrays["steps"], until, side="right"))
            steps = arrays["steps"][:count]
            members = {
                name: arrays[name].reshape(num_lanes * num_seeds, *arrays[name].shape[2:])
                for name in arrays.files
                if name != "steps"
            }
            for t, step in enumerate(steps):
                history._add(int(step), {name: values[:, t] for name, values in members.items()})
        return history


def create(directory: Path, document: Mapping[str, Any]) -> None:
    """Make ``directory`` the home of the run ``document``.

    Raises:
      ConfigError: it already holds something, or cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if (directory / CONFIG).exists():
            raise ConfigError(
                f"out={directory} holds another run; choose an empty directory, or continue that "
                f"run with --resume {directory}."
            )
        if any(directory.iterdir()):
            raise ConfigError(f"out={directory} is not empty; an empty or new one is accepted.")
        write_json(directory / CONFIG, document)
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
        missing = {"preset", "config", "lanes", "seeds", "steps"} - set(document)
        if missing:
            raise ValueError(f"{', '.join(sorted(missing))} missing")
    except (ValueError, TypeError) as error:
        raise ConfigError(f"config={path} cannot be read: {error}.") from error
    return document


def write_history(directory: Path, history: History) -> None:
    """Replace ``metrics.npz`` and ``metrics.jsonl``."""
    partial = directory / ("." + METRICS)
    with open(partial, "wb") as file:
        np.savez(file, **history.arrays())
    partial.replace(directory / METRICS)
    write_text(directory / LINES, "\n".join(history.lines) + "\n")


def score(history: History, document: Mapping[str, Any], protocol: Mapping[str, Any]) -> dict:
    """The last evaluation of every lane: IQM over seeds with its 95 % bootstrap interval."""
    returns = np.reshape(history.values["eval_return"][-1], history.shape)  # [H, S]
    cut = np.reshape(history.values["eval_cut"][-1], history.shape)
    diverged = ~np.isfinite(np.reshape(history.values["loss"][-1], history.shape))
    episodes = history.values["eval_returns"][-1].shape[-1]
    lanes = []
    for lane, hparams in enumerate(document["lanes"]):
        interval = bootstrap_iqm(returns[lane])
        lanes.append(
            {
                "lane": lane,
                "hparams": hparams,
                "iqm": _plain(interval.point),
                "iqm_95": [_plain(interval.low), _plain(interval.high)],
                "mean": _plain(returns[lane].mean()),
                "median": _plain(np.median(returns[lane])),
                "worst": _plain(returns[lane].min()),
                "num_seeds": history.shape[1],
                "episodes_per_seed": episodes,
                "episodes_cut": int(cut[lane].sum()),
                "num_diverged": int(diverged[lane].sum()),
                "per_seed": [_plain(value) for value in returns[lane]],
            }
        )
    return {"steps": history.steps[-1], "protocol": dict(protocol), "lanes": lanes}


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


def _plain(value: Any) -> float | int:
    value = np.asarray(value).item()
    return round(value, 6) if isinstance(value, float) else value
