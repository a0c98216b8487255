"""What a run has measured so far, evaluation by evaluation."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxq.config import HParams
from jaxq.errors import ConfigError
from jaxq.loops.evaluation import Evaluation
from jaxq.loops.rollout import joined_metrics
from jaxq.runs.files import LINES, METRICS, jsonable, read_arrays, write_arrays, write_text
from jaxq.scoring.scores import INSIDE, NUMBER, plain
from jaxq.settings import flatten


class History:
    """What was measured at every evaluation: name -> list over time of arrays [M, ...]."""

    def __init__(self, num_lanes: int, num_seeds: int):
        self.shape = (num_lanes, num_seeds)
        self.steps: list[int] = []
        self.values: dict[str, list[np.ndarray]] = {}
        self.lines: list[str] = []  # of metrics.jsonl
        self.pending: list[Mapping[str, np.ndarray]] = []  # metrics [M] since the last evaluation

    def append(
        self,
        steps: int,
        metrics: Mapping[str, np.ndarray],
        result: Evaluation,
        hparams: HParams | None = None,
        inside: Mapping[str, np.ndarray] = {},
    ) -> None:
        """Add the metrics [M] since the last evaluation, the last chunk's last, the evaluation
        [M, K] at ``steps``, the numbers [M] with which members came there, if those change, and
        what diagnostics [M] say."""
        chunks, self.pending = [*self.pending, metrics], []
        if not isinstance(result.overestimation, tuple):
            mean = result.overestimation.mean(axis=1, dtype=np.float64)
            inside = {"overestimation": mean, **inside}
        measured = {
            **joined_metrics(chunks),
            **{
                NUMBER + name: value
                for name, value in (flatten(hparams) if hparams else {}).items()
            },
            **{INSIDE + name: value for name, value in inside.items()},
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
        names = sorted(name for name in measured if name != "eval_returns")
        with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # all NaN
            means = {name: np.nanmean(measured[name].reshape(self.shape), axis=1) for name in names}
        for lane in range(self.shape[0]):
            mine = {name: plain(means[name][lane]) for name in names}
            mine = {name: value for name, value in mine.items() if value == value}  # not NaN
            self.lines.append(json.dumps(jsonable({"steps": steps, "lane": lane, **mine})))

    def pending_arrays(self) -> dict[str, np.ndarray]:
        """What is pending as arrays [M, K]; ``waiting_for`` is the inverse."""
        names = self.pending[0] if self.pending else ()
        return {name: np.stack([chunk[name] for chunk in self.pending], axis=1) for name in names}

    def waiting_for(self, pending: Mapping[str, np.ndarray]) -> "History":
        """The same, with metrics [M, K] of K chunks that no evaluation has followed."""
        count = next((values.shape[1] for values in pending.values()), 0)
        self.pending = [{n: values[:, k] for n, values in pending.items()} for k in range(count)]
        return self

    def last(self) -> dict[str, np.ndarray]:
        """The newest value [H, S] of every metric but ``eval_returns``."""
        names = (name for name in self.values if name != "eval_returns")
        return {name: self.values[name][-1].reshape(self.shape) for name in names}

    def of_members(self, members: np.ndarray, num_lanes: int) -> "History":
        """The history of some members only, which form ``num_lanes`` whole lanes."""
        history = History(num_lanes, len(members) // num_lanes)
        for t, step in enumerate(self.steps):
            history._add(step, {name: values[t][members] for name, values in self.values.items()})
        history.pending = [{n: value[members] for n, value in one.items()} for one in self.pending]
        return history

    def arrays(self) -> dict[str, np.ndarray]:
        """``steps`` [T] and every other metric [H, S, T, ...]."""
        stacked = {
            name: np.stack(values, axis=1).reshape(*self.shape, len(values), *values[0].shape[1:])
            for name, values in self.values.items()
        }
        return {"steps": np.asarray(self.steps, np.int64), **stacked}

    @classmethod
    def load(cls, path: Path, num_lanes: int, num_seeds: int, until: int) -> "History":
        """The history in ``metrics.npz`` up to and including step ``until``.

        Raises:
          ConfigError: it cannot be read, or does not reach that step.
        """
        history = cls(num_lanes, num_seeds)
        try:
            arrays = read_arrays(path)
            steps = [int(step) for step in arrays.pop("steps") if step <= until]
            members = {
                name: values.reshape(num_lanes * num_seeds, *values.shape[2:])
                for name, values in arrays.items()
            }
            for t, step in enumerate(steps):
                history._add(step, {name: values[:, t] for name, values in members.items()})
        except (OSError, ValueError, KeyError, IndexError) as error:
            raise ConfigError(f"metrics={path} cannot be read: {error}.") from error
        if history.steps[-1:] != [until]:
            raise ConfigError(
                f"metrics={path} does not reach step {until}, at which the run was saved; put the "
                f"right file back, or start a new run in another --out directory."
            )
        return history


def write_history(directory: Path, history: History, arrays: Mapping[str, np.ndarray]) -> None:
    """Replace ``metrics.npz`` and ``metrics.jsonl``; ``arrays`` are the history's."""
    write_arrays(directory / METRICS, arrays)
    write_text(directory / LINES, "\n".join(history.lines) + "\n")
