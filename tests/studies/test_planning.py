"""What a study takes, by hand; and what fits on devices that are not here."""

from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from common import SMALL, SMALL_HPARAMS, words_of

from jaxq.config import Preset
from jaxq.errors import ConfigError
from jaxq.runs import placement
from jaxq.runs.placement import Plan
from jaxq.runs.runner import Spread
from jaxq.studies import fitting, planning, sweeping
from jaxq.studies.asking import make_study
from jaxq.studies.study import Part

pytestmark = pytest.mark.usefixtures("compiled_quickly")

BASE = Preset("Small.", SMALL, SMALL_HPARAMS, steps=240, seeds=2)
GRID = {"learning_rate": [1e-4, 1e-2], "gamma": [0.9, 0.99]}
ALONE = Spread(batch=2, num_devices=1)


def test_the_time_of_a_part_by_hand():
    """Three batches on two devices are two rounds; 200 steps after prefill, two evaluations."""
    part = Part((0, 1, 2), (0, 1), 2, 240)
    cost = planning.Cost(0, 0, 1_000.0, 10.0, 1.0, 5.0)
    assert planning.seconds_of(part, SMALL, cost, 2) == 1_000 + 2 * (10 + 200 + 2 * 5)


def test_what_a_program_costs_is_measured_per_member_and_step(monkeypatch):
    clock = SimpleNamespace(now=0.0)

    def takes(seconds, result):
        def call(*_):
            clock.now += seconds
            return result

        return call

    population = SimpleNamespace(
        prepare=takes(3.0, 77), init=takes(5.0, (None, None)), evaluate=takes(7.0, None)
    )
    population.shapes = {"x": jax.ShapeDtypeStruct((4, 10), np.float32)}
    population.plan = SimpleNamespace(num_members=4)
    timed = takes(600.0, (200.0, None, None))  # several chunks, each of 200 s
    monkeypatch.setattr(planning, "make_experiment", lambda *_: None)
    monkeypatch.setattr(planning, "one_batch_each", lambda *_: population)
    monkeypatch.setattr(planning, "time_chunks", timed)
    monkeypatch.setattr(planning, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    cost = planning.measure(SMALL, SMALL_HPARAMS, 2, 2)  # chunks of 100 steps
    assert cost == planning.Cost(40, 77, 3.0, 5.0, 2.0, 7.0)


@pytest.mark.parametrize(
    ("asked", "steps", "duration"),
    [
        # 4 x 240 and 2 x 100 and 1 x 300 steps a seed, and 640 more on either fresh seed
        ({"grid": {"gamma": [0.5, 0.6, 0.7, 0.8]}, "halving": 2}, 640, "29 min"),
        # two programs of 800 s, and the winner on both environments: a quarter more
        ({"grid": GRID, "envs": ["Catch-bsuite", "CartPole-v1"]}, 240, "33 min"),
    ],
    ids=["halving", "environments"],
)
def test_a_plan_counts_what_a_search_trains_and_every_winner(asked, steps, duration, monkeypatch):
    cost = planning.Cost(1_000_000, 500_000, 0.0, 0.0, 1.0, 0.0)
    monkeypatch.setattr(planning, "measure", lambda *_: cost)
    study = make_study(BASE, steps=steps, **asked)
    words = words_of(lambda console: sweeping.plan(study, console, spread=ALONE))
    assert f"about {duration} here" in words
    assert "8.5 MB" in words  # eight members of a program, and what one batch needs beside


class Member(NamedTuple):
    params: Any


def test_a_batch_fits_into_the_cache_and_padding_and_every_device_into_memory(monkeypatch):
    member = Member(jax.ShapeDtypeStruct((25_000,), np.float32))  # 100 kB, five copies of which
    assert placement.make_plan(5, member, None, 1).batch == 3  # of at most four, evenly
    assert placement.make_plan(8, member, None, 1).batch == 4
    assert placement.make_plan(8, member, None, 2).batch == 4
    monkeypatch.setattr(placement, "free_memory", lambda _: int(550_000 / 0.4))
    with pytest.raises(ConfigError, match=r"members=6 .* at most 5 members fit"):
        placement.make_plan(5, member, 3, 2)
    plan = Plan(5, 2, 3)  # six places, 60 bytes, and 10 more on each of two devices
    placement.check_temporaries(plan, 10, 10, 200)
    with pytest.raises(ConfigError, match="at most --batch 2 fits"):
        placement.check_temporaries(plan, 10, 10, 188)


def test_memory_is_what_is_free_on_the_devices_that_are_used(monkeypatch):
    stats = [{"bytes_limit": 100, "bytes_in_use": used} for used in (20, 50, 0)]
    devices = [SimpleNamespace(memory_stats=lambda stat=stat: stat) for stat in stats]
    monkeypatch.setattr(jax, "local_devices", lambda: devices)
    assert [placement.free_memory(count) for count in (1, 2, 3)] == [80, 100, 150]
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    assert placement.most_members(10, 2) == 4 and placement.most_members(10) == 6  # 0.4 of it
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert placement.most_members(10, 2) == 8 and placement.most_members(900, 2) == 1


def test_every_device_must_have_room_for_as_many_groups_as_the_first(monkeypatch):
    """Trap: three groups of 53 bytes lie on two devices of 100 as two and one."""
    devices = [SimpleNamespace(memory_stats=lambda: {"bytes_limit": 250, "bytes_in_use": 0})] * 2
    monkeypatch.setattr(jax, "local_devices", lambda: devices)
    member = Member(jax.ShapeDtypeStruct((53,), np.int8))
    with pytest.raises(ConfigError, match=r"members=4 .* at most 3 members fit"):
        placement.make_plan(3, member, 1, 2)
    assert placement.make_plan(2, member, 1, 2).num_groups == 2
    with pytest.raises(ConfigError, match="batch=1 needs"):
        placement.check_temporaries(Plan(3, 2, 1), 40, 21, 500)
    placement.check_temporaries(Plan(3, 2, 1), 40, 20, 500)


def test_days_are_whole_from_a_hundred_on():
    found = [planning.format_seconds(days * 86_400.0) for days in (3.14, 99.4, 130.4, 4_000.0)]
    assert found == ["3.1 d", "99 d", "130 d", "4,000 d"]


@pytest.mark.parametrize(
    ("name", "count"), [("v4", 6), ("v5e", 3), ("v5p", 19), ("v6e", 6), ("h100", 12), ("h200", 21)]
)
def test_states_that_fit_on_a_device(name, count, monkeypatch):
    """Of 4 GB each, into 0.8 of its memory, of which JAX takes three quarters of a GPU's."""
    state = {"x": jax.ShapeDtypeStruct((10**9,), np.float32)}
    monkeypatch.setattr(fitting, "state_on", lambda *_: state)
    assert fitting.most_states(name, SMALL, SMALL_HPARAMS) == count


def test_no_more_members_are_compiled_for_a_device_than_there_are(monkeypatch):
    batches = []
    need = lambda name, config, lane, batch: batches.append(batch) or fitting.Need(batch, 1, 1)  # noqa: E731
    for name, value in {"device": str, "need": need, "most_states": lambda *_: 50}.items():
        monkeypatch.setattr(fitting, name, value)
    study = make_study(BASE, grid=GRID)
    words_of(lambda console: fitting.print_fit(study, "v5e", None, console))
    assert batches == [8]
