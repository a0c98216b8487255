"""What a run shows while it runs: a live bar in a terminal, plain lines elsewhere."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from jaxq.printing import escape
from jaxq.runs.listening import Listener, Moment

_TEXT = 64  # columns beside the bar
_LINES = 20  # at most so many plain lines per run
_PATIENCE = 60.0  # seconds of a chunk


class Progress:
    """Use as a context; ``listener`` tells it of every chunk and evaluation."""

    def __init__(self, title: str, num_members: int, total_steps: int, console: Console):
        self.total, self.num_members, self.console = total_steps, num_members, console
        self.start_time, self.start_steps, self.last_line, self.is_first = None, 0, 0, True
        self.is_live = console.is_terminal and not console.is_dumb_terminal
        self.bar = Bar(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=max(4, min(24, console.width - _TEXT))),
            TaskProgressColumn(),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(compact=True),
            console=console,
            disable=not self.is_live,
            transient=False,
        )
        # Without a total the bar pulses.
        self.task = self.bar.add_task(escape(title), total=None, status="compiling")
        self.listener = Listener(self._evaluated, passed=self._passed)

    def __enter__(self) -> "Progress":
        self.bar.start()
        return self

    def __exit__(self, *error) -> None:
        self.bar.stop()

    def begin(self, steps: int) -> None:
        """Training starts, or goes on, from ``steps``."""
        self.start_time, self.start_steps = time.monotonic(), steps
        self.bar.update(self.task, total=self.total, completed=steps, status="training")

    def _passed(self, moment: Moment) -> None:
        self._warn_of_patience(moment)
        self.bar.update(self.task, completed=int(moment.clock.steps))

    def _warn_of_patience(self, moment: Moment) -> None:
        """After the first chunk, if that took long."""
        seconds = time.monotonic() - self.start_time
        chunk = int(moment.clock.steps) - self.start_steps
        is_first, self.is_first = self.is_first, False
        if is_first and seconds > _PATIENCE:
            self.console.print(
                f"A chunk of {chunk:,} steps takes {seconds:.0f} s, and only after one is a "
                f"checkpoint saved or a signal heeded; a smaller --chunk-steps with --eval-period "
                f"{chunk} leaves evaluations where they are.",
                highlight=False,
            )

    def _evaluated(self, moment: Moment) -> None:
        self._warn_of_patience(moment)
        steps, headline = int(moment.clock.steps), _headline(moment.scores)
        seconds = time.monotonic() - self.start_time
        speed = (steps - self.start_steps) * self.num_members / max(seconds, 1e-9)
        status = f"{headline}  {format_count(speed)} steps/s"
        self.bar.update(self.task, completed=min(steps, self.total), status=status)
        if not self.is_live:
            line = min(steps, self.total) * _LINES // self.total
            if line > self.last_line:
                self.last_line = line
                self.console.print(f"{steps:>10,} / {self.total:,}  {status}", highlight=False)


def _headline(scores: Mapping[str, Any]) -> str:
    """The last evaluation in a few words; of the best lane, if there are several."""
    lanes = scores["lanes"]
    best = max(lanes, key=lambda lane: np.nan_to_num(lane["iqm"], nan=-np.inf))
    name = "return" if len(lanes) == 1 else f"best of {len(lanes)} lanes: return"
    if np.isnan(best["iqm"]):
        return "all members have diverged"
    low, high = best["iqm_95"]
    interval = "" if np.isnan(low) else f" [{low:.4g}, {high:.4g}]"  # of one seed there is none
    return f"{name} {best['iqm']:.4g}{interval}"


def format_count(value: float) -> str:
    """3 digits and a unit: 950, 12.3k, 4.56M."""
    for unit in ("", "k", "M"):
        if value < 999.5:
            return f"{value:.3g}{unit}"
        value /= 1000.0
    return f"{value:.3g}G"
