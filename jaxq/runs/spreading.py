"""How a run is carried out, as a caller asks for it: checked, in plain types."""

import math
from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from jaxq.errors import ConfigError
from jaxq.runs.spec import items, positive, short, whole


class Spread(NamedTuple):
    """How a run is carried out; of what it measures, only rounding depends on the batch."""

    batch: int | None = None  # members vmapped together; chosen if None, and kept by a resumed run
    num_devices: int | None = None  # all if None
    save_every: float = 30.0  # seconds between checkpoints; one is always saved at the end
    track: Sequence[str] = ()  # what else hears of every chunk, ``wandb`` or ``tensorboard``
    accept_changed_code: bool = False  # of parts of one's own, in a run that goes on
    try_env: bool = True  # take random steps of one's own environment first, and warn
    keep_replay: Sequence[int] | None = None  # seeds, of which a dataset is left; () is the first

    def settled(self) -> "Spread":
        """The same in plain types; one word stands for a list of one.

        Raises:
          ConfigError: names what is something else.
        """
        given = {name: getattr(self, name) for name in ("batch", "num_devices")}
        counts = {name: positive(name, n) for name, n in given.items() if n is not None}
        track = () if self.track is None else self.track
        track = (track,) if isinstance(track, str) else items("track", track, "a list of names")
        kept = self.keep_replay
        if kept is not None:
            several = np.ndim(kept) or isinstance(kept, range)
            kept = tuple(whole("keep_replay", seed) for seed in (kept if several else (kept,)))
        return self._replace(
            **counts, track=tuple(track), save_every=_seconds(self.save_every), keep_replay=kept
        )


def settled_spread(spread: Any) -> Spread:
    """A ``Spread`` as it was given, or as a mapping of some of its fields.

    Raises:
      ConfigError: it is neither, or as ``Spread.settled``.
    """
    if isinstance(spread, Mapping) and set(spread) <= set(Spread._fields):
        spread = Spread(**spread)
    if not isinstance(spread, Spread):
        raise ConfigError(f"spread={short(spread)} must be a jaxq Spread.")
    return spread.settled()


def as_path(name: str, value: Any) -> Path:
    """A path, from a text or a path.

    Raises:
      ConfigError: it is neither.
    """
    if not isinstance(value, str | PathLike) or not fspath(value):
        raise ConfigError(f"{name}={short(value)} must be a path.")
    return Path(value)


def as_console(console: Any, default: Console) -> Console:
    """A console of rich's, or the default for None.

    Raises:
      ConfigError: it is neither.
    """
    if not isinstance(console, Console | None):
        raise ConfigError(f"console={short(console)} must be a rich Console.")
    return console or default


def _seconds(value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or math.isnan(value) or value < 0:
        raise ConfigError(f"save_every={short(value)} must be seconds, 0 or more.")
    return float(value)
