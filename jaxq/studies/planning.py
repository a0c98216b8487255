"""What a study would take: programs, members, memory and time, from a short measurement."""

import math
import statistics
import time
from typing import NamedTuple

import jax
from rich.console import Console
from rich.table import Table

from jaxq.config import Config, HParams
from jaxq.printing import add_columns
from jaxq.recipes.experiment import make_experiment
from jaxq.recipes.reading import evaluation_steps, prefill_of
from jaxq.runs.measurement import one_batch_each, shortened, time_chunks
from jaxq.runs.placement import tree_bytes
from jaxq.settings import describe, is_structure
from jaxq.studies.searches import search_of
from jaxq.studies.study import Part, Study

_MEASURED = 8  # programs; the others are taken to cost what these do on average
_TURNS = 3


class Cost(NamedTuple):
    """What a program takes while every device runs one batch."""

    member_bytes: int
    temporary_bytes: int  # on each device
    compile_seconds: float
    init_seconds: float
    step_seconds: float  # per environment step of a member
    evaluation_seconds: float


def measure(config: Config, lane: HParams, batch: int, num_devices: int) -> Cost:
    """Compile a program and run it for a moment."""
    short = shortened(config)
    population = one_batch_each(make_experiment(short, lane), lane, batch, num_devices)
    started = time.perf_counter()
    temporaries = population.prepare()
    compiled = time.perf_counter()
    states, clock = population.init()
    begun = time.perf_counter()
    seconds, states, clock = time_chunks(population, states, clock, _TURNS)
    before = time.perf_counter()
    population.evaluate(states, clock)
    return Cost(
        member_bytes=tree_bytes(population.shapes) // population.plan.num_members,
        temporary_bytes=temporaries,
        compile_seconds=compiled - started,
        init_seconds=begun - compiled,
        step_seconds=seconds / short.chunk_steps,
        evaluation_seconds=time.perf_counter() - before,
    )


def seconds_of(part: Part, config: Config, cost: Cost, num_devices: int) -> float:
    """How long a part takes: compiling once, then its batches, ``num_devices`` at a time."""
    rounds = math.ceil(_groups(part) / num_devices)
    steps = part.steps - prefill_of(config)
    evaluations, running = math.ceil(steps / evaluation_steps(config)), cost.step_seconds * steps
    each = cost.init_seconds + running + evaluations * cost.evaluation_seconds
    return cost.compile_seconds + rounds * each


def print_plan(study: Study, num_devices: int | None, console: Console) -> None:
    """A table of the programs that ``study`` begins with, and what they will take together."""
    num_devices = num_devices or len(jax.local_devices())
    specs = [study.spec(part) for part in study.parts]
    costs: dict[tuple, Cost] = {}
    for spec, part in zip(specs, study.parts):
        if (spec.config, part.batch) not in costs and len(costs) < _MEASURED:
            costs[spec.config, part.batch] = measure(
                spec.config, spec.lanes[0], part.batch, num_devices
            )
    mean = Cost(*(statistics.mean(values) for values in zip(*costs.values())))
    title = f"{study.name}: {len(study.settings)} settings x {len(study.seeds)} seeds"
    table = Table(title=title, title_justify="left")
    columns = ("part", "program", "lanes", "members", "batch", "memory per device", "time")
    add_columns(table, columns, left=("program",))
    total = 0.0
    for index, (spec, part) in enumerate(zip(specs, study.parts)):
        cost = costs.get((spec.config, part.batch), mean)
        seconds = seconds_of(part, spec.config, cost, num_devices)
        rounds = math.ceil(_groups(part) / num_devices)
        memory = rounds * part.batch * cost.member_bytes + cost.temporary_bytes
        structure = {
            name: value
            for name, value in study.settings[part.settings[0]].items()
            if is_structure(name, study.config)
        }
        cells = (len(part.settings), len(part.settings) * len(part.seeds), part.batch)
        table.add_row(
            str(index),
            describe(structure) or study.name,
            *map(str, cells),
            f"{memory / 1e6:,.1f} MB",
            format_seconds(seconds),
        )
        total += seconds
    console.print(table)
    begun = sum(len(part.settings) * len(part.seeds) * part.steps for part in study.parts)
    steps = search_of(study).total_steps(study) * len(study.seeds)  # of all members
    winners = study.steps * max(1, len(study.environments()))  # of every environment
    total *= (steps + winners * len(study.fresh_seeds)) / begun
    programs = len({spec.config for spec in specs})
    console.print(
        f"{programs} program{'s' * (programs > 1)} to compile on each of {num_devices} devices; "
        f"about {format_seconds(total)} here, one part after the other"
        f"{', the best again on fresh seeds included' if study.fresh_seeds else ''}."
    )
    if len(costs) < programs:
        console.print(f"{len(costs)} of them were measured; the others may differ.")


def format_seconds(seconds: float) -> str:
    """A duration in two digits and a unit."""
    for unit, size in (("s", 60.0), ("min", 60.0), ("h", 24.0)):
        if seconds < size:
            return f"{seconds:.2g} {unit}"
        seconds /= size
    return f"{seconds:.2g} d" if seconds < 100.0 else f"{seconds:,.0f} d"


def _groups(part: Part) -> int:
    return math.ceil(len(part.settings) * len(part.seeds) / part.batch)
