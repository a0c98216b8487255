"""Figures beside the score: every single seed with a tolerance band, and metrics of one's own."""

import math
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np

from jaxq.scoring.canvas import (
    COLORS,
    FigureFile,
    add_caption,
    add_legend,
    columns_for,
    make_figure,
    make_panels,
    save,
    seeds_left,
)
from jaxq.scoring.scores import band_words, seed_words
from jaxq.scoring.stats import Interval, bootstrap, interval_of_seeds, iqm, mean


def draw_seeds(
    path: FigureFile,
    runs: Mapping[str, Mapping[str, np.ndarray]],
    title: str,
    note: str = "",
    counted: str = "environment steps",
) -> None:
    """A small panel per run: every seed as a thin line, the IQM, and the tolerance band of seeds.

    The band holds at every time at least 90% of all seeds, those never trained included, with 95%
    confidence; where there are too few seeds to say so it is their range, and the panel says which
    share that holds (Patterson et al. 2024, JMLR 25:318, section 3).

    Args:
      runs: label -> ``steps`` [T] and ``eval_return`` [1, S, T].
      counted: what ``steps`` are.
    """
    columns = columns_for(len(runs))
    rows = math.ceil(len(runs) / columns)
    figure = make_figure(max(6.0, 3.6 * columns), (4.2 if rows == 1 else 2.7 * rows) + 0.4)
    for index, (axes, (label, arrays)) in enumerate(
        zip(make_panels(figure, len(runs), columns), runs.items())
    ):
        values, steps = seeds_left(arrays["eval_return"][0]), arrays["steps"]
        color = COLORS[index % len(COLORS)]
        axes.margins(x=0.01)
        if not len(values):
            axes.set_title(f"{label}\nall diverged", fontsize=8)
            continue
        low, high, words = tolerance_band(values)
        axes.fill_between(steps, low, high, color=color, alpha=0.15, linewidth=0)
        alpha = float(np.clip(8.0 / len(values), 0.15, 0.6))
        axes.plot(steps, values.T, color=color, alpha=alpha, linewidth=0.6)
        axes.plot(steps, iqm(values, axis=0), color="#1d2126", linewidth=1.6)
        axes.set_title(f"{label}\n{seed_words([len(values)])}; band: {words}", fontsize=8)
        axes.set_xlim(left=0)
    figure.suptitle(textwrap.fill(title, int(9 * figure.get_figwidth())), fontsize=11)
    figure.supylabel("evaluation return", fontsize=9)
    lines = f"{counted} per seed; thick: IQM, thin: every seed; band: tolerance interval or range"
    add_caption(figure, f"{lines}, as each panel says (95% confidence)", note)
    save(figure, path)


def tolerance_band(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, str]:
    """``interval_of_seeds`` at every time of the seeds ``values`` [S, T]: which of the two it is
    depends on their number alone."""
    intervals, words = zip(*map(interval_of_seeds, values.T))
    low, high, _ = np.transpose(intervals)
    return low, high, words[0]


def draw_metric(
    path: FigureFile,
    runs: Mapping[str, Mapping[str, np.ndarray]],
    name: str,
    title: str,
    note: str = "",
    counted: str = "environment steps",
) -> None:
    """A metric of some runs while they learn: its mean over seeds with a 95% bootstrap interval.

    Args:
      runs: label -> ``steps`` [T] and ``name`` [1, S, T]. Seeds of NaN alone are left out, and a
        time at which another seed has none is a gap.
      counted: what ``steps`` are.
    """
    figure = make_figure(8.0, 4.6)
    axes = figure.add_subplot()
    counts = []
    for index, (label, arrays) in enumerate(runs.items()):
        color, values = COLORS[index % len(COLORS)], seeds_left(arrays[name][0])
        counts.append(len(values))
        if not len(values):
            axes.plot([], [], color=color, linewidth=2.0, label=f"{label} (not measured)")
            continue
        interval = mean_band(values)
        axes.fill_between(
            arrays["steps"], interval.low, interval.high, color=color, alpha=0.18, linewidth=0
        )
        style = "o" if values.shape[1] == 1 else "-"
        axes.plot(arrays["steps"], interval.point, style, color=color, linewidth=2.0, label=label)
    axes.set(title=title, xlabel=f"{counted} per seed", ylabel=name)
    add_legend(figure, axes, len(runs))
    axes.margins(x=0.01)
    axes.set_xlim(left=0)
    add_caption(figure, band_words("mean", counts), note)
    save(figure, path)


def mean_band(values: np.ndarray) -> Interval:
    """The mean over seeds of ``values`` [S, T] at every time with its interval; NaN where one is
    not finite. Every time uses the same resampled seeds."""
    ends = np.full((3, values.shape[1]), np.nan)
    for time in np.flatnonzero(np.isfinite(values).all(axis=0)):
        ends[:, time] = bootstrap(values[:, time], mean)
    return Interval(*ends)


def best_of(runs: Mapping[str, np.ndarray], count: int = len(COLORS)) -> Sequence[str]:
    """Of runs (label -> final scores) the labels of the ``count`` of highest IQM, as they stand;
    one without any score is the worst."""
    iqms = {label: float(iqm(scores)) if len(scores) else -np.inf for label, scores in runs.items()}
    best = sorted(runs, key=lambda label: -iqms[label])[:count]
    return [label for label in runs if label in best]
