"""The machine is made ready before JAX is used, or one sentence says what to move."""

import os
import subprocess
import sys
import textwrap
import warnings

import jax
import pytest
from conftest import ROOT

from jaxq.runs import machine


@pytest.fixture(autouse=True)
def forget():
    machine._warn_too_late.cache_clear()


def test_what_somebody_has_chosen_stays():
    """Here tests/conftest.py has."""
    jax.local_devices()
    chosen = jax.config.jax_num_cpu_devices, jax.config.jax_compilation_cache_dir
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        machine.use_machine()
        machine.use_machine()
    assert chosen == (jax.config.jax_num_cpu_devices, jax.config.jax_compilation_cache_dir)


def test_too_late_is_said_once(monkeypatch):
    monkeypatch.setattr(machine, "num_cores", lambda: 64)
    with pytest.warns(UserWarning, match="2 of 64 cores train; call jaxq.runs.machine") as warned:
        machine.use_cores(64)
        machine.use_cores(64)
    assert len(warned) == 1 and str(warned[0].message).count(". ") == 0
    assert len(jax.local_devices()) == 2


@pytest.mark.slow
@pytest.mark.parametrize("late", [False, True])
def test_a_script_gets_what_the_command_line_gets(late, tmp_path):
    code = f"""
        import jax
        from jaxq.runs import machine
        machine.num_cores = lambda: 3
        if {late}:
            jax.jit(lambda x: x + 1)(1.0)
        machine.use_machine()
        machine.use_machine()
        jax.jit(lambda x: jax.numpy.linalg.svd(jax.numpy.sort(x) @ x.T))(jax.numpy.ones((9, 9)))
        print(len(jax.local_devices()), jax.config.jax_compilation_cache_dir)
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    environment = {**clean, "XDG_CACHE_HOME": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["1" if late else "3", str(tmp_path / "jaxq")]
    assert run.stderr.count("call jaxq.runs.machine.use_machine()") == (1 if late else 0)
