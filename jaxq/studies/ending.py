"""How a sweep ends: the best setting again, on fresh seeds, and figures of all of them."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from jaxq.printing import escape
from jaxq.runs import files as results
from jaxq.runs.spreading import Spread
from jaxq.scoring import plots
from jaxq.scoring.cross import ENVIRONMENT
from jaxq.scoring.panels import draw_grid
from jaxq.scoring.protocol import protocol_words, steps_words
from jaxq.scoring.scores import interval_text, rank
from jaxq.settings import Setting, describe, describe_all
from jaxq.studies import searches
from jaxq.studies import study as studies
from jaxq.studies.crossing import on_fresh_seeds
from jaxq.studies.executors import train_once
from jaxq.studies.study import Study

_DRAWN = 8  # curves in one figure


def confirm(
    directory: Path, study: Study, scores: dict[str, Any], spread: Spread, console: Console
) -> dict[str, Any]:
    """Train the best setting on fresh seeds: the number by which it was chosen is too good.

    That is the maximum of noisy numbers (Patterson et al. 2024, on two-stage selection).

    Returns:
      The scores, with ``winner``: its lane, or with several environments that of each of them.
    """
    again = _on_every_environment if "across" in scores else _again
    scores = again(directory, study, scores, spread._replace(batch=None), console)
    results.write_scores(directory, scores, studies.study_rows(scores))
    return scores


def _again(
    directory: Path, study: Study, scores: dict[str, Any], spread: Spread, console: Console
) -> dict[str, Any]:
    best = scores["best"]
    if not np.isfinite(rank(scores["lanes"][best])):
        return scores
    first, second = scores["lanes"][best], _train(directory, study, best, (), spread, console)
    _say_best(console, study.settings[best])
    numbers = [("IQM", lane["iqm"], *lane["iqm_95"], lane["num_seeds"]) for lane in (second, first)]
    _say_numbers(console, *numbers)
    return {**scores, "winner": second}


def _on_every_environment(
    directory: Path, study: Study, scores: dict[str, Any], spread: Spread, console: Console
) -> dict[str, Any]:
    across = scores["across"]
    winner = {
        name: _train(directory, study, lane, (name,), spread, console)
        for name, lane in zip(across["environments"], across["lanes"])
    }
    fresh = on_fresh_seeds(scores["lanes"], winner, across["scale"])
    first = across["settings"][across["best"]]
    _say_best(console, first["setting"])
    counts = len(study.fresh_seeds), len(study.seeds)
    name = f"mean {across['scale']} score"
    _say_numbers(
        console,
        *(
            (name, one["value"], *one["value_95"], count)
            for one, count in zip((fresh, first), counts)
        ),
    )
    return {**scores, "across": {**across, "fresh": fresh}, "winner": winner}


def _train(
    directory: Path,
    study: Study,
    lane: int,
    place: Sequence[str],
    spread: Spread,
    console: Console,
) -> Mapping[str, Any]:
    """The only lane of the run that trains a setting on fresh seeds."""
    run = directory.joinpath(results.WINNER, *place)
    train_once(study.winner_spec(lane), run, spread, console=console)
    return results.read_scores(run)["lanes"][0]


def _say_best(console: Console, setting: Setting) -> None:
    console.print(f"Best: [bold]{escape(describe(setting)) or 'the only setting'}[/]")


def _say_numbers(console: Console, second: Sequence, first: Sequence) -> None:
    """Name, value, ends of the interval and seeds, on fresh seeds and on the others."""
    for (name, point, low, high, count), what in (
        (second, "on {} fresh seeds"),
        (first, "on the {} seeds it was chosen by, which is biased upwards"),
    ):
        interval = "" if np.isnan(low) else f" ({interval_text(low, high)})"
        console.print(f"  {name} {point:.4g}{interval} {what.format(count)}", highlight=False)


def draw(directory: Path, study: Study, scores: dict[str, Any]) -> None:
    """Sensitivity to every swept field, a heat map for two, and the best curves."""
    names, note = list(study.settings[0]), protocol_words(scores["protocol"])
    num_seeds = scores["lanes"][0]["num_seeds"]
    environments = study.environments()
    environment = scores["protocol"].get("environment", "several environments")
    what = f"{study.name}, {environment}"
    measure, ylabel = "evaluation IQM", "final evaluation IQM"
    lanes = zip(studies.study_rows(scores), scores["lanes"])
    rows = [row for row, lane in lanes if not lane["cut"]]
    if environments:
        names.remove(ENVIRONMENT)
        what = f"{study.name}, {len(environments)} environments"
        measure = ylabel = f"mean {scores['across']['scale']} score"
        rows = _rows_across(scores["across"])
    title = f"{what}: {measure} at step {scores['steps']:,}, 95% interval over {num_seeds} seeds"
    if names and not searches.search_of(study).moves:
        plots.draw_sensitivity(directory / results.SENSITIVITY, rows, names, title, note, ylabel)
        if plots.is_grid(rows, names):
            plots.draw_heatmap(directory / results.HEATMAP, rows, names, title, note)
    curve = partial(_curve, results.read_arrays(directory / results.METRICS), scores["lanes"])
    path = directory / results.CURVES
    if environments:
        across = scores["across"]
        runs = dict(zip(environments, map(curve, across["lanes"])))
        best = describe(across["settings"][across["best"]]["setting"])
        draw_grid(path, runs, f"{study.name} {best}".strip())
        return
    order = [lane["lane"] for lane in studies.best_first(scores["lanes"])[:_DRAWN]]
    labels = describe_all([study.settings[lane] for lane in order])
    runs = {label or study.name: curve(lane) for label, lane in zip(labels, order)}
    which = f", the best {_DRAWN}" if len(scores["lanes"]) > _DRAWN else ""
    counted = steps_words(scores.get("protocol", {}))
    plots.draw_comparison(path, runs, f"{what}{which}", note, counted)


def _curve(
    arrays: Mapping[str, np.ndarray], lanes: Sequence[Mapping[str, Any]], lane: int
) -> dict[str, np.ndarray]:
    """The evaluations of a lane, at its own steps: a line through those of other lanes, too, would
    be all gaps. Seeds that its scores call diverged are NaN."""
    returns, scores = arrays["eval_return"][lane], lanes[lane]
    there = np.isfinite(returns).any(axis=0)
    there = there if there.any() else np.ones_like(there)  # all seeds have diverged
    gone = np.array([str(seed) in scores["diverged"] for seed in scores["seeds"]])
    returns = np.where(gone[:, None], np.nan, returns)[None]
    return {"steps": arrays["steps"][there], "eval_return": returns[:, :, there]}


def _rows_across(across: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row per setting, as figures take them."""
    rows = []
    for one in across["settings"]:
        low, high = one["value_95"]
        rows.append({**one["setting"], "iqm": one["value"], "low": low, "high": high})
    return rows
