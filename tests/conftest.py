"""Two CPU devices, no others, and a persistent compilation cache, for every test."""

import functools
import gc
import os
import signal
import sys
import tempfile
from pathlib import Path

import jax
import psutil
import pytest
from jax._src import compiler

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

_cache = os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / f"jaxq-tests-{os.getuid()}")
)
Path(_cache).mkdir(mode=0o700, exist_ok=True)
jax.config.update("jax_platforms", os.environ.setdefault("JAX_PLATFORMS", "cpu"))
jax.config.update("jax_compilation_cache_dir", _cache)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_num_cpu_devices", 2)

# A shell ignores Ctrl-C, and nohup a hangup, in what they start in the background; so would a run.
for _number, _usual in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _usual)

ENOUGH = 1_000_000_000  # bytes of a worker


@pytest.fixture(scope="module", autouse=True)
def _forget_programs(request):
    """A worker would keep every program that any of its files has compiled: gigabytes."""
    yield
    _forget(request.module)
    _forget(sys.modules.get("common"))
    if psutil.Process().memory_info().rss > ENOUGH:
        jax.clear_caches()
        gc.collect()


def _forget(module):
    """Empty the ``functools.cache`` of every function of a module."""
    for value in list(vars(module).values()) if module else ():
        if hasattr(value, "cache_clear") and value.__module__ == module.__name__:
            value.cache_clear()


@pytest.fixture(scope="module")
def shared_programs():
    """Runs and studies of a file whose programs are the same share them."""
    from common import SharedPopulation, shared_experiment

    from jaxq.runs import runner, spec
    from jaxq.studies import study

    with pytest.MonkeyPatch.context() as patch:
        for module in (runner, study):
            patch.setattr(module, "Population", SharedPopulation)
        for module in (spec, study):
            patch.setattr(module, "make_experiment", shared_experiment)
        yield


@pytest.fixture(scope="module")
def no_figures():
    """For runs whose curves would take longer to draw than to train; the file is written."""
    from jaxq.runs import files
    from jaxq.scoring import plots

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "draw_curves", lambda path, *_: files.write_text(path, ""))
        yield


@pytest.fixture
def undrawn(monkeypatch):
    """For reports whose figures nobody looks at: they are empty."""
    from jaxq.reports import figures
    from jaxq.reports.pages import Picture

    empty = b"\x89PNG" + bytes(20)
    monkeypatch.setattr(
        figures, "picture", lambda title, caption, draw: Picture(title, caption, empty, draw=draw)
    )


@pytest.fixture(scope="module")
def hardly_optimized():
    """For tests whose programs hardly run: their optimization takes longer than it saves.

    Not for tests of what is compiled, or of bits that training has.
    """
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def compiled_quickly(hardly_optimized):
    """Without its emitters of fusions XLA compiles in half the time what then runs half as fast.

    Nor for tests of two programs that have the same bits: what they share is rounded otherwise.
    """
    usual, more = compiler.get_compile_options, _without_emitters()

    def quick(*args, **kwargs):
        options = usual(*args, **kwargs)
        options.env_option_overrides = [*options.env_option_overrides, *more]
        return options

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler, "get_compile_options", quick)
        yield


@functools.cache
def _without_emitters():
    """Nothing where XLA does not know the option."""
    option = {"xla_cpu_use_fusion_emitters": False}
    try:
        jax.jit(lambda: 0, compiler_options=option)()
    except jax.errors.JaxRuntimeError:
        return []
    return list(option.items())
