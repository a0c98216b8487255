"""From settings to parts: which run trains which settings on which seeds."""

import math
from collections.abc import Sequence

import jax
import numpy as np

from jaxq.config import Config, HParams
from jaxq.errors import ConfigError
from jaxq.recipes.experiment import make_experiment
from jaxq.runs.placement import make_plan, most_members, tree_bytes
from jaxq.studies.study import Part, Study
from jaxq.types import PyTree


def cut(
    study: Study,
    indices: Sequence[int],
    steps: int,
    num_parts: int = 1,
    batch: int | None = None,
    num_devices: int | None = None,
    by_seeds: bool = False,
) -> list[Part]:
    """The parts that train the settings ``indices``: by program, and those in pieces.

    Args:
      steps: to which they are trained.
      num_parts: of every program, as far as it has members; more if not all fit into memory.
      batch: members vmapped together; chosen from their size by default.
      num_devices: that train a part, if the batch is chosen; all by default.
      by_seeds: keep all settings of a program together.

    Raises:
      ConfigError: a setting is refused, or its members do not fit in memory.
    """
    parts = []
    for config, members in programs_of(study, indices).items():
        member = _member_shapes(config, [study.applied(index)[1] for index in members])
        room = most_members(tree_bytes(member), num_devices)
        needed = max(num_parts, math.ceil(len(members) * len(study.seeds) / room))
        most = max(needed, len(members) * len(study.seeds))
        for count in range(needed, most + 1):  # whole settings, and whole batches, take more
            pieces = list(_rectangles(members, study.seeds, count, by_seeds))
            largest = max(len(rows) * len(columns) for rows, columns in pieces)
            if largest > room and count < most:
                continue
            try:
                plan = make_plan(largest, member, batch, num_devices)
                break
            except ConfigError:
                if count == most:
                    raise
        parts += [Part(rows, columns, plan.batch, steps) for rows, columns in pieces]
    return parts


def programs_of(study: Study, indices: Sequence[int]) -> dict[Config, list[int]]:
    """The settings ``indices`` by their structure: those of one program are trained together."""
    programs: dict[Config, list[int]] = {}
    for index in indices:
        programs.setdefault(study.applied(index)[0], []).append(index)
    return programs


def go_on(study: Study, survivors: Sequence[int], steps: int, before: Sequence[int]) -> list[Part]:
    """The parts in which ``survivors`` of the parts ``before`` are trained on, up to ``steps``.

    They keep their batch, and so their bits, unless they are fewer: the members that would fill it
    up take as long as others.
    """
    parts, surviving = [], set(survivors)
    for index in before:
        part = study.parts[index]
        kept = tuple(setting for setting in part.settings if setting in surviving)
        if kept:
            batch = min(part.batch, len(kept) * len(part.seeds))
            parts.append(part._replace(settings=kept, steps=steps, after=index, batch=batch))
    return parts


def _member_shapes(config: Config, lanes: Sequence[HParams]) -> PyTree:
    """The state of one member, as shapes; every lane is checked."""
    experiment = make_experiment(config, *lanes)
    trainer = experiment.trainer
    return jax.eval_shape(trainer.init, jax.random.key(0), lanes[0], *trainer.data())[0]


def _rectangles(members: Sequence[int], seeds: Sequence[int], num_parts: int, by_seeds: bool):
    """About ``num_parts`` rectangles of settings and seeds: by settings, or if there are too few of
    those, by seeds as well."""
    rows = 1 if by_seeds else min(num_parts, len(members))
    columns = min(math.ceil(num_parts / rows), len(seeds))
    for row in np.array_split(np.asarray(members), rows):
        for column in np.array_split(np.asarray(seeds), columns):
            yield tuple(row.tolist()), tuple(column.tolist())
