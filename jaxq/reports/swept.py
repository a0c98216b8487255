"""What the directory of a sweep says of its settings: their table, and where they were trained."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxq.errors import ConfigError
from jaxq.runs import files as results
from jaxq.settings import format_value
from jaxq.studies.searches import SEARCHES


class Sweep(NamedTuple):
    """Settings with their scores, one row each with ``iqm``, ``low``, ``high``, ``num_seeds``."""

    name: str
    swept: list[str]
    rows: list[dict[str, Any]]


def read_table(path: Path, name: str, without: Sequence[int] = ()) -> Sweep:
    """A sweep's table: between its columns ``lane`` and ``iqm`` stand the swept fields.

    Args:
      without: lanes that are left out.

    Raises:
      ConfigError: it has no such columns.
    """
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    columns = list(rows[0]) if rows else []
    if not {"lane", "iqm", "low", "high", "num_seeds"} <= set(columns):
        raise ConfigError(f"table={path} has no rows of lane, fields, iqm, low, high, num_seeds.")
    swept = columns[columns.index("lane") + 1 : columns.index("iqm")]
    rows = [row for row in rows if row["lane"] not in map(str, without)]
    scores = [
        {column: float(row[column] or "nan") for column in ("iqm", "low", "high")}
        | {"num_seeds": int(row["num_seeds"]) - int(row.get("num_diverged") or 0)}
        for row in rows
    ]
    return table_of(name, [{column: row[column] for column in swept} for row in rows], scores)


def table_of(
    name: str, settings: Sequence[Mapping[str, Any]], scores: Sequence[Mapping[str, Any]]
) -> Sweep:
    """A column of which every value reads as a number becomes numbers, any other words."""
    texts = {
        key: [format_value(setting.get(key, "")) for setting in settings] for key in settings[0]
    }
    columns = {key: _numbers(column) or column for key, column in texts.items()}
    rows = [
        {key: column[index] for key, column in columns.items()} | dict(score)
        for index, score in enumerate(scores)
    ]
    return Sweep(name, list(columns), [row for row in rows if np.isfinite(row["iqm"])])


def _numbers(texts: Sequence[str]) -> list[float] | None:
    try:
        return [float(text) for text in texts]
    except ValueError:
        return None


def trained(path: Path, study: Mapping[str, Any]) -> list[Path]:
    """The parts of a sweep that were to train to its end, and were not cut before."""
    ends = [part["steps"] for part in study.get("parts", ())]
    parts = [part for part in path.glob(f"{results.PARTS}/*/") if part.name.isdigit()]
    return [
        part
        for part in sorted(parts)
        if int(part.name) >= len(ends) or ends[int(part.name)] == study["steps"]
    ]


def moves(study: Mapping[str, Any]) -> bool:
    """Whether members changed their numbers on the way, so that no score belongs to a setting."""
    kind = study.get("search", {}).get("kind", "fixed")
    return SEARCHES[kind].moves


def winners(path: Path) -> list[Path]:
    """Where the winner of a sweep was trained: one run, or one on each of its environments."""
    place = path / results.WINNER
    if (place / results.CONFIG).is_file() or not place.is_dir():
        return [place] if place.is_dir() else []
    return sorted(run for run in place.iterdir() if run.is_dir())
