"""What runs are called, and the order in which they stand."""

import re
from pathlib import Path

import pytest
from invented import make_preset_run, make_run, read

from jaxq.errors import ConfigError
from jaxq.reports.labels import names_of
from jaxq.reports.report import write_report

pytestmark = pytest.mark.usefixtures("undrawn")


def test_labels_and_order_are_those_of_the_command_line(tmp_path):
    runs = [
        make_run(tmp_path / name, level) for name, level in (("z", 1.0), ("a", 9.0), ("m", 3.0))
    ]
    page = tmp_path / "report.html"
    labels = [f"{tmp_path}/z=DQN", f"{tmp_path}/m=Double  DQN"]
    write_report(runs, page, labels=labels, latex=True)
    _, text = read(page)
    first = [re.match(r"\| ([\w ]+) \| 6 \|", line) for line in text.splitlines()]
    assert [match.group(1) for match in first if match] == ["DQN", "a", "Double DQN"]
    assert "| | DQN | a | Double DQN |" in text.replace("|  |", "| |")
    tex = page.with_suffix(".tex").read_text()
    assert tex.index("DQN & ") < tex.index("a & ") < tex.index("Double DQN & ")
    assert f"--label {tmp_path}/z=DQN" in tex.splitlines()[1]


def test_lanes_of_a_run_keep_what_tells_them_apart(tmp_path):
    run = make_run(tmp_path / "a", settings=[{"gamma": 0.5}, {"gamma": 0.9}])
    write_report([run], tmp_path / "r.html", labels=[f"{run}=DQN"])
    _, text = read(tmp_path / "r.html")
    assert "| DQN gamma=0.5 | 6 |" in text and "| DQN gamma=0.9 | 6 |" in text


def test_one_label_on_several_environments_is_one_method(tmp_path):
    names = "dqn-asterix dqn-breakout".split()
    runs = [make_preset_run(tmp_path / name, name, backup="double") for name in names]
    runs[0] = make_preset_run(tmp_path / "other", names[0])
    write_report(runs, tmp_path / "r.html", labels=[f"{run}=Ours" for run in runs])
    page, text = read(tmp_path / "r.html")
    assert text.count("| Ours |") >= 4 and "environments side by side" in page.lower()
    assert "one method by its label; configurations differ in backup" in text
    many = [make_preset_run(tmp_path / f"{x}{i}", x, n_step=i + 1) for x in names for i in range(9)]
    labels = [f"{run}={run.name[-1]}" for run in many]
    write_report(many, tmp_path / "many.html", labels=labels)
    assert "of at most 8 methods are drawn side by side" in read(tmp_path / "many.html")[1]
    twice = [runs[0], make_preset_run(tmp_path / "again", names[0], 3.0)]
    with pytest.raises(ConfigError, match="label=Ours names two lanes on Asterix-MinAtar-original"):
        write_report(twice, tmp_path / "r.html", labels=[f"{run}=Ours" for run in twice])


def test_a_label_is_split_where_its_run_ends():
    paths = [Path("runs/lr=0.1"), Path("runs/b")]
    names = names_of(paths, ["runs/lr=0.1=n=3"])
    assert names == [("n=3", True), ("b", False)]
    for label in ("runs/c=x", "runs/b", "runs/b=", "runs/b= ", "=x", ""):
        with pytest.raises(ConfigError, match="must be RUN=NAME"):
            names_of(paths, [label])
    with pytest.raises(ConfigError, match="label=runs/b=y is the second of its run"):
        names_of(paths, ["./runs/b=x", "runs/b=y"])
