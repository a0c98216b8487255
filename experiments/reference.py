"""Reference results: measure what is missing of a suite, and keep every seed as data.

    reference.py SUITE [CELL ...] [--out experiments/reference]

A cell is a preset, its steps and its seeds, see jaxq/recipes/suites.py. It is trained some seeds at
a time, as by train.py, in runs/reference; what has ended is added to the cell's file at once. The
same command goes on wherever it was stopped, here or on another machine.
"""

import dataclasses
import shlex
from pathlib import Path

import tyro
from rich.console import Console

from jaxq.cli import main as cli
from jaxq.cli import tasks
from jaxq.cli.words import read
from jaxq.envs.libraries import check_installed
from jaxq.errors import unknown
from jaxq.recipes.suites import Cell, cells
from jaxq.reports import reference as kept
from jaxq.reports.sources import Run, read_run
from jaxq.reports.terminal import print_scores
from jaxq.runs import files
from jaxq.runs.runner import RunSpec
from jaxq.settings import flatten, format_value

RUNS = Path("runs/reference")


@dataclasses.dataclass(frozen=True)
class Arguments:
    suite: tyro.conf.Positional[str]
    """control, minatar, streaming, minatar-original, or libraries, whose environments are
    extras."""
    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Cells; all of the suite by default."""
    seeds: int | None = None
    """Seeds of every cell; as many as the suite says by default."""
    at_once: int | None = None
    """Seeds of one run; by default as many as two CPU cores train in an hour."""
    out: Path = kept.DIRECTORY
    """Where the data lies."""
    runs: Path | None = None
    """Where the runs are trained, of which those that are complete are taken as they are; by
    default runs/reference, and of another --out its runs."""


def reference(arguments: list[str], console: Console) -> None:
    args = read(Arguments, arguments, prog="reference.py", description=__doc__)
    tasks.check_counts(args, ("seeds", "at_once"))
    suite = cells(args.suite)
    for name in args.names:
        if name not in suite:
            raise unknown("cell", name, suite)
    check_installed(suite[name].preset.config.env for name in args.names or suite)
    is_elsewhere = args.out.resolve() != kept.DIRECTORY.resolve()
    runs = args.runs or (args.out / "runs" if is_elsewhere else RUNS)
    for name in args.names or suite:
        cell, path = suite[name], kept.path_of(args.suite, name, args.out)
        seeds = range(cell.seeds if args.seeds is None else args.seeds)
        asked = tasks.spec_of(name, cell.preset, seeds).settled().document()
        while True:
            have = kept.read_cell(path) if path.is_file() else None
            if have:
                kept.check_same(have, asked)
            missing = [s for s in seeds if have is None or s not in have.document["seeds"]]
            if not missing:
                break
            seeds_now = _in_a_row(missing[: args.at_once or cell.at_once])
            spec = tasks.spec_of(name, cell.preset, seeds_now)
            run = _train(cell, spec, runs / args.suite, console)
            kept.keep(args.suite, name, run, args.out)
            tasks.say(console, f"Kept: {path}")
    kept.describe(args.suite, args.out)
    tasks.say(console, _whole(args, suite, is_elsewhere))


def _whole(args: Arguments, suite: dict[str, Cell], is_elsewhere: bool) -> str:
    """What there is now, and how it is made anew."""
    names, where = args.names or suite, "" if is_elsewhere else ", and --out DIR trains them anew"
    cells = f"{len(names)} cell{'s' * (len(names) > 1)}"
    return f"{cells} of {args.suite} in {args.out}: no seed is missing{where}."


def _in_a_row(seeds: list[int]) -> list[int]:
    """The first seeds up to a gap: as many as one command asks for."""
    return [seed for place, seed in enumerate(seeds) if seed == seeds[0] + place]


def _train(cell: Cell, spec: RunSpec, runs: Path, console: Console) -> Run:
    """The run of some seeds of a cell, as it is kept."""
    seeds = list(spec.seeds)
    directory = runs / f"{cell.name}-{seeds[0]}-{seeds[-1]}"
    scores = tasks.train_or_go_on(spec, directory, console)
    print_scores(console, scores or files.read_scores(directory), [""])
    run = read_run(directory)
    return kept.as_cell(run, _command(cell, seeds, run.meta["members"]["batch"]))


def _command(cell: Cell, seeds: list[int], batch: int) -> str:
    """What repeats the run, by the preset and what the suite changes in it."""
    preset, base = cell.preset, cli.PRESETS[cell.name]
    command = ["python", "experiments/train.py", cell.name, "--steps", str(preset.steps)]
    command += ["--seeds", str(len(seeds)), "--first-seed", str(seeds[0]), "--batch", str(batch)]
    numbers = flatten(base.hparams)
    for name, value in flatten(preset.hparams).items():
        if value != numbers[name]:
            command += [f"--{name.replace('_', '-')}", format_value(value)]
    return shlex.join(command)


if __name__ == "__main__":
    cli.main(reference)
