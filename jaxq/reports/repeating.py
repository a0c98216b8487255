"""How runs are made again: their commands, times, versions and configurations."""

import json
import shlex
from collections.abc import Sequence

from jaxq.recipes.own import is_own
from jaxq.reports.pages import Details, Table
from jaxq.reports.sources import Run
from jaxq.runs import files as results


def how_to_repeat(runs: Sequence[Run]) -> list:
    """Commands, times, versions and configurations of runs."""
    rows, machines = [], {}
    for run in runs:
        sessions = run.meta.get("sessions", [])
        words = _command(run)
        started = sessions[0].get("started", "") if sessions else ""
        seconds, reason = run.meta.get("seconds", 0.0), str(run.meta.get("stopped_by", ""))
        rows.append([_place(run), started, f"{seconds:,.0f}", reason, words])
        for session in sessions:
            versions = ", ".join(f"{k} {v}" for k, v in session.get("versions", {}).items())
            keys = ("platform", "backend", "device", "processor")
            machine = ", ".join(str(session[key]) for key in keys if session.get(key))
            machine += f", {session['threads']} threads" if session.get("threads") else ""
            machine += f", XLA_FLAGS={session['xla_flags']}" if session.get("xla_flags") else ""
            place = str(session.get("commit") or "unknown"), versions, machine
            machines.setdefault(place, []).append(_place(run))
    times = Table(
        "Commands",
        "Every command repeats its run from its config.json, which is folded below, or reference "
        "data from the preset, as it is at the commit below: to the same "
        "bits with the same versions on the same kind of machine with as many cores, and where it "
        "names functions of somebody's own, with the same source. What was not ended by its steps "
        "was stopped earlier.",
        ["run", "started", "seconds", "ended by", "command"],
        rows,
    )
    where = [[", ".join(dict.fromkeys(names)), *place] for place, names in machines.items()]
    made = Table(
        "Versions and machines",
        "Where runs were made.",
        ["run", "commit", "versions", "machine"],
        where,
    )
    documents = [
        Details(f"{_place(run)}/{results.CONFIG}", json.dumps(run.document, indent=1))
        for run in runs
    ]
    return [times, made, *documents]


def _place(run: Run) -> str:
    """Where a run lies; of reference data its suite and its cell."""
    path = run.path
    return f"{path.parent.name}/{path.name}" if "command" in run.meta else str(path)


def _command(run: Run) -> str:
    """The command that repeats a run, or why there is none."""
    if run.document.get("sweep"):  # it did not begin, or go on, alone
        return "only its sweep repeats it"
    named = [name for name in run.document["config"].values() if is_own(name)]
    made_of = run.document.get("made_of", {})
    if any(not is_own(run.document["config"][field]) for field in made_of):
        names = " and ".join(part["name"] for part in made_of.values())
        return f"only the script that handed over {names} repeats it"
    if any(len(part.get("earlier", ())) for part in made_of.values()):
        return "its code was changed on the way: nothing repeats it"
    if "command" in run.meta:  # of reference data
        return run.meta["command"]
    members = run.meta.get("members", {})
    command = ["python", "experiments/train.py", str(run.path / results.CONFIG)]
    command += ["--batch", str(members["batch"])] if "batch" in members else []
    return shlex.join([*command, *(["--trust", *named] if named else [])])
