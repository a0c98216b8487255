"""What a container is granted of the machine: cores and memory, by its control groups.

Version 2 has one group for all, version 1 one for each controller; a group has no more than those
above it.
"""

import contextlib
import math
from collections.abc import Callable
from pathlib import Path

_GROUPS = Path("/proc/self/cgroup")
_CGROUP = Path("/sys/fs/cgroup")


def granted_cores() -> float:
    """Cores' worth of time that this process is granted; inf without a limit."""
    return _least("cpu", _cores_of)


def granted_memory() -> float:
    """Bytes that this process may still take; inf without a limit."""
    return _least("memory", _memory_of)


def _least(controller: str, grant_of: Callable[[Path], float]) -> float:
    """The least grant of this process's group and of all above it."""
    own = {"": "/", controller: "/"}  # controller -> group; in version 2 a group has them all
    with contextlib.suppress(OSError, ValueError):
        for line in _GROUPS.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            own |= {name: path for name in controllers.split(",") if name in own}
    lowest = [_CGROUP / name / path.lstrip("/") for name, path in own.items()]
    groups = [group for low in lowest for group in (low, *low.parents)]
    return min(grant_of(group) for group in groups if group.is_relative_to(_CGROUP))


def _cores_of(group: Path) -> float:
    with contextlib.suppress(OSError, ValueError):  # it is "max", or not there
        quota, period = map(float, (group / "cpu.max").read_text().split())
        return quota / period
    with contextlib.suppress(OSError, ValueError):
        quota, period = (_number(group / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
        return quota / period if quota > 0.0 else math.inf
    return math.inf


def _memory_of(group: Path) -> float:
    """The limit less what is used; files that were read, and not lately, are given back."""
    for limit, used, files in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        with contextlib.suppress(OSError, ValueError):
            free = _number(group / limit) - _number(group / used)
            words = (group / "memory.stat").read_text().split()
            numbers = dict(zip(words[::2], words[1::2]))
            return max(0.0, free + float(numbers.get(files, 0)))
    return math.inf


def _number(path: Path) -> float:
    return float(path.read_text())
