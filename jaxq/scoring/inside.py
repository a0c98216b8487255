"""What diagnostics measure, in words and as one figure."""

import math
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np

from jaxq.scoring.canvas import (
    COLORS,
    FigureFile,
    add_caption,
    make_figure,
    make_panels,
    save,
    seeds_left,
)
from jaxq.scoring.measured import best_of, mean_band
from jaxq.scoring.scores import INSIDE, band_words, diagnoses

_COLUMNS = 4
# Name of a metric, without what stands before it -> what it is. ``loops.diagnostics`` has the
# definitions.
WORDS = {
    "overestimation": "greedy value at the start minus discounted return",
    "policy_churn": "share of greedy actions that 20 updates change",
    "value_churn": "mean size of the change of values by 20 updates",
    "srank": "srank of the features (delta 0.01)",
    "effective_rank": "effective rank of the features, exp of entropy",
    "feature_norm": "mean norm of the features",
    "dormant": "share of dormant hidden units (score up to 0.1)",
    "dead": "share of dead hidden units (score 0)",
    "weight_distance": "distance of the weights from those at step 0",
    "update_norm": "norm of an update of the weights, mean of 20",
    "gradient_norm": "norm of the gradient, unclipped, mean of 20 batches",
}
CAPTION = (
    "Measured at every evaluation, on 512 observations of random play that are drawn once for each "
    "seed; overestimation on the evaluation's own episodes, gradients on batches of training. "
    "Values are in the units that are learned."
)


def lanes_of(
    arrays: Mapping[str, np.ndarray], labels: Sequence[str]
) -> dict[str, dict[str, np.ndarray]]:
    """Label -> the diagnostics [1, S, T] of a lane; of more lanes than colours the best.

    Args:
      arrays: as in ``metrics.npz``.
      labels: one per lane.
    """
    labels = [label or f"lane {lane}" for lane, label in enumerate(labels)]
    names, lanes = diagnoses(arrays), {label: lane for lane, label in enumerate(labels)}
    returns = arrays["eval_return"]
    best = best_of({label: seeds_left(returns[lane])[:, -1] for label, lane in lanes.items()})
    return {
        label: {"steps": arrays["steps"]} | {name: arrays[name][[lanes[label]]] for name in names}
        for label in best
    }


def draw_diagnostics(
    path: FigureFile,
    runs: Mapping[str, Mapping[str, np.ndarray]],
    title: str,
    note: str = "",
    counted: str = "environment steps",
) -> None:
    """A panel for everything that any of some runs has measured: mean and 95% bootstrap interval.

    Args:
      runs: label -> ``steps`` [T] and diagnostics [1, S, T], by their names in ``metrics.npz``.
      counted: what ``steps`` are.
    """
    found = {name for arrays in runs.values() for name in diagnoses(arrays)}
    words = {INSIDE + name: text for name, text in WORDS.items() if INSIDE + name in found}
    rows = math.ceil(len(words) / _COLUMNS)
    figure = make_figure(3.1 * _COLUMNS, 2.3 * rows + 0.8)
    counts = []
    for axes, (name, text) in zip(make_panels(figure, len(words), _COLUMNS, False), words.items()):
        for index, (label, arrays) in enumerate(runs.items()):
            values = seeds_left(arrays[name][0]) if name in arrays else ()
            if not len(values):
                continue
            counts.append(len(values))
            interval, color = mean_band(values), COLORS[index % len(COLORS)]
            axes.fill_between(
                arrays["steps"], interval.low, interval.high, color=color, alpha=0.18, linewidth=0
            )
            style = "o" if values.shape[1] == 1 else "-"
            axes.plot(arrays["steps"], interval.point, style, color=color, label=label)
        axes.set_title(textwrap.fill(text, 34), fontsize=8)
        axes.margins(x=0.01)
        axes.set_xlim(left=0)
    if len(runs) > 1:
        handles = {h.get_label(): h for axes in figure.axes for h in axes.get_lines()}
        place = {"loc": "outside lower center", "ncols": 3, "fontsize": 8}
        figure.legend(handles.values(), handles.keys(), frameon=False, **place)
    figure.suptitle(textwrap.fill(title, 100), fontsize=11)
    add_caption(figure, f"{counted} per seed; {band_words('mean', counts or [0])}", note)
    save(figure, path)
