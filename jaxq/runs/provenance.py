"""Where a run was made: versions, machine, commit."""

import functools
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from jaxq.envs.libraries import LIBRARIES, version_of
from jaxq.runs.machine import bits_settings, num_threads

_CPUINFO = Path("/proc/cpuinfo")
_VECTORS = ("avx512f", "avx2", "avx", "sve", "asimd")  # instructions, the widest first
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "gymnax", "numpy")


def describe() -> dict[str, Any]:
    """What somebody needs who wants to repeat a run."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "jax": bits_settings(),
        "commit": commit(),
        "platform": platform.platform(),
        "backend": jax.default_backend(),
        "device": jax.local_devices()[0].device_kind,
        "processor": processor(),
        "threads": num_threads(),
        "xla_flags": xla_flags(),
    }


def xla_flags() -> str:
    """What the environment tells XLA's compiler, which may then choose other kernels."""
    return os.environ.get("XLA_FLAGS", "").strip()


def processor() -> str:
    """The kind of CPU: XLA chooses kernels by what it can do, and others may round otherwise."""
    try:
        first = _CPUINFO.read_text().split("\n\n")[0]
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    pairs = (line.partition(":") for line in first.splitlines())
    says = {name.strip(): value.strip() for name, _, value in pairs}
    words = [says[name] for name in ("model name", "CPU implementer") if name in says]
    words += [
        f"{name} {says[name]}" for name in ("cpu family", "model", "CPU part") if name in says
    ]
    features = (says.get("flags") or says.get("Features", "")).split()
    return ", ".join(words + [name for name in _VECTORS if name in features][:1])


def versions(asked: Iterable[str] = ()) -> dict[str, str]:
    """Of Python and of the packages on which a run's bits may depend; of the libraries of
    environments those that are imported, or are ``asked`` for."""
    packages = {name: version(name) for name in _PACKAGES}
    for library in LIBRARIES:
        if library in sys.modules or library in asked:
            packages |= version_of(library)
    return {
        "python": platform.python_version(),
        "jaxq": sys.modules["jaxq"].__version__,
        **packages,
    }


@functools.cache  # a checkout may move on while a process trains one run after the other
def commit() -> str | None:
    """The commit of the checkout that jaxq runs from, if it is one; "+" marks changes to it."""
    try:
        if Path(_git("rev-parse", "--show-toplevel")) != Path(__file__).resolve().parents[2]:
            return None  # installed somewhere inside another project
        head, status = _git("rev-parse", "HEAD"), _git("status", "--porcelain")
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+" if status else "")


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    run = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    return run.stdout.strip()
