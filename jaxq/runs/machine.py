"""This machine made ready for JAX: every core a device, compiled programs kept between processes.

Both can only be chosen before JAX is used for the first time. Importing gymnax uses JAX.
"""

import contextlib
import functools
import math
import os
import warnings
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

from jaxq.errors import ConfigError

_GUARD = ("allow", "log"), "numbers move between host and device after every chunk"
_NO_ERRORS = ("ignore",), "it turns every operation into a test"
_SETTINGS = {  # name -> accepted, why nothing else is
    "jax_enable_x64": ((False,), "everything is computed in 32 bits"),
    "jax_disable_jit": ((False,), "what is trained is one compiled program"),
    "jax_no_tracing": ((False,), "programs are traced"),
    "jax_no_execution": ((False,), "programs are run"),
    "jax_numpy_rank_promotion": (("allow", "warn"), "shapes are broadcast"),
    "jax_numpy_dtype_promotion": (("standard",), "types are promoted"),
    "jax_transfer_guard": _GUARD,
    "jax_transfer_guard_host_to_device": _GUARD,
    "jax_transfer_guard_device_to_device": _GUARD,
    "jax_transfer_guard_device_to_host": _GUARD,
    "jax_error_checking_behavior_nan": _NO_ERRORS,
    "jax_error_checking_behavior_divide": _NO_ERRORS,
    "jax_error_checking_behavior_oob": _NO_ERRORS,
}
_BITS = (
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_random_seed_offset",
    "jax_default_matmul_precision",
)
_CGROUP = Path("/sys/fs/cgroup")
_WORTH_KEEPING = 0.2  # seconds of compiling
_JAX_WORTH_KEEPING = 1.0  # JAX's default


def use_machine(count: int | None = None) -> None:
    """``check_jax``, ``use_cores`` and ``keep_programs``; a run does it for whoever has not.

    Where it comes too late, because JAX has been used, it warns once and changes nothing. What
    somebody else has chosen stays: what is in JAX's configuration or its environment variables.

    Raises:
      ConfigError: a setting of JAX under which nothing could be trained.
    """
    check_jax()
    use_cores(count)
    keep_programs()


def check_jax() -> None:
    """Refuse settings of JAX that are not for whole programs.

    Raises:
      ConfigError: names the setting and what is accepted.
    """
    for name, (accepted, why) in _SETTINGS.items():
        value = getattr(jax.config, name, None)
        if value is not None and value not in accepted:
            words = " or ".join(str(setting) for setting in accepted)
            raise ConfigError(f"{name}={value} is not supported, {why}; {words} is accepted.")
    if not (mesh := jax.sharding.get_abstract_mesh()).empty:
        raise ConfigError(
            f"mesh={mesh.axis_names} of jax.set_mesh is not supported, every device runs a program "
            f"of its own; no mesh is accepted."
        )


def bits_settings() -> dict[str, str]:
    """The settings of JAX on which the bits of a run depend."""
    return {name: str(getattr(jax.config, name, None)) for name in _BITS}


def use_cores(count: int | None = None) -> None:
    """Make ``count`` CPU cores, by default all, devices of their own."""
    if count is None and jax.config.jax_num_cpu_devices >= 0:
        return
    try:
        jax.config.update("jax_num_cpu_devices", count or num_cores())
    except RuntimeError:  # the devices are there
        if jax.default_backend() == "cpu" and len(jax.local_devices()) < (count or num_cores()):
            _warn_too_late()


def use_one_core() -> None:
    """One device with the threads of one core, for what gains by it (``measurement``).

    A program that cannot use two cores is handed from one to the other and back, which costs more
    than the second core gives. XLA makes as many threads as there are cores that the process may
    use at the moment when the device is made; they may then run on any. Compiling, which has
    threads of its own, keeps all cores. Nothing happens where the devices are there already.
    """
    if not hasattr(os, "sched_setaffinity") or num_threads() == 1:
        return
    try:
        jax.config.update("jax_num_cpu_devices", 1)
    except RuntimeError:  # the devices are there
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        jax.local_devices()
    finally:
        for thread in Path("/proc/self/task").iterdir():  # those made now are on that core, too
            with contextlib.suppress(OSError):  # it has ended
                os.sched_setaffinity(int(thread.name), cores)


def keep_programs() -> None:
    """Keep compiled programs between processes, in a folder that only the user can read."""
    if not jax.config.jax_compilation_cache_dir:
        try:
            cache = cache_directory()
            cache.mkdir(parents=True, exist_ok=True, mode=0o700)
            cache.chmod(0o700)
        except (OSError, RuntimeError):  # RuntimeError: there is no home directory
            return  # a cache is a convenience
        jax.config.update("jax_compilation_cache_dir", str(cache))
        compilation_cache.reset_cache()  # what was compiled before has found none
    if jax.config.jax_persistent_cache_min_compile_time_secs == _JAX_WORTH_KEEPING:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", _WORTH_KEEPING)


def cache_directory() -> Path:
    """Where jaxq keeps what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxq"


def num_cores() -> int:
    """CPU cores that this process may use; in a container no more than it is granted."""
    return max(1, math.ceil(min(num_threads(), _granted())))


def num_threads() -> int:
    """Cores that this process may run on: XLA makes as many threads, if not ``use_one_core``."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _granted() -> float:
    """Cores' worth of time that a container's control group grants, of version 2 or 1; inf without
    a limit, or where it is not at the root."""
    with contextlib.suppress(OSError, ValueError):  # it is "max", or not there
        quota, period = map(float, (_CGROUP / "cpu.max").read_text().split())
        return quota / period
    with contextlib.suppress(OSError, ValueError):
        quota, period = (
            float((_CGROUP / "cpu" / f"cpu.cfs_{name}_us").read_text())
            for name in ("quota", "period")
        )
        return quota / period if quota > 0.0 else math.inf
    return math.inf


@functools.cache  # once
def _warn_too_late() -> None:
    warnings.warn(
        f"JAX was used before its devices could be chosen, so {len(jax.local_devices())} of "
        f"{num_cores()} cores train; call jaxq.use_machine() before gymnax is "
        f"imported or JAX is used otherwise.",
        stacklevel=4,
    )
