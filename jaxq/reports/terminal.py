"""Results as tables in a terminal; every table says its environment, seeds and episodes."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from jaxq.printing import add_columns
from jaxq.scoring.protocol import protocol_words
from jaxq.scoring.scores import interval_text, rank, score_text, share_text
from jaxq.scoring.selection import NAMED
from jaxq.settings import describe_all, format_values
from jaxq.studies.study import best_first

_COLUMNS = ("IQM", "95% interval", "worst seed")
_ACROSS = ("setting", "mean", "95% interval", "chosen")
_MOST_ROWS = 40  # with more lanes, the best are shown
_BEST = 10
_BY_SEEDS = f"Chosen: by how many resamples of the seeds, from {NAMED:.0%}."


def print_scores(console: Console, scores: Mapping[str, Any], labels: Sequence[str]) -> None:
    """The final evaluation of a run, one row per lane; the best ones if there are many."""
    first = scores["lanes"][0]
    title = (
        f"{_environment(scores)}, {_count(first['num_seeds'], 'seed')} x "
        f"{_count(first['episodes_per_seed'], 'episode')} at step {scores['steps']:,}"
    )
    rows = list(zip(labels, scores["lanes"], strict=True))
    if len(rows) > _MOST_ROWS:
        title += f", the best {_BEST} of {len(rows)} lanes"
        rows = sorted(rows, key=lambda row: -rank(row[1]))[:_BEST]
    names = ("",) if any(labels) else ()
    columns = (*names, *_COLUMNS, "mean", "median", "cut")
    table = _table(title, columns, scores["protocol"])
    for label, lane in rows:
        more = score_text(lane["mean"]), score_text(lane["median"]), str(lane["episodes_cut"])
        name = [label.replace(" ", "\n")] if names else []
        table.add_row(*name, *_cells(lane), *more)
    console.print(table)
    _print_cut(console, scores["lanes"])
    _print_diverged(console, scores["lanes"])


def print_study(console: Console, scores: Mapping[str, Any], names: Sequence[str]) -> None:
    """The final evaluation of a study, one row per setting; the best ones if there are many."""
    if "across" in scores:
        _print_across(console, scores)
        return
    lanes = best_first(scores["lanes"])
    shown = scores["lanes"] if len(lanes) <= _MOST_ROWS else lanes[:_BEST]
    num_seeds = lanes[0]["num_seeds"]
    seeds = _count(num_seeds, "seed")
    title = f"{_environment(scores)}, {seeds} at step {scores['steps']:,}"
    if len(shown) < len(lanes):
        title += f", the best {len(shown)} of {len(lanes)} settings"
    table = _table(title, ("", *names, *_COLUMNS, "chosen"), scores["protocol"])
    table.caption += f" {_BY_SEEDS}"
    columns = [format_values([lane["setting"][name] for lane in shown]) for name in names]
    for lane, *values in zip(shown, *columns):
        mark = "best" if lane["lane"] == scores["best"] else ""
        mark = f"cut at {lane['steps']:,}" if lane["cut"] else mark
        table.add_row(mark, *values, *_cells(lane), _share(lane.get("chosen", 0.0)))
    console.print(table)
    _print_diverged(console, lanes)


def _print_across(console: Console, scores: Mapping[str, Any]) -> None:
    """The best settings of several environments, and what one setting for all of them costs."""
    across, lanes = scores["across"], scores["lanes"]
    settings, environments = across["settings"], across["environments"]
    order = sorted(range(len(settings)), key=lambda index: -settings[index]["value"])
    shown = order[:_BEST]
    seeds = _count(lanes[0]["num_seeds"], "seed")
    title = f"{len(environments)} environments, {seeds} of each at step {scores['steps']:,}"
    if len(shown) < len(order):
        title += f", the best {len(shown)} of {len(order)} settings"
    table = _table(title, ("", *_ACROSS), scores["protocol"])
    table.caption += f" {_BY_SEEDS}"
    words = describe_all([one["setting"] for one in settings])
    for index in shown:
        one, mark = settings[index], "best" if index == across["best"] else ""
        low, high = one["value_95"]
        chosen = _share(one["chosen"])
        texts = f"[bold]{one['value']:.3f}[/]", interval_text(low, high, ".3f"), chosen
        table.add_row(mark, words[index] or "as it is", *texts)
    console.print(table)
    table = Table("environment", "one for all", "best of each", "its setting")
    for place, name in enumerate(environments):
        mine = [lanes[place * len(settings) + i] for i in (across["best"], across["best_of"][name])]
        iqms = [score_text(lane["iqm"]) for lane in mine]
        table.add_row(name, *iqms, words[across["best_of"][name]])
    console.print(table)
    _print_diverged(console, lanes, "they count as the worst score of their environment")
    each, every = across["each"], across["all"]
    sentence = (
        f"Mean {across['scale']} score: {every[0]:.3f} with one setting for all environments, "
        f"{each[0]:.3f} with the best of each; sensitivity {across['sensitivity'][0]:.3f} "
        f"({interval_text(*across['sensitivity'][1:])})."
    )
    if effective := across["effective_dimensionality"]:
        needed = ", ".join(effective["names"]) or "none"
        sentence += f" To be tuned for each to reach 95% of that: {needed}."
    console.print(sentence, highlight=False)


def _share(chosen: float) -> str:
    """How often other seeds would have chosen a setting."""
    return "" if chosen < NAMED else share_text(chosen)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _environment(scores: Mapping[str, Any]) -> str:
    return scores["protocol"].get("environment", "several environments")


def _table(title: str, columns: Sequence[str], protocol: Mapping[str, Any]) -> Table:
    caption = f"Bootstrap intervals over seeds; {protocol_words(protocol)}."
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    add_columns(table, columns, left=("", "setting"))
    return table


def _cells(lane: Mapping[str, Any]) -> list[str]:
    iqm, worst = score_text(lane["iqm"]), score_text(lane["worst"])
    return [f"[bold]{iqm}[/]", interval_text(*lane["iqm_95"]), worst]


def _print_cut(console: Console, lanes: Sequence[Mapping[str, Any]]) -> None:
    if cut := sum(lane["episodes_cut"] for lane in lanes):
        played = sum(lane["num_seeds"] * lane["episodes_per_seed"] for lane in lanes)
        console.print(
            f"{cut:,} of {played:,} episodes were longer than evaluation waits (eval_max_steps), "
            f"and count with what they had by then.",
            highlight=False,
        )


def _print_diverged(
    console: Console,
    lanes: Sequence[Mapping[str, Any]],
    how: str = "no score above counts them",
) -> None:
    diverged = sum(lane["num_diverged"] for lane in lanes)
    if diverged:
        who = "member has" if diverged == 1 else "members have"
        console.print(
            f"[bold red]{diverged} {who} diverged[/] (a loss or value is not finite); lanes.csv "
            f"says which, and {how}."
        )
