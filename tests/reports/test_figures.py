"""Figures of reports: which there are, what they show, and the files that they become."""

import re

import pytest
from invented import SEEDS, TIMES, make_run

from jaxq.errors import ConfigError
from jaxq.reports.figures import of_lanes
from jaxq.reports.pages import slugs
from jaxq.reports.report import write_report
from jaxq.reports.sources import read_all
from jaxq.runs import files as results

BEGINNINGS = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}


@pytest.mark.parametrize("kind", BEGINNINGS)
def test_figures_are_files_by_their_titles(kind, tmp_path):
    run = make_run(tmp_path / "a")
    folder = write_report([run], tmp_path / "my.report.html", kind=kind)[-1]
    assert folder == tmp_path / "my.report_figures"
    names = {path.name for path in folder.iterdir()}
    wanted = ("learning-curves", "every-seed", "performance-profiles")
    assert names == {f"cartpole-v1-{name}.{kind}" for name in wanted}
    assert all(path.read_bytes().startswith(BEGINNINGS[kind]) for path in folder.iterdir())
    page = (tmp_path / "my.report.html").read_text()
    assert page.count("data:image/png;base64,") == len(names)


def test_a_format_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="format=jpg does not exist; did you mean png"):
        write_report([], tmp_path / "report.html", kind="jpg")


def titles(page):
    return re.findall("<h3>(.*?)</h3>", page.read_text())


def test_an_own_metric_is_a_figure(tmp_path, undrawn):
    runs = [make_run(tmp_path / "a", metrics=["churn", "my_norm"]), make_run(tmp_path / "b")]
    page = tmp_path / "report.html"
    write_report(runs, page)
    assert [title for title in titles(page) if "Metric" in title] == [
        "Metric churn",
        "Metric my_norm",
    ]
    assert "churn while learning of the lanes that have it: mean over seeds" in page.read_text()
    write_report(runs[1:], page)
    assert not any("Metric" in title for title in titles(page))


def test_diagnostics_have_a_section(tmp_path, undrawn):
    names = ["diagnostics/srank", "diagnostics/policy_churn"]
    runs = [make_run(tmp_path / "a", metrics=names), make_run(tmp_path / "b")]
    page = tmp_path / "report.html"
    write_report(runs, page)
    text = page.read_text()
    assert "Diagnostics, CartPole-v1" in text and not any(
        "Metric" in title for title in titles(page)
    )
    assert {"At the last evaluation", "While learning"} <= set(titles(page))
    assert "Of the lanes that have them." in text and "policy churn" in text
    write_report(runs[1:], page)
    assert "Diagnostics" not in page.read_text()


def test_of_many_lanes_an_own_metric_is_that_of_the_best(tmp_path, undrawn):
    settings = [{"gamma": lane / 10} for lane in range(10)]
    run = make_run(tmp_path / "a", settings=settings, metrics=["churn"])
    (source,) = read_all([run])
    pictures = {picture.title: picture for picture in of_lanes(source.lanes, "")}
    assert "of the 8 lanes of highest IQM" in pictures["Metric churn"].caption
    assert "Every seed" not in pictures  # there is a grid of small panels already


def test_seeds_that_two_parts_trained_have_the_metrics_of_both(tmp_path):
    sweep = tmp_path / "sweep"
    for part in range(2):
        run = make_run(sweep / "parts" / str(part), metrics=["churn", *["x"][:part]])
        document = results.read_document(run)
        seeds = [seed + 100 * part for seed in document["seeds"]]
        results.write_document(run / results.CONFIG, {**document, "seeds": seeds})
    results.write_json(sweep / "study.json", {})
    (source,) = read_all([sweep])
    (lane,) = source.lanes
    assert lane.curves["churn"].shape == (1, 2 * SEEDS, TIMES) and "x" not in lane.curves


def test_names_of_files_differ():
    assert slugs(["A b!", "a B", "a-b 2", "a b", "λ"]) == [
        "a-b",
        "a-b-2",
        "a-b-2-2",
        "a-b-3",
        "untitled",
    ]
