"""Figures. Every figure says how many seeds it shows and what its band is."""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxq.errors import ConfigError
from jaxq.scoring.canvas import (
    COLORS,
    FigureFile,
    add_caption,
    add_legend,
    add_legend_of_panel,
    check_some,
    draw_band,
    draw_thinly,
    few_named,
    make_figure,
    make_panels,
    save,
    seeds_left,
)
from jaxq.scoring.scores import band_words, interval_text, seed_words
from jaxq.scoring.stats import Scores, performance_profile, strata
from jaxq.settings import format_value

_MOST_CELLS = 24  # of a heat map, on each side
_LETTERS = 44  # below a panel, in one line


def draw_curves(
    path: FigureFile,
    arrays: Mapping[str, np.ndarray],
    title: str,
    labels: Sequence[str],
    note: str = "",
    counted: str = "environment steps",
) -> None:
    """Learning curves of one run.

    Of more lanes than colours the best, the median and the worst are named, and the others are
    thin lines behind them.

    Args:
      arrays: as in ``metrics.npz``.
      title: of the figure.
      labels: one per lane.
      note: what else a reader must know to compare, such as the protocol.
      counted: what ``steps`` are.
    """
    if isinstance(labels, str) or len(labels) != len(arrays["eval_return"]):
        raise ConfigError(f"labels={labels} must be {len(arrays['eval_return'])}, one for a lane.")
    figure = make_figure(10.0, 4.4)
    grid = figure.add_gridspec(2, 2, width_ratios=(1.7, 1.0))
    main = figure.add_subplot(grid[:, 0])
    named, rest = few_named(labels, arrays["eval_return"])

    def draw(axes, values, are_named: bool) -> None:
        draw_thinly(axes, ((arrays["steps"], values[lane]) for lane in rest))
        for index, (lane, label) in enumerate(named.items()):
            words = label if are_named else None
            single = are_named and len(labels) == 1
            draw_band(axes, arrays["steps"], values[lane], words, index, single)
        axes.margins(x=0.01)
        is_empty = not any(len(seeds_left(lane)) for lane in values)
        axes.set_xlim(0, arrays["steps"][-1] if is_empty else None)

    draw(main, arrays["eval_return"], True)
    figure.suptitle(textwrap.fill(title, 100), fontsize=12)
    main.set(xlabel=f"{counted} per seed", ylabel="evaluation return")
    words = band_words("IQM", [len(seeds_left(values)) for values in arrays["eval_return"]])
    if "eval_returns" in arrays:  # which a reader of runs may have left out
        words += f", {arrays['eval_returns'].shape[-1]} episodes each"
    if rest:
        words += f", the other {len(rest)} lanes are thin lines"
    if len(labels) > 1:
        add_legend_of_panel(main, named.values())
    add_caption(figure, words, note)
    details = (("eval_value", "greedy value along episodes", "linear"), ("loss", "loss", "log"))
    for row, (name, label, scale) in enumerate(details):
        axes = figure.add_subplot(grid[row, 1])
        draw(axes, arrays[name], False)
        axes.set_title(label, fontsize=9)
        positive = np.any(np.isfinite(arrays[name]) & (arrays[name] > 0))
        axes.set_yscale(scale if positive else "linear")
    save(figure, path)


def draw_comparison(
    path: FigureFile,
    runs: Mapping[str, Mapping[str, np.ndarray]],
    title: str,
    note: str = "",
    counted: str = "environment steps",
) -> None:
    """The evaluation curves of several runs (label -> arrays of one lane) in one figure.

    Of more runs than colours the best, the median and the worst are named, and the others are
    thin lines behind them.

    Raises:
      ConfigError: there are none.
    """
    check_some(runs)
    figure = make_figure(8.0, 4.6)
    axes = figure.add_subplot()
    curves = [(arrays["steps"], arrays["eval_return"][0]) for arrays in runs.values()]
    named, rest = few_named(list(runs), [values for _, values in curves])
    draw_thinly(axes, [curves[place] for place in rest])
    for index, (place, label) in enumerate(named.items()):
        draw_band(axes, *curves[place], label, index, False)
    axes.set(title=title, xlabel=f"{counted} per seed", ylabel="evaluation return")
    add_legend(figure, axes, len(named))
    axes.margins(x=0.01)
    axes.set_xlim(left=0)  # time before the first evaluation is time
    words = band_words("IQM", [len(seeds_left(values)) for _, values in curves])
    if rest:
        words += f", the other {len(rest)} are thin lines"
    add_caption(figure, words, note)
    save(figure, path)


def draw_sensitivity(
    path: FigureFile,
    table: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    title: str,
    note: str = "",
    ylabel: str = "final evaluation IQM",
) -> None:
    """The final score against every swept field, one line per setting of the others.

    With more such settings than colours, as in a random search, lanes are single points.

    Args:
      table: one row per lane with the swept values and ``iqm``, ``low``, ``high``.
      names: the swept fields.
      ylabel: what ``iqm`` is.
    """
    columns = min(3, len(names))
    figure = make_figure(4.6 * columns, 3.5 * math.ceil(len(names) / columns) + 0.4)
    for axes, name in zip(make_panels(figure, len(names), columns), names):
        groups: dict[str, list] = {}
        for row in table:
            others = ", ".join(
                f"{other}={format_value(row[other])}" for other in names if other != name
            )
            groups.setdefault(others, []).append(row)
        swept, numeric = _in_order(row[name] for row in table)
        places = {value: value if numeric else index for index, value in enumerate(swept)}
        separate = len(groups) > len(COLORS)
        for index, (label, rows) in enumerate(groups.items()):
            rows = sorted(rows, key=lambda row: places[row[name]])
            values = [places[row[name]] for row in rows]
            color = COLORS[0 if separate else index]
            style = "o" if separate or not numeric else "o-"  # categories have no order
            axes.plot(values, [r["iqm"] for r in rows], style, color=color, label=label or None)
            low, high = [r["low"] for r in rows], [r["high"] for r in rows]
            if separate or len(rows) == 1 or not numeric:
                axes.vlines(values, low, high, color=color, alpha=0.4)
            else:
                axes.fill_between(values, low, high, color=color, alpha=0.15, linewidth=0)
        if not numeric:
            _say_categories(axes, [format_value(value) for value in swept])
        elif len(swept) > 1 and min(swept) > 0 and max(swept) / min(swept) >= 10:
            axes.set_xscale("log")
        axes.set(xlabel=name, ylabel=ylabel if name == names[0] else "")
        if 1 < len(groups) <= len(COLORS):
            add_legend_of_panel(axes, groups)
    add_caption(figure, note)
    figure.suptitle(textwrap.fill(title, int(11 * figure.get_figwidth())), fontsize=11)
    save(figure, path)


def _in_order(values: Iterable[Any]) -> tuple[list, bool]:
    """The different ones of ``values``, and whether they are numbers: those go by their size,
    categories as they were asked for."""
    different = list(dict.fromkeys(values))
    numeric = all(type(value) in (int, float) and math.isfinite(value) for value in different)
    return (sorted(different) if numeric else different), numeric


def _say_categories(axes, names: Sequence[str]) -> None:
    """The names of categories below their places, aslant where they would run into each other."""
    axes.set_xticks(range(len(names)), names)
    axes.margins(x=0.1)
    if max(map(len, names)) * len(names) > _LETTERS:
        axes.tick_params(axis="x", rotation=30)
        for label in axes.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")


def draw_heatmap(
    path: FigureFile,
    table: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    title: str,
    note: str = "",
) -> None:
    """The final score over two swept fields: a cell per pair of values with IQM and interval.

    Values stand side by side whatever their distance, so that those of a logarithmic grid are as
    legible as others. Of several lanes in one cell the one of highest IQM is shown.

    Args:
      table: as for ``draw_sensitivity``.
      names: the field of the rows and the field of the columns.
    """
    rows, columns = (_in_order(row[name] for row in table)[0] for name in names)
    grid = np.full((len(rows), len(columns)), np.nan)
    width = max(4.8, 1.6 + 1.1 * len(columns))
    figure = make_figure(width, 1.7 + 0.6 * len(rows))
    axes = figure.add_subplot()
    cells = {}
    for lane in sorted(table, key=lambda lane: lane["iqm"]):
        cell = rows.index(lane[names[0]]), columns.index(lane[names[1]])
        grid[cell], cells[cell] = lane["iqm"], lane
    image = axes.imshow(grid, cmap="viridis", aspect="auto", origin="lower")
    for (row, column), lane in cells.items():
        text = f"{lane['iqm']:.4g}\n{interval_text(lane['low'], lane['high'])}"
        color = "white" if image.norm(lane["iqm"]) < 0.6 else "black"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=color)
    axes.set_yticks(range(len(rows)), [format_value(value) for value in rows])
    axes.set_xticks(range(len(columns)), [format_value(value) for value in columns])
    axes.set(ylabel=names[0], xlabel=names[1])
    add_caption(figure, note)
    figure.suptitle(textwrap.fill(title, int(11 * width)), fontsize=11)
    save(figure, path)


def is_grid(table: Sequence[Mapping[str, Any]], names: Sequence[str]) -> bool:
    """Whether a table suits a heat map: of two fields most pairs were tried, and not too many."""
    if len(names) != 2:
        return False
    rows, columns = (len({row[name] for row in table}) for name in names)
    return rows * columns <= 2 * len(table) and max(rows, columns) <= _MOST_CELLS


def draw_profiles(path: FigureFile, runs: Mapping[str, Scores], title: str, xlabel: str) -> None:
    """Performance profiles (label -> final scores): the share of seeds above every score.

    With more runs than colours each has a panel of its own.
    """
    pooled = np.concatenate([values for run in runs.values() for values in strata(run).values()])
    margin = 0.02 * np.ptp(pooled) or 1.0  # so that every profile is seen to begin at 1
    ends = [pooled.min() - margin, pooled.max() + margin]
    together = len(runs) <= len(COLORS)
    if together:
        figure = make_figure(8.0, 4.2)
        panels = [figure.add_subplot()] * len(runs)
    else:
        figure = make_figure(12.5, 1.9 * math.ceil(len(runs) / 5) + 0.5)
        panels = make_panels(figure, len(runs), 5)
    for index, (axes, (label, scores)) in enumerate(zip(panels, runs.items())):
        color = COLORS[index if together else 0]
        thresholds = np.unique(np.concatenate([ends, *strata(scores).values()]))  # all its steps
        profile = performance_profile(scores, thresholds)
        band = {"step": "post", "color": color, "alpha": 0.18, "linewidth": 0}
        axes.fill_between(thresholds, profile.low, profile.high, **band)
        axes.step(thresholds, profile.point, where="post", color=color, linewidth=2.0, label=label)
        axes.set_ylim(-0.02, 1.02)
        axes.margins(x=0.01)
        axes.set_title("" if together else label, fontsize=9)
    if together:
        add_legend(figure, panels[0], len(runs))
    figure.suptitle(title, fontsize=12)
    figure.supylabel("share of seeds above", fontsize=9)
    counts = [len(values) for run in runs.values() for values in strata(run).values()]
    band = "; band: 95% bootstrap interval" if max(counts) > 1 else ""
    figure.supxlabel(f"{xlabel}, {seed_words(counts)}{band}", fontsize=9)
    save(figure, path)


def draw_throughput(path: FigureFile, records: Sequence[Mapping[str, Any]]) -> None:
    """Environment steps per second against the number of members, one panel per kind of work.

    Args:
      records: each with ``title``, ``program``, ``members``, ``steps_per_second`` (of every turn).
    """
    from matplotlib.ticker import EngFormatter, LogLocator

    titles = list(dict.fromkeys(record["title"] for record in records))
    programs = list(dict.fromkeys(record["program"] for record in records))
    columns = min(3, len(titles))
    figure = make_figure(4.2 * columns, 3.2 * math.ceil(len(titles) / columns) + 0.5)
    for axes, title in zip(make_panels(figure, len(titles), columns, sharey=False), titles):
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
        axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        axes.yaxis.set_minor_formatter(EngFormatter(sep=""))
        axes.set(xlabel="members", ylabel="environment steps / s")
    handles = {h.get_label(): h for a in figure.axes for h in a.get_lines()}
    place = {"loc": "outside lower center", "ncols": 3 * columns, "fontsize": 8}
    figure.legend(handles.values(), handles.keys(), frameon=False, **place)
    save(figure, path)
