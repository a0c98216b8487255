"""What of a study fits on a device that need not be here."""

import importlib.util
from types import SimpleNamespace

import jax
import pytest
from common import SMALL, SMALL_HPARAMS, words_of

from jaxq.config import Preset
from jaxq.errors import ConfigError
from jaxq.replay import rings
from jaxq.runs import described
from jaxq.studies import fitting, sweeping
from jaxq.studies.asking import make_study

BASE = Preset("Small.", SMALL, SMALL_HPARAMS, steps=240, seeds=2)
GRID = {"learning_rate": [1e-4, 1e-3, 1e-2], "widths": [[8], [16]]}  # 3 x 2 members of 2 programs


def plan_for(device, batch=None):
    """The words of a plan for a device, without what separates its columns."""
    study, spread = make_study(BASE, grid=GRID), sweeping.Spread(batch=batch)
    show = lambda console: sweeping.plan(study, console, spread=spread, device=device)  # noqa: E731
    words = words_of(show)
    return " ".join(words.replace("│", " ").split())


@pytest.fixture
def compiled(monkeypatch):
    """Members of 3 GB each that need 1 GB more, without a compiler; and what was compiled."""
    batches = []

    def need(name, config, lane, batch):
        batches.append((config.widths, batch))
        return fitting.Need(batch, batch * 3 * 10**9, batch * 10**9)

    monkeypatch.setattr(fitting, "device", lambda name: None)
    monkeypatch.setattr(fitting, "need", need)
    monkeypatch.setattr(fitting, "most_states", lambda *arguments: 5)
    return batches


@pytest.mark.parametrize(
    "device, batch, fit, batches",
    [
        ("v5e", None, 3, 2),  # 0.8 of 16 GB
        ("v5e", 2, 3, 3),
        ("h100", None, 12, 1),  # 0.8 of three quarters of 80 GB
        ("h200", None, 21, 1),
    ],
)
def test_members_that_fit_and_the_batches_of_a_study(compiled, device, batch, fit, batches):
    words = plan_for(device, batch)
    assert f"widths=8 6 3,000.00 MB 1,000.00 MB {fit} {batches} widths=16 6" in words
    assert f"{2 * batches} batches on one {device}" in words
    assert compiled == [((8,), batch or 5), ((16,), batch or 5)]


def test_a_batch_for_which_there_is_no_room_is_halved(monkeypatch):
    tried = []

    def compile_for(name, batch):
        tried.append(batch)
        if batch > limit:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory in hbm")
        sizes = {"argument_size_in_bytes": 2 * batch, "temp_size_in_bytes": batch}
        return SimpleNamespace(memory_analysis=lambda: SimpleNamespace(**sizes))

    monkeypatch.setattr(fitting, "compile_for", compile_for)
    monkeypatch.setattr(fitting, "lower", lambda config, lane, batch, name: (batch, None))
    limit = 5
    assert fitting.need("v5e", SMALL, SMALL_HPARAMS, 16) == (4, 8, 4) and tried == [16, 8, 4]
    limit = 0
    with pytest.raises(ConfigError, match="for=v5e has 16 GB, not enough for one member"):
        fitting.need("v5e", SMALL, SMALL_HPARAMS, 2)


def test_a_member_larger_than_the_device_is_refused():
    with pytest.raises(ConfigError, match="not enough for one member"):
        fitting.most_members("v5e", fitting.Need(1, 16 * 10**9, 0))


def test_devices_that_do_not_exist_and_compilers_that_are_missing(monkeypatch):
    with pytest.raises(ConfigError, match="for=v9 does not exist"):
        plan_for("v9")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name, package in (("v6e", "libtpu"), ("h100", "jax_cuda13_plugin")):
        with pytest.raises(ConfigError, match=rf"{package}.*pip install -e '\.\[kernels\]'"):
            described.device.__wrapped__(name)


def test_a_compiler_that_jax_has_given_up(monkeypatch):
    def get_topology_desc(**how):
        raise NotImplementedError("topology not implemented for cuda")

    monkeypatch.setattr(described, "require", lambda *names, extra: None)
    monkeypatch.setattr(described.topologies, "get_topology_desc", get_topology_desc)
    with pytest.raises(ConfigError, match="for=h100 needs jax_platforms=cpu"):
        described.device.__wrapped__("h100")


def test_rings_lie_as_on_the_device_while_it_is_described():
    assert rings.empty(64, 3).shape == (64, 3)
    with rings.laid_out_for("tpu"):
        assert rings.empty(64, 3).shape == (8, 64)
    assert rings.empty(64, 3).shape == (64, 3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Error reading persistent compilation cache")
@pytest.mark.parametrize("device", described.DEVICES)
def test_a_small_program_is_compiled_for_every_device(device):
    pytest.importorskip("libtpu", reason="needs the extra `kernels`")
    needed = fitting.need(device, SMALL, SMALL_HPARAMS, 4)
    assert needed.batch == 4 and needed.argument_bytes > 4 * SMALL.capacity * 4
    assert needed.temporary_bytes >= 0  # a TPU's fast memory holds all of it
    assert fitting.most_members(device, needed) > 10_000
    assert fitting.most_members(device, needed) <= fitting.most_states(device, SMALL, SMALL_HPARAMS)
