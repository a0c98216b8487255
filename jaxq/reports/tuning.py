"""Sweeps over the same environments, compared as methods: what one setting for all reaches.

Scores are brought to one scale by those of all methods on an environment, so that methods can be
compared with each other, and not only settings of one.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxq.documents import config_from_dict
from jaxq.errors import ConfigError
from jaxq.recipes.own import own_names
from jaxq.recipes.reading import choices
from jaxq.reports.across import words_across
from jaxq.reports.figures import picture
from jaxq.reports.pages import Entry, Printed, Section, Table
from jaxq.reports.sources import Source
from jaxq.reports.tables import with_interval
from jaxq.scoring import cross
from jaxq.scoring.plane import draw_plane
from jaxq.scoring.scores import seed_words, share_text
from jaxq.scoring.selection import NAMED
from jaxq.scoring.stats import Interval
from jaxq.settings import describe

_NAMED = 5


class TunedMethod(NamedTuple):
    """A sweep over several environments, on the scales that all methods share."""

    label: str
    source: Source
    settings: list[dict[str, Any]]
    values: Any  # [E, H], mean normalised scores
    tuned: cross.Tuned
    fresh: Interval | None  # of the setting that its sweep confirmed, on seeds that chose nothing
    confirmed: int | None  # which one it is: on the scale of its own sweep the best


def tuned_for_all(studies: Sequence[Source]) -> list[Section]:
    """A section for every set of environments that sweeps were made over."""
    groups: dict[tuple, list[Source]] = {}
    for study in studies:
        if across := study.across:
            words = "; ".join(sorted({words_across(lane) for lane in study.lanes}))
            key = tuple(sorted(across["environments"])), across["scale"], words
            groups.setdefault(key, []).append(study)
    sections = []
    for (environments, scale, words), group in groups.items():
        methods = methods_of(group, scale)
        title = f"One setting for {len(environments)} environments"
        plane = {method.label: method.tuned for method in methods}
        caption = (
            f"Final scores at step {_steps(group)} on {', '.join(environments)}, each on the scale "
            f"that all methods make together ({scale}), averaged over environments. Tuned for "
            f"each: the best setting of every environment; one for all: the setting of the highest "
            f"average. 95% percentile bootstrap intervals, seeds resampled within every "
            f"environment and setting; the best of many resampled settings is better than the best "
            f"of those at hand, so an interval may lie above its point. {_seeds(group)} of every "
            f"setting; one that diverged counts as the worst score of its environment. Protocol: "
            f"{words}."
        )
        figure = (
            "Up is better when every environment is tuned, left is less tuning. Above the dashed "
            "line one setting for all environments reaches more than that of the first method "
            f"(Adkins et al. 2024). {caption}"
        )
        sections.append(
            Section(
                title,
                [
                    _table(methods, caption),
                    picture(
                        "Performance against sensitivity",
                        figure,
                        lambda file, plane=plane, scale=scale: draw_plane(file, plane, "", scale),
                    ),
                    _choices(methods),
                ],
            )
        )
    return sections


def _seeds(studies: Sequence[Source]) -> str:
    return seed_words([lane["num_seeds"] for study in studies for lane in study.scores["lanes"]])


def _steps(studies: Sequence[Source]) -> str:
    ends = sorted({study.scores["steps"] for study in studies})
    return " or ".join(f"{end:,}" for end in ends)


def methods_of(studies: Sequence[Source], scale: str) -> list[TunedMethod]:
    """The sweeps as methods; their scores make the scales together."""
    cubes = [cross.cube(study.scores["lanes"]) for study in studies]
    scales = cross.make_scales(scale, cubes)
    methods = []
    for study, cube in zip(studies, cubes):
        scores = cross.normalised(cube, scales)
        fresh = confirmed = None
        if winner := study.scores.get("winner"):
            fresh = cross.value(cross.normalised(cross.again(winner), scales)[:, 0])
            chosen = study.across["settings"][study.across["best"]]["setting"]
            confirmed = cube.settings.index(chosen)
        values, tuned = scores.mean(axis=-1), cross.tuned(scores)
        methods.append(
            TunedMethod(study.name, study, cube.settings, values, tuned, fresh, confirmed)
        )
    return methods


def _table(methods: Sequence[TunedMethod], caption: str) -> Table:
    rows = []
    for method in methods:
        tuned = method.tuned
        rows.append(
            [
                method.label,
                str(len(method.settings)),
                *(with_interval(one, ".3f") for one in (tuned.each, tuned.all, tuned.sensitivity)),
                _on_fresh_seeds(method),
                _effective(method),
                _has(method),
            ]
        )
    columns = ["method", "settings", "tuned for each (95%)", "one for all (95%)"]
    columns += ["sensitivity (95%)", "fresh seeds (95%)", "to tune", "has"]
    note = (
        "Fresh seeds: the one for all again, on seeds that did not choose it; of another, where "
        "its sweep, on the scale of its own scores, chose another. To tune: the fewest "
        "numbers which, tuned for each, reach 95% of tuning all of them. Has: numbers and "
        "structural fields to be chosen, counted from what the parts of the method read."
    )
    caption = f"{caption} {note}"
    printed = Printed(columns[2:], caption)
    return Table("Tuned for each environment, and for all", caption, columns, rows, printed)


def _has(method: TunedMethod) -> str:
    """How many numbers and structural fields there are to choose, if that is known: what a function
    of somebody's own reads it says itself, and no code that a file names is run."""
    config = config_from_dict(method.source.runs[0].document["config"])
    if own_names(config):
        return "parts of one's own"
    numbers, structure = choices(config)
    return f"{numbers} + {structure}"


def _on_fresh_seeds(method: TunedMethod) -> Entry | str:
    if method.fresh is None:
        return ""
    note = "" if method.confirmed == method.tuned.best else "of another"
    return with_interval(method.fresh, ".3f", note)


def _choices(methods: Sequence[TunedMethod]) -> Table:
    """The settings that were chosen, and those that other seeds would have chosen."""
    rows = []
    for method in methods:
        order = sorted(range(len(method.settings)), key=lambda i: -method.tuned.probability[i])
        likely = [i for i in order if method.tuned.probability[i] >= NAMED]
        names = {method.confirmed: "on fresh seeds", method.tuned.best: "best"}
        absent = [i for i in names if i is not None and i not in likely[:_NAMED]]
        for index in list(dict.fromkeys([*absent, *likely]))[:_NAMED]:
            name = names.get(index, "")
            rows.append(
                [
                    method.label,
                    name,
                    describe(method.settings[index]) or "as it is",
                    f"{method.values[:, index].mean():.3f}",
                    share_text(method.tuned.probability[index]),
                ]
            )
    caption = (
        f"Every setting that a bootstrap over seeds chooses with a probability of {NAMED:.0%} or "
        f"more, the likeliest {_NAMED} at most."
    )
    columns = ["method", "", "setting", "mean score", "chosen by"]
    return Table("The choice of one setting for all", caption, columns, rows)


def _effective(method: TunedMethod) -> str:
    try:
        found = cross.effective_dimensionality(method.values, method.settings)
    except ConfigError:
        return "no grid"
    return f"{found.dimension} ({', '.join(found.names)})" if found.names else "0"
