"""What of a study fits on a device that need not be here, from what XLA compiles for it."""

import math
from typing import NamedTuple

import jax
from rich.console import Console
from rich.table import Table

from jaxq.config import Config, HParams
from jaxq.errors import ConfigError
from jaxq.printing import add_columns
from jaxq.runs.described import DEVICES, compile_for, device, lower, state_on
from jaxq.runs.placement import room_of, tree_bytes
from jaxq.settings import describe, is_structure
from jaxq.studies.cutting import programs_of
from jaxq.studies.study import Study


class Need(NamedTuple):
    """What a batch takes of a device's memory."""

    batch: int
    argument_bytes: int  # the states, which stay
    temporary_bytes: int  # while a chunk runs


def need(name: str, config: Config, lane: HParams, batch: int) -> Need:
    """Compile the chunk of a batch for a device of ``DEVICES``; where XLA finds that it has no room
    for it, that of half the members.

    Raises:
      ConfigError: not one member fits.
    """
    try:
        analysis = compile_for(name, lower(config, lane, batch, name)[0]).memory_analysis()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        if batch == 1:
            raise _no_room(name) from error
        return need(name, config, lane, batch // 2)
    return Need(batch, analysis.argument_size_in_bytes, analysis.temp_size_in_bytes)


def most_states(name: str, config: Config, lane: HParams) -> int:
    """Of how many members at most the states alone fit on the device."""
    return max(1, _room(name) // tree_bytes(state_on(name, config, lane)))


def most_members(name: str, needed: Need) -> int:
    """How many members fit on the device at once, in one batch, if all need as much as these.

    Raises:
      ConfigError: not one does.
    """
    most = _room(name) * needed.batch // (needed.argument_bytes + needed.temporary_bytes)
    if most < 1:
        raise _no_room(name)
    return most


def print_fit(study: Study, name: str, batch: int | None, console: Console) -> None:
    """A table of the programs of ``study``: what a member takes on a device, and how many fit.

    Args:
      name: of ``DEVICES``.
      batch: members vmapped together; as many as fit by default.

    Raises:
      ConfigError: there is no such device, its compiler is not installed, or no member fits.
    """
    device(name)
    title = f"{study.name} for {name}: {len(study.settings)} settings x {len(study.seeds)} seeds"
    table = Table(title=title, title_justify="left")
    columns = ("program", "members", "state of each", "temporaries", "fit at once", "batches")
    add_columns(table, columns, left=("program",))
    total = 0
    for config, settings in programs_of(study, range(len(study.settings))).items():
        members = len(settings) * len(study.seeds)
        lane = study.applied(settings[0])[1]
        together = batch or min(members, most_states(name, config, lane))
        needed = need(name, config, lane, together)
        most = most_members(name, needed)
        batches = math.ceil(members / min(most, batch or most))
        setting = study.settings[settings[0]]
        structure = {k: v for k, v in setting.items() if is_structure(k, study.config)}
        sizes = needed.argument_bytes, needed.temporary_bytes
        table.add_row(
            describe(structure) or study.name,
            str(members),
            *(f"{size / needed.batch / 1e6:,.2f} MB" for size in sizes),
            str(most),
            str(batches),
        )
        total += batches
    console.print(table)
    console.print(
        f"{total} batch{'es' * (total > 1)} on one {name} of {DEVICES[name].gigabytes} GB, by what "
        f"XLA compiles for it; how long they would take is not known here."
    )


def _room(name: str) -> int:
    return room_of(DEVICES[name].platform, DEVICES[name].gigabytes * 10**9)


def _no_room(name: str) -> ConfigError:
    return ConfigError(f"for={name} has {DEVICES[name].gigabytes} GB, not enough for one member.")
