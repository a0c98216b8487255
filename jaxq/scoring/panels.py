"""Learning curves in panels: one for each environment, or one for each run."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxq.scoring.canvas import (
    COLORS,
    FigureFile,
    add_caption,
    check_some,
    columns_for,
    draw_band,
    legend_columns,
    make_figure,
    make_panels,
    save,
    seeds_left,
)
from jaxq.scoring.scores import band_words, score_text
from jaxq.scoring.stats import iqm


def draw_side_by_side(
    path: FigureFile,
    methods: Mapping[str, Mapping[str, Mapping[str, np.ndarray]]],
    note: str = "",
    counted: str = "environment steps",
) -> None:
    """The evaluation curves of methods on several environments, each with its interval.

    Args:
      methods: label -> environment -> ``steps`` [T] and ``eval_return`` [1, S, T]; at most as many
        as there are colours.
      counted: what ``steps`` are.
    """
    from matplotlib.lines import Line2D  # imported here: takes a second

    places = list(dict.fromkeys(place for found in methods.values() for place in found))
    columns = columns_for(len(places))
    figure = make_figure(3.6 * columns, 2.7 * math.ceil(len(places) / columns) + 0.7)
    for axes, place in zip(make_panels(figure, len(places), columns, sharey=False), places):
        for index, found in enumerate(methods.values()):
            if place in found:
                arrays = found[place]
                draw_band(axes, arrays["steps"], arrays["eval_return"][0], None, index, False)
        axes.set_title(place, fontsize=9)
        axes.margins(x=0.01)
        axes.set_xlim(left=0)
    handles = [Line2D([], [], color=color, linewidth=2.0) for color in COLORS[: len(methods)]]
    labels = list(methods)
    fitting = legend_columns(labels, figure.get_figwidth(), 9)
    box = {"loc": "outside upper center", "ncols": fitting, "fontsize": 9}
    figure.legend(handles, labels, frameon=False, **box)
    figure.supylabel("evaluation return", fontsize=9)
    counts = [len(seeds_left(x["eval_return"][0])) for f in methods.values() for x in f.values()]
    add_caption(figure, f"{counted} per seed; {band_words('IQM', counts)}", note)
    save(figure, path)


def draw_grid(
    path: FigureFile,
    runs: Mapping[str, Mapping[str, Any]],
    title: str,
    counted: str = "environment steps",
    sharey: bool = True,
) -> None:
    """The evaluation curves of many runs (label -> arrays of one lane), one small panel each.

    In this and the other figures of curves, seeds of NaN alone are those that have diverged: they
    are not drawn, and not counted among the seeds.

    Args:
      sharey: whether returns have one axis, as those on one environment.

    Raises:
      ConfigError: there are no runs.
    """
    check_some(runs)
    columns = min(5, len(runs))
    figure = make_figure(max(2.5 * columns, 9.0), 1.9 * math.ceil(len(runs) / columns) + 0.5)
    panels = make_panels(figure, len(runs), columns, sharey)
    for axes, (label, arrays) in zip(panels, runs.items()):
        values = arrays["eval_return"][0]
        draw_band(axes, arrays["steps"], values, None, 0, True)
        last = seeds_left(values)[:, -1]
        # Curves may be kept in float32, which has six digits that are sure.
        words = score_text(float(f"{iqm(last):.6g}")) if len(last) else "all diverged"
        few = f" ({len(last)} of {len(values)} seeds)" if 0 < len(last) < len(values) else ""
        axes.set_title(f"{label}, {words}{few}", fontsize=9)
        axes.margins(x=0.01)
        axes.set_xlim(left=0)
    counts = [len(seeds_left(arrays["eval_return"][0])) for arrays in runs.values()]
    note = f"{band_words('IQM', counts)}, each seed thinly; the number is the last IQM"
    figure.suptitle(f"{title}\n" if title else "", fontsize=12)
    add_caption(figure, f"{counted} per seed", note)
    save(figure, path)
