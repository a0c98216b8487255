"""The plane of performance against sensitivity to hyperparameters, as a figure."""

from collections.abc import Mapping

from jaxq.scoring.canvas import COLORS, FigureFile, add_caption, add_legend, make_figure, save
from jaxq.scoring.cross import Tuned


def draw_plane(path: FigureFile, methods: Mapping[str, Tuned], title: str, scale: str) -> None:
    """What methods (label -> ``Tuned``) reach when tuned, against how much of it is tuning.

    Adkins et al. 2024 (arXiv 2412.07165), section 4. Lines go through the first method, with which
    the others are compared: on the dashed one a single setting for all environments reaches the
    same, above it more.
    """
    figure = make_figure(6.4, 4.8)
    axes = figure.add_subplot()
    for index, (label, tuned) in enumerate(methods.items()):
        (x, left, right), (y, low, high) = tuned.sensitivity, tuned.each
        color = COLORS[index % len(COLORS)]
        axes.plot(x, y, "o", color=color, label=label)
        # Not error bars: the maximum over settings of resampled scores is larger than that of the
        # scores, so that an interval need not hold its point.
        axes.hlines(y, left, right, color=color, linewidth=1.2)
        axes.vlines(x, low, high, color=color, linewidth=1.2)
    first = next(iter(methods.values()))
    place = float(first.sensitivity.point), float(first.each.point)
    line = {"color": "#999999", "linewidth": 0.8, "zorder": 0}
    axes.axhline(place[1], **line)
    axes.axvline(place[0], **line)
    axes.axline(place, slope=1.0, linestyle="--", **line)
    axes.set(xlabel="sensitivity: tuned for each environment, less one setting for all")
    axes.set_ylabel(f"tuned for each environment (mean {scale} score)")
    axes.set_title(title)
    add_legend(figure, axes, len(methods))
    add_caption(figure, "95% bootstrap intervals over seeds; lines: through the first method")
    save(figure, path)
