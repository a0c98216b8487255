"""Figures of reports: which there are, what they show, and the files that they become."""

import pytest
from invented import make_run

from jaxq.errors import ConfigError
from jaxq.reports.pages import slugs
from jaxq.reports.report import write_report

BEGINNINGS = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}


@pytest.mark.parametrize("kind", BEGINNINGS)
def test_figures_are_files_by_their_titles(kind, tmp_path):
    run = make_run(tmp_path / "a", settings=[{"gamma": 0.5}, {"gamma": 0.9}])
    folder = write_report([run], tmp_path / "my.report.html", kind=kind)[-1]
    assert folder == tmp_path / "my.report_figures"
    names = {path.name for path in folder.iterdir()}
    wanted = {"cartpole-v1-learning-curves", "sensitivity-of-a-each-field-alone"}
    assert {f"{name}.{kind}" for name in wanted} <= names
    assert all(path.read_bytes().startswith(BEGINNINGS[kind]) for path in folder.iterdir())
    page = (tmp_path / "my.report.html").read_text()
    assert page.count("data:image/png;base64,") == len(names)


def test_a_format_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="format=jpg does not exist; did you mean png"):
        write_report([], tmp_path / "report.html", kind="jpg")


def test_names_of_files_differ():
    assert slugs(["A b!", "a B", "a-b 2", "a b", "λ"]) == [
        "a-b",
        "a-b-2",
        "a-b-2-2",
        "a-b-3",
        "untitled",
    ]
