"""Figures. Every figure says how many seeds it shows and what its band is."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxq.stats import bootstrap_iqm, iqm

COLORS = ("#2a6fbb", "#d1495b", "#2e8b57", "#e08e0b", "#7b4fa3", "#5b5b5b", "#17a2a2", "#b3568f")


def draw_curves(path: Path, arrays: Mapping[str, np.ndarray], title: str, labels: Sequence[str]):
    """Learning curves of one run.

    Args:
      arrays: as in ``metrics.npz``.
      title: of the figure.
      labels: one per lane.
    """
    figure = _figure(10.0, 4.2)
    grid = figure.add_gridspec(2, 2, width_ratios=(1.7, 1.0))
    main = figure.add_subplot(grid[:, 0])
    for lane, label in enumerate(labels):
        draw_band(main, arrays["steps"], arrays["eval_return"][lane], label, lane, len(labels) == 1)
    num_seeds, episodes = arrays["eval_returns"].shape[1], arrays["eval_returns"].shape[-1]
    main.set(title=title, xlabel="environment steps per seed", ylabel="evaluation return")
    main.margins(x=0.01)
    note = f"IQM and 95% bootstrap interval over {num_seeds} seeds, {episodes} episodes each"
    main.text(0.0, -0.19, note, transform=main.transAxes, fontsize=8, color="#666666")
    if len(labels) > 1:
        main.legend(frameon=False, fontsize=8)
    details = (("eval_value", "greedy value along episodes", "linear"), ("loss", "loss", "log"))
    for row, (name, label, scale) in enumerate(details):
        axes = figure.add_subplot(grid[row, 1])
        for lane in range(len(labels)):
            draw_band(axes, arrays["steps"], arrays[name][lane], None, lane, False)
        axes.set_title(label, fontsize=9)
        positive = np.any(np.isfinite(arrays[name]) & (arrays[name] > 0))
        axes.set_yscale(scale if positive else "linear")
        axes.margins(x=0.01)
    _save(figure, path)


def draw_comparison(path: Path, runs: Mapping[str, Mapping[str, np.ndarray]], title: str) -> None:
    """The evaluation curves of several runs (label -> arrays of one lane) in one figure."""
    figure = _figure(8.0, 4.6)
    axes = figure.add_subplot()
    for index, (label, arrays) in enumerate(runs.items()):
        draw_band(axes, arrays["steps"], arrays["eval_return"][0], label, index, False)
    num_seeds = next(iter(runs.values()))["eval_return"].shape[1]
    axes.set(title=title, xlabel="environment steps per seed", ylabel="evaluation return")
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    axes.margins(x=0.01)
    note = f"IQM and 95% bootstrap interval over {num_seeds} seeds"
    axes.text(0.0, -0.17, note, transform=axes.transAxes, fontsize=8, color="#666666")
    _save(figure, path)


def draw_grid(path: Path, runs: Mapping[str, Mapping[str, Any]], title: str) -> None:
    """The evaluation curves of many runs (label -> arrays of one lane), one small panel each."""
    columns = 5
    figure = _figure(2.5 * columns, 1.9 * math.ceil(len(runs) / columns) + 0.5)
    panels = _panels(figure, len(runs), columns)
    for axes, (label, arrays) in zip(panels, runs.items()):
        values = arrays["eval_return"][0]
        draw_band(axes, arrays["steps"], values, None, 0, True)
        axes.set_title(f"{label}, {iqm(values[:, -1]):.4g}", fontsize=9)
        axes.margins(x=0.01)
    note = "IQM and 95% bootstrap interval, each seed thinly; the number is the last IQM"
    figure.suptitle(f"{title}\n", fontsize=12)
    figure.supxlabel(f"environment steps per seed; {note}", fontsize=8, color="#666666")
    _save(figure, path)


def draw_sensitivity(path: Path, table: Sequence[Mapping[str, Any]], names: Sequence[str], title):
    """The final score against every swept hyperparameter, one line per setting of the others.

    Args:
      table: one row per lane with the swept values and ``iqm``, ``low``, ``high``.
      names: the swept hyperparameters.
    """
    figure = _figure(4.6 * len(names), 3.9)
    for column, name in enumerate(names):
        axes = figure.add_subplot(1, len(names), column + 1)
        groups: dict[str, list] = {}
        for row in table:
            others = ", ".join(f"{other}={row[other]:g}" for other in names if other != name)
            groups.setdefault(others, []).append(row)
        for index, (label, rows) in enumerate(groups.items()):
            rows = sorted(rows, key=lambda row: row[name])
            values = [row[name] for row in rows]
            color = COLORS[index % len(COLORS)]
            axes.plot(values, [r["iqm"] for r in rows], "o-", color=color, label=label or None)
            low, high = [r["low"] for r in rows], [r["high"] for r in rows]
            axes.fill_between(values, low, high, color=color, alpha=0.15, linewidth=0)
        swept = sorted({row[name] for row in table})
        if len(swept) > 1 and min(swept) > 0 and max(swept) / min(swept) >= 10:
            axes.set_xscale("log")
        axes.set(xlabel=name, ylabel="final evaluation IQM" if column == 0 else "")
        if len(groups) > 1:
            axes.legend(frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=11)
    _save(figure, path)


def draw_throughput(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Environment steps per second against the number of members, one panel per kind of work.

    Args:
      records: each with ``title``, ``program``, ``members``, ``steps_per_second`` (of every turn).
    """
    from matplotlib.ticker import EngFormatter

    titles = list(dict.fromkeys(record["title"] for record in records))
    programs = list(dict.fromkeys(record["program"] for record in records))
    columns = min(3, len(titles))
    figure = _figure(4.2 * columns, 3.2 * math.ceil(len(titles) / columns) + 0.5)
    for axes, title in zip(_panels(figure, len(titles), columns, sharey=False), titles):
        for index, program in enumerate(programs):
            mine = [r for r in records if (r["title"], r["program"]) == (title, program)]
            members, rates = [r["members"] for r in mine], [r["steps_per_second"] for r in mine]
            style = "--" if program == "ceiling" else "o-"
            color = COLORS[index % len(COLORS)]
            medians = [np.median(rate) for rate in rates]
            axes.plot(members, medians, style, color=color, label=program, linewidth=1.6)
            low, high = [min(rate) for rate in rates], [max(rate) for rate in rates]
            axes.fill_between(members, low, high, color=color, alpha=0.15, linewidth=0)
        axes.set_title(title, fontsize=9)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(sorted({r["members"] for r in records}), minor=False)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_formatter(EngFormatter(sep=""))
        axes.yaxis.set_minor_formatter(EngFormatter(sep=""))
        axes.set(xlabel="members", ylabel="environment steps / s")
    handles = {h.get_label(): h for a in figure.axes for h in a.get_lines()}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles))
    _save(figure, path)


def draw_band(axes, steps, values, label, index: int, show_seeds: bool) -> None:
    """IQM over seeds of ``values`` [S, T] with its interval, and each seed thinly if asked."""
    color = COLORS[index % len(COLORS)]
    interval = bootstrap_iqm(np.asarray(values, float).T)
    axes.fill_between(steps, interval.low, interval.high, color=color, alpha=0.18, linewidth=0)
    if show_seeds:
        axes.plot(steps, np.asarray(values).T, color=color, alpha=0.25, linewidth=0.7)
    axes.plot(steps, interval.point, color=color, linewidth=2.0, label=label)


def _figure(width: float, height: float):
    from matplotlib.figure import Figure  # imported here: takes a second

    return Figure(figsize=(width, height), layout="constrained")


def _panels(figure, count: int, columns: int, sharey: bool = True) -> list:
    """``count`` axes in rows of ``columns``."""
    grid = figure.subplots(math.ceil(count / columns), columns, sharey=sharey, squeeze=False)
    panels = list(grid.flat)
    for axes in panels[count:]:
        axes.set_visible(False)
    return panels[:count]


def _save(figure, path: Path) -> None:
    """Save as PNG in one move."""
    from matplotlib.ticker import EngFormatter

    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.tick_params(labelsize=8)
        if axes.get_xscale() == "linear" and axes.get_xlim()[1] > 5_000:
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    partial = path.with_name("." + path.name)
    figure.savefig(partial, dpi=160, format="png")
    partial.replace(path)
