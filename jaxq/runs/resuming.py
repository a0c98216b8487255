"""What it takes to go on with a run: that it is the same one, and where it was."""

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxq.errors import ConfigError
from jaxq.recipes.identity import same_parts, with_history
from jaxq.runs import checkpoint
from jaxq.runs import files as results
from jaxq.runs.history import History
from jaxq.runs.machine import bits_settings, num_threads
from jaxq.runs.provenance import processor, versions, xla_flags
from jaxq.runs.spec import short
from jaxq.types import Clock, PyTree


class Point(NamedTuple):
    """A moment of a run, from which it or another one goes on."""

    tree: PyTree  # what a population fetches, NumPy leaves [M, ...]
    clock: Clock
    history: History

    def of_members(self, members: np.ndarray, num_lanes: int) -> "Point":
        """The same of some members only, which form ``num_lanes`` whole lanes."""
        tree = jax.tree.map(lambda leaf: leaf[members], self.tree)
        return Point(tree, self.clock, self.history.of_members(members, num_lanes))


def check_same(
    document: dict, directory: Path, batch: int | None, accept_changed_code: bool = False
) -> int | None:
    """Refuse to resume anything but the run ``document``; returns its batch of members.

    Args:
      batch: asked for, or None.
      accept_changed_code: that parts of one's own have changed since.

    Raises:
      ConfigError: names what differs.
    """
    results.check_directory(directory, "resume")
    old = results.read_document(directory)
    there, here = old["config"], document["config"]
    names = set(there) | set(here)
    if there.get("dataset") and here.get("dataset"):
        names.remove("dataset")  # it may lie elsewhere now: below its hash decides
    changes = differences(there, here, sorted(names))
    if len(old["lanes"]) != len(document["lanes"]):
        changes.append(f"lanes ({len(old['lanes'])} there, {len(document['lanes'])} here)")
    for ours, theirs in zip(document["lanes"], old["lanes"]):
        changes += differences(theirs, ours, ours)
    if old["seeds"] != document["seeds"]:
        changes.append(f"seeds ({short(old['seeds'])} there, {short(document['seeds'])} here)")
    if old["steps"] > document["steps"]:
        changes.append(
            f"steps ({old['steps']} there, only {document['steps']} here; they may be raised)"
        )
    data = old.get("dataset", {}), document.get("dataset", {})
    changes += differences(*data, ("hash",), "{} of the dataset ({})")
    made_of = old.get("made_of", {}), document.get("made_of", {})
    changes += same_parts(*made_of, accept_changed_code)
    if changes:
        names = "; ".join(dict.fromkeys(changes))
        raise ConfigError(f"resume={directory} holds a run with a different {names}.")
    meta = directory / results.META
    if meta.exists():
        try:
            before = results.read_json(meta)
            session, kept = dict(before["sessions"][-1]), before["members"]["batch"]
        except (ValueError, TypeError, LookupError) as error:
            raise ConfigError(
                f"resume={directory} cannot be read: {meta.name}: {error}."
            ) from error
        _compare_machines(directory, session)
        if batch not in (None, kept):
            raise ConfigError(f"batch={batch} must stay {kept}, with which the run was started.")
        return kept
    return batch


def differences(
    there: Mapping[str, Any], here: Mapping[str, Any], names: Iterable[str], form: str = "{} ({})"
) -> list[str]:
    """In words, under which of the names two documents differ."""
    found = []
    for name in names:
        values = there.get(name), here.get(name)
        if values[0] != values[1]:
            words = [short(value) for value in values]
            if words[0] == words[1]:  # as 1 and "1" do
                words = [short(repr(value)) for value in values]
            found.append(form.format(name, f"{words[0]} there, {words[1]} here"))
    return found


def _compare_machines(directory: Path, before: dict) -> None:
    """Refuse other settings of JAX than a run was begun with; warn of other versions, of flags of
    XLA, and of another kind of CPU or another number of its cores.

    Raises:
      ConfigError: names the settings, with which its bits would be others.
    """
    there, here = before.get("jax", {}), bits_settings()
    changes = differences(there, here, [name for name in there if name in here])
    if changes:
        raise ConfigError(f"resume={directory} was trained with a different {'; '.join(changes)}.")
    there, here = before.get("versions", {}), versions(before.get("versions", {}))
    others = differences(there, here, [name for name in there if name in here])
    if before.get("backend") == "cpu":
        here = {"processor": processor(), "number of threads": num_threads()}
        there = {"processor": before.get("processor"), "number of threads": before.get("threads")}
        others += differences(there, here, [name for name in there if there[name]])
    if "xla_flags" in before:
        there, here = ({"XLA_FLAGS": flags} for flags in (before["xla_flags"], xla_flags()))
        others += differences(there, here, there)
    if others:
        warnings.warn(
            f"resume={directory} goes on with another {'; another '.join(others)}, so bits may be "
            f"others from here on.",
            stacklevel=3,
        )


def with_earlier_code(document: dict, directory: Path) -> dict:
    """The document of a run that goes on, with the sources that its parts had before."""
    made_of = results.read_document(directory).get("made_of", {})
    if "made_of" not in document:
        return document
    return {**document, "made_of": with_history(made_of, document["made_of"])}


def load(directory: Path, document: dict, shapes: PyTree) -> Point | None:
    """Where the run in ``directory`` was saved last, or None; the run goes on from there.

    Raises:
      ConfigError: the checkpoint is damaged, belongs to another run, or is gone from one that was
        complete; nothing is changed.
    """
    point, complete = read_point(directory, document, shapes), directory / results.COMPLETE
    if complete.exists() and not checkpoint.exists(directory / results.CHECKPOINTS):
        raise ConfigError(
            f"resume={directory} is complete and has no checkpoint to go on from; put its "
            f"checkpoints back, or start a new run in another --out directory."
        )
    complete.unlink(missing_ok=True)
    results.write_document(directory / results.CONFIG, document)  # steps may have been raised
    return point


def read_point(
    directory: Path, document: dict, shapes: PyTree, before: int | None = None
) -> Point | None:
    """Where the run in ``directory`` was saved last, or None; nothing is changed.

    A disk that was full may have had room for a checkpoint and not for its metrics; then it is the
    checkpoint before.

    Args:
      before: only of what was saved before this step.

    Raises:
      ConfigError: the checkpoint or the metrics are damaged, or belong to another run.
    """
    places = directory / results.CHECKPOINTS, directory / results.METRICS
    saved = checkpoint.restore(places[0], shapes, owner_of(document), before)
    if saved is None or int(saved.clock.updates) == 0:  # stopped before the first chunk ended
        return None
    size = len(document["lanes"]), len(document["seeds"])
    history = History(*size)
    if saved.evaluated:
        try:
            history = History.load(places[1], *size, until=saved.evaluated)
        except ConfigError as error:
            point = read_point(directory, document, shapes, int(saved.clock.steps))
            if point is None:
                raise
            warnings.warn(f"{error} The checkpoint before is taken.", stacklevel=2)
            return point
    return Point(saved.tree, saved.clock, history.waiting_for(saved.pending))


def owner_of(document: dict) -> str:
    """By what a checkpoint knows its run: everything but its name, its length, its code, and where
    a dataset lies.

    First all of it, then a part at a time, so that what differs can be named.
    """
    rest = {**document, "steps": None, "preset": None, "made_of": None}
    if data := document.get("dataset"):
        rest["config"] = {**rest["config"], "dataset": data["hash"]}
    numbers = {name: [lane.get(name) for lane in rest["lanes"]] for name in rest["lanes"][0]}
    parts = {**rest["config"], **numbers, "seeds": rest["seeds"]}
    words = [f"{name}:{checkpoint.fingerprint(value)}" for name, value in parts.items()]
    return " ".join([checkpoint.fingerprint(rest), *words])
