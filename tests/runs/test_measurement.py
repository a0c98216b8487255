"""The measured batch of members: searched upwards, then downwards, and remembered."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from common import SMALL, SMALL_HPARAMS

from jaxq.runs import measurement
from jaxq.runs.measurement import fastest_batch


@pytest.fixture
def machine(monkeypatch):
    """A machine whose fastest batch can be set; it runs nothing."""
    machine = SimpleNamespace(fastest=4, time=0.0)

    def Population(trainer, evaluate, lanes, seeds, batch, num_devices):
        def chunk(states, clock):
            machine.time += batch * (1.0 + abs(np.log2(batch / machine.fastest)))
            return states, clock, None

        return SimpleNamespace(init=lambda: ((), 0), chunk=chunk)

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


def test_the_answer_is_remembered(machine, tmp_path):
    tried = []
    arguments = SMALL, [SMALL_HPARAMS], 8, 1, tmp_path, lambda *x: tried.append(x)
    first, count = fastest_batch(*arguments), len(tried)
    assert fastest_batch(*arguments) == first and len(tried) == count > 0
    (path,) = tmp_path.glob("*.json")
    assert json.loads(path.read_text())["batch"] == 4


def test_a_real_measurement():
    assert fastest_batch(SMALL, [SMALL_HPARAMS], 2, num_devices=1) in (1, 2)
