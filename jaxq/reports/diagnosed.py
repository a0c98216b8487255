"""What diagnostics have measured, as a section of a report."""

from collections.abc import Sequence

import numpy as np

from jaxq.reports import figures, tables
from jaxq.reports.pages import Section, Table
from jaxq.reports.sources import Lane
from jaxq.scoring import inside, stats
from jaxq.scoring.canvas import seeds_left
from jaxq.scoring.measured import best_of
from jaxq.scoring.protocol import steps_words
from jaxq.scoring.scores import INSIDE, diagnoses


def section(title: str, lanes: Sequence[Lane]) -> list[Section]:
    """A table of the last evaluation, and how it came to that; nothing where nothing was measured.

    Args:
      title: of what lanes under one protocol say.
      lanes: those with a score.
    """
    having = {lane.label: lane for lane in lanes if diagnoses(lane.curves)}
    if not having:
        return []
    best = best_of({label: lane.scores for label, lane in having.items()})
    runs = {figures.drawn(label): having[label].curves for label in best}
    few = "Of the lanes that have them. " if len(having) < len(lanes) else ""
    if len(best) < len(having):
        few = f"Of the {len(best)} lanes of highest IQM out of {len(having)} that have them. "
    ending = f"{inside.CAPTION} {few}{tables.context([having[label] for label in best])}"
    environment, counted = lanes[0].protocol["environment"], steps_words(lanes[0].protocol)
    names = [n for n in inside.WORDS if any(INSIDE + n in having[label].curves for label in best)]
    rows = [
        [name.replace("_", " "), *(_last(having[label], INSIDE + name) for label in best)]
        for name in names
    ]
    return [
        Section(
            f"Diagnostics, {title}",
            [
                Table(
                    "At the last evaluation",
                    f"Mean over seeds and its interval. {ending}",
                    ["", *best],
                    rows,
                ),
                figures.picture(
                    "While learning",
                    f"Mean over seeds and its interval. {ending}",
                    lambda file: inside.draw_diagnostics(file, runs, environment, counted=counted),
                ),
            ],
        )
    ]


def _last(lane: Lane, name: str) -> str | tables.Entry:
    """The last of a curve; a dash where it was not measured."""
    values = seeds_left(lane.curves[name][0])[:, -1] if name in lane.curves else np.zeros(0)
    values = values[np.isfinite(values)]
    return tables.with_interval(stats.bootstrap(values, stats.mean)) if len(values) else "-"
