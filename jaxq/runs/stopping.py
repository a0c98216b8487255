"""Reasons to stop a run before its last step, looked at after every chunk."""

from typing import Any, NamedTuple

import numpy as np

from jaxq.errors import ConfigError
from jaxq.runs.history import History
from jaxq.runs.listening import Listener
from jaxq.runs.spec import positive, short
from jaxq.scoring.scores import without_diverged
from jaxq.scoring.stats import iqm

_HOLDS = 3  # evaluations in a row that must reach until_return


class Stop(NamedTuple):
    """What stops a run early; None does not."""

    until_return: float | None = None  # every lane's evaluation IQM held this, three times running
    episodes: int | None = None  # every member finished this many episodes


def settled_stop(stop: Any) -> Stop:
    """The same in plain types.

    Raises:
      ConfigError: it is no ``Stop``, or names what is no number.
    """
    if not isinstance(stop, Stop):
        raise ConfigError(f"stop={short(stop)} must be a jaxq Stop.")
    value = stop.until_return
    if value is not None and (isinstance(value, str) or np.ndim(value) or value != value):
        raise ConfigError(f"until_return={short(value)} must be a number.")
    if stop.episodes is None:
        return stop
    return stop._replace(episodes=positive("episodes", stop.episodes))


def stop_early(stop: Stop) -> Listener:
    """Ends a run that has a reason."""
    return Listener(lambda moment: reason(stop, moment.history))


def reason(stop: Stop, history: History) -> str | None:
    """Why to stop now, if there is a reason."""
    if stop.episodes is not None and history.steps:
        finished = np.sum(history.values["episodes"], axis=0)  # [M]
        if finished.min() >= stop.episodes:
            return "episodes"
    if stop.until_return is not None and len(history.steps) >= _HOLDS:
        returns = without_diverged(history.arrays())["eval_return"][..., -_HOLDS:]  # [H, S, 3]
        lanes = [lane[np.isfinite(lane[:, -1])] for lane in returns]
        if all(len(lane) and iqm(lane, axis=0).min() >= stop.until_return for lane in lanes):
            return "until_return"
    return None
