"""What runs say together: tables, figures and provenance, never across protocols."""

import json
import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxq.errors import ConfigError, unknown
from jaxq.reports import across, diagnosed, figures, pages, sentences, tables
from jaxq.reports.anchors import Own, Scale, read_anchors, scale_of
from jaxq.reports.latex import BEGINNING, to_latex
from jaxq.reports.pages import Gallery, Notes, Picture, Section
from jaxq.reports.published import beside_published
from jaxq.reports.reference import reference
from jaxq.reports.repeating import how_to_repeat
from jaxq.reports.sources import Lane, Source, read_all, source_of
from jaxq.reports.tuning import tuned_for_all
from jaxq.runs import files as results
from jaxq.scoring.protocol import DATASET, flat, protocol_words
from jaxq.scoring.scores import seed_words
from jaxq.settings import describe, differing, format_value

KINDS = ("png", "pdf", "svg")  # of figures that are files


def write_report(
    paths: Sequence[Path],
    out: Path,
    suite: str | None = None,
    *,
    latex: bool = False,
    anchors: Path | None = None,
    labels: Sequence[str] = (),
    kind: str | None = None,
) -> list[Path]:
    """Write what the runs in ``paths`` say to ``out`` and, as Markdown, beside it.

    Args:
      paths: run directories, and directories of sweeps.
      out: the HTML page; replaced if it exists.
      suite: beside them stand the reference results of this suite on the same environments;
        without runs, all of its results.
      anchors: a file of what counts as 0 and as 1 (see ``jaxq.reports.anchors``).
      labels: what runs are called in tables and legends, each ``RUN=NAME``; lanes of one label on
        several environments are one method.
      kind: figures are also written as files of this format, into ``OUT_figures``.
      latex: the tables that a paper has room for are also written as LaTeX.

    Returns:
      The paths of what was written beside the page.

    Raises:
      ConfigError: a path holds no run or no finished evaluation, ``out`` cannot be written, a
        file beside it is not of a report, or anchors or labels do not fit the runs.
    """
    if out.suffix != ".html":
        raise ConfigError(f"out={out} must end in .html.")
    if kind not in (None, *KINDS):
        raise unknown("format", kind, KINDS)
    beside = {out.with_suffix(".md"): "# Report on "}
    beside |= {out.with_suffix(".tex"): BEGINNING} if latex else {}
    for path, beginning in beside.items():
        if path.exists() and not path.read_text(errors="replace").startswith(beginning):
            raise ConfigError(
                f"out={out} would replace {path}, which is no report; choose another."
            )
    if suite and not paths:
        studies, title = [], f"Report on the reference results of {suite}"
    else:
        studies = read_all(paths, labels)
        title = f"Report on {', '.join(study.name for study in studies)}"
        title = title if len(title) <= 80 else f"Report on {len(studies)} runs"
    measured = _references(suite, studies) if suite else {}
    studies += measured.values()
    lanes = [lane for study in studies for lane in study.lanes]
    num_seeds = sum(len(lane.scores) for lane in lanes)
    summary = f"{_counted(len(lanes), 'lane')}, {_counted(num_seeds, 'trained agent')} in all"
    places = list(dict.fromkeys(lane.protocol["environment"] for lane in lanes))
    if len(places) == 1:
        summary += f", all on {places[0]}: nothing is pooled over environments"
    own = read_anchors(anchors, places) if anchors else None
    sections = sections_of(studies, own)
    if table := beside_published(suite, measured):
        sections.insert(-1, Section("Beside what others have published", [table]))
    texts = [pages.to_markdown(title, f"{summary}.", sections)]
    if latex:
        asked = {"--out": [out], "--reference": [suite], "--anchors": [anchors], "--format": [kind]}
        command = _command(paths, {**asked, "--label": labels})
        texts.append(to_latex(f"{command} --latex", sections))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        for path, text in zip(beside, texts):
            results.write_text(path, text)
        results.write_text(out, pages.to_html(title, f"{summary}.", sections))
        folder = out.with_name(f"{out.stem}_figures")
        if kind:
            figures.write_figures(folder, sections, kind)
    except OSError as error:
        raise ConfigError(f"out={out} cannot be written: {error.strerror or error}.") from error
    return [*beside, *([folder] if kind else [])]


def _command(paths: Sequence[Path], options: Mapping[str, Sequence]) -> str:
    """What makes the report again; an option without a value is left out."""
    words = ["python", "experiments/report.py", *paths]
    for option, values in options.items():
        words += [word for value in values if value for word in (option, value)]
    return shlex.join(map(str, words))


def _references(suite: str, studies: Sequence[Source]) -> dict[str, Source]:
    """The cells of a suite on environments that any of the studies has, or all of them."""
    environments = {run.document["config"]["env"] for study in studies for run in study.runs}
    mark = " (reference)" if studies else ""
    found = {
        name: source_of(cell, f"{name}{mark}", beside=bool(studies))
        for name, cell in reference(suite).items()
        if cell.document["config"]["env"] in environments or not studies
    }
    if not found:
        words = " and ".join(sorted(environments)) or "any environment"
        raise ConfigError(f"reference={suite} has no results on {words} yet.")
    return found


def sections_of(studies: Sequence[Source], own: Own | None = None) -> list[Section]:
    """The sections of a report.

    Args:
      own: anchors of a file, which go before those that are known.
    """

    def scaled(lane: Lane) -> Scale | str:
        return scale_of(lane.protocol, own)

    lanes = [lane for study in studies for lane in _lanes_of(study)]
    left_out = [line for study in studies for line in study.incomplete]
    left_out += [f"{lane.label}: {_diverged(lane.diverged)}" for lane in lanes if lane.diverged]
    left_out += [line for study in studies for line in _unseen(study)]
    scored = [lane for lane in lanes if len(lane.scores)]
    groups, gone = _by_protocol(scored), _by_protocol([x for x in lanes if not len(x.scores)])
    warning = Notes(left_out, warning=True)
    titled = list(zip(_titles([group[0] for group in groups.values()]), groups.items()))
    return [
        *([Section("Left out of the statistics", [warning])] if left_out else []),
        *tuned_for_all(studies),
        *(
            Section(title, _group(group, gone.get(protocol, ()), scaled(group[0])))
            for title, (protocol, group) in titled
        ),
        *(more for title, (_, group) in titled for more in diagnosed.section(title, group)),
        *across.side_by_side(scored),
        *across.pooled(scored, scaled),
        *(_sensitivity(s) for s in studies if s.sweep and s.sweep.rows and not s.across),
        Section("How to make it again", how_to_repeat([run for s in studies for run in s.runs])),
    ]


def _by_protocol(lanes: Sequence[Lane]) -> dict[str, list[Lane]]:
    groups: dict[str, list[Lane]] = {}
    for lane in lanes:
        group = groups.setdefault(json.dumps(lane.protocol, sort_keys=True), [])
        if any(lane.label == other.label for other in group):
            raise ConfigError(
                f"label={lane.label} names two lanes on {lane.protocol['environment']}; there, "
                f"every lane has a label of its own."
            )
        group.append(lane)
    return groups


def _group(lanes: Sequence[Lane], gone: Sequence[Lane], scale: Scale | str) -> list:
    """What lanes under one protocol say."""
    shown = [lanes[place] for place in tables.places_of_best(lanes)]
    ending = tables.context(shown)
    if len(shown) < len(lanes):
        ending = f"{tables.few_of(len(shown), lanes)} {ending}"
    blocks = [tables.headline(lanes, gone), *figures.of_lanes(shown, ending)]
    if len(shown) > 1:
        blocks.append(tables.improvement({lane.label: lane.scores for lane in shown}, ending))
        blocks.append(Notes([sentences.told_apart(shown)]))
    if isinstance(scale, Scale):
        blocks.append(tables.normalised(lanes, scale))
    else:
        blocks.append(Notes([f"No normalised scores: {scale}."]))
    if differences := tables.differences(lanes):
        blocks.append(differences)
    runs = {lane.run.path: lane.run for lane in lanes}
    words = protocol_words(lanes[0].protocol)
    pictures = [
        Picture(run.path.name, f"{path.name}: one episode. {words}.", _read(path), "gif")
        for run in runs.values()
        for path in sorted(run.path.glob("*.gif"))
    ]
    return [*blocks, Gallery(pictures)] if pictures else blocks


def _sensitivity(study: Source) -> Section:
    """How the final score depends on what was swept."""
    name, _, rows = study.sweep
    counts = [row["num_seeds"] for row in rows]
    ending = f"{seed_words(counts)} a setting. 95% percentile bootstrap intervals over seeds."
    protocols = [lane.protocol for lane in study.lanes]
    if protocols:
        varied = differing(protocols)
        same = {name: value for name, value in protocols[0].items() if name not in varied}
        ending += f" Protocol: {protocol_words(same)}"
        ending += f"; {', '.join(varied)} varied." if varied else "."
    flattery = f"The best of {_tried(study)} was chosen by these very scores, which flatter it"
    confirmed = any(lane.run.path.name == results.WINNER for lane in study.lanes)
    advice = (
        "the winner's row above is its score on fresh seeds" if confirmed else "fresh seeds do not"
    )
    caption = f"Final evaluation, IQM and interval. {flattery}; {advice}. {ending}"
    sure = sentences.choice([lane for lane in study.lanes if lane.run.path.name != results.WINNER])
    blocks = [*figures.of_sweep(study, caption), *([Notes([sure])] if sure else [])]
    return Section(f"Sensitivity of {name}", blocks)


def _tried(study: Source) -> str:
    """How many settings a sweep has tried, and of how many no score is shown."""
    count = len(study.sweep.rows)
    lanes = study.scores["lanes"] if study.scores else ()
    cut = sum(lane["cut"] for lane in lanes)
    gone = len(lanes) - cut - count
    more = [f"{cut} of them cut before"] if cut else []
    more += [f"{gone} diverged on all seeds"] if gone > 0 else []
    return f"{max(len(lanes), count)} settings{', ' if more else ''}{', '.join(more)}"


def _unseen(study: Source) -> list[str]:
    """The diverged members of settings that no table of lanes shows."""
    lanes = study.scores["lanes"] if study.scores else ()
    return [
        f"{study.name} {describe(lane['setting'])}: {_diverged(lane['diverged'])}"
        for lane in lanes
        if lane["diverged"] and (study.across or lane["cut"])
    ]


def _lanes_of(study: Source) -> list[Lane]:
    """The lanes that stand beside others on their environment: of a sweep over several, those of
    the setting that it has chosen, on fresh seeds; ``tuned_for_all`` says what the others are."""
    winners = [lane for lane in study.lanes if lane.run.path.parent.name == results.WINNER]
    return winners if study.across and winners else study.lanes


def _titles(lanes: Sequence[Lane]) -> list[str]:
    """The environment of every group, with what tells protocols on one environment apart."""
    titles = []
    for lane in lanes:
        environment = lane.protocol["environment"]
        same = [flat(x.protocol) for x in lanes if x.protocol["environment"] == environment]
        own = flat(lane.protocol)
        own.setdefault(DATASET, "none")
        words = [f"{k} {format_value(own.get(k, '')) or 'default'}" for k in differing(same)]
        titles.append(", ".join([environment, *words]))
    return titles


def _diverged(seeds: Collection[Any]) -> str:
    words = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    return f"{words} diverged (a loss, value or score is not finite)."


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"gif={path} cannot be read: {error.strerror or error}.") from error
