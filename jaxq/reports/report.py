"""What runs say together: tables, figures and provenance, never across protocols."""

import io
import json
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

from jaxq.errors import ConfigError
from jaxq.reports import pages, tables
from jaxq.reports.pages import Gallery, Notes, Picture, Section
from jaxq.reports.pooling import pool
from jaxq.reports.reference import reference
from jaxq.reports.repeating import how_to_repeat
from jaxq.reports.sources import Lane, Source, read_all, source_of
from jaxq.runs import files as results
from jaxq.scoring import plots
from jaxq.scoring.protocol import protocol_words
from jaxq.scoring.scores import seed_words
from jaxq.scoring.stats import iqm, normalise
from jaxq.settings import ENV_PARAM, differing, format_value

_SHOWN = 30  # lanes in a figure or a matrix


def write_report(paths: Sequence[Path], out: Path, suite: str | None = None) -> Path:
    """Write what the runs in ``paths`` say to ``out`` and, as Markdown, beside it.

    Args:
      paths: run directories, and directories of sweeps.
      suite: beside them stand the reference results of this suite on the same environments.
      out: the HTML page; replaced if it exists.

    Returns:
      The path of the Markdown file.

    Raises:
      ConfigError: a path holds no run or no finished evaluation, ``out`` cannot be written, or
        a Markdown file beside it is not a report.
    """
    if out.suffix != ".html":
        raise ConfigError(f"out={out} must end in .html.")
    markdown = out.with_suffix(".md")
    if markdown.exists() and not markdown.read_text().startswith("# Report on "):
        raise ConfigError(
            f"out={out} would replace {markdown}, which is no report; choose another."
        )
    studies = read_all(paths)
    title = f"Report on {', '.join(study.name for study in studies)}"
    title = title if len(title) <= 80 else f"Report on {len(studies)} runs"
    studies += _references(suite, studies) if suite else []
    lanes = [lane for study in studies for lane in study.lanes]
    num_seeds = sum(len(lane.scores) for lane in lanes)
    summary = f"{_counted(len(lanes), 'lane')}, {_counted(num_seeds, 'trained agent')} in all."
    sections = sections_of(studies)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        results.write_text(markdown, pages.to_markdown(title, summary, sections))
        results.write_text(out, pages.to_html(title, summary, sections))
    except OSError as error:
        raise ConfigError(f"out={out} cannot be written: {error.strerror or error}.") from error
    return markdown


def _references(suite: str, studies: Sequence[Source]) -> list[Source]:
    """The cells of a suite on environments that any of the studies has."""
    environments = {run.document["config"]["env"] for study in studies for run in study.runs}
    found = [
        source_of(cell, f"{name} (reference)")
        for name, cell in reference(suite).items()
        if cell.document["config"]["env"] in environments
    ]
    if not found:
        words = " and ".join(sorted(environments))
        raise ConfigError(f"reference={suite} has no results on {words} yet.")
    return found


def sections_of(studies: Sequence[Source]) -> list[Section]:
    """The sections of a report."""
    lanes = [lane for study in studies for lane in study.lanes]
    left_out = [line for study in studies for line in study.incomplete]
    left_out += [_diverged(lane) for lane in lanes if lane.diverged]
    scored = [lane for lane in lanes if len(lane.scores)]
    groups: dict[str, list[Lane]] = {}
    for lane in scored:
        groups.setdefault(json.dumps(lane.protocol, sort_keys=True), []).append(lane)
    warning = Notes(left_out, warning=True)
    return [
        *([Section("Left out of the statistics", [warning])] if left_out else []),
        *(
            Section(title, _group(group))
            for title, group in zip(_titles([g[0] for g in groups.values()]), groups.values())
        ),
        *_across(scored),
        *(_sensitivity(study) for study in studies if study.sweep and study.sweep.rows),
        Section("How to make it again", how_to_repeat([run for s in studies for run in s.runs])),
    ]


def _group(lanes: Sequence[Lane]) -> list:
    """What lanes under one protocol say."""
    best = {lane.label for lane in sorted(lanes, key=lambda lane: -iqm(lane.scores))[:_SHOWN]}
    shown = [lane for lane in lanes if lane.label in best]
    ending = tables.context(shown)
    if len(shown) < len(lanes):
        ending = f"The {_SHOWN} lanes of highest IQM out of {len(lanes)}. {ending}"
    environment = lanes[0].protocol["environment"]
    curves = {_drawn(lane.label): lane.curves for lane in shown}
    scores = {_drawn(lane.label): lane.scores for lane in shown}
    draw = plots.draw_comparison if len(shown) <= len(plots.COLORS) else plots.draw_grid
    blocks = [
        tables.headline(lanes),
        _picture(
            "Learning curves",
            f"Evaluation return while learning: IQM and its interval. {ending}",
            lambda file: draw(file, curves, environment),
        ),
        _picture(
            "Performance profiles",
            f"The share of seeds whose final score is above each value, with its interval. "
            f"{ending}",
            lambda file: plots.draw_profiles(file, scores, environment, "final score"),
        ),
    ]
    if len(shown) > 1:
        blocks.append(tables.improvement({lane.label: lane.scores for lane in shown}, ending))
    if tables.anchor_of(lanes[0]):
        blocks.append(tables.normalised(lanes))
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


def _across(lanes: Sequence[Lane]) -> list[Section]:
    """Methods that were trained on several environments of a protocol with anchors."""
    found: dict[tuple[str, str], list[Lane]] = {}
    for lane in lanes:
        if pair := tables.anchor_of(lane):
            found.setdefault((pair[1], _words_across(lane)), []).append(lane)
    sections = []
    pairs = {tables.anchor_of(lane) for group in found.values() for lane in group}
    for (protocol, words), group in found.items():
        if sum(pair[1] == protocol for pair in pairs) == 1:
            continue  # nothing to pool with
        methods, left_out = pool(group, tables.anchor_of)
        blocks = [Notes(left_out)] if left_out else []
        title = f"Across environments, {protocol} protocol"
        once = {
            label: normalise({pair: lane.scores for pair, lane in by_pair.items()})
            for label, by_pair in methods.items()
        }
        if not once:
            blocks.append(Notes([f"Protocol: {words}."]))
            sections.append(Section(title, blocks))
            continue
        counts = [len(values) for scores in once.values() for values in scores.values()]
        ending = f"{seed_words(counts)} an environment. {tables.INTERVAL}. Protocol: {words}."
        blocks.append(tables.across(once, protocol, ending))
        blocks.append(
            _picture(
                "Performance profiles",
                f"The share of seeds whose normalised score is above each value, averaged over "
                f"environments, with its interval. {ending}",
                lambda file, once=once: plots.draw_profiles(
                    file, {_drawn(k): v for k, v in once.items()}, "", "normalised score"
                ),
            )
        )
        if len(once) > 1 and len({frozenset(scores) for scores in once.values()}) == 1:
            blocks.append(tables.improvement(once, ending))
        sections.append(Section(title, blocks))
    unknown = [lane.label for lane in lanes if not tables.anchor_of(lane)]
    if sections and unknown:
        words = "not pooled, because no anchors of the environment as it was are known"
        sections[-1].blocks.append(Notes([f"{', '.join(unknown[:_SHOWN])}: {words}."]))
    return sections


def _words_across(lane: Lane) -> str:
    """The part of a lane's protocol that other environments can have, too."""
    rest = {k: v for k, v in lane.protocol.items() if k not in ("environment", "num_actions")}
    if lane.fields["time_limit"] == "default":  # which is terminal in Freeway alone
        rest["time_limit"] = "every environment has its own policy for"
    return protocol_words(rest)


def _sensitivity(study: Source) -> Section:
    """How the final score depends on what was swept."""
    name, swept, rows = study.sweep
    counts = [row["num_seeds"] for row in rows]
    ending = f"{seed_words(counts)} a setting. 95% percentile bootstrap intervals over seeds."
    protocols = [lane.protocol for lane in study.lanes]
    if protocols:
        varied = differing(protocols)
        same = {name: value for name, value in protocols[0].items() if name not in varied}
        ending += f" Protocol: {protocol_words(same)}"
        ending += f"; {', '.join(varied)} varied." if varied else "."
    flattery = f"The best of {len(rows)} settings was chosen by these very scores, which flatter it"
    confirmed = any(lane.run.path.name == results.WINNER for lane in study.lanes)
    advice = (
        "the winner's row above is its score on fresh seeds" if confirmed else "fresh seeds do not"
    )
    caption = f"Final evaluation, IQM and interval. {flattery}; {advice}. {ending}"
    blocks = [
        _picture(
            "Each field alone",
            caption,
            lambda file: plots.draw_sensitivity(file, rows, swept, name),
        )
    ]
    if len(swept) == 2 and plots.is_grid(rows, swept):
        blocks.append(
            _picture(
                f"{swept[0]} and {swept[1]} together",
                caption,
                lambda file: plots.draw_heatmap(file, rows, swept, name),
            )
        )
    return Section(f"Sensitivity of {name}", blocks)


def _titles(lanes: Sequence[Lane]) -> list[str]:
    """The environment of every group, with what tells protocols on one environment apart."""
    titles = []
    for lane in lanes:
        environment = lane.protocol["environment"]
        same = [x.protocol for x in lanes if x.protocol["environment"] == environment]
        words = [
            f"{name.removeprefix(ENV_PARAM)} "
            f"{format_value(lane.protocol.get(name, '')) or 'default'}"
            for name in differing(same)
        ]
        titles.append(", ".join([environment, *words]))
    return titles


def _diverged(lane: Lane) -> str:
    seeds = f"seed{'s' if len(lane.diverged) > 1 else ''} {', '.join(map(str, lane.diverged))}"
    return f"{lane.label}: {seeds} diverged (a loss, value or score is not finite)."


def _drawn(label: str) -> str:
    """A label that matplotlib neither hides nor takes for mathematics, in lines that fit."""
    return textwrap.fill((" " if label[0] == "_" else "") + label.replace("$", r"\$"), 28)


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _picture(title: str, caption: str, draw: Callable[[io.BytesIO], None]) -> Picture:
    file = io.BytesIO()
    draw(file)
    return Picture(title, caption, file.getvalue())


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"gif={path} cannot be read: {error.strerror or error}.") from error
