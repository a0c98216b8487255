"""The record of a run: what it has measured and how it was carried out, for people and reports."""

import time
import uuid
from pathlib import Path
from typing import Any

from jaxq.runs import files, provenance
from jaxq.runs.history import write_history
from jaxq.runs.listening import Listener, Moment
from jaxq.runs.placement import Plan
from jaxq.runs.spec import RunSpec, lane_labels, lane_settings, name_of
from jaxq.scoring import inside, plots
from jaxq.scoring.protocol import protocol_words, steps_words
from jaxq.scoring.scores import diagnoses, table_rows, without_diverged


def record(directory: Path, spec: RunSpec) -> Listener:
    """Writes metrics and scores after every chunk, and at the end the curves."""
    settings, labels = lane_settings(spec.lanes), lane_labels(spec.lanes)

    def write(moment: Moment) -> None:
        write_history(directory, moment.history, moment.arrays)
        files.write_scores(directory, moment.scores, table_rows(moment.scores["lanes"], settings))

    def draw(moment: Moment) -> None:
        if not moment.scores:  # stopped before the first chunk ended
            return
        write(moment)
        protocol = moment.scores["protocol"]  # which knows an environment that was handed over
        title, note = f"{name_of(spec)}: {protocol['environment']}", protocol_words(protocol)
        curves = without_diverged(moment.arrays)
        x_axis = steps_words(protocol)
        plots.draw_curves(directory / files.CURVES, curves, title, labels, note, x_axis)
        if diagnoses(curves):
            lanes = inside.lanes_of(curves, labels)
            inside.draw_diagnostics(directory / files.DIAGNOSTICS, lanes, title, note, x_axis)

    return Listener(write, draw)


class Meta:
    """``meta.json``, written at the start; a resumed run adds to its sessions and its times.

    ``listener`` writes it again after every evaluation, so that the time of a run that is killed
    counts as well, and at the end with the reason.
    """

    def __init__(self, directory: Path, protocol: dict[str, Any], plan: Plan):
        self.path, self.started = directory / files.META, time.monotonic()
        old = files.read_json(self.path) if self.path.exists() else {}
        self.id = old.get("id") or uuid.uuid4().hex[:16]  # goes with the directory
        self.before = {name: old.get(name, 0.0) for name in ("seconds", "compile_seconds")}
        self.document = {
            "id": self.id,
            "protocol": protocol,
            "members": {**plan._asdict(), "groups": plan.num_groups},
            "sessions": [*old.get("sessions", []), provenance.describe()],
            **self.before,
        }
        files.write_json(self.path, self.document)
        self.listener = Listener(
            lambda moment: self._write(), lambda moment: self._write(stopped_by=moment.stopped_by)
        )

    def compiled(self) -> None:
        """Everything until now was compiling."""
        self._count("compile_seconds")

    def _write(self, **more: Any) -> None:
        self._count("seconds")
        files.write_json(self.path, {**self.document, **more})

    def _count(self, name: str) -> None:
        self.document[name] = round(self.before[name] + time.monotonic() - self.started, 2)
