"""This machine made ready for JAX: every core a device, compiled programs kept between processes.

Both can only be chosen before JAX is used for the first time. Importing gymnax uses JAX.
"""

import functools
import math
import os
import warnings
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

from jaxq.errors import ConfigError
from jaxq.runs.container import granted_cores

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
_THREADS = "PJRT_NPROC"  # in the environment tells XLA how many threads a CPU's devices share
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
    """Make ``count`` CPU cores, by default all, devices of their own.

    In a container they share no more threads than it is granted cores. XLA would make one for every
    core of the machine, which together use up what is granted, and then all have to wait.

    Raises:
      ConfigError: ``count`` is no number of cores.
    """
    if count is not None and (type(count) is not int or count < 1):
        raise ConfigError(f"count={count!r} of cores must be a whole number of at least 1.")
    if count is None and jax.config.jax_num_cpu_devices >= 0:
        return
    cores = num_cores()
    try:
        jax.config.update("jax_num_cpu_devices", count or cores)
    except RuntimeError:  # the devices are there
        if jax.default_backend() == "cpu" and len(jax.local_devices()) < (count or cores):
            _warn_too_late()
        return
    if cores < num_threads() and _threads_said() is None:
        os.environ[_THREADS] = str(cores)


def use_one_core() -> None:
    """One device with the threads of one core, for what gains by it (``measurement``).

    A program that cannot use two cores is handed from one to the other and back, which costs more
    than the second core gives. Compiling, which has threads of its own, keeps all cores. Nothing
    happens where the devices are there already.
    """
    try:
        jax.config.update("jax_num_cpu_devices", 1)
    except RuntimeError:  # the devices are there
        return
    before = os.environ.get(_THREADS)
    os.environ[_THREADS] = "1"
    try:
        jax.local_devices()
    finally:  # what is started from here has devices of its own
        del os.environ[_THREADS]
        if before is not None:
            os.environ[_THREADS] = before


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
    return max(1, math.ceil(min(num_threads(), granted_cores())))


def num_threads() -> int:
    """Threads that XLA makes on a CPU, if not ``use_one_core``: one for each core that this process
    may run on, unless the environment says how many."""
    if said := _threads_said():
        return said
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _threads_said() -> int | None:
    """What the environment's variables of XLA say."""
    texts = (os.environ.get(name, "") for name in (_THREADS, "NPROC"))
    return next((max(1, int(text)) for text in texts if text.isdecimal()), None)


@functools.cache  # once
def _warn_too_late() -> None:
    warnings.warn(
        f"JAX was used before its devices could be chosen, so {len(jax.local_devices())} of "
        f"{num_cores()} cores train; call jaxq.use_machine() before gymnax is "
        f"imported or JAX is used otherwise.",
        stacklevel=4,
    )
