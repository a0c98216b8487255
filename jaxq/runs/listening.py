"""The contract between a run and whatever hears of it: its record, its sinks, its checkpoints."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxq.runs.history import History
from jaxq.types import Clock, PyTree


class Moment(NamedTuple):
    """What a run knows between two chunks."""

    clock: Clock
    history: History
    arrays: Mapping[str, np.ndarray]  # the history's, as ``metrics.npz`` holds them
    scores: Mapping[str, Any]  # as ``scores.json`` holds them; empty before the first evaluation
    fetch: Callable[[], PyTree]  # copies the states of all members: NumPy leaves [M, ...]
    stopped_by: str | None = None  # at the end of a run, why it ended
    finished: bool = False  # at its end, whether that is all that was asked for


class Listener(NamedTuple):
    """Something that hears of a run, and changes nothing of it.

    ``evaluated(moment) -> reason`` after every evaluation; the run stops if a reason is not None
    ``closed(moment)`` once at the end, finished or stopped or because something could not be
    written; listeners that were given first are closed last
    ``passed(moment)`` after every chunk that no evaluation follows, without arrays and scores
    """

    evaluated: Callable[[Moment], str | None]
    closed: Callable[[Moment], None] = lambda moment: None
    passed: Callable[[Moment], None] = lambda moment: None
