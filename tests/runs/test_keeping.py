"""A replay that is kept, and runs that learn from it: bits, resume, memory, refusals."""

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import assert_same_run
from common import SMALL, SMALL_HPARAMS, cast, small
from rich.console import Console
from safetensors.numpy import load_file, save_file

from jaxq.config import Config, HParams
from jaxq.envs.libraries import make_env
from jaxq.errors import ConfigError
from jaxq.loops.rollout import record_shapes
from jaxq.networks.statistics import split
from jaxq.recipes.experiment import make_experiment
from jaxq.replay.datasets import ABOUT, DATASET, RECORDS, hash_of, uniform_windows
from jaxq.replay.records import make_codec
from jaxq.runs import files, runner
from jaxq.runs.keeping import check_keeping, whole_episodes
from jaxq.runs.listening import Listener
from jaxq.runs.population import Population
from jaxq.runs.runner import RunSpec, Spread, run
from jaxq.runs.signals import Interrupted
from jaxq.runs.stopping import Stop
from jaxq.types import Step

pytestmark = pytest.mark.usefixtures("shared_programs", "no_figures", "compiled_quickly")

QUIET = Console(quiet=True)
ONLINE = RunSpec("online", SMALL, [SMALL_HPARAMS], [3, 4], steps=240)
NEWEST = replace(SMALL, replay="latest", capacity=Config.capacity, batch_size=Config.batch_size)
NUMBERS = HParams(learning_rate=1e-3)
OFFLINE = Config(
    dataset="", widths=(16,), batch_size=16, target_period=20, chunk_steps=100, eval_episodes=3
)


def collect(directory: Path, spec=ONLINE, **options):
    spread = Spread(save_every=0.0, keep_replay=options.pop("keep_replay", (4, 3)))
    run(spec, directory, spread=spread, console=QUIET, experiment=small(), **options)
    return directory


def learn(data: Path, directory: Path, steps=300, **options):
    spec = RunSpec("offline", replace(OFFLINE, dataset=str(data)), [NUMBERS], [0, 1], steps)
    return run(spec, directory, spread=Spread(save_every=0.0), console=QUIET, **options)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return collect(tmp_path_factory.mktemp("runs") / "online")


@pytest.fixture(scope="module")
def offline(data, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "offline"
    learn(data, directory)
    return directory


def read(run: Path):
    records = load_file(run / DATASET / RECORDS)["records"]
    return records, files.read_json(run / DATASET / ABOUT)


def test_a_dataset_is_the_ring_of_each_seed_in_order(data):
    """Of 240 steps a ring of 200 has lost the first 40, and begins again after 200."""
    records, about = read(data)
    saved = load_file(data / files.CHECKPOINTS / "240.safetensors")
    ring = saved[".replay.ring"]  # [2, 200, words]
    for place, member in ((0, 1), (1, 0)):  # seeds 4 and 3, as asked for
        rows = np.concatenate([ring[member, 40:], ring[member, :40]]).reshape(100, 2, -1)
        assert records[:, 2 * place : 2 * place + 2].tobytes() == rows.tobytes()
    assert about["hash"] == hash_of(records) and about["seeds"] == [4, 3]
    assert (about["rows"], about["columns"], about["transitions"]) == (100, 4, 400)
    assert about["steps"] == [40, 240] and about["protocol"]["environment"] == "CartPole-v1"
    returns = files.read_arrays(data / files.METRICS)["eval_return"]
    assert about["eval_return"] == [float(returns[0, 1, -1]), float(returns[0, 0, -1])]
    assert about["id"] == files.read_json(data / files.META)["id"]
    assert about["episodes"]["count"] > 0 and 8 < about["episodes"]["mean_return"] < 60


def test_a_finished_run_leaves_it_when_it_is_resumed(data, tmp_path):
    """From the checkpoint: the same bits; without a seed it is the first one's."""
    collect(tmp_path / "later", keep_replay=None)
    assert not (tmp_path / "later" / DATASET).exists()
    collect(tmp_path / "later", keep_replay=(), resume=True)
    records, about = read(tmp_path / "later")
    assert about["seeds"] == [3] and records.tobytes() == read(data)[0][:, 2:].tobytes()
    with pytest.raises(ConfigError, match=f"keep_replay would replace .*later/{DATASET}, from"):
        collect(tmp_path / "later", keep_replay=(4,), resume=True)


def test_what_was_stopped_leaves_no_dataset_before_it_has_gone_on(data, tmp_path, monkeypatch):
    """There was one of the steps until then, which the command that resumes refused to replace."""

    def evaluated(moment):
        if int(moment.clock.steps) == 140:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(runner, "stop_early", lambda stop: Listener(evaluated))
        with pytest.raises(Interrupted):
            collect(tmp_path / "run")
    assert not (tmp_path / "run" / DATASET).exists()
    collect(tmp_path / "run", resume=True)
    assert read(tmp_path / "run")[1]["hash"] == read(data)[1]["hash"]


def test_a_run_says_what_it_has_learned_from(data, offline):
    document, scores = files.read_document(offline), files.read_scores(offline)
    known = read(data)[1]["hash"]
    assert document["dataset"] == {"hash": known, "transitions": 400}
    assert document["config"]["dataset"] == str(data)
    assert scores["protocol"]["dataset"] == known and scores["steps"] == 300
    arrays = files.read_arrays(offline / files.METRICS)
    assert arrays["steps"].tolist() == [100, 200, 300] and not arrays["episodes"].any()
    assert np.isfinite(arrays["eval_return"]).all()


@pytest.mark.parametrize("stopped", [100, 200])
def test_a_run_that_goes_on_ends_with_the_same_bits(data, offline, tmp_path, stopped):
    learn(data, tmp_path, stopped)
    learn(data, tmp_path, resume=True)
    assert_same_run(offline, tmp_path)


def test_another_dataset_under_the_same_path_is_refused(tmp_path):
    place = collect(tmp_path / "data")
    learn(place, tmp_path / "offline", 100)
    records, about = read(place)
    others = records[::-1].copy()
    save_file({"records": others}, place / DATASET / RECORDS)
    with pytest.raises(ConfigError, match="is damaged: its records are not those that"):
        learn(place, tmp_path / "offline", resume=True)
    files.write_json(place / DATASET / ABOUT, {**about, "hash": hash_of(others)})
    message = r"a different hash of the dataset \(\w+ there, \w+ here\)\."
    with pytest.raises(ConfigError, match=message):
        learn(place, tmp_path / "offline", resume=True)


def changed(data: Path, directory: Path, **changes) -> Path:
    """A dataset that says something else of itself."""
    records, about = read(data)
    (directory / DATASET).mkdir(parents=True)
    save_file({"records": records}, directory / DATASET / RECORDS)
    about["protocol"] |= changes.pop("protocol", {})
    (directory / DATASET / ABOUT).write_text(json.dumps({**about, **changes}))
    return directory


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"protocol": {"environment": "Acrobot-v1"}},
            r"was collected with another environment \(Acrobot-v1 there, CartPole-v1 here\)",
        ),
        ({"protocol": {"time_limit": "terminal"}}, "was collected with another time_limit"),
        (
            {"observations": [[[6], "float32"]]},
            "was collected with another observations",
        ),
        ({"format": 9}, "is damaged: format 9 is not 1"),
        ({"hash": None}, "is damaged: hash, protocol or env_params is none"),
        ({"run": {"lanes": []}}, "is damaged: list index out of range"),
        (
            {"run": {"lanes": [{"env_params": {"length": 2.0}}]}},
            r"was collected with another env_params.length \(2.0 there, its default here\)",
        ),
    ],
)
def test_what_does_not_fit_is_refused(data, tmp_path, changes, message):
    place = changed(data, tmp_path / "data", **changes)
    with pytest.raises(ConfigError, match=message):
        learn(place, tmp_path / "offline")
    assert not (tmp_path / "offline" / files.CONFIG).exists()


def test_a_number_that_is_given_at_its_default_is_the_same(data, tmp_path):
    same = {"lanes": [{"env_params": {"length": 0.5, "max_steps_in_episode": 7}}]}
    learn(changed(data, tmp_path / "data", run=same), tmp_path / "offline", 100)


def test_a_dataset_is_the_same_wherever_it_was_moved(data, offline, tmp_path):
    shutil.copytree(data / DATASET, tmp_path / "elsewhere")
    learn(tmp_path / "elsewhere", tmp_path / "offline")
    there, here = (
        files.read_arrays(run / files.METRICS) for run in (offline, tmp_path / "offline")
    )
    np.testing.assert_array_equal(there["eval_return"], here["eval_return"])


def test_what_is_not_there_is_refused(data, tmp_path):
    with pytest.raises(ConfigError, match="is no directory"):
        learn(tmp_path / "no", tmp_path / "offline")
    with pytest.raises(ConfigError, match=r"holds no dataset.* --keep-replay makes one"):
        learn(tmp_path, tmp_path / "offline")
    short = replace(OFFLINE, dataset=str(data), n_step=101)
    with pytest.raises(ConfigError, match="holds 100 steps in a row, and windows are 101 long"):
        run(RunSpec("x", short, [NUMBERS], [0], 100), tmp_path / "short", console=QUIET)
    with pytest.raises(ConfigError, match="episodes=5 has no effect with dataset="):
        learn(data, tmp_path / "offline", stop=Stop(episodes=5))
    with pytest.raises(ConfigError, match="keep_replay=7 must be a seed of the run"):
        collect(tmp_path / "online", keep_replay=(7,))
    newest = ONLINE._replace(config=NEWEST)
    with pytest.raises(ConfigError, match="keep_replay has no effect on agent=dqn with replay=lat"):
        run(newest, tmp_path / "new", spread=Spread(keep_replay=0), console=QUIET)


def test_a_dataset_may_have_moved(data, tmp_path):
    """A run goes on from where its dataset lies now, if it is the same; its hash decides."""
    moved = Path(shutil.copytree(data, tmp_path / "moved"))
    learn(moved, tmp_path / "offline")
    elsewhere = Path(shutil.move(moved, tmp_path / "elsewhere"))
    with pytest.raises(ConfigError, match="moved is no directory as seen from "):
        learn(moved, tmp_path / "offline", steps=400, resume=True)
    learn(elsewhere, tmp_path / "offline", steps=400, resume=True)
    document = files.read_json(tmp_path / "offline" / files.CONFIG)
    assert document["config"]["dataset"] == str(elsewhere) and document["steps"] == 400


def test_cloning_estimates_no_value(data, tmp_path):
    """Its outputs are logits: minus a return they were reported as an overestimation."""
    numbers = {"target_period": Config.target_period}
    cloning = replace(OFFLINE, dataset=str(data), agent="bc", diagnose=True, **numbers)
    run(RunSpec("bc", cloning, [NUMBERS], [0], 100), tmp_path / "bc", console=QUIET)
    found = files.read_arrays(tmp_path / "bc" / files.METRICS)
    assert "diagnostics/policy_churn" in found and "diagnostics/overestimation" not in found


def test_rewards_are_scaled_by_every_column_of_a_dataset(data):
    """Each column has a discounted sum of its own; there was one for all, a traceback."""
    experiment = make_experiment(replace(OFFLINE, dataset=str(data), rewards="scaled"))
    (records,) = experiment.trainer.data()
    state, _ = jax.jit(experiment.trainer.init)(jax.random.key(0), cast(NUMBERS), records)
    steps = uniform_windows(record_shapes(experiment.env), batch_size=1).unpack(records)
    sums, every = np.zeros(4), []
    for reward, done in zip(np.asarray(steps.reward), np.asarray(steps.done)):
        sums = NUMBERS.gamma * np.where(done, 0.0, sums) + reward
        every.append(sums)
    variance = split(state.params)[1]["rewards"]["variance"]
    np.testing.assert_allclose(variance, np.var(every, ddof=1), rtol=1e-3)


def test_members_share_one_dataset(data):
    """16 members take their own states beside it, and the program has no array of 16 datasets."""
    config = replace(OFFLINE, dataset=str(data), widths=(4,), batch_size=2)
    experiment, records = make_experiment(config), np.zeros((50_000, 4, 10), np.uint32)
    trainer = experiment.trainer._replace(data=lambda: (records,))
    members = Population(trainer, experiment.evaluate, [NUMBERS], range(16), 16, 1)
    members.prepare(["chunk", "init"])
    for name in ("chunk", "init"):
        used = members._programs._compiled[name][0].memory_analysis()
        assert 0.99 * records.nbytes < used.argument_size_in_bytes < 1.1 * records.nbytes
        assert used.temp_size_in_bytes < 0.1 * records.nbytes


def test_a_dataset_counts_its_whole_episodes(tmp_path):
    """Of two columns: rewards 3, 12 and 30 until three ends, of which two begin where one ended."""
    env = make_env("CartPole-v1", 1)
    done = np.zeros((10, 2), bool)
    done[[1, 4, 8], 0] = done[5, 1] = True
    rewards = np.stack([np.arange(1.0, 11.0)] * 2, axis=1).astype(np.float32)
    obs = np.zeros((10, 2, 4), np.float32)
    steps = Step(obs, np.zeros((10, 2), np.uint8), rewards, done, done, obs)
    records = np.asarray(make_codec(record_shapes(env)).pack(jax.tree.map(jnp.asarray, steps)))
    found = whole_episodes(records, SimpleNamespace(env=env))
    assert found == {"count": 2, "mean_return": 21.0}
    lanes = RunSpec("small", SMALL, [SMALL_HPARAMS] * 2, [7], steps=440)
    with pytest.raises(ConfigError, match="needs a run of one lane, and there are 2"):
        check_keeping((7,), lanes, small(), tmp_path)
