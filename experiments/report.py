"""Finished runs as one page: report.py RUN ... [--out report.html] [--reference SUITE].

RUN is a run directory or that of a sweep. The page loads nothing from anywhere; its tables are
beside it as Markdown.
"""

import dataclasses
from pathlib import Path

import tyro
from rich.console import Console

from jaxq.cli import main as cli
from jaxq.cli import tasks
from jaxq.cli.words import read
from jaxq.reports.report import write_report


@dataclasses.dataclass(frozen=True)
class Arguments:
    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run directories and directories of sweeps."""
    out: Path = Path("report.html")
    """The page; the tables are written beside it, with the ending .md."""
    reference: str | None = None
    """A suite of reference results (control, minatar, minatar-original), drawn beside the runs."""


def report(arguments: list[str], console: Console) -> None:
    args = read(Arguments, arguments, prog="report.py", description=__doc__)
    tables = write_report(args.runs, args.out, args.reference)
    tasks.say(console, f"Report: {args.out}\nTables: {tables}")


if __name__ == "__main__":
    cli.main(report)
