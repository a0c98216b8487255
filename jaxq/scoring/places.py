"""Learning curves on several environments: a panel for each, and a colour for each method."""

import math
from collections.abc import Mapping

import numpy as np

from jaxq.scoring.canvas import (
    COLORS,
    Target,
    add_caption,
    columns_for,
    draw_band,
    make_figure,
    make_panels,
    save,
    seeds_left,
)
from jaxq.scoring.scores import seed_words


def draw_side_by_side(
    path: Target,
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
    box = {"loc": "outside upper center", "ncols": min(4, len(methods)), "fontsize": 9}
    figure.legend(handles, list(methods), frameon=False, **box)
    figure.supylabel("evaluation return", fontsize=9)
    counts = [len(seeds_left(x["eval_return"][0])) for f in methods.values() for x in f.values()]
    band = f"IQM and 95% bootstrap interval over {seed_words(counts)}"
    add_caption(figure, f"{counted} per seed; {band}", note)
    save(figure, path)
