"""Tables for a paper: what they say, that LaTeX takes them, and that text stays text."""

import shutil
import subprocess
from itertools import permutations

import numpy as np
import pytest
from invented import make_preset_run, make_run

from jaxq.errors import ConfigError
from jaxq.reports import latex
from jaxq.reports.pages import Entry, Printed, Section, Table
from jaxq.reports.report import write_report
from jaxq.reports.tables import alike, near_best
from jaxq.runs import files as results
from jaxq.scoring import stats

pytestmark = pytest.mark.usefixtures("undrawn")

COMPILER = next(filter(None, map(shutil.which, ("tectonic", "pdflatex"))), "")
EVIL = r"a_b & 50% #1 $x$ ~^\{y} [z] --k <p|q> λ"


def tex(tmp_path, *runs, name="report", **options):
    page = tmp_path / f"{name}.html"
    assert write_report(runs, page, latex=True, **options)[-1] == page.with_suffix(".tex")
    return page.with_suffix(".tex").read_text()


def line(text, name):
    """The cells of the first row of that name."""
    found = next(line for line in text.splitlines() if line.startswith(f"{name} & "))
    return found.removesuffix(r" \\").split(" & ")[1:]


def test_what_a_paper_needs_of_two_runs(tmp_path):
    runs = [make_run(tmp_path / name, level) for name, level in (("low", 1.0), ("high", 9.0))]
    text = tex(tmp_path, *runs)
    scores = np.array(results.read_json(runs[1] / results.SCORES)["lanes"][0]["per_seed"])
    cells = line(text, "high")
    assert len(cells) == 2  # IQM and mean; seeds and steps, which lanes share, are in the caption
    for cell, statistic in zip(cells, (stats.pooled_iqm, stats.mean)):
        point, low, high = stats.bootstrap(scores, statistic)
        assert f"{point:.2f}" in cell and f"[{low:.2f}, {high:.2f}]" in cell
    assert cells[0].startswith(r"\textbf{") and r"\textbf" not in "".join(line(text, "low"))
    for words in ("6 seeds each", "95\\% percentile bootstrap", "4,000 environment steps a seed"):
        assert words in text
    assert "Protocol: CartPole-{}v1 (gymnax 1.0.1), 2 actions, no sticky actions" in text
    assert text.startswith("% Tables of jaxq") and "experiments/report.py " in text.split("\n")[1]
    assert r"\usepackage{booktabs,graphicx}" in text and text.count(r"\begin{table}") == 1


def test_an_interval_that_overlaps_that_of_the_best_is_bold(tmp_path):
    near = stats.Interval(8.0, 6.5, 9.0)
    intervals = [stats.Interval(9.0, 7.0, 11.0), None, near, stats.Interval(6.0, 5.0, 6.9)]
    assert near_best(intervals) == [True, False, True, False]
    assert near_best(intervals[:2]) == [False, False]  # nothing to compare with


def test_which_are_bold_does_not_depend_on_their_order():
    """Trap: of those whose IQM is the same, the first one's interval decided."""
    wide, narrow = stats.Interval(9.0, 7.0, 9.0), stats.Interval(9.0, 9.0, 9.0)
    low, single = stats.Interval(8.0, 6.0, 8.5), stats.Interval(9.0, np.nan, np.nan)
    for order in permutations((wide, narrow, low)):
        assert near_best(order) == [True] * 3
    for order in permutations((narrow, single, low)):
        assert near_best(order) == [interval is not low for interval in order]


def test_numbers_of_a_cell_have_as_many_digits():
    assert alike([11.6, 11.149, 12.02]) == ["11.60", "11.15", "12.02"]
    assert alike([500.0, 500.0, 500.0]) == ["500", "500", "500"]
    assert alike([-123456.7, -1.0, 0.5]) == ["-123457", "-1", "0"]
    assert alike([10.0, -0.001, 0.25]) == ["10.00", "0.00", "0.25"]
    assert alike([0.0, 0.0, 0.0]) == ["0", "0", "0"] and alike([np.nan] * 2) == ["nan", "nan"]
    assert alike([2e8, 1e-9, -0.0]) == ["2e+08", "1e-09", "-0"]
    ties = [0.954296, 0.94375, 0.961328]  # of which one is rounded as the README rounds it
    assert alike(np.array(ties)) == [f"{value:.4g}" for value in ties]


def test_diverged_seeds_are_counted_beside_the_scores(tmp_path):
    some = make_run(tmp_path / "some", diverged=[(0, 1), (0, 2)])
    none = make_run(tmp_path / "none", 2.0, diverged=[(0, seed) for seed in range(6)])
    text = tex(tmp_path, make_run(tmp_path / "all"), some, none)
    assert line(text, "some")[2] == "4 of 6" and line(text, "all")[2] == "6"
    assert "2 seeds that diverged are left out. All seeds diverged of none." in text


def test_methods_stand_beside_each_other_on_all_environments(tmp_path):
    names = "dqn-asterix dqn-breakout rainbow-asterix rainbow-breakout c51-asterix dqn-freeway"
    names = names.split()
    runs = [make_preset_run(tmp_path / name, name, len(name)) for name in names]
    text = tex(tmp_path, *runs)
    assert text.count(r"\begin{table}") == 5  # three environments, beside each other, pooled
    wide = text[text.index("tab:final-scores-by-environment") :]
    assert "method & Asterix-{}MinAtar-{}original & Breakout-{}MinAtar-{}original" in wide
    assert len(line(wide, "dqn")) == 3 and line(wide, "rainbow")[2] == ""
    assert "c51 & " not in wide and "or several times on one: c51." in text
    markdown = (tmp_path / "report.md").read_text()
    assert "| method | Asterix-MinAtar-original | Breakout-MinAtar-original | Freew" in markdown
    number = line(wide, "rainbow")[0].split("}")[0].removeprefix(r"\textbf{")
    assert f"| rainbow | **{number}** (" in markdown  # the same data
    assert "What is empty was not trained" in text
    pooled = text[text.index("tab:normalised-scores-across") :]
    assert line(pooled, "dqn")[0] == "Asterix, Breakout, Freeway"  # what each is pooled over
    assert line(pooled, "rainbow")[0] == "Asterix, Breakout"
    text = tex(tmp_path, *runs[:4])
    assert "Environments: Asterix, Breakout." in text and "& environments &" not in text


def test_a_table_of_one_environment_is_not_repeated(tmp_path):
    assert "by environment" not in tex(tmp_path, make_run(tmp_path / "a"), make_run(tmp_path / "b"))


def test_numbers_and_text():
    cells = ["-1.2e+05", Entry("-5", "3 cut", ends=("-7.5", "1e+04"), best=True), "8 of 10", "nan"]
    table = Table("t", "", ["", *"abcd"], [[EVIL, *cells]], Printed("abcd", "50%"))
    text = latex.to_latex("make\nit", [Section("s", [table])])
    row = next(line for line in text.splitlines() if line.endswith(r"\\") and "textbf" in line)
    assert row == (
        r"a\_b \& 50\% \#1 \$x\$ \textasciitilde{}\textasciicircum{}\textbackslash{}\{y\} {[}z]"
        r" -{}-{}k \textless{}p\textbar{}q\textgreater{} \ensuremath{\lambda}"
        r" & \ensuremath{-}1.2\ensuremath{\times10^{5}}"
        r" & \textbf{\ensuremath{-}5}\,{\scriptsize[\ensuremath{-}7.5, 1\ensuremath{\times10^{4}}]}"
        r"\,{\scriptsize(3 cut)} & 8 of 10 & nan \\"
    )
    assert r"\caption{50\%}" in text and "make it" in text.splitlines()[1]


def test_a_file_that_is_no_report_stays(tmp_path):
    run = make_run(tmp_path / "a")
    (tmp_path / "paper.tex").write_text(r"\documentclass{article}")
    with pytest.raises(ConfigError, match=r"would replace .*paper\.tex, which is no report"):
        write_report([run], tmp_path / "paper.html", latex=True)
    assert not (tmp_path / "paper.md").exists()
    write_report([run], tmp_path / "paper.html")  # which writes none
    tex(tmp_path, run)
    tex(tmp_path, run)  # its own it replaces


@pytest.mark.slow
@pytest.mark.skipif(not COMPILER, reason="needs tectonic or pdflatex")
def test_latex_takes_it(tmp_path):
    names = "dqn-asterix dqn-breakout rainbow-asterix rainbow-breakout".split()
    runs = [make_preset_run(tmp_path / name, name, len(name)) for name in names]
    runs.append(make_run(tmp_path / EVIL, 1e5, settings=[{"gamma": 0.5}, {"gamma": 0.9}]))
    tex(tmp_path, *runs, name="tables")
    paper = r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}\input{tables}"
    (tmp_path / "paper.tex").write_text(paper + r"\end{document}")
    options = ["-interaction=nonstopmode", "-halt-on-error"] if "pdflatex" in COMPILER else []
    done = subprocess.run(
        [COMPILER, *options, "paper.tex"], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "paper.pdf").read_bytes().startswith(b"%PDF")
    assert "Overfull" not in done.stdout
