"""The machine is made ready before JAX is used, or one sentence says what to move."""

import os
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest
from commands import assert_same_arrays
from common import SMALL, SMALL_HPARAMS
from conftest import ROOT
from rich.console import Console

from jaxq.errors import ConfigError
from jaxq.runs import container, files, machine, placement
from jaxq.runs.files import METRICS
from jaxq.runs.resuming import check_same
from jaxq.runs.runner import RunSpec, run


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
    with pytest.warns(UserWarning, match="2 of 64 cores train; call jaxq.use_machine") as warned:
        machine.use_cores(64)
        machine.use_cores(64)
    assert len(warned) == 1 and str(warned[0].message).count(". ") == 0
    assert len(jax.local_devices()) == 2


@pytest.mark.parametrize("count", [0, -1, 2.5, "2", True])
def test_a_count_of_cores_is_a_number(count):
    with pytest.raises(ConfigError, match=f"count={count!r} of cores must be a whole number"):
        machine.use_cores(count)


@pytest.fixture
def granting(tmp_path, monkeypatch):
    """Puts this process into control groups with such files: name -> text."""

    def grant(files):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
            (tmp_path / name).write_text(f"{text}\n")
        monkeypatch.setattr(container, "_CGROUP", tmp_path)
        monkeypatch.setattr(container, "_GROUPS", tmp_path / "own")

    return grant


@pytest.mark.parametrize(
    "files, cores",
    [
        ({}, 64),
        ({"cpu.max": "max 100000"}, 64),
        ({"cpu.max": "250000 100000"}, 3),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "9900000 100000"}, 64),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 64),
        ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2),
        ({"cpu/cpu.cfs_quota_us": "200000"}, 64),
        ({"own": "0::/job/step", "job/step/cpu.max": "400000 100000"}, 4),
        ({"own": "0::/job/step", "job/cpu.max": "300000 100000", "job/step/cpu.max": "max 1"}, 3),
        ({"own": "0::/job/step", "cpu.max": "200000 100000"}, 2),
        ({"own": "0::/../elsewhere", "cpu.max": "200000 100000"}, 2),
        (
            {
                "own": "4:memory:/m\n1:cpu,cpuacct:/job\n0::/",
                "cpu/job/cpu.cfs_quota_us": "500000",
                "cpu/job/cpu.cfs_period_us": "100000",
            },
            5,
        ),
        ({"own": "what is this"}, 64),
    ],
)
def test_cores_of_a_container_are_those_that_it_is_granted(files, cores, granting, monkeypatch):
    granting(files)
    monkeypatch.setattr(machine, "num_threads", lambda: 64)
    assert machine.num_cores() == cores


@pytest.mark.parametrize(
    "files, free",
    [
        ({"memory.max": "800", "memory.current": "300", "memory.stat": "inactive_file 90"}, 590),
        ({"memory.max": "max", "memory.current": "300", "memory.stat": "anon 9"}, 4_000),
        (
            {
                "memory/memory.limit_in_bytes": "900",
                "memory/memory.usage_in_bytes": "300",
                "memory/memory.stat": "inactive_file 5\ntotal_inactive_file 7",
            },
            607,
        ),
        (
            {
                "own": "0::/a/b",
                "a/memory.max": "500",
                "a/memory.current": "100",
                "a/memory.stat": "",
                "a/b/memory.max": "max",
            },
            400,
        ),
        ({}, 4_000),
    ],
)
def test_memory_of_a_container_is_what_it_is_granted(files, free, granting, monkeypatch):
    """Trap: it was that of the machine, and the kernel ended the run."""
    granting(files)
    host = SimpleNamespace(virtual_memory=lambda: SimpleNamespace(available=4_000))
    monkeypatch.setattr(placement, "psutil", host)
    assert placement.free_memory(1) == free


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
    run = _script(code, tmp_path)
    assert run.stdout.split() == ["1" if late else "3", str(tmp_path / "jaxq")]
    assert run.stderr.count("call jaxq.use_machine()") == (1 if late else 0)


_COUNT = """
        from pathlib import Path
        jax.jit(lambda x: x @ x)(jax.numpy.ones((512, 512))).block_until_ready()
        names = [(task / "comm").read_text() for task in Path("/proc/self/task").iterdir()]
        threads = sum("XLAEigen" in name for name in names)
        print(len(jax.local_devices()), threads, machine.num_threads())
"""


@pytest.mark.slow
@pytest.mark.skipif(machine.num_threads() == 1, reason="there is one core")
@pytest.mark.parametrize("late", [False, True])
def test_one_core_is_one_device_with_one_thread_that_stays_on_no_core(late, tmp_path):
    """Two processes of one member each would otherwise share the first core."""
    code = f"""
        import os
        import jax
        from jaxq.runs import machine
        machine.use_machine()
        if {late}:
            jax.jit(lambda x: x + 1)(1.0)
        machine.use_one_core(){_COUNT}
        threads = map(int, os.listdir("/proc/self/task"))
        masks = {{len(os.sched_getaffinity(thread)) for thread in threads}}
        print(masks == {{machine.num_threads()}})
    """
    cores = machine.num_threads()
    used = machine.num_cores() if late else 1
    assert _script(code, tmp_path).stdout.split() == list(map(str, [used, used, cores, True]))


@pytest.mark.slow
@pytest.mark.parametrize("said, wanted", [(None, [3, 3, 3]), ("5", [3, 5, 5])])
def test_a_container_has_no_more_threads_than_cores(said, wanted, tmp_path):
    """Of 64 that may be used three are granted; what somebody has said stays."""
    (tmp_path / "cpu.max").write_text("300000 100000")
    code = f"""
        import os
        os.sched_getaffinity = lambda _: range(64)
        import jax
        from jaxq.runs import container, machine
        container._CGROUP = container.Path({str(tmp_path)!r})
        machine.use_machine(){_COUNT}
    """
    said = {"PJRT_NPROC": said} if said else {}
    assert _script(code, tmp_path, **said).stdout.split() == list(map(str, wanted))


def _script(code: str, cache: Path, **more: str) -> subprocess.CompletedProcess:
    """What a script says whose JAX nobody has set up."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=ROOT,
        env={**clean, "XDG_CACHE_HOME": str(cache), "JAX_PLATFORMS": "cpu", **more},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return run


# Setting of JAX -> value, and what becomes of a run: it is refused, or has the same or other bits.
REFUSED, SAME, OTHER = "refused", "same bits", "other bits"
SETTINGS = [
    ("jax_enable_x64", True, REFUSED),
    ("jax_disable_jit", True, REFUSED),
    ("jax_no_tracing", True, REFUSED),
    ("jax_no_execution", True, REFUSED),
    ("jax_numpy_rank_promotion", "raise", REFUSED),
    ("jax_numpy_dtype_promotion", "strict", REFUSED),
    ("jax_transfer_guard", "disallow", REFUSED),
    ("jax_transfer_guard_device_to_host", "disallow_explicit", REFUSED),
    ("jax_error_checking_behavior_nan", "raise", REFUSED),
    ("jax_error_checking_behavior_oob", "raise", REFUSED),
    ("jax_error_checking_behavior_divide", "raise", REFUSED),
    ("jax_transfer_guard_device_to_device", "disallow", REFUSED),
    ("jax_debug_nans", True, SAME),
    ("jax_debug_infs", True, SAME),
    ("jax_debug_key_reuse", True, SAME),
    ("jax_check_tracer_leaks", True, SAME),
    ("jax_enable_checks", True, SAME),
    ("jax_numpy_rank_promotion", "warn", SAME),
    ("jax_transfer_guard", "log", SAME),
    ("jax_legacy_prng_key", "error", SAME),
    ("jax_enable_custom_prng", True, SAME),
    ("eager_constant_folding", True, SAME),
    ("jax_softmax_custom_jvp", True, SAME),
    ("jax_high_dynamic_range_gumbel", True, SAME),
    ("jax_enable_compilation_cache", False, SAME),
    ("jax_default_matmul_precision", "highest", SAME),
    ("jax_default_matmul_precision", "bfloat16", SAME),
    ("jax_default_device", "cpu", SAME),
    ("jax_compilation_cache_dir", "/proc/nowhere", SAME),
    ("jax_legacy_prng_key", "warn", SAME),
    ("jax_explicit_x64_dtypes", "error", SAME),
    ("jax_thread_guard", True, SAME),
    ("jax_use_direct_linearize", False, SAME),
    ("jax_use_shardy_partitioner", False, SAME),
    ("jax_optimization_level", "O0", SAME),
    ("jax_embedded_constants_max_bytes", 0, SAME),
    ("jax_default_prng_impl", "rbg", OTHER),
    ("jax_default_prng_impl", "unsafe_rbg", OTHER),
    ("jax_threefry_partitionable", False, OTHER),
    ("jax_random_seed_offset", 3, OTHER),
]
SPEC = RunSpec("small", SMALL, [SMALL_HPARAMS], [0, 1], 140)
QUIET = Console(quiet=True)


@pytest.fixture
def setting(request):
    name, value, outcome = request.param
    before = getattr(jax.config, name)
    jax.config.update(name, value)
    yield name, value, outcome
    jax.config.update(name, before)


def those(*outcomes):
    rows = [row for row in SETTINGS if row[2] in outcomes]
    return pytest.mark.parametrize(
        "setting", rows, ids=[f"{row[0]}={row[1]}" for row in rows], indirect=True
    )


@those(REFUSED)
def test_settings_of_jax_under_which_nothing_trains_are_one_sentence(setting, tmp_path):
    name, value, _ = setting
    with pytest.raises(ConfigError, match=f"{name}={value} is not supported, .* is accepted"):
        run(SPEC, tmp_path / "run", console=QUIET)
    assert not (tmp_path / "run").exists()


def test_a_mesh_is_not_what_a_run_is_spread_over(tmp_path):
    """Trap: under jax.set_mesh it was a ShardingTypeError from inside the replay."""
    message = r"mesh=\('x',\) of jax.set_mesh is not supported, .*; no mesh is accepted"
    with jax.set_mesh(jax.make_mesh((2,), ("x",))), pytest.raises(ConfigError, match=message):
        run(SPEC, tmp_path / "run", console=QUIET)
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def undisturbed(compiled_quickly, tmp_path_factory):
    directory = tmp_path_factory.mktemp("settings") / "run"
    run(SPEC, directory, console=QUIET)
    return directory


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_quickly")
@those(SAME, OTHER)
def test_all_other_settings_of_jax_train(setting, undisturbed, tmp_path):
    """And where the bits are others, a run does not go on under another setting."""
    name, value, outcome = setting
    run(SPEC, tmp_path / "run", console=QUIET)
    if outcome == SAME:
        assert_same_arrays(undisturbed / METRICS, tmp_path / "run" / METRICS)
        return
    longer = SPEC._replace(steps=240)
    with pytest.raises(ConfigError, match=rf"a different {name} \(.* there, {value} here\)"):
        run(longer, undisturbed, resume=True, console=QUIET)
    run(longer, tmp_path / "run", resume=True, console=QUIET)


@pytest.mark.parametrize("code", ["make_env('CartPole-v1', 2)", "run(spec, 'nowhere')"])
def test_a_platform_that_is_not_there_is_one_sentence_wherever_it_is_asked_for(code):
    program = (
        "import jax, jaxq; jax.config.update('jax_platforms', 'cuda')\n"
        "p = jaxq.PRESETS['dqn-cartpole']; "
        "spec = jaxq.RunSpec('x', p.config, [p.hparams], 1, 20000)"
        f"\ntry: jaxq.{code}\nexcept jaxq.ConfigError as error: print(error)"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert told.stdout == (
        "jax_platforms=cuda has no device on this machine; cpu is accepted, or no setting at all.\n"
    ), told.stderr


def test_without_a_home_there_is_no_cache(monkeypatch):
    """Trap: HOME unset and a user id without a name is a RuntimeError, even for --help."""

    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(machine.Path, "home", home)
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        machine.keep_programs()
        assert jax.config.jax_compilation_cache_dir is None
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


def test_other_versions_are_told_and_other_random_numbers_refused(tmp_path):
    document = SPEC.document()
    files.create(tmp_path / "run", document)

    def resumed_after(**session):
        meta = {"sessions": [session], "members": {"batch": 1}}
        files.write_json(tmp_path / "run" / files.META, meta)
        return check_same(document, tmp_path / "run", None)

    with pytest.warns(
        UserWarning, match=r"goes on with another jax \(0\.0\.1 there, .*so bits may"
    ):
        assert resumed_after(versions={"jax": "0.0.1"}) == 1
    with pytest.raises(ConfigError, match=r"with a different jax_default_prng_impl \(rbg there, "):
        resumed_after(jax={"jax_default_prng_impl": "rbg"})
