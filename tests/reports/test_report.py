"""Reports of invented runs: what they say, what they leave out, what they refuse."""

import re
import shutil
import struct
import subprocess
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
from invented import PROTOCOL, SEEDS, TIMES, make_preset_run, make_run, report, row

from jaxq.errors import ConfigError
from jaxq.reports import pages, sentences, swept, tables
from jaxq.reports import sources as lanes
from jaxq.reports.across import _without_what_all_have
from jaxq.reports.report import write_report
from jaxq.runs import files as results
from jaxq.scoring.power import seeds_needed
from jaxq.scoring.selection import chosen

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)


def test_what_two_runs_say(tmp_path):
    runs = [make_run(tmp_path / "low"), make_run(tmp_path / "high", 9.0, backup="double")]
    page, text = report(tmp_path, *runs)
    scores = results.read_json(runs[1] / results.SCORES)["lanes"][0]["per_seed"]
    cells = row(text, "high")
    assert cells[0] == "6"
    assert cells[1].startswith("**") and cells[2].startswith(f"{np.mean(scores):.2f} (")
    assert cells[3] == f"{np.median(scores):.4g}"
    assert cells[4] == f"{np.min(scores):.4g}" and "range" in cells[5]
    assert "| high | 1.00 (1.00 to 1.00) |  |" in text  # P(high > low)
    assert "| low | greedy |" in text and "| high | double |" in text
    assert page.count("data:image/png;base64,") == 3
    assert "python experiments/train.py" in page and "--batch 3" in page and "abc123" in page
    for caption in re.findall("<figcaption>(.*?)</figcaption>", page)[:5]:
        assert "6 seeds" in caption and "95% percentile bootstrap" in caption
        assert "CartPole-v1 (gymnax 1.0.1), 2 actions, no sticky actions" in caption


def test_how_many_seeds_would_tell_methods_apart(tmp_path, undrawn):
    runs = [make_run(tmp_path / "low"), make_run(tmp_path / "high", 9.0), make_run(tmp_path / "b")]
    _, text = report(tmp_path, *runs)
    scores = [results.read_json(r / results.SCORES)["lanes"][0]["per_seed"] for r in runs]
    needed = seeds_needed(*scores[:2])
    sentence = next(line for line in text.splitlines() if "Welch" in line)
    assert "to tell high, of the highest IQM, from another at 5% and with a power of" in sentence
    assert f"80%: {needed} from low, {needed} from b. Means and" in sentence
    assert text.index("Probability of improvement") < text.index("Welch")
    _, text = report(tmp_path, runs[0], runs[2])  # the same scores
    assert "80%: over ten million, or none, from b (means next to equal)." in text


def test_protocols_stay_apart(tmp_path, undrawn):
    runs = [
        make_run(tmp_path / "a"),
        make_run(tmp_path / "b", protocol={"sticky_actions": 0.1}),
        make_run(tmp_path / "c", settings=[{"eval_epsilon": 0.1}]),
        make_run(tmp_path / "d", env_kwargs=("size=10",)),
    ]
    page, _ = report(tmp_path, *runs)
    assert page.count("<h2>CartPole-v1, ") == 4 and "Probability of improvement" not in page
    assert "evaluation epsilon 0.1" in page and "env_kwargs size=10" in page
    assert "env_kwargs default" in page


def test_a_run_that_acted_has_no_dataset(tmp_path, undrawn):
    runs = [make_run(tmp_path / "a"), make_run(tmp_path / "b", protocol={"dataset": "0123abcd"})]
    page, _ = report(tmp_path, *runs)
    assert "<h2>CartPole-v1, dataset none" in page and "<h2>CartPole-v1, dataset 0123abcd" in page


def test_lanes_of_one_run_may_be_under_several_protocols(tmp_path, undrawn):
    settings = [{"env_params": {"length": length}} for length in (0.5, 1.0)]
    page, _ = report(tmp_path, make_run(tmp_path / "a", settings=settings))
    assert "length 0.5" in page and "length 1" in page
    assert page.count("<h2>CartPole-v1, ") == 2 and "Probability of improvement" not in page


def test_a_protocol_of_an_earlier_version_is_completed(tmp_path):
    run = make_run(tmp_path / "a", env_kwargs=("size=10",), settings=[{"eval_epsilon": 0.1}])
    scores = results.read_scores(run)
    (wanted,) = (lane.protocol for lane in lanes.read(run, "a").lanes)
    old = {**PROTOCOL, "gymnax": "1.0.1", "evaluation": "epsilon-greedy"}
    results.write_json(run / results.SCORES, {**scores, "protocol": old})
    (lane,) = lanes.read(run, "a").lanes
    assert lane.protocol == wanted and wanted["env_kwargs"] == ["size=10"]


def test_the_page_is_alone_and_takes_everything_for_text(tmp_path):
    evil = "<script>alert(1)</script>$&\"'|_x"
    run = make_run(tmp_path / "x", preset=evil, protocol={"environment": evil})
    run = run.rename(tmp_path / "<b>&$x$")
    (run / "play.gif").write_bytes(b"GIF89a")
    page, text = report(tmp_path, run)
    assert "<script" not in page and "<b>" not in page and "<script" not in text.replace("\\<", "")
    assert "data:image/gif;base64,R0lGODlh" in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert not re.search(r"https?:|url\(|@import|<link|<iframe", page)


def test_members_and_runs_that_are_left_out(tmp_path):
    runs = [
        make_run(tmp_path / "a", diverged=[(0, 2), (0, 4)]),
        make_run(tmp_path / "b", diverged=[(0, seed) for seed in range(SEEDS)]),
        make_run(tmp_path / "c", complete=False),
    ]
    _, text = report(tmp_path, *runs)
    assert "a: seeds 2, 4 diverged" in text and "b: seeds 0, 1, 2, 3, 4, 5 diverged" in text
    assert "is incomplete (step 4,000 of 4,000)" in text
    assert row(text, "a")[0] == "4 of 6" and "| b |" not in text and "| c |" not in text
    scores = np.array(results.read_json(runs[0] / results.SCORES)["lanes"][0]["per_seed"])
    assert row(text, "a")[2].startswith(f"{np.delete(scores, [2, 4]).mean():.3f} (")


def test_lanes_of_a_run_show_their_sensitivity(tmp_path):
    settings = [{"learning_rate": rate, "gamma": g} for rate in (1e-4, 1e-3) for g in (0.5, 0.9)]
    page, text = report(tmp_path, make_run(tmp_path / "a", settings=settings))
    assert "a learning\\_rate=0.0001 gamma=0.5" in text
    assert "<h2>Sensitivity of a</h2>" in page
    assert page.count("data:image/png;base64,") == 5  # with curves, seeds, profiles and heat map


def test_the_choice_of_a_setting_is_as_sure_as_its_seeds(tmp_path, undrawn):
    settings = [{"gamma": gamma} for gamma in (0.1, 0.5, 0.9)]
    run = make_run(tmp_path / "a", 2.0, settings=settings)
    (source,) = lanes.read_all([run])
    sure = dict(
        zip([lane.label for lane in source.lanes], chosen([x.scores for x in source.lanes]))
    )
    _, text = report(tmp_path, run)
    sentence = next(line for line in text.splitlines() if "How sure" in line)
    for label, probability in sure.items():
        assert (f"{label} in {probability:.0%}" in sentence) == (probability >= 0.05)
    assert "no other in 5% or more" in sentence
    gone = [(2, seed) for seed in range(SEEDS - 1)]
    _, text = report(tmp_path, make_run(tmp_path / "b", 2.0, settings=settings, diverged=gone))
    (sentence,) = (line for line in text.splitlines() if "How sure" in line)
    assert "b gamma=0.9" not in sentence  # what is left of it is the best
    params = [{"env_params": {"length": length}} for length in (0.5, 1.0)]
    _, text = report(tmp_path, make_run(tmp_path / "c", settings=params))
    assert "How sure" not in text


def test_every_lane_has_curves_of_its_own(tmp_path):
    run = make_run(tmp_path / "a", settings=[{"gamma": 0.5}, {"gamma": 0.9}])
    (source,) = lanes.read_all([run])
    for lane in source.lanes:
        np.testing.assert_array_equal(lane.curves["eval_return"][0, :, -1], lane.scores)


def test_of_single_seeds_no_choice_is_sure():
    lane = lambda value: SimpleNamespace(  # noqa: E731
        label=f"{value}", scores=np.array([value]), diverged=[], protocol={}
    )
    assert sentences.choice([lane(1.0), lane(2.0)]).endswith("has a single seed.")


def test_a_sweep_is_its_parts_its_table_and_its_winner(tmp_path):
    sweep = tmp_path / "sweep"
    make_run(sweep / "parts" / "0", 2.0, settings=[{"gamma": 0.5}, {"gamma": 0.9}])
    make_run(sweep / "parts" / "1", 5.0, widths=(8, 8))
    make_run(sweep / "winner", 7.0)
    (sweep / "parts" / "2").mkdir()
    results.write_json(sweep / "study.json", {})
    rows = ["0,0.5,relu,1,0,2,6,0", "1,inf,elu,2,1,3,6,1", "2,0.9,elu,nan,nan,nan,6,6"]
    header = "lane,gamma,shape,iqm,low,high,num_seeds,num_diverged"
    (sweep / "lanes.csv").write_text("\n".join([header, *rows]) + "\n")
    page, text = report(tmp_path, sweep)
    assert "sweep widths=120x84 gamma=0.5" in text and "sweep widths=8x8 gamma=0.99" in text
    assert "| sweep winner | 6 |" in text and "parts/2 holds no config" in text
    sentence = next(line for line in text.splitlines() if "How sure" in line)
    assert "sweep winner in" not in sentence
    assert "The best of 2 settings" in page and "winner&#x27;s row" in page
    table = swept.read_table(sweep / "lanes.csv", "sweep")
    assert table.swept == ["gamma", "shape"] and table.rows[1]["gamma"] == np.inf
    assert [row["num_seeds"] for row in table.rows] == [6, 5]


def make_sweep(path, kind, **scores):
    """A sweep of two settings, the second one of which a search of some ``kind`` may have cut."""
    make_run(path / "parts" / "0", 2.0, settings=[{"gamma": 0.5}, {"gamma": 0.9}])
    (path / "parts" / ".ipynb_checkpoints").mkdir()  # as somebody leaves who looks at the files
    results.write_json(path / "study.json", {"search": {"kind": kind}})
    header, rows = "lane,gamma,iqm,low,high,num_seeds", ["0,0.5,1,0,2,6", "1,0.9,7,6,8,6"]
    (path / "lanes.csv").write_text("\n".join([header, *rows]) + "\n")
    results.write_json(path / "scores.json", scores)
    return path


def test_settings_that_were_cut_have_no_final_score(tmp_path):
    ends = [{"lane": 0, "cut": False}, {"lane": 1, "cut": True}]
    sweep = make_sweep(tmp_path / "sweep", "halving", lanes=ends)
    assert [row["gamma"] for row in lanes.read(sweep, "sweep").sweep.rows] == [0.5]


def test_a_population_whose_numbers_moved_has_no_sensitivity(tmp_path):
    sweep = make_sweep(tmp_path / "sweep", "pbt", lanes=[])
    assert lanes.read(sweep, "sweep").sweep is None
    _, text = report(tmp_path, sweep)
    assert "Sensitivity" not in text


def test_a_damaged_sweep_is_one_sentence(tmp_path):
    sweep = make_sweep(tmp_path / "sweep", "fixed", lanes=[])
    (sweep / "study.json").write_text("{")
    with pytest.raises(ConfigError, match=r"sweep=.* has files that cannot be read"):
        lanes.read(sweep, "sweep")


def test_a_setting_that_was_tried_twice_counts_once(tmp_path):
    sweep = tmp_path / "sweep"
    for part, gamma in enumerate((0.5, 0.9, 0.5)):
        make_run(sweep / "parts" / str(part), 2.0, settings=[{"gamma": gamma}])
    results.write_json(sweep / "study.json", {})
    found = lanes.read(sweep, "sweep").lanes
    assert [len(lane.scores) for lane in found] == [SEEDS, SEEDS]


def test_settings_that_six_digits_do_not_tell_apart_are_two(tmp_path):
    settings = [{"gamma": 0.98765431}, {"gamma": 0.98765432}]
    run = make_run(tmp_path / "run", settings=settings)
    labels = [lane.label for lane in lanes.read(run, "run").lanes]
    assert labels == ["run gamma=0.98765431", "run gamma=0.98765432"]


def test_normalised_scores_within_and_across_environments(tmp_path):
    runs = [
        make_preset_run(tmp_path / name, name, level)
        for method, level in (("dqn", 2.0), ("rainbow", 8.0))
        for name in (f"{method}-asterix", f"{method}-breakout", f"{method}-freeway")
    ]
    page, text = report(tmp_path, *runs)
    assert "<h2>Across environments, original protocol</h2>" in page
    across = text[text.index("## Across environments") :]
    assert row(across, "rainbow")[:2] == ["Asterix, Breakout, Freeway", "6 seeds"]
    assert "10.1 is 1, which is the DQN of Young" in text and "not pooled" not in text
    assert "every environment has its own policy for time limits" in text
    anchors = ((0.44, 16.8), (0.56, 10.1), (0.2, 50.2))
    wanted = [
        (np.mean(results.read_json(run / results.SCORES)["lanes"][0]["per_seed"]) - zero)
        / (one - zero)
        for run, (zero, one) in zip(runs[3:], anchors)
    ]
    assert row(across, "rainbow")[3].startswith(f"{np.mean(wanted):.2f} (")


@pytest.mark.parametrize(
    "labels, names, note",
    [
        (["qrc steps=4", "stream-q steps=4"], ["qrc", "stream-q"], "all with steps=4"),
        (["qrc steps=4", "qrc steps=5"], ["qrc steps=4", "qrc steps=5"], ""),
        (["my method", "your method"], ["my method", "your method"], ""),
        (["qrc steps=4"], ["qrc steps=4"], ""),
    ],
)
def test_what_all_methods_of_a_figure_have_is_said_once(labels, names, note):
    assert _without_what_all_have(labels) == (names, note)


def test_methods_that_share_no_environment_stand_in_one_table_all_the_same(tmp_path, undrawn):
    names = ("dqn-asterix", "c51-breakout")
    page, text = report(tmp_path, *(make_preset_run(tmp_path / name, name) for name in names))
    together = text[text.index("## Environments side by side") :]
    rows = [row(together, name)[:3] for name in names]
    environments = ["Asterix-MinAtar-original", "Breakout-MinAtar-original"]
    assert rows == [[environment, f"{SEEDS}", f"{1_000 * TIMES:,}"] for environment in environments]
    assert "<h3>Learning curves" in page[page.index("<h2>Environments side by side") :]
    assert "Not on several environments" not in text


def test_what_is_not_pooled_is_said_with_the_reason(tmp_path, undrawn):
    runs = [
        make_preset_run(tmp_path / "a", "dqn-asterix"),
        make_preset_run(tmp_path / "b", "dqn-breakout", backup="double"),
        make_preset_run(tmp_path / "c", "c51-asterix"),
        make_preset_run(tmp_path / "d", "c51-asterix", 2.0),
        make_preset_run(tmp_path / "e", "c51-breakout"),
        make_preset_run(tmp_path / "f", "dqn-breakout", env_kwargs=("size=10",)),
    ]
    page, text = report(tmp_path, *runs)
    assert "<h2>Across environments, original protocol</h2>" in page
    assert (
        "dqn: not pooled, because no lane on another environment than Asterix-MinAtar-original is "
        "the same method; the nearest, dqn-breakout backup=double, differs in backup (greedy "
        "here, double there)"
    ) in text
    assert "c51: not pooled, because several lanes on one environment" in text and "(c, d)" in text
    anchors = "f: not pooled, because the anchors of Breakout-MinAtar-original are not those with "
    assert f"{anchors}env\\_kwargs size=10." in text
    assert "Final scores pooled over environments" not in text


def test_what_is_refused(tmp_path):
    run = make_run(tmp_path / "a")
    page = tmp_path / "report.html"
    with pytest.raises(ConfigError, match=r"holds no config\.json"):
        write_report([tmp_path], page)
    with pytest.raises(ConfigError, match=rf"is not a directory; {run}, where this file lies, is"):
        write_report([run / "config.json"], page)
    with pytest.raises(ConfigError, match="nowhere is not a directory; a run directory is accept"):
        write_report([tmp_path / "nowhere"], page)
    with pytest.raises(ConfigError, match=r"must end in \.html"):
        write_report([run], tmp_path / "report.md")
    (tmp_path / "notes.md").write_text("# Notes\n")
    with pytest.raises(ConfigError, match=r"would replace .*notes\.md, which is no report"):
        write_report([run], tmp_path / "notes.html")
    with pytest.raises(ConfigError, match="runs is empty"):
        write_report([], page)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        write_report([run], tmp_path / "file" / "report.html")
    scores = results.read_json(run / results.SCORES)
    results.write_json(run / results.SCORES, {**scores, "lanes": scores["lanes"] * 2})
    with pytest.raises(ConfigError, match="they are not of 1 lanes and 6 seeds"):
        write_report([run], page)
    meta = (run / results.META).read_text()
    (run / results.META).write_text("null")
    with pytest.raises(ConfigError, match=r"meta\.json holds a NoneType, and no names"):
        write_report([run], page)
    (run / results.META).write_text(meta)
    (run / results.METRICS).write_bytes(b"PK")
    with pytest.raises(ConfigError, match="cannot be read"):
        write_report([run], page)
    (run / results.METRICS).write_text("steps 1 2 3")
    with pytest.raises(ConfigError, match="it is no file of several arrays"):
        write_report([run], page)
    (run / results.METRICS).unlink()
    with pytest.raises(ConfigError, match="no finished evaluation"):
        write_report([run], page)


def test_names_of_runs_tell_them_apart(tmp_path):
    runs = [make_run(tmp_path / parent / "x") for parent in ("a", "b")]
    studies = lanes.read_all([*runs, runs[0]])
    assert [study.name for study in studies] == ["a/x", "b/x"]


def test_markdown_is_escaped():
    table = pages.Table("t", "a*b", ["x|y"], [["<i>"]])
    text = pages.to_markdown("t", "s", [pages.Section("#1", [table])])
    assert "## \\#1" in text and "| x\\|y |" in text and "| \\<i\\> |" in text and "a\\*b" in text


@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")
def test_a_browser_shows_the_page(tmp_path):
    write_report([make_run(tmp_path / "a"), make_run(tmp_path / "b", 3.0)], tmp_path / "r.html")
    quiet = "--disable-gpu --disable-quic --no-first-run --disable-background-networking"
    options = f"--headless --no-sandbox {quiet} --disable-component-update --disable-sync".split()
    start = [CHROMIUM, *options, f"--user-data-dir={tmp_path / 'profile'}"]
    page = (tmp_path / "r.html").as_uri()

    def run(*arguments):
        done = subprocess.run([*start, *arguments, page], capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    document = run("--dump-dom")
    assert document.count("<table>") == 4 and document.count("<figcaption>") == 7
    picture = tmp_path / "page.png"
    run("--window-size=400,900", f"--screenshot={picture}")
    width, height, pixels = _pixels(picture.read_bytes())
    assert (width, height) == (400, 900) and len(set(pixels)) > 50


def _pixels(data):
    """Width, height and the bytes of a PNG."""
    assert data.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", data[16:24])
    place, parts = 8, []
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        if data[place + 4 : place + 8] == b"IDAT":
            parts.append(data[place + 8 : place + 8 + length])
        place += length + 12
    return width, height, zlib.decompress(b"".join(parts))


def test_of_two_that_are_compared_both_intervals_hold_their_points():
    random = np.random.default_rng(0)
    scores = {"a": random.normal(size=9), "b": random.normal(1.0, 1.0, 9)}
    (_, _, above), (_, below, _) = tables.improvement(scores, "").rows
    for cell in (above, below):
        low, high = map(float, cell.ends)
        assert low <= float(cell.text) <= high and low < high
