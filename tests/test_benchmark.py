"""The benchmark's programs run as processes, and its ceiling does the work that it says."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from common import SMALL, SMALL_HPARAMS, cast

from jaxq.recipes.experiment import make_experiment
from jaxq.recipes.presets import PRESETS
from jaxq.recipes.reading import period_of, prefill_of, updates_after

EXPERIMENTS = Path(__file__).parent.parent / "experiments" / "benchmark"
sys.path.insert(0, str(EXPERIMENTS))
from ceiling import NUM_INPUTS, part_trainer  # noqa: E402
from workloads import WORKLOADS  # noqa: E402

pytestmark = pytest.mark.usefixtures("compiled_quickly")

HPARAMS = cast(SMALL_HPARAMS)
CONFIG = replace(SMALL, chunk_steps=80, train_every=2)


@pytest.mark.parametrize("regulariser", ["none", "chain"])
def test_learning_alone_updates_as_often_as_training(regulariser):
    """Adam counts its updates; the inputs are what the replay holds, and of what a regulariser
    looks at beside it."""
    config = replace(CONFIG, regulariser=regulariser)
    trainer = part_trainer("learning", config, make_experiment(config, SMALL_HPARAMS))
    state, clock = jax.jit(trainer.init)(jax.random.key(0), HPARAMS)
    samples, others = state.inputs
    steps = samples.steps
    assert steps.reward.shape == (NUM_INPUTS, CONFIG.batch_size, 1)
    assert len(np.unique(steps.obs[:, 0, 0, 0])) > NUM_INPUTS // 2  # they differ
    after, _, _ = jax.jit(trainer.chunk)(state, clock, HPARAMS)
    leaves = jax.tree.leaves(after.carried.opt_state)
    count = next(leaf for leaf in leaves if leaf.dtype == np.int32)
    assert int(count) == 80 // 2
    assert others.shape == steps.obs[:, :, 0].shape and (others != steps.obs[:, :, 0]).any()


def test_learning_from_a_stream_alone_moves_weights_and_traces():
    preset = PRESETS["stream-q-cartpole"]
    config = replace(preset.config, chunk_steps=16)
    trainer = part_trainer("learning", config, make_experiment(config, preset.hparams))
    state, clock = jax.jit(trainer.init)(jax.random.key(0), cast(preset.hparams))
    after, _, _ = jax.jit(trainer.chunk)(state, clock, cast(preset.hparams))
    old, new = (jax.tree.leaves((s.params["params"], s.carried)) for s in (state, after))
    assert any((a != b).any() for a, b in zip(old, new))
    assert all(np.isfinite(leaf).all() for leaf in new)


@pytest.mark.parametrize("part", ["acting", pytest.param("environment", marks=pytest.mark.slow)])
def test_the_other_parts_do_something(part):
    trainer = part_trainer(part, CONFIG, make_experiment(CONFIG, SMALL_HPARAMS))
    state, clock = jax.jit(trainer.init)(jax.random.key(0), HPARAMS)
    after, _, _ = jax.jit(trainer.chunk)(state, clock, HPARAMS)
    assert float(after.carried[1]) != 0.0


def test_workloads_name_presets_and_whole_rounds():
    for workload in WORKLOADS.values():
        config = replace(PRESETS[workload.preset].config, **workload.config)
        assert workload.chunk_steps % period_of(config) == 0
        updates = updates_after(config, prefill_of(config) + workload.chunk_steps)
        assert updates % NUM_INPUTS == workload.chunk_steps // config.num_envs % NUM_INPUTS == 0


@pytest.mark.slow
def test_the_benchmark_leaves_a_table_and_a_figure(tmp_path):
    arguments = ["cartpole-dqn", "--members", "2", "--turns", "2", "--out", str(tmp_path)]
    command = [sys.executable, str(EXPERIMENTS / "benchmark.py"), *arguments]
    subprocess.run(command, check=True, timeout=600)
    records = json.loads((tmp_path / "benchmark.json").read_text())["records"]
    rates = {record["program"]: np.median(record["steps_per_second"]) for record in records}
    assert {"jaxq", "ceiling"} <= set(rates) and all(rate > 0 for rate in rates.values())
    assert "CartPole DQN" in (tmp_path / "benchmark.md").read_text()
    assert (tmp_path / "benchmark.png").read_bytes().startswith(b"\x89PNG")
