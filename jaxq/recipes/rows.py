"""What a row of the tables of parts is."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jaxq.config import Config, HParams


class Row(NamedTuple):
    """A row: a function, and what it reads."""

    make: Any  # the function; of an agent of ours its ``Recipe``; None where the name is enough
    reads: tuple[str, ...] = ()
    check: Callable[[Config, HParams], str | None] = lambda config, hparams: None  # what is wrong
    numbers: Mapping[str, tuple[float, float]] = {}  # of HParams.extra: lowest, highest
    loop: str = "off-policy"  # of an agent


AGENTS: dict[str, Row] = {}  # ``agents`` fills it: its rows are composed of all others
