"""What is said of several environments, of diverged seeds, of others' results."""

from pathlib import Path

import numpy as np
import pytest
from common import words_of
from invented import make_preset_run, make_run, report

from jaxq.errors import ConfigError
from jaxq.reports import diagnosed, sentences, tuning
from jaxq.reports import reference as kept
from jaxq.reports import report as reporting
from jaxq.reports.published import PUBLISHED
from jaxq.reports.sources import Lane, Run, Source, read
from jaxq.reports.swept import Sweep
from jaxq.reports.terminal import print_scores, print_study
from jaxq.runs import files
from jaxq.scoring import cross, plane
from jaxq.scoring.scores import INSIDE, plain, score_seeds
from jaxq.scoring.stats import Interval
from jaxq.studies.crossing import crossed

pytestmark = pytest.mark.usefixtures("compiled_quickly")

SKEWED = np.array([0.0, 1.0, 2.0, 6.0, 100.0])  # median 2, IQM 3, mean 21.8
PROTOCOL = {"environment": "Acrobot-v1"}
RUN = Run(Path("a"), {}, {}, {"steps": 1_000}, {}, True)


def lane_of(label, scores, **curves):
    seeds = [*range(len(scores))]
    return Lane(label, RUN, {}, {}, PROTOCOL, seeds, np.array(scores), curves, [], 1, 0)


def on_environments(values, noise=0.0, seeds=4):
    """Scored lanes of settings [E, H] of gamma."""
    random = np.random.default_rng(0)
    return [
        score_seeds(value + noise * random.normal(size=seeds), range(seeds), np.full(seeds, -1))
        | {"setting": {"env": f"env-{place}", "gamma": gamma / 10}}
        for place, row in enumerate(values)
        for gamma, value in enumerate(row, 1)
    ]


CROSSED = [[10.0, 0.0, 6.0], [0.0, 8.0, 6.0]]  # one for each of two environments, one for both


def test_what_scores_say_of_several_environments():
    lanes = on_environments(CROSSED, noise=0.5)
    found, one = crossed(lanes, "min-max"), cross.cube(lanes)
    scores = cross.normalised(one, cross.make_scales("min-max", [one]))
    tuned = cross.tuned(scores)
    for name in ("each", "all", "sensitivity"):
        assert found[name] == [plain(end) for end in getattr(tuned, name)]
    assert found["each"][0] > found["all"][0] + 0.2 > found["sensitivity"][0]
    assert found["best"] == 2 and found["best_of"] == {"env-0": 0, "env-1": 1}
    for index, setting in enumerate(found["settings"]):
        point, low, high = map(plain, cross.value(scores[:, index]))
        assert setting["value"] == point and setting["value_95"] == [low, high] and low < high
        assert setting["chosen"] == plain(tuned.probability[index])


def test_a_terminal_says_what_one_setting_reaches_and_what_the_best_of_each():
    lanes = on_environments(CROSSED)
    scores = {"steps": 10, "protocol": {}, "lanes": lanes, "across": crossed(lanes, "min-max")}
    words = words_of(print_study, scores, [])
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in words.splitlines()]
    assert ["env-0", "6", "10", "gamma=0.1"] in rows and ["env-1", "6", "8", "gamma=0.2"] in rows
    sentence = " ".join(words.split())
    assert "0.675 with one setting for all environments, 1.000 with the best of each" in sentence
    assert "sensitivity 0.325" in sentence


def test_a_report_brings_all_methods_to_one_scale():
    studies = [
        Source(name, [], [], [], None, {"lanes": on_environments([[value], [value]])})
        for name, value in (("bad", 0.0), ("good", 10.0))
    ]
    bad, good = tuning.methods_of(studies, "min-max")
    assert bad.values.tolist() == [[0.0]] * 2 and good.values.tolist() == [[1.0]] * 2


def test_methods_under_other_protocols_are_not_brought_to_one_scale(monkeypatch):
    """Trap: a sweep with greedy policies and one that acted at random half of the time were."""
    monkeypatch.setattr(tuning, "_has", lambda method: "")
    protocols = [{**PROTOCOL, "evaluation": how} for how in ("greedy", "epsilon 0.5", "greedy")]
    scores = {"steps": 10, "lanes": on_environments(CROSSED), "across": None}
    scores["across"] = crossed(scores["lanes"], "cdf")
    lanes = [lane_of("x", [1.0])._replace(protocol=p, fields={"time_limit": ""}) for p in protocols]
    studies = [Source(name, [], [x], [], None, scores) for name, x in zip("abc", lanes)]
    sections = tuning.tuned_for_all(studies)
    tables = [section.blocks[0] for section in sections]
    assert [[row[0] for row in table.rows] for table in tables] == [["a", "c"], ["b"]]
    for table, how in zip(tables, ("greedy", "epsilon 0.5")):
        assert "4 seeds of every setting" in table.caption and f"{how} evaluation" in table.caption


def test_a_sweep_counts_all_that_it_tried_and_names_who_diverged():
    """Trap: those that were cut, or diverged on all seeds, were in no sentence."""
    lanes = [
        {"setting": {"gamma": gamma}, "cut": cut, "diverged": diverged}
        for gamma, cut, diverged in (
            (0.1, False, {}),
            (0.2, True, {"3": 10}),
            (0.3, False, {"3": 10, "4": 20}),
        )
    ]
    sweep = Sweep("a", ["gamma"], [{"gamma": 0.1}])
    study = Source("a", [], [], [], sweep, {"lanes": lanes})
    assert reporting._tried(study) == "3 settings, 1 of them cut before, 1 diverged on all seeds"
    assert reporting._tried(study._replace(scores=None)) == "1 settings"
    (line,) = reporting._unseen(study)  # of the third a lane shows it
    assert line == "a gamma=0.2: seed 3 diverged (a loss, value or score is not finite)."
    across = reporting._unseen(study._replace(scores={"lanes": lanes, "across": {"scale": "cdf"}}))
    assert across[1].startswith("a gamma=0.3: seeds 3, 4 diverged")


def test_what_is_not_tuned_stays_at_the_best_for_all_and_95_percent_are_enough():
    settings = [{"rate": rate} for rate in range(3)]
    values = np.array([[1.0, 0.96, 0.0], [0.0, 0.96, 1.0]])
    assert cross.effective_dimensionality(values, settings).dimension == 0
    values[:, 1] = 0.94
    assert cross.effective_dimensionality(values, settings).dimension == 1


def test_a_plane_has_sensitivity_to_the_right_and_the_best_of_each_upwards(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(plane, "save", lambda figure, path: figures.append(figure))
    ends = Interval(0.9, 0.8, 1.0), Interval(0.6, 0.5, 0.7), Interval(0.3, 0.2, 0.4)
    tuned = cross.Tuned(*ends, 0, np.zeros(2), np.ones(1))
    plane.draw_plane(tmp_path / "plane.png", {"a": tuned}, "", "cdf")
    (axes,) = figures[0].axes
    point = axes.get_lines()[0]
    assert (point.get_xdata()[0], point.get_ydata()[0]) == (0.3, 0.9)
    flat, upright = (lines.get_segments()[0].tolist() for lines in axes.collections)
    assert flat == [[0.2, 0.9], [0.4, 0.9]] and upright == [[0.3, 0.8], [0.3, 1.0]]


def cell_of(seeds, cut=0, **protocol):
    """Reference data that nobody measured."""
    curve = np.ones((1, len(seeds), 1), np.float32)
    arrays = {name: curve for name in ("eval_return", "train_return", "eval_value", "loss")}
    config = {"env": "CartPole-v1"}
    document = {"preset": "a", "steps": 10, "seeds": seeds, "config": config, "lanes": [{}]}
    meta = {"seconds": 1.0, "command": "a", "sessions": [{"command": "a"}]}
    lane = {"per_seed": [1.0] * len(seeds), "episodes_cut": cut}
    says = {"environment": "CartPole-v1", "gymnax": "0.0.9", "env_kwargs": [], **protocol}
    scores = {"steps": 10, "protocol": says, "lanes": [lane]}
    return Run(Path("a"), document, meta, scores, {"steps": np.array([10]), **arrays}, True)


def test_seeds_of_another_protocol_do_not_join_reference_results():
    joined = kept.joined(cell_of([0, 1], cut=1), cell_of([2], cut=2))
    assert joined.scores["lanes"][0]["episodes_cut"] == 3
    for other in ({"gymnax": "0.0.8"}, {"sticky_actions": 0.1}):
        with pytest.raises(ConfigError, match="measured under another protocol"):
            kept.joined(cell_of([0, 1]), cell_of([2], **other))


@pytest.mark.usefixtures("undrawn")
def test_scores_under_several_protocols_are_not_pooled_over_environments(tmp_path):
    names, numbers = ("dqn-asterix", "dqn-breakout"), ({}, {"eval_epsilon": 0.1})
    runs = [
        make_preset_run(tmp_path / name, name, settings=[setting])
        for name, setting in zip(names, numbers)
    ]
    _, text = report(tmp_path, *runs)
    assert "Final scores pooled over environments" not in text
    assert "Final scores by environment" not in text


def test_seeds_that_diverged_in_any_part_are_counted(tmp_path):
    for part, gone in enumerate(([(0, 1)], [(0, 2), (0, 3)])):
        run = make_run(tmp_path / "parts" / str(part), 1.0 + part, diverged=gone)
        document, scores = files.read_document(run), files.read_json(run / files.SCORES)
        seeds = [seed + 100 * part for seed in document["seeds"]]
        files.write_document(run / files.CONFIG, {**document, "seeds": seeds})
        scores["lanes"][0]["episodes_cut"] = 1 + part
        files.write_json(run / files.SCORES, scores)
    files.write_json(tmp_path / "study.json", {})
    (lane,) = read(tmp_path, "a").lanes
    assert lane.diverged == [1, 102, 103] and lane.episodes_cut == 3
    np.testing.assert_array_equal(lane.curves["eval_return"][0, :, -1], lane.scores)


@pytest.mark.usefixtures("undrawn")
def test_a_table_of_diagnostics_has_the_mean_at_the_last_evaluation():
    lanes = [
        lane_of(label, SKEWED, **{INSIDE + "srank": values[None, :, None] * np.array([7.0, 1.0])})
        for label, values in (("a", SKEWED), ("b", SKEWED + 1.0))
    ]
    table, _ = diagnosed.section("t", lanes)[0].blocks
    name, first, second = table.rows[0]
    assert table.columns == ["", "a", "b"] and name == "srank"
    assert [float(cell.text) for cell in (first, second)] == [21.8, 22.8]


def test_of_many_lanes_the_best_is_told_apart_from_the_second():
    """From each of the others where they are few."""
    lanes = [lane_of(f"run-{level}", np.arange(4.0) + level) for level in (3, 9, 1, 5, 7, 2, 4, 6)]
    assert sentences.told_apart(lanes).count(" from run-") == 7
    words = sentences.told_apart([*lanes, lane_of("run-8", np.arange(4.0) + 8)])
    assert "to tell run-9, of" in words and words.count(" from run-") == 1
    assert " from run-8. Means" in words


@pytest.mark.parametrize(
    ("suite", "cell", "numbers"),
    [
        ("minatar-original", "revisited-dqn-asterix", [(2_000_000, 30), (10_000_000, 10)]),
        ("minatar-original", "rainbow-seaquest", [(10_000_000, 10)]),
        ("minatar", "pqn-asterix", [("70 to 72", 10_000_000, 3)]),
        ("control", "dqn-acrobot", [("-76.6", 100_000, 1)]),
        ("control", "dqn-mountaincar", [("-100.8", 120_000, 1)]),
    ],
)
def test_published_scores_have_the_steps_and_seeds_of_their_sources(suite, cell, numbers):
    """Written down twice."""
    found = [(one.score, one.steps, one.seeds) for one in PUBLISHED[suite][cell]]
    assert [one[-len(number) :] for one, number in zip(found, numbers)] == numbers


def test_every_statistic_in_a_terminal_is_in_its_column():
    lane = score_seeds(SKEWED, range(5), np.full(5, -1))
    lane |= {"episodes_per_seed": 3, "episodes_cut": 7}
    scores = {"steps": 10, "protocol": {}, "lanes": [lane]}
    lines = words_of(print_scores, scores, [""]).splitlines()
    (names,) = ([cell.strip() for cell in x.split("┃")[1:-1]] for x in lines if "┃" in x)
    (values,) = ([cell.strip() for cell in x.split("│")[1:-1]] for x in lines if "│" in x)
    columns = dict(zip(names, values))
    assert [columns[name] for name in ("IQM", "worst seed", "mean", "median", "cut")] == [
        *("3", "0", "21.8", "2", "7")
    ]
    low, high = lane["iqm_95"]
    assert columns["95% interval"] == f"{low:.4g} to {high:.4g}"
