"""Lanes as pictures, each with a caption that says seeds, kind of interval and protocol."""

import io
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from jaxq.reports import tables
from jaxq.reports.pages import Picture, Section, slugs
from jaxq.reports.sources import Lane, Source
from jaxq.scoring import plots
from jaxq.scoring.canvas import FigureFile
from jaxq.scoring.measured import best_of, draw_metric, draw_seeds
from jaxq.scoring.panels import draw_grid
from jaxq.scoring.protocol import steps_words
from jaxq.scoring.scores import band_words, own_metrics


def picture(title: str, caption: str, draw: Callable[[FigureFile], None]) -> Picture:
    """What ``draw`` draws, as a picture of a page."""
    file = io.BytesIO()
    draw(file)
    return Picture(title, caption, file.getvalue(), draw=draw)


def write_figures(directory: Path, sections: Sequence[Section], kind: str) -> list[Path]:
    """Write every figure of some sections, by its title, as a file of a kind such as ``pdf``.

    Returns:
      The paths of the files; others in the directory stay.

    Raises:
      OSError: one cannot be written.
    """
    found = [
        (block, f"{section.title} {block.title}")
        for section in sections
        for block in section.blocks
        if isinstance(block, Picture) and block.draw
    ]
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / f"{name}.{kind}" for name in slugs([title for _, title in found])]
    for (figure, _), path in zip(found, paths):
        if kind == figure.kind:
            path.write_bytes(figure.data)
        else:
            figure.draw(path)
    return paths


def drawn(label: str) -> str:
    """A label that matplotlib does not hide, in lines that fit."""
    return textwrap.fill((" " if label[0] == "_" else "") + label, 28)


def of_lanes(lanes: Sequence[Lane], ending: str) -> list[Picture]:
    """Learning curves, single seeds, profiles and own metrics of lanes under one protocol.

    Args:
      ending: of every caption.
    """
    environment, counted = lanes[0].protocol["environment"], steps_words(lanes[0].protocol)
    curves = {drawn(lane.label): lane.curves for lane in lanes}
    scores = {drawn(lane.label): lane.scores for lane in lanes}
    draw = plots.draw_comparison if len(lanes) <= len(plots.COLORS) else draw_grid
    pictures = [
        picture(
            "Learning curves",
            f"Evaluation return while learning: IQM and its interval. {ending}",
            lambda file: draw(file, curves, environment, counted=counted),
        ),
        picture(
            "Performance profiles",
            f"The share of seeds whose final score is above each value, with its interval. "
            f"{ending}",
            lambda file: plots.draw_profiles(file, scores, environment, "final score"),
        ),
    ]
    if len(lanes) <= len(plots.COLORS):
        pictures.insert(1, _of_seeds(curves, environment, counted, ending))
    names = dict.fromkeys(name for lane in lanes for name in own_metrics(lane.curves))
    return [*pictures, *(_of_metric(name, lanes) for name in names)]


def _of_seeds(
    curves: Mapping[str, Mapping], environment: str, counted: str, ending: str
) -> Picture:
    return picture(
        "Every seed",
        f"Evaluation return of every seed while learning, its IQM, and the tolerance interval of "
        f"seeds: at every time it holds at least 90% of all seeds, those never trained included, "
        f"with 95% confidence; where that takes more seeds it is their range, with the share that "
        f"the range holds (Patterson et al. 2024, JMLR 25:318). {ending}",
        lambda file: draw_seeds(file, curves, environment, counted=counted),
    )


def _of_metric(name: str, lanes: Sequence[Lane]) -> Picture:
    """A metric of somebody's own; of many lanes that have it those of highest IQM."""
    having = {drawn(lane.label): lane for lane in lanes if name in lane.curves}
    best = best_of({label: lane.scores for label, lane in having.items()})
    few = " of the lanes that have it" if len(having) < len(lanes) else ""
    few = f" of the {len(best)} lanes of highest IQM" if len(best) < len(having) else few
    runs = {label: having[label].curves for label in best}
    environment, counted = lanes[0].protocol["environment"], steps_words(lanes[0].protocol)
    return picture(
        f"Metric {name}",
        f"{name} while learning{few}: mean over seeds and its interval. "
        f"{tables.context([having[label] for label in best])}",
        lambda file: draw_metric(file, runs, name, environment, counted=counted),
    )


def of_sweep(study: Source, caption: str) -> list[Picture]:
    """How the final score depends on what was swept."""
    name, swept, rows = study.sweep
    note = band_words("IQM", [row["num_seeds"] for row in rows])
    pictures = [
        picture(
            "Each field alone",
            caption,
            lambda file: plots.draw_sensitivity(file, rows, swept, name, note),
        )
    ]
    if len(swept) == 2 and plots.is_grid(rows, swept):
        pictures.append(
            picture(
                f"{swept[0]} and {swept[1]} together",
                caption,
                lambda file: plots.draw_heatmap(file, rows, swept, name, note),
            )
        )
    return pictures
