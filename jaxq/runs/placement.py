"""Where members go: how many are batched together, on which devices, and whether they fit."""

import math
from typing import NamedTuple

import jax
import psutil

from jaxq.errors import ConfigError
from jaxq.runs.container import granted_memory
from jaxq.types import PyTree

# Parameters, their target, gradients and two moments of a batch of members should stay in a
# core's second-level cache; beyond it every member of the batch becomes slower.
_CPU_CACHE_BYTES = 2_000_000
_COPIES_PER_PARAMETER = 5
# Share of the free memory that states may take; the rest is for temporaries and results. A
# checkpoint copies the states into the host's memory, which on a CPU is the same memory.
_MEMORY_SHARE = {"cpu": 0.4}
_ACCELERATOR_SHARE = 0.8
_TAKEN = {"cuda": 0.75}  # of the memory, by JAX


class Plan(NamedTuple):
    """How members are spread."""

    num_members: int
    num_devices: int
    batch: int  # members vmapped together on a device

    @property
    def num_groups(self) -> int:
        """Batches; the last may be padded."""
        return math.ceil(self.num_members / self.batch)


def make_plan(
    num_members: int,
    member: PyTree,
    batch: int | None = None,
    num_devices: int | None = None,
) -> Plan:
    """How to spread members of state ``member`` (arrays or shapes).

    A given batch is kept whatever the devices, since bits depend on it. By default, on a CPU as
    many members are vmapped as fit their learning state into the cache; elsewhere all of a
    device's share.

    Raises:
      ConfigError: there are fewer devices, or the members do not fit in memory.
    """
    available = len(jax.local_devices())
    if num_devices is not None and num_devices > available:
        raise ConfigError(f"devices={num_devices} must be at most {available}, as there are.")
    num_devices = num_devices or available
    if batch is None:
        batch = math.ceil(num_members / num_devices)
        if jax.default_backend() == "cpu":
            learning_bytes = max(1, _COPIES_PER_PARAMETER * tree_bytes(member.params))
            limit = max(1, _CPU_CACHE_BYTES // learning_bytes)
            batch = math.ceil(batch / math.ceil(batch / limit))  # as even as possible
    num_groups = math.ceil(num_members / batch)
    plan = Plan(num_members, min(num_devices, num_groups), batch)
    free = free_memory(plan.num_devices)
    check_memory(places(plan), tree_bytes(member), free, _largest_part(member))
    return plan


def places(plan: Plan) -> int:
    """Members for which there must be room: on devices with memory of their own each has as many
    groups as the first."""
    groups = plan.num_groups
    if _free_of_each(plan.num_devices):
        groups = math.ceil(groups / plan.num_devices) * plan.num_devices
    return groups * plan.batch


def _largest_part(member: PyTree) -> str:
    """What most of a member is, in words."""
    sizes = {name: tree_bytes(getattr(member, name)) for name in getattr(member, "_fields", ())}
    name = max(sizes, key=sizes.get, default="replay")
    words = {"replay": "its replay, see capacity", "env_state": "its environments, see num_envs"}
    return words.get(name, "its networks, see widths")


def check_memory(
    num_members: int,
    member_bytes: int,
    free_bytes: int,
    largest_part: str = "its replay, see capacity",
) -> None:
    """Refuse a population that does not fit.

    Raises:
      ConfigError: says how many members would fit.
    """
    free = _usable(free_bytes)
    if num_members * member_bytes > free:
        raise ConfigError(
            f"members={num_members} (lanes x seeds) need {num_members * member_bytes / 1e9:.1f} GB "
            f"at {member_bytes / 1e6:.1f} MB each and {free / 1e9:.1f} GB are available; at most "
            f"{free // member_bytes} members fit (most of a member is {largest_part})."
        )


def most_members(member_bytes: int, num_devices: int | None = None) -> int:
    """How many members of that size fit at once; at least 1, which may turn out not to."""
    devices = num_devices or len(jax.local_devices())
    return max(1, _usable(free_memory(devices)) // member_bytes)


def check_temporaries(plan: Plan, member_bytes: int, temporary_bytes: int, free_bytes: int) -> None:
    """Refuse a batch whose program does not fit beside the states of all members.

    Args:
      temporary_bytes: what the compiled program needs while a batch runs on one device.

    Raises:
      ConfigError: says which batch would fit.
    """
    room = _usable(free_bytes) - places(plan) * member_bytes
    needed = plan.num_devices * temporary_bytes
    if needed > room:
        fits = max(1, int(plan.batch * max(0, room) / needed))
        raise ConfigError(
            f"batch={plan.batch} needs {needed / 1e9:.1f} GB while it runs and {room / 1e9:.1f} GB "
            f"are left beside the members; at most --batch {fits} fits."
        )


def _usable(free_bytes: int) -> int:
    return int(_MEMORY_SHARE.get(jax.default_backend(), _ACCELERATOR_SHARE) * free_bytes)


def room_of(platform: str, memory_bytes: int) -> int:
    """Bytes that a run would use of an accelerator that is its own.

    JAX takes three quarters of a GPU's memory for itself and leaves the rest, unless the
    environment says otherwise (docs.jax.dev/en/latest/gpu_memory_allocation.html).
    """
    return int(_ACCELERATOR_SHARE * _TAKEN.get(platform, 1.0) * memory_bytes)


def tree_bytes(tree: PyTree) -> int:
    """Bytes of all arrays (or shapes) in a tree."""
    leaves = jax.tree.leaves(tree)
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)


def free_memory(num_devices: int) -> int:
    """Bytes free on the first ``num_devices`` devices together, on each as many as on the fullest;
    of a CPU those of the machine, in a container no more than it is granted."""
    if free := _free_of_each(num_devices):
        return num_devices * min(free)
    return int(min(psutil.virtual_memory().available, granted_memory()))


def _free_of_each(num_devices: int) -> list[int]:
    """Bytes free on each device that has memory of its own."""
    stats = [device.memory_stats() for device in jax.local_devices()[:num_devices]]
    return [stat["bytes_limit"] - stat["bytes_in_use"] for stat in stats if stat]
