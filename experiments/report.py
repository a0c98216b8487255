"""Finished runs as one page: report.py RUN ... [--out report.html] [--reference SUITE] [--latex].

RUN is a run directory or that of a sweep; without any, it is all of a suite's results. The page
loads nothing from anywhere; its tables are beside it as Markdown, and those for a paper as LaTeX if
asked.
"""

import dataclasses
from pathlib import Path
from typing import Literal

import tyro
from rich.console import Console

from jaxq.cli import main as cli
from jaxq.cli import tasks
from jaxq.cli.words import read
from jaxq.reports.report import write_report


@dataclasses.dataclass(frozen=True)
class Arguments:
    runs: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Run directories and directories of sweeps."""
    out: Path = Path("report.html")
    """The page; its tables are written beside it, with the ending .md."""
    reference: str | None = None
    """Reference results beside the runs: control, minatar, streaming, minatar-original or
    libraries."""
    anchors: Path | None = None
    """What counts as 0 and as 1: a JSON file of environment: [zero, one]."""
    label: tyro.conf.UseAppendAction[list[str]] = dataclasses.field(default_factory=list)
    """RUN=NAME: what a run is called; rows and legends stand in the order of the runs."""
    format: Literal["png", "pdf", "svg"] | None = None
    """Every figure also as a file of this kind, in the folder OUT_figures."""
    latex: bool = False
    """The tables for a paper also as LaTeX, with the ending .tex."""


def report(arguments: list[str], console: Console) -> None:
    args = read(Arguments, arguments, prog="report.py", description=__doc__)
    beside = write_report(
        args.runs,
        args.out,
        args.reference,
        anchors=args.anchors,
        labels=args.label,
        kind=args.format,
        latex=args.latex,
    )
    tasks.say(console, f"Report: {args.out}\nBeside it: {', '.join(map(str, beside))}")


if __name__ == "__main__":
    cli.main(report)
