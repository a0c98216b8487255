"""How far comparisons can be relied on, in sentences."""

import math
from collections.abc import Sequence

import numpy as np

from jaxq.reports.sources import Lane
from jaxq.scoring.power import seeds_needed
from jaxq.scoring.selection import chosen
from jaxq.scoring.stats import pooled_iqm
from jaxq.settings import differing

_SEVERAL = 8  # with more lanes, the best is compared to one
_NAMED = 0.05  # the probability from which a setting is named beside the best


def told_apart(lanes: Sequence[Lane]) -> str:
    """How many seeds would tell the best of some lanes from the others, in a sentence; of many
    lanes from the second best."""
    best, *others = sorted(lanes, key=lambda lane: -float(pooled_iqm(lane.scores)))
    named = {lane.label for lane in (others if len(lanes) <= _SEVERAL else others[:1])}
    words = [f"{_seeds(best, lane)} from {lane.label}" for lane in lanes if lane.label in named]
    return (
        f"Welch's t-test would tell {best.label}, which has the highest IQM, at 5% and with a "
        f"power of 80% by {', '.join(words)}: seeds of each, if means and standard deviations are "
        f"what they are here (Colas et al. 2018, arXiv 1806.08295)."
    )


def _seeds(one: Lane, other: Lane) -> str:
    count = seeds_needed(one.scores, other.scores)
    if math.isnan(count):
        return "an unknown number, as one of them has a single seed,"
    return f"{count:,}" if math.isfinite(count) else "no finite number, as the means are equal,"


def choice(lanes: Sequence[Lane]) -> str:
    """Which settings would have been the best with other seeds, in a sentence; none about a single
    setting, or about several protocols, whose scores are not compared."""
    if len(lanes) < 2 or differing([lane.protocol for lane in lanes]):
        return ""
    scores = [np.append(lane.scores, [-np.inf] * len(lane.diverged)) for lane in lanes]
    sure = chosen(scores)
    named = [place for place in np.argsort(-sure, kind="stable") if sure[place] >= _NAMED]
    words = [f"{lanes[p].label} in {sure[p]:.0%}" for p in named]
    rest = f"no other one in {_NAMED:.0%}" if words else f"each in less than {_NAMED:.0%}"
    return (
        f"How sure the choice is: of 2,000 bootstrap resamples of the seeds, a diverged one being "
        f"the worst, the highest IQM has {', '.join([*words, rest])} (Patterson et al. 2024, "
        f"JMLR 25:318)."
    )
