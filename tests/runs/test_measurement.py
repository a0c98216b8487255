"""The measured batch of members: searched upwards, then downwards, and remembered."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from common import SMALL, SMALL_HPARAMS

from jaxq.errors import ConfigError
from jaxq.recipes.presets import PRESETS
from jaxq.recipes.validation import validate
from jaxq.runs import measurement
from jaxq.runs.measurement import fastest_batch, shortened


@pytest.fixture
def machine(monkeypatch):
    """A machine whose fastest batch can be set; it runs nothing."""
    machine = SimpleNamespace(fastest=4, largest=128, time=0.0)

    def Population(trainer, evaluate, lanes, seeds, batch, num_devices):
        def chunk(states, clock):
            machine.time += batch * (1.0 + abs(np.log2(batch / machine.fastest)))
            return states, clock, None

        def prepare(names):
            if batch > machine.largest:
                raise ConfigError(f"batch={batch} does not fit.")

        return SimpleNamespace(init=lambda: ((), 0), chunk=chunk, prepare=prepare)

    monkeypatch.setattr(measurement, "Population", Population)
    monkeypatch.setattr(measurement.time, "perf_counter", lambda: machine.time)
    return machine


@pytest.mark.parametrize("start", [1, 4, 16, 64])
@pytest.mark.parametrize("fastest", [1, 4, 16, 64])
def test_the_search_ends_at_the_fastest(machine, monkeypatch, start, fastest):
    plan = SimpleNamespace(batch=start)
    monkeypatch.setattr(measurement, "make_plan", lambda *_: plan)
    machine.fastest = fastest
    assert fastest_batch(SMALL, [SMALL_HPARAMS], 128, num_devices=1) == fastest


def test_a_larger_batch_that_does_not_fit_is_left_out(machine, monkeypatch):
    monkeypatch.setattr(measurement, "make_plan", lambda *_: SimpleNamespace(batch=2))
    machine.fastest, machine.largest, reported = 64, 15, []
    arguments = SMALL, [SMALL_HPARAMS], 128, 1, None, lambda batch, _: reported.append(batch)
    assert fastest_batch(*arguments) == 8
    assert reported == [2, 4, 8]
    machine.largest = 1  # nothing that the run could use
    with pytest.raises(ConfigError, match="batch=2 does not fit"):
        fastest_batch(*arguments)


def test_the_answer_is_remembered(machine, tmp_path):
    tried = []
    arguments = SMALL, [SMALL_HPARAMS], 8, 1, tmp_path, lambda *x: tried.append(x)
    first, count = fastest_batch(*arguments), len(tried)
    assert fastest_batch(*arguments) == first and len(tried) == count > 0
    (path,) = tmp_path.glob("*.json")
    assert json.loads(path.read_text())["batch"] == 4


@pytest.mark.slow
def test_a_real_measurement():
    assert fastest_batch(SMALL, [SMALL_HPARAMS], 2, num_devices=1) in (1, 2)


@pytest.mark.parametrize("name", PRESETS)
def test_what_is_timed_can_be_composed(name):
    """Trap: a chunk of PQN is a whole number of rollouts, not of target periods."""
    preset = PRESETS[name]
    config = shortened(preset.config)
    validate(config, preset.hparams)
    assert config.chunk_steps <= preset.config.chunk_steps


def test_one_core_is_for_what_is_known_to_be_small():
    """Elsewhere the number of threads may show in the bits; ``test_processes`` sees them."""
    small = PRESETS["dqn-cartpole"].config
    assert measurement.gains_by_one_core(small)
    assert measurement.gains_by_one_core(replace(small, backup="double", capacity=50_000))
    assert measurement.gains_by_one_core(PRESETS["double-dqn-cartpole"].config)
    assert not measurement.gains_by_one_core(PRESETS["dqn-breakout"].config)
    larger = [{"batch_size": 512}, {"num_envs": 512}, {"eval_episodes": 512}, {"widths": (256,)}]
    larger += [{"activation": "crelu"}, {"replay": "latest"}, {"diagnose": True}]
    others = [{"env": "DeepSea-bsuite"}, {"agent": "iqn"}, {"memory": "lstm"}, {"dataset": "run"}]
    for change in [*larger, *others, {"backup": "own:backup"}]:
        assert not measurement.gains_by_one_core(replace(small, **change)), change
