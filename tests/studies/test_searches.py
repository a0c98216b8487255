"""What searches draw, train, tell and move, and what a sweep says at its end."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from common import SMALL, SMALL_HPARAMS, words_of

from jaxq.config import Config, HParams, Preset
from jaxq.loops.evaluation import Evaluation
from jaxq.runs import files
from jaxq.runs.history import History
from jaxq.runs.members import stack_members
from jaxq.runs.population import LEARNER
from jaxq.runs.runner import Spread
from jaxq.scoring.scores import score_seeds
from jaxq.studies import ending, evolution, executors, searches
from jaxq.studies import study as studies
from jaxq.studies.asking import make_study
from jaxq.studies.spaces import Range, sample, space_document
from jaxq.studies.study import Part, Study, collect, part_directory

pytestmark = pytest.mark.usefixtures("compiled_quickly")

PROTOCOL = {"environment": "Acrobot-v1"}
BASE = Preset("Small.", SMALL, SMALL_HPARAMS, steps=240, seeds=2)
ALONE = Spread(batch=2, num_devices=1)


@pytest.mark.parametrize("replay", [False, True])
def test_a_member_that_diverged_goes_on_from_another_whatever_it_returned(replay):
    """NaN takes some action, and may return the most; all draws are of the seed and the step."""
    rates = np.geomspace(1e-4, 1e-2, 12)
    space = {"learning_rate": Range(1e-5, 1.0, log=True)}
    search = {"kind": "pbt", "every": 1, "space": space_document(space), "replay": replay}
    settings = [{"learning_rate": float(rate)} for rate in rates]
    part = Part(tuple(range(12)), (4, 9), 24, 240)
    study = Study("a", SMALL, SMALL_HPARAMS, settings, (4, 9), 240, (), [part], search=search)
    _, evolve = searches.run_of(study, part)
    assert evolve.fields == ((*LEARNER, "replay") if replay else None)
    lanes = [SMALL_HPARAMS._replace(learning_rate=rate) for rate in rates]
    history, (hparams, _) = History(12, 2), stack_members(lanes, (4, 9))
    metrics = dict.fromkeys(("episodes", "train_return", "train_length"), np.ones(24))
    metrics["loss"] = np.where(np.arange(24) == 7, np.nan, 1.0)  # lane 3, seed 9
    returns = np.random.default_rng(0).normal(size=(24, 1)).astype(np.float32)
    returns[7] = 99.0
    history.append(240, metrics, Evaluation(returns, returns, returns > 0, returns), hparams)
    move = evolve.decide(history)
    scores = returns.reshape(12, 2).copy()
    scores[3, 1] = np.nan
    key_exploit, key_explore = evolution.keys_of((4, 9), 240)
    source = evolution.exploit(key_exploit, jnp.asarray(scores))
    by_lane = jax.tree.map(lambda leaf: jnp.asarray(leaf).reshape(12, 2), hparams)
    moved = evolution.explore(key_explore, by_lane, source, space)
    np.testing.assert_array_equal(move.sources, evolution.members_of(source))
    np.testing.assert_array_equal(move.hparams.learning_rate, np.ravel(moved.learning_rate))
    assert move.sources[7] != 7 and np.flatnonzero(move.broken).tolist() == [7]


def test_a_search_with_optuna_tells_trials_by_their_numbers_and_trains_its_own_parts(
    tmp_path, monkeypatch
):
    """Trials 2 and 3 were drawn by a process that was killed: they have no settings."""
    told, trained, asked = [], [], []

    def search_with(space, evaluate, **how):
        asked.append(how)
        told.extend(evaluate([{"gamma": 0.5}, {"gamma": 0.9}], [0, 1]))
        told.extend(evaluate([{"gamma": 0.6}, {"gamma": 0.7}], [4, 5]))

    def measured(directory, study):
        lane = {"seeds": [0], "diverged": {}}
        return {"lanes": [{**lane, "per_seed": [s["gamma"]]} for s in study.settings]}

    search = {"kind": "optuna", "space": space_document({"gamma": Range(0.1, 0.9)}), "trials": []}
    search |= {"num_trials": 9, "at_once": 3, "seed": 7}
    study = Study("a", SMALL, SMALL_HPARAMS, [], (0,), 240, (), [], search=search)
    studies.create(tmp_path, study)
    monkeypatch.setattr(searches, "tune", search_with)
    monkeypatch.setattr(searches.studies, "collect", measured)
    cut = lambda study, lanes, steps: [Part(tuple(lanes), (0,), 2, steps)]  # noqa: E731
    train = lambda study, indices: trained.append([*indices])  # noqa: E731
    found = searches.SEARCHES["optuna"].go_on(tmp_path, study, train, cut)
    assert told == [0.5, 0.9, 0.6, 0.7] and trained == [[0], [1]]
    assert [part.settings for part in found.parts] == [(0, 1), (2, 3)]
    assert [asked[0][name] for name in ("num_trials", "batch", "seed")] == [9, 3, 7]


def test_settings_are_drawn_as_asked_for_and_with_the_seed_of_the_search():
    space = {"gamma": Range(0.1, 0.9)}
    for seed in (0, 1):
        drawn = make_study(BASE, random=4, space=space, search_seed=seed)
        spread = make_study(BASE, sobol=4, space=space, search_seed=seed)
        assert drawn.settings == sample(space, 4, seed)
        assert spread.settings == sample(space, 4, seed, sobol=True)
    moving = make_study(BASE, random=4, space=space, pbt=2, pbt_replay=True)
    assert moving.search["every"] == 2 and moving.search["replay"]


def test_every_part_is_trained_by_one_process_of_a_cluster(tmp_path, monkeypatch):
    """Whoever leads asks for those of a rung; whoever follows goes through all there are."""
    trained, ended = {0: [], 1: [], 2: []}, iter([False, True] * 2)
    here = lambda directory, study, indices, *_: trained[0].extend(indices)  # noqa: E731
    monkeypatch.setattr(executors, "_train_here", here)
    monkeypatch.setattr(executors, "_POLL", 0.0)
    monkeypatch.setattr(executors, "is_complete", lambda path: next(ended))
    monkeypatch.setattr(executors.Cluster, "wait", lambda self, done: None)
    study, rung = SimpleNamespace(parts=[None] * 9), [3, 4, 6, 8]
    for index in range(3):
        one = object.__new__(executors.Cluster)
        one.index, one.count = index, 3
        if one.leads:
            one.train(tmp_path, study, rung, None, None)
            continue
        mine = lambda directory, study, part, spread, of=index: trained[of].append(part)  # noqa: E731
        monkeypatch.setattr(executors, "train_part", mine)
        one.follow(tmp_path, lambda: study, None)
    parts = [part for mine in trained.values() for part in mine]
    assert len(set(parts)) == len(parts) and set(rung) <= set(parts)


@pytest.fixture
def halved(tmp_path):
    """Three settings of which the last two went on: their study and its scores."""
    parts = [Part((0, 1, 2), (0, 1), 6, 10), Part((1, 2), (0, 1), 4, 20, 0)]
    settings = [{"gamma": gamma} for gamma in (0.5, 0.9, 0.99)]
    study = Study("a", Config(), HParams(), settings, (0, 1), 20, (), parts)
    for index, (part, values) in enumerate(zip(parts, ([9, 1, 1], [2, 3]))):
        directory = part_directory(tmp_path, index)
        directory.mkdir(parents=True)
        curve = np.array(values, float)[:, None, None] * np.ones((1, 2, 1))
        arrays = {name: curve for name in ("loss", "eval_value", "eval_return")}
        files.write_arrays(directory / files.METRICS, {"steps": np.array([part.steps]), **arrays})
        scores = {"protocol": PROTOCOL, "lanes": [{}] * len(values)}
        files.write_json(directory / files.SCORES, scores)
    return study, collect(tmp_path, study)


def test_curves_of_a_sweep_are_those_of_their_labels_the_best_first(halved, tmp_path, monkeypatch):
    study, scores = halved
    drawn, rows = {}, []
    monkeypatch.setattr(ending.plots, "draw_comparison", lambda path, runs, *_: drawn.update(runs))
    monkeypatch.setattr(ending.plots, "draw_sensitivity", lambda path, row, *_: rows.extend(row))
    ending.draw(tmp_path, study, scores)
    last = {label: arrays["eval_return"][0, :, -1].tolist() for label, arrays in drawn.items()}
    assert list(last.items()) == [
        ("gamma=0.99", [3.0, 3.0]),
        ("gamma=0.9", [2.0, 2.0]),
        ("gamma=0.5", [9.0, 9.0]),
    ]
    assert [(row["gamma"], row["iqm"]) for row in rows] == [(0.9, 2.0), (0.99, 3.0)]


def test_the_number_on_fresh_seeds_is_said_to_be_that(halved, tmp_path, monkeypatch):
    study, _ = halved
    first = score_seeds(np.array([7.0, 8.0, 9.0]), range(3), np.full(3, -1))
    second = score_seeds(np.array([1.0, 2.0]), (3, 4), np.full(2, -1))
    monkeypatch.setattr(ending, "_train", lambda *_: second)
    scores, found = {"best": 0, "lanes": [first]}, []
    words = words_of(
        lambda console: found.append(ending._again(tmp_path, study, scores, ALONE, console))
    )
    assert "IQM 1.5 (1 to 2) on 2 fresh seeds" in words
    assert "IQM 8 (7 to 9) on the 3 seeds it was chosen by" in words
    assert found[0]["winner"] == second
