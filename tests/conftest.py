"""Two CPU devices, no others, and a persistent compilation cache, for every test."""

import os
import sys
import tempfile
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

_cache = os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / f"jaxq-tests-{os.getuid()}")
)
Path(_cache).mkdir(mode=0o700, exist_ok=True)
jax.config.update("jax_platforms", os.environ.setdefault("JAX_PLATFORMS", "cpu"))
jax.config.update("jax_compilation_cache_dir", _cache)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
jax.config.update("jax_num_cpu_devices", 2)


@pytest.fixture(scope="module", autouse=True)
def _forget_programs():
    """A worker would keep every program that any of its files has compiled: gigabytes."""
    yield
    jax.clear_caches()
