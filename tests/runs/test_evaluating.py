"""Evaluations that are rarer than chunks: the same training, and fewer of the same evaluations."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import assert_same_run
from common import SMALL, SMALL_HPARAMS, small
from rich.console import Console
from safetensors.numpy import load_file

from jaxq.errors import ConfigError
from jaxq.loops.rollout import joined_metrics
from jaxq.recipes.presets import PRESETS
from jaxq.recipes.validation import validate
from jaxq.runs import files, runner
from jaxq.runs.adding import add_seeds
from jaxq.runs.listening import Listener
from jaxq.runs.runner import RunSpec, Spread, run
from jaxq.studies.asking import make_study
from jaxq.studies.sweeping import plan

pytestmark = pytest.mark.usefixtures("shared_programs", "no_figures", "compiled_quickly")

QUIET = Console(quiet=True)
RARE = replace(SMALL, eval_period=300)
SPEC = RunSpec("rare", RARE, [SMALL_HPARAMS], [0, 1], steps=640)  # prefill, two of three chunks


def train(directory: Path, spec=SPEC, **options):
    made = small(eval_period=spec.config.eval_period)
    how = {"spread": Spread(save_every=0.0), "console": QUIET, "experiment": made}
    return run(spec, directory, **{**how, **options})


@pytest.fixture(scope="module")
def rare(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "rare"
    train(directory)
    return directory


def test_training_and_evaluations_are_those_of_a_run_that_has_more(rare, tmp_path):
    often = tmp_path / "often"
    train(often, SPEC._replace(config=SMALL))
    params = [load_file(place / files.POLICY / files.PARAMS) for place in (rare, often)]
    assert all(params[0][name].tobytes() == params[1][name].tobytes() for name in params[1])
    few, many = (files.read_arrays(place / files.METRICS) for place in (rare, often))
    assert few["steps"].tolist() == [340, 640]
    assert many["steps"].tolist() == [140, 240, 340, 440, 540, 640]
    for name in (name for name in many if name.startswith("eval_")):
        assert few[name].tobytes() == many[name][:, :, [2, 5]].tobytes(), name
    chunks = {name: values.reshape(1, 2, 2, 3) for name, values in many.items() if values.ndim == 3}
    np.testing.assert_allclose(few["loss"], chunks["loss"].mean(-1), rtol=1e-6)
    np.testing.assert_array_equal(few["episodes"], chunks["episodes"].sum(-1))
    np.testing.assert_array_equal(few["epsilon"], chunks["epsilon"][..., -1])
    total = (chunks["train_return"] * chunks["episodes"]).sum(-1)
    np.testing.assert_allclose(few["train_return"], total / few["episodes"], rtol=1e-6)


@pytest.mark.parametrize("chunk", [1, 2, 4, 5])
def test_a_run_that_dies_between_evaluations_ends_with_the_same_bits(
    chunk, rare, tmp_path, monkeypatch
):
    """The members are saved after every chunk, with what it has measured."""
    passed = []

    def die(moment):
        passed.append(int(moment.clock.steps))
        if passed[-1] == 40 + 100 * chunk:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        keep = runner.keep_checkpoints

        def keep_and_die(*arguments):
            kept = keep(*arguments)
            return Listener(kept.evaluated, kept.closed, lambda m: (kept.passed(m), die(m))[1])

        patch.setattr(runner, "keep_checkpoints", keep_and_die)
        train(tmp_path)
    saved = {path.name for path in (tmp_path / files.CHECKPOINTS).iterdir()}
    assert f"{40 + 100 * chunk}.safetensors" in saved
    train(tmp_path, resume=True)
    assert_same_run(rare, tmp_path)


def test_a_stop_between_evaluations_is_a_point_to_go_on_from(rare, tmp_path, monkeypatch):
    """As after a signal: everything is saved and written, whatever has been evaluated."""
    monkeypatch.setattr(runner, "_tell", lambda *_: "episodes")
    train(tmp_path)
    assert files.read_json(tmp_path / files.META)["stopped_by"] == "episodes"
    assert not (tmp_path / files.METRICS).exists()
    more = SPEC._replace(seeds=[0, 1, 2])
    with pytest.raises(ConfigError, match="stands between two evaluations"):
        add_seeds(more, tmp_path, spread=Spread(), console=QUIET, experiment=small(eval_period=300))
    monkeypatch.undo()
    train(tmp_path, resume=True)
    assert_same_run(rare, tmp_path)


def test_metrics_of_chunks_are_joined_as_those_of_one():
    chunks = [
        {"episodes": np.int32([0, 1]), "train_return": np.float32([np.nan, 3.0])},
        {"episodes": np.int32([0, 3]), "train_return": np.float32([np.nan, 7.0])},
    ]
    for chunk, loss in zip(chunks, ([1.0, 2.0], [3.0, np.nan])):
        chunk |= {"loss": np.float32(loss), "epsilon": np.float32(loss)}
    joined = joined_metrics(chunks)
    assert joined["episodes"].tolist() == [0, 4] and joined["episodes"].dtype == np.int32
    np.testing.assert_array_equal(joined["train_return"], np.float32([np.nan, 6.0]))
    np.testing.assert_array_equal(joined["loss"], np.float32([2.0, np.nan]))  # it has diverged
    np.testing.assert_array_equal(joined["epsilon"], np.float32([3.0, np.nan]))
    assert joined_metrics(chunks[:1]) is chunks[0]


def test_what_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="eval_period=250 must be a multiple of chunk_steps=100"):
        validate(replace(SMALL, eval_period=250), SMALL_HPARAMS)
    with pytest.raises(ConfigError, match="eval_period must be 0 for pbt"):
        base = PRESETS["dqn-cartpole"]
        base = base._replace(config=replace(base.config, eval_period=20_000))
        plan(make_study(base, space={"gamma": "0.9..0.99"}, random=4, pbt=1), QUIET)
