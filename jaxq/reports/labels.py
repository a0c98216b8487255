"""What runs are called: by what tells their paths apart, or as somebody says."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jaxq.errors import ConfigError


class Name(NamedTuple):
    """What the lanes of a run begin their labels with."""

    text: str
    given: bool = False  # by somebody, for whom lanes of one label are one method


def names_of(paths: Sequence[Path], labels: Sequence[str] = ()) -> list[Name]:
    """The names of runs, which have different paths.

    Args:
      labels: each ``RUN=NAME``, where RUN is one of the paths.

    Raises:
      ConfigError: a label names no run, or nothing, or a run has two.
    """
    given: dict[Path, str] = {}
    runs = {path.resolve() for path in paths}
    for label in labels:
        run, name = _split(label, runs)
        if run in given:
            raise ConfigError(f"label={label} is the second of its run; one is accepted.")
        given[run] = " ".join(name.split())
    texts = _shortest(paths)
    return [
        Name(given.get(path.resolve(), text), path.resolve() in given)
        for path, text in zip(paths, texts)
    ]


def _split(label: str, runs: set[Path]) -> tuple[Path, str]:
    """A label at that sign after which it has said one of the runs."""
    parts = label.split("=")
    for count in range(1, len(parts)):
        run, name = Path("=".join(parts[:count])).resolve(), "=".join(parts[count:])
        if run in runs and name.strip():
            return run, name
    raise ConfigError(f"label={label} must be RUN=NAME, where RUN is one of the runs given.")


def _shortest(paths: Sequence[Path]) -> list[str]:
    """The last parts of every path, as many as tell them apart."""
    parts = [path.resolve().parts for path in paths]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            break
    return names
