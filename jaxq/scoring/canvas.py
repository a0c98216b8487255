"""What figures are made of: a page, its panels, its words, a curve with its band."""

import math
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from jaxq.errors import ConfigError
from jaxq.scoring.stats import bootstrap_iqm, iqm

FigureFile = (
    Path | str | BinaryIO
)  # where a figure goes: in the format of its name, PNG without one
_BACKGROUND = "#8a8f98"
_COLUMNS = 3  # of panels
_LEGEND_INSIDE = 4  # curves; more would be covered by their names
_LABEL_INSIDE = 32  # letters
COLORS = ("#2a6fbb", "#d1495b", "#2e8b57", "#e08e0b", "#7b4fa3", "#5b5b5b", "#17a2a2", "#b3568f")


def draw_band(axes, steps, values, label, index: int, show_seeds: bool) -> None:
    """IQM over seeds of ``values`` [S, T] with its interval, and each seed thinly if asked; seeds
    of NaN alone, the diverged ones, are left out."""
    color = COLORS[index % len(COLORS)]
    values = seeds_left(values)
    if not len(values):
        axes.plot([], [], color=color, linewidth=2.0, label=label and f"{label} (all diverged)")
        return
    interval = bootstrap_iqm(values.T)
    axes.fill_between(steps, interval.low, interval.high, color=color, alpha=0.18, linewidth=0)
    if show_seeds:
        dot = "." if len(steps) == 1 else None
        axes.plot(steps, values.T, color=color, alpha=0.25, linewidth=0.7, marker=dot)
    axes.plot(steps, interval.point, color=color, linewidth=2.0, label=label)
    if len(steps) == 1:  # nothing to draw a line through
        axes.vlines(steps, interval.low, interval.high, color=color, alpha=0.4)
        axes.plot(steps, interval.point, "o", color=color)


def draw_thinly(axes, lanes: Iterable[tuple[np.ndarray, np.ndarray]]) -> None:
    """The IQM over seeds of every lane, its steps [T] and values [S, T], all alike, behind
    everything else."""
    from matplotlib.collections import LineCollection

    left = [(steps, seeds_left(values)) for steps, values in lanes]
    lines = [np.column_stack([steps, iqm(v, axis=0)]) for steps, v in left if len(v)]
    if not lines:
        return
    alpha = float(np.clip(10.0 / len(lines), 0.02, 0.5))
    axes.add_collection(
        LineCollection(lines, colors=_BACKGROUND, linewidths=0.7, alpha=alpha, zorder=1)
    )
    axes.autoscale_view()


def few_named(
    labels: Sequence[str], lanes: Iterable[np.ndarray]
) -> tuple[dict[int, str], list[int]]:
    """Which of some lanes [S, T] have a colour and what they are called, and the places of the
    others: of more than there are colours the best, the median and the worst are named."""
    if len(labels) <= len(COLORS):
        return dict(enumerate(labels)), []
    left = [seeds_left(values) for values in lanes]
    places = best_median_worst(np.array([iqm(v[:, -1]) if len(v) else np.nan for v in left]))
    named = {place: f"{word}: {labels[place]}" for word, place in places.items()}
    return named, [place for place in range(len(labels)) if place not in named]


def best_median_worst(finals: np.ndarray) -> dict[str, int]:
    """Of final scores [H] the places of those three; NaN, of lanes that diverged, is the worst."""
    order = np.argsort(np.nan_to_num(finals, nan=-np.inf), kind="stable")[::-1]
    return {"best": int(order[0]), "median": int(order[len(order) // 2]), "worst": int(order[-1])}


def seeds_left(values: np.ndarray) -> np.ndarray:
    """The seeds of ``values`` [S, T] that have not diverged, which are not NaN throughout."""
    values = np.asarray(values, float)
    return values[~np.isnan(values).all(axis=-1)]


def check_some(runs: Mapping[str, Any]) -> None:
    """Refuse to draw nothing, or what is no curve.

    Raises:
      ConfigError: there are no runs, or one has no arrays.
    """
    if not (isinstance(runs, Mapping) and runs):
        words = f" of type {type(runs).__name__}" if runs else "={}"
        raise ConfigError(f"runs{words} must hold the curves of at least one run, by its label.")
    for label, arrays in runs.items():
        if not (isinstance(arrays, Mapping) and {"steps", "eval_return"} <= {*arrays}):
            raise ConfigError(
                f"runs[{label!r}] of type {type(arrays).__name__} must hold arrays by name, steps "
                f"and eval_return among them; read_run(...).arrays is accepted."
            )


def make_figure(width: float, height: float):
    from matplotlib.figure import Figure  # imported here: takes a second

    return Figure(figsize=(width, height), layout="constrained")


def add_legend(figure, axes, count: int) -> None:
    """The names of ``count`` curves, among them or, if they are many, beside them."""
    if count <= _LEGEND_INSIDE:
        axes.legend(frameon=False, fontsize=9, loc="best")
    else:
        figure.set_figwidth(10.5)
        figure.legend(frameon=False, fontsize=8, loc="outside right upper")


def add_legend_of_panel(axes, labels: Iterable[str]) -> None:
    """The names of one panel's curves, among them or, if they are many or long, above the panel,
    which has no title then."""
    longest = max(map(len, labels := list(labels)))
    if len(labels) <= _LEGEND_INSIDE and longest <= _LABEL_INSIDE:
        axes.legend(frameon=False, fontsize=8)
        return
    width = axes.get_figure().get_figwidth() * axes.get_position().width
    box = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0)}
    axes.legend(frameon=False, fontsize=8, ncols=legend_columns(labels, width, 8), **box)


def legend_columns(labels: Sequence[str], width: float, fontsize: float) -> int:
    """In how many columns a legend, all of them as wide as its longest line, is at most ``width``
    inches wide."""
    longest = max(len(line) for label in labels for line in label.split("\n"))
    return max(1, min(len(labels), int(width / (0.5 + 0.0094 * fontsize * longest))))


def add_caption(figure, *notes: str) -> None:
    """Small words below a figure."""
    text = "; ".join(filter(None, notes))
    if text:
        width = int(16 * figure.get_figwidth())
        figure.supxlabel(textwrap.fill(text, width), fontsize=8, color="#666666")


def columns_for(count: int) -> int:
    """In how many columns so many panels stand: no row holds one alone if it need not."""
    return min(2 if count == 4 else _COLUMNS, count)


def make_panels(figure, count: int, columns: int, sharey: bool = True) -> list:
    """``count`` axes in rows of ``columns``."""
    grid = figure.subplots(math.ceil(count / columns), columns, sharey=sharey, squeeze=False)
    panels = list(grid.flat)
    for axes in panels[count:]:
        axes.set_visible(False)
    return panels[:count]


def _texts(artist) -> Iterator[Any]:
    """All words of a figure but those at ticks."""
    from matplotlib.axis import Tick
    from matplotlib.text import Text

    for child in artist.get_children():
        if isinstance(child, Text):
            yield child
        if not isinstance(child, Tick):
            yield from _texts(child)


def save(figure, path: FigureFile) -> None:
    """Save as the ending of the path says; a file is replaced in one move.

    Raises:
      ConfigError: matplotlib has no such format.
    """
    from matplotlib import rc_context
    from matplotlib.ticker import EngFormatter

    for text in _texts(figure):  # a dollar is no mathematics
        text.set_text(re.sub(r"(?<!\\)\$", r"\\$", text.get_text()))
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        if not axes.images:
            axes.grid(alpha=0.25)
        axes.tick_params(which="both", labelsize=8)
        if axes.get_xscale() == "linear" and axes.get_xlim()[1] > 5_000:
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    if hasattr(path, "write"):
        figure.savefig(path, dpi=160, format="png")
        return
    path = Path(path)
    kind, known = path.suffix.lower().removeprefix("."), figure.canvas.get_supported_filetypes()
    if kind not in known:
        raise ConfigError(f"path={path} must end in a format such as .png, .pdf or .svg.")
    partial = path.with_name("." + path.name)
    with rc_context({"pdf.fonttype": 42}):  # TrueType, as journals ask for
        figure.savefig(partial, dpi=160, format=kind)
    partial.replace(path)
