"""Every method on CartPole-v1, in one table and one figure.

    methods.py [NAME ...] [--seeds 16] [--steps 250000] [--out runs/methods]

Every method is its preset; epsilon falls over half of the steps, as in CleanRL, and the importance
exponent grows over all of them. A method that is complete in --out is read from there, and with the
seeds and steps of the reference data from that, whose code may have been another; reference.py
--out DIR measures it anew. All else is trained as by train.py, each in a directory of its own, so
an interrupted comparison goes on where it stopped.
"""

import dataclasses
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.table import Table

from jaxq.cli import main as cli
from jaxq.cli import tasks
from jaxq.cli.words import read
from jaxq.config import Preset
from jaxq.errors import unknown
from jaxq.recipes.methods import METHODS
from jaxq.recipes.suites import on_cartpole
from jaxq.reports import reference
from jaxq.runs import files as results
from jaxq.scoring import panels
from jaxq.scoring.scores import interval_text, score_text
from jaxq.settings import format_value


@dataclasses.dataclass(frozen=True)
class Arguments:
    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Methods; all by default."""
    seeds: int = 16
    """Seeds of every method."""
    steps: int = 250_000
    """Environment steps per seed; pqn and what resets its parameters take 500,000."""
    out: Path = Path("runs/methods")
    """Directory of the runs, the table and the figure."""


def methods(arguments: list[str], console: Console) -> None:
    args = read(Arguments, arguments, prog="methods.py", description=__doc__)
    for name in args.names:
        if name not in METHODS:
            raise unknown("method", name, METHODS)
    args.out.mkdir(parents=True, exist_ok=True)
    runs = {}
    for name in args.names or METHODS:
        cell = f"{name}-cartpole"
        job = cell, on_cartpole(name, args.steps), args.seeds
        kept = {} if (args.out / cell / results.COMPLETE).exists() else _kept(name, *job)
        if kept:
            tasks.say(console, f"{name}: of the reference data")
        runs |= kept or tasks.train_each({name: job}, args.out, console)
    lines = [
        f"| method | paper | idea | changes in DQN | IQM (95%), {args.seeds} seeds |",
        "|---|---|---|---|---|",
    ]
    table = Table(title=f"CartPole-v1, {args.seeds} seeds, last evaluation", title_justify="left")
    for column in ("method", "IQM", "95% interval", "worst seed"):
        table.add_column(column, justify="left" if column == "method" else "right")
    for name, run in runs.items():
        lane = run["scores"]["lanes"][0]
        cells = score_text(lane["iqm"]), interval_text(*lane["iqm_95"]), score_text(lane["worst"])
        table.add_row(name, *cells)
        lines.append(_row(name, f"{cells[0]} ({cells[1]})"))
    console.print(table)
    results.write_text(args.out / "methods.md", "\n".join(lines) + "\n")
    path = args.out / "methods.png"
    panels.draw_grid(path, runs, f"CartPole-v1, {args.seeds} seeds")
    tasks.say(console, f"Figure: {path}")


def _kept(method: str, cell: str, preset: Preset, num_seeds: int) -> dict[str, dict[str, Any]]:
    """A method's curves in the reference data; {} where these seeds and steps are not in it."""
    path = reference.path_of("control", cell)
    if not path.is_file():
        return {}
    run, spec = reference.read_cell(path), tasks.spec_of(cell, preset, range(num_seeds)).settled()
    if run.document["seeds"] != spec.seeds or reference.differing(run, spec.document()):
        return {}
    return {method: tasks.curves_of(run.arrays, run.scores)}


def _row(name: str, score: str) -> str:
    """A method as a row of Markdown, with what its preset has of it."""
    method, config = METHODS[name], on_cartpole(name).config
    changes = ", ".join(f"{key}={format_value(getattr(config, key))}" for key in method.config)
    cells = f"`{name}`", method.paper, method.idea, f"`{changes}`" if changes else "", score
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    cli.main(methods)
