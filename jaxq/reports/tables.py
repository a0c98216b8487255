"""Tables of lanes: their scores, how they compare, in what they differ.

The lanes of a table share a protocol, and its caption carries the protocol, the number of seeds
and the kind of interval.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import numpy as np

from jaxq.reports.pages import Cell, Table
from jaxq.reports.sources import Lane
from jaxq.scoring import stats
from jaxq.scoring.protocol import protocol_words
from jaxq.scoring.scores import seed_words
from jaxq.settings import ENV_PARAM, differing, format_value

_SPARSE = 4  # with more lanes, a table of differences shows only what most lanes do not have
INTERVAL = "Intervals are 95% percentile bootstrap intervals over seeds (2,000 resamples)"
_ONE = {  # what counts as 1 in the anchors of a protocol
    "original": "the DQN of Young & Tian (2019), measured while exploring",
    "gymnax": "what the time limit allows",
}
_OF_A_TASK = {
    "IQM (95%)": stats.pooled_iqm,
    "mean (95%)": stats.mean,
    "optimality gap (95%)": stats.optimality_gap,
}
_OF_TASKS = {**_OF_A_TASK, "median of environments (95%)": stats.median_of_tasks}


def context(lanes: Sequence[Lane]) -> str:
    """Seeds, kind of interval and protocol: what every caption ends with."""
    counts = [len(lane.scores) for lane in lanes]
    words = protocol_words(lanes[0].protocol)
    return f"{seed_words(counts)} a lane. {INTERVAL}. Protocol: {words}."


def headline(lanes: Sequence[Lane]) -> Table:
    """The last evaluation of every lane."""
    rows = []
    for lane in lanes:
        count = str(len(lane.scores))
        count += f" of {len(lane.scores) + len(lane.diverged)}" if lane.diverged else ""
        cut = f"{lane.episodes_cut} cut" if lane.episodes_cut else ""
        numbers = (stats.mean, stats.median, stats.worst_decile)
        rows.append(
            [
                lane.label,
                count,
                _with_interval(stats.bootstrap(lane.scores)),
                *(f"{statistic(lane.scores):.4g}" for statistic in numbers),
                _tolerance(lane.scores),
                f"{lane.run.scores['steps']:,}",
                Cell(f"{lane.episodes} a seed", cut),
            ]
        )
    caption = (
        f"The last evaluation. The worst decile is the mean of the worst tenth of seeds, at least "
        f"one. The tolerance interval holds at least 90% of all seeds, those never "
        f"trained included, with 95% confidence; where that takes more seeds, it is their range, "
        f"with the share that the range holds. {context(lanes)}"
    )
    columns = ["lane", "seeds", "IQM (95%)", "mean", "median", "worst decile"]
    return Table(
        "Final scores", caption, [*columns, "tolerance interval", "steps", "episodes"], rows
    )


def improvement(scores: Mapping[str, stats.Scores], ending: str) -> Table:
    """P(row > column) of every pair of labels."""
    cells: dict[tuple[str, str], Cell] = {}
    for row, column in combinations(scores, 2):
        above = stats.probability_of_improvement(scores[row], scores[column])
        below = stats.Interval(1.0 - above.point, 1.0 - above.high, 1.0 - above.low)
        for pair, (point, low, high) in {(row, column): above, (column, row): below}.items():
            cells[pair] = Cell(f"{point:.2f}", f"{low:.2f} to {high:.2f}", float(point))
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


def anchor_of(lane: Lane) -> tuple[str, str] | None:
    """The environment and protocol in ``stats.ANCHORS`` that a lane's scores belong to, if any."""
    environment = lane.protocol["environment"]
    original = environment.endswith("-original")
    pair = environment, "original" if original else "gymnax"
    changed = lane.protocol["env_kwargs"] or any(k.startswith(ENV_PARAM) for k in lane.protocol)
    sticky = lane.protocol.get("sticky_actions", 0.0) == (0.1 if original else 0.0)
    return pair if pair in stats.ANCHORS and sticky and not changed else None


def normalised(lanes: Sequence[Lane]) -> Table:
    """The normalised scores of lanes on one environment that has anchors."""
    pair = anchor_of(lanes[0])
    zero, one = stats.ANCHORS[pair]
    rows = [
        [
            lane.label,
            str(len(lane.scores)),
            *_aggregates(stats.normalise({pair: lane.scores}), _OF_A_TASK),
        ]
        for lane in lanes
    ]
    caption = (
        f"A score of {zero:g} (a random policy) is 0, and {one:g} is 1, which is "
        f"{_ONE[pair[1]]}. {context(lanes)}"
    )
    return Table("Normalised scores", caption, ["lane", "seeds", *_OF_A_TASK], rows)


def across(methods: Mapping[str, Mapping[str, np.ndarray]], protocol: str, ending: str) -> Table:
    """Normalised scores of methods (label -> task -> [S]) over the environments of a protocol."""
    rows = []
    for method, scores in methods.items():
        tasks = ", ".join(task.split("-")[0] for task in scores)
        counts = seed_words([len(values) for values in scores.values()])
        rows.append([method, tasks, counts, *_aggregates(scores, _OF_TASKS)])
    caption = (
        f"Final scores pooled over environments. A random policy is 0, and 1 is "
        f"{_ONE[protocol]}. Seeds are resampled within every environment. {ending}"
    )
    columns = ["method", "environments", "seeds of each", *_OF_TASKS]
    return Table("Normalised scores", caption, columns, rows)


def _aggregates(scores: stats.Scores, statistics: Mapping[str, Callable]) -> list[Cell]:
    return [_with_interval(stats.bootstrap(scores, one), ".2f") for one in statistics.values()]


def _with_interval(interval: stats.Interval, form: str = ".4g") -> Cell:
    point, low, high = interval
    return Cell(f"{point:{form}}", f"{low:{form}} to {high:{form}}")


def _tolerance(scores: np.ndarray) -> Cell:
    interval, words = stats.tolerance_interval(scores), "90% of seeds"
    if np.isnan(interval.low):
        interval = stats.full_range(scores)
        words = f"range, {interval.coverage:.0%} of seeds"
    return Cell(f"{interval.low:.4g} to {interval.high:.4g}", words)
