"""Tables of lanes: their scores, how they compare, in what they differ.

The lanes of a table share a protocol, and its caption carries the protocol, the number of seeds
and the kind of interval.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import numpy as np

from jaxq.reports.anchors import Scale
from jaxq.reports.pages import Entry, Printed, Table
from jaxq.reports.sources import Lane, best_first
from jaxq.scoring import stats
from jaxq.scoring.protocol import protocol_words, steps_words
from jaxq.scoring.scores import seed_words
from jaxq.settings import differing, format_value

MOST_PRINTED = 30  # rows that a page of a paper holds
_SPARSE = 4  # with more lanes, a table of differences shows only what most lanes do not have
INTERVAL = "Intervals are 95% percentile bootstrap intervals over seeds (2,000 resamples)"
_BOLD = "Bold is the best IQM, and every one whose interval overlaps one of the best."
_OF_A_TASK = {
    "IQM (95%)": stats.pooled_iqm,
    "mean (95%)": stats.mean,
    "optimality gap (95%)": stats.optimality_gap,
}
_OF_TASKS = {**_OF_A_TASK, "median of environments (95%)": stats.median_of_tasks}


def context(lanes: Sequence[Lane], each: str = "a lane") -> str:
    """Seeds, kind of interval and protocol: what every caption ends with."""
    counts = [len(lane.scores) for lane in lanes]
    words = protocol_words(lanes[0].protocol)
    return f"{seed_words(counts)} {each}. {INTERVAL}. Protocol: {words}."


def headline(lanes: Sequence[Lane], gone: Sequence[Lane] = ()) -> Table:
    """The last evaluation of every lane.

    Args:
      gone: lanes under the same protocol of which no seed is left.
    """
    scored = [stats.bootstrap(lane.scores) for lane in lanes]
    rows = []
    for lane, interval, best in zip(lanes, scored, near_best(scored)):
        count = str(len(lane.scores))
        count += f" of {len(lane.scores) + len(lane.diverged)}" if lane.diverged else ""
        cut = f"{lane.episodes_cut} cut" if lane.episodes_cut else ""
        numbers = (stats.median, stats.worst_decile)
        rows.append(
            [
                lane.label,
                count,
                with_interval(interval, best=best),
                with_interval(stats.bootstrap(lane.scores, stats.mean)),
                *(f"{statistic(lane.scores):.4g}" for statistic in numbers),
                _tolerance(lane.scores),
                f"{lane.run.scores['steps']:,}",
                Entry(f"{lane.episodes} a seed", cut),
            ]
        )
    caption = (
        f"The last evaluation. {_BOLD} The worst decile is the mean of the worst tenth of seeds, "
        f"at least one. The tolerance interval holds at least 90% of all seeds, those never "
        f"trained included, with 95% confidence; where that takes more seeds, it is their range, "
        f"with the share that the range holds. {context(lanes)}"
    )
    columns = ["lane", "seeds", "IQM (95%)", "mean (95%)", "median", "worst decile"]
    columns += ["tolerance interval", "steps", "episodes"]
    return Table("Final scores", caption, columns, rows, _printed(lanes, gone))


def each(lanes: Sequence[Lane]) -> Table:
    """The last evaluation of lanes under protocols of their own."""
    rows = [
        [
            lane.label,
            lane.protocol["environment"],
            str(len(lane.scores)),
            f"{lane.run.scores['steps']:,}",
            with_interval(stats.bootstrap(lane.scores)),
        ]
        for lane in lanes
    ]
    caption = f"The last evaluation, each under the protocol of its environment above. {INTERVAL}."
    columns = ["lane", "environment", "seeds", "steps", "IQM (95%)"]
    return Table("Final scores", caption, columns, rows)


def near_best(intervals: Sequence[stats.Interval | None]) -> list[bool]:
    """Which intervals have the highest point, or overlap one that has; of a single one it is not
    worth saying."""
    found = [interval for interval in intervals if interval]
    if len(found) < 2:
        return [False] * len(intervals)
    highest = max(interval.point for interval in found)
    best = [interval for interval in found if interval.point == highest]

    def is_near(interval: stats.Interval | None) -> bool:
        return bool(interval) and (
            interval.point == highest
            or any(interval.high >= one.low and interval.low <= one.high for one in best)
        )

    return [is_near(interval) for interval in intervals]


def step_words(lanes: Sequence[Lane]) -> str:
    """After how many steps lanes were evaluated."""
    steps = sorted({lane.run.scores["steps"] for lane in lanes})
    words = f"{steps[0]:,}" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,}"
    counted = sorted({steps_words(lane.protocol) for lane in lanes})
    return f"{words} {' or '.join(counted)} a seed"


def _printed(lanes: Sequence[Lane], gone: Sequence[Lane]) -> Printed:
    """The headline in a paper."""
    counts = {(len(lane.scores), len(lane.diverged)) for lane in lanes}
    steps = {lane.run.scores["steps"] for lane in lanes}
    columns = ["IQM (95%)", "mean (95%)"]
    columns += ["seeds"] if len(counts) > 1 or any(lane.diverged for lane in lanes) else []
    columns += ["steps"] if len(steps) > 1 else []
    shown = places_of_best(lanes)
    parts = [f"Returns of the last evaluation, after {step_words(lanes)}."]
    if len(shown) < len(lanes):
        parts.append(few_of(len(shown), lanes))
    parts += [_BOLD] if len(lanes) > 1 else []
    diverged = sum(len(lane.diverged) for lane in lanes)
    if diverged:
        words = (
            "1 seed that diverged is" if diverged == 1 else f"{diverged} seeds that diverged are"
        )
        parts.append(f"{words} left out.")
    if gone:
        parts.append(f"All seeds diverged of {', '.join(lane.label for lane in gone)}.")
    return Printed(columns, " ".join([*parts, context(lanes, "each")]), shown)


def places_of_best(lanes: Sequence[Lane]) -> list[int]:
    """Of many lanes under one protocol the places of those that are shown."""
    best = {lane.label for lane in best_first(lanes)[:MOST_PRINTED]}
    return [place for place, lane in enumerate(lanes) if lane.label in best]


def few_of(count: int, lanes: Sequence[Lane]) -> str:
    """Which of many lanes are shown."""
    first = ", reference results after all others," if any(lane.beside for lane in lanes) else ""
    return f"The {count} lanes of highest IQM{first} out of {len(lanes)}."


def improvement(scores: Mapping[str, stats.Scores], ending: str) -> Table:
    """P(row > column) of every pair of labels."""
    cells: dict[tuple[str, str], Entry] = {}
    for row, column in combinations(scores, 2):
        above = stats.probability_of_improvement(scores[row], scores[column])
        below = stats.Interval(1.0 - above.point, 1.0 - above.high, 1.0 - above.low)
        for pair, (point, low, high) in {(row, column): above, (column, row): below}.items():
            cells[pair] = with_interval(stats.Interval(point, low, high), ".2f")._replace(
                share=float(point)
            )
    rows = [[row, *(cells.get((row, column), "") for column in scores)] for row in scores]
    caption = (
        f"How often a seed of the row scores higher than one of the column (a tie counts half), "
        f"with its interval. {ending}"
    )
    return Table("Probability of improvement", caption, ["", *scores], rows)


def differences(lanes: Sequence[Lane]) -> Table | None:
    """The fields in which lanes differ, if there are any."""
    names = differing([lane.fields for lane in lanes])
    if not names:
        return None
    values = {name: [format_value(lane.fields.get(name, "")) for lane in lanes] for name in names}
    usual = {name: Counter(column).most_common(1)[0][0] for name, column in values.items()}
    sparse = len(lanes) > _SPARSE
    rows = [["most lanes", *usual.values()]] if sparse else []
    for index, lane in enumerate(lanes):
        own = {name: column[index] for name, column in values.items()}
        rows.append([lane.label, *("" if sparse and own[n] == usual[n] else own[n] for n in names)])
    emptiness = " An empty cell is what most lanes have." if sparse else ""
    caption = f"The fields in which configurations differ.{emptiness} {context(lanes)}"
    return Table("Differences of configuration", caption, ["lane", *names], rows)


def normalised(lanes: Sequence[Lane], scale: Scale) -> Table:
    """The normalised scores of lanes on one environment."""
    environment = lanes[0].protocol["environment"]
    rows = [
        [
            lane.label,
            str(len(lane.scores)),
            *_aggregates(on_scales({environment: (lane, scale)}), _OF_A_TASK),
        ]
        for lane in lanes
    ]
    caption = f"{scale.alone(environment)} {context(lanes)}"
    return Table("Normalised scores", caption, ["lane", "seeds", *_OF_A_TASK], rows)


def on_scales(lanes: Mapping[str, tuple[Lane, Scale]]) -> dict[str, np.ndarray]:
    """The normalised scores of a method by environment."""
    keys = {place: (place, scale.family) for place, (_, scale) in lanes.items()}
    scores = {keys[place]: lane.scores for place, (lane, _) in lanes.items()}
    return stats.normalise(scores, {keys[p]: scale.anchor for p, (_, scale) in lanes.items()})


def side_by_side(rows: Mapping[str, Mapping[str, Lane]], words: str, notes: str = "") -> Table:
    """Final scores of methods (label -> environment -> lane), a column for an environment.

    Args:
      words: the protocol, without what environments have of their own.
      notes: sentences about what is called a method.
    """
    environments = list(dict.fromkeys(place for places in rows.values() for place in places))
    columns = []
    for environment in environments:
        here = [places.get(environment) for places in rows.values()]
        scored = [stats.bootstrap(lane.scores) if lane else None for lane in here]
        columns.append(list(map(_side, here, scored, near_best(scored))))
    lanes = [lane for places in rows.values() for lane in places.values()]
    of_each = {e: [p[e] for p in rows.values() if e in p] for e in environments}
    steps = [f"{step_words(here)} on {e}" for e, here in of_each.items()]
    if len({step_words(here) for here in of_each.values()}) == 1:
        steps = [step_words(lanes)]
    parts = [f"IQM of the last evaluation, after {', '.join(steps)}. {_BOLD}"]
    if any(len(places) < len(environments) for places in rows.values()):
        parts.append("What is empty was not trained.")
    counts = [len(lane.scores) for lane in lanes]
    parts.append(f"{seed_words(counts)} each. {INTERVAL}. Protocol: {words}.")
    caption = " ".join([*parts, notes]).strip()
    cells = [[label, *cells] for label, *cells in zip(rows, *columns)]
    title = "Final scores by environment"
    return Table(title, caption, ["method", *environments], cells, Printed(environments, caption))


def _side(lane: Lane | None, interval: stats.Interval | None, best: bool) -> str | Entry:
    if not lane:
        return ""
    note = f"{len(lane.diverged)} diverged" if lane.diverged else ""
    return with_interval(interval, note=note, best=best)


def across(methods: Mapping[str, Mapping[str, np.ndarray]], meaning: str, ending: str) -> Table:
    """Normalised scores of methods (label -> task -> [S]) over environments.

    Args:
      meaning: what 0 and 1 are.
    """
    rows = []
    for method, scores in methods.items():
        tasks = ", ".join(task.split("-")[0] for task in scores)
        counts = seed_words([len(values) for values in scores.values()])
        rows.append([method, tasks, counts, *_aggregates(scores, _OF_TASKS)])
    caption = (
        f"Final scores pooled over environments. {meaning} Seeds are resampled within every "
        f"environment. {ending}"
    )
    columns = ["method", "environments", "seeds of each", *_OF_TASKS]
    alike_in = {row[1] for row in rows}  # environments, in words
    shown = list(_OF_TASKS) if len(alike_in) == 1 else ["environments", *_OF_TASKS]
    where = f" Environments: {alike_in.pop()}." if len(alike_in) == 1 else ""
    printed = Printed(shown, caption + where)
    return Table("Normalised scores", caption, columns, rows, printed)


def _aggregates(scores: stats.Scores, statistics: Mapping[str, Callable]) -> list[Entry]:
    return [with_interval(stats.bootstrap(scores, one), ".2f") for one in statistics.values()]


def with_interval(
    interval: stats.Interval, form: str = "", note: str = "", best: bool = False
) -> Entry:
    """A point with its interval, if it has one; without a form all three to the same place."""
    numbers = [interval.point] if np.isnan(interval.low) else interval
    point, *ends = [f"{x:{form}}" for x in numbers] if form else alike(numbers)
    return Entry(point, note, ends=tuple(ends) or None, best=best)


def alike(values: Sequence[float]) -> list[str]:
    """Numbers that stand together: the largest in four digits, the others to the same place."""
    largest = max(map(abs, values))
    if not 1e-3 <= largest < 1e7:  # zero, and what is not finite, included
        return [f"{value:.4g}" for value in values]
    decimals = max(0, 3 - math.floor(math.log10(largest)))
    texts = [f"{value:z.{decimals}f}" for value in values]  # z: no -0
    whole = all(float(text).is_integer() for text in texts)
    return [f"{float(text):.0f}" for text in texts] if whole else texts


def _tolerance(scores: np.ndarray) -> Entry:
    interval, words = stats.interval_of_seeds(scores)
    return Entry(f"{interval.low:.4g} to {interval.high:.4g}", words)
