"""How far comparisons can be relied on, in sentences."""

import math
from collections.abc import Sequence

import numpy as np

from jaxq.reports.sources import Lane
from jaxq.scoring.power import seeds_needed
from jaxq.scoring.selection import NAMED, chosen
from jaxq.scoring.stats import pooled_iqm
from jaxq.settings import differing

_SEVERAL = 8  # with more lanes, the best is compared to one


def told_apart(lanes: Sequence[Lane]) -> str:
    """How many seeds would tell the best of some lanes from the others; of many lanes, from the
    second best."""
    best, *others = sorted(lanes, key=lambda lane: -float(pooled_iqm(lane.scores)))
    named = {lane.label for lane in (others if len(lanes) <= _SEVERAL else others[:1])}
    words = [_seeds(best, lane) for lane in lanes if lane.label in named]
    return (
        f"Seeds of each that Welch's t-test takes to tell {best.label}, of the highest IQM, from "
        f"another at 5% and with a power of 80%: {', '.join(words)}. Means and standard deviations "
        f"are taken to be what they are here (Colas et al. 2018, arXiv 1806.08295)."
    )


def _seeds(one: Lane, other: Lane) -> str:
    count = seeds_needed(one.scores, other.scores)
    if math.isnan(count):
        return f"an unknown number from {other.label} (a single seed)"
    if math.isinf(count):
        return f"over ten million, or none, from {other.label} (means next to equal)"
    return f"{count:,} from {other.label}"


def choice(lanes: Sequence[Lane]) -> str:
    """Which settings would have been the best with other seeds; nothing about a single setting, or
    about several protocols, whose scores are not compared."""
    if len(lanes) < 2 or differing([lane.protocol for lane in lanes]):
        return ""
    scores = [np.append(lane.scores, [-np.inf] * len(lane.diverged)) for lane in lanes]
    sure = chosen(scores)
    if np.isnan(sure).any():
        return "How sure the choice is cannot be said where a setting has a single seed."
    named = [place for place in np.argsort(-sure, kind="stable") if sure[place] >= NAMED]
    words = [f"{lanes[p].label} in {sure[p]:.0%}" for p in named]
    if len(named) < len(lanes):
        words.append(f"{'no other' if words else 'none'} in {NAMED:.0%} or more")
    return (
        f"How sure the choice is: resamples of the seeds (2,000, a diverged seed being the worst) "
        f"choose, by their IQM, {', '.join(words)} (Patterson et al. 2024, JMLR 25:318)."
    )
