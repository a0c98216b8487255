"""Tables and figures as one HTML page that loads nothing, and as Markdown."""

import base64
import itertools
import re
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple


class Entry(NamedTuple):
    """What a table says in one place."""

    text: str
    note: str = ""  # smaller, beside it
    share: float | None = None  # from 0 to 1; coloured by its distance from one half
    ends: tuple[str, str] | None = None  # of the interval of what it says, before the note
    best: bool = False  # stands out


class Printed(NamedTuple):
    """The part of a table for which a paper has room, and what explains that part."""

    columns: Sequence[str]  # of the table's, beside the names of rows
    caption: str
    rows: Sequence[int] | None = None  # None are all


class Table(NamedTuple):
    title: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | Entry]]  # the first cell of a row is its name
    printed: Printed | None = None  # None: not in a paper


class Picture(NamedTuple):
    title: str
    caption: str
    data: bytes
    kind: str = "png"
    draw: Callable[[Path], None] | None = None  # into a file, in the format of its name


class Gallery(NamedTuple):
    """Small pictures side by side."""

    pictures: Sequence[Picture]


class Notes(NamedTuple):
    """Sentences, one below the other; those of a warning stand out."""

    lines: Sequence[str]
    warning: bool = False


class Details(NamedTuple):
    """A text that is folded away."""

    summary: str
    text: str


class Section(NamedTuple):
    title: str
    blocks: Sequence[Table | Picture | Gallery | Notes | Details]


# Figures have a white background: multiplied with the page it disappears, and so does, on a dark
# page, the screened negative, whose hues are turned back.
_STYLE = """
:root { color-scheme: light dark; --page: #fcfcfb; --text: #1d2126; --soft: #5d6670;
  --line: #d9dde2; --high: #2a8f5b; --low: #c8553d; --warn: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --page: #14171b; --text: #e4e7eb; --soft: #9aa4af;
  --line: #343b44; --high: #3fb67a; --low: #e0745c; --warn: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 66rem; background: var(--page);
  color: var(--text); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.2rem; line-height: 1.3; margin: 2.8rem 0 .4rem; padding-top: .9rem;
  border-top: 1px solid var(--line); overflow-wrap: anywhere; }
p, figcaption, caption { overflow-wrap: anywhere; }
nav a { display: inline-block; margin-right: 1rem; color: inherit; }
ul { margin: .4rem 0; padding-left: 1.2rem; }
.warning { border-left: 4px solid var(--warn); padding: .2rem 0 .2rem .8rem; margin: 1rem 0; }
figure { margin: 0; }
figcaption { color: var(--soft); font-size: .85rem; max-width: 60rem; margin-top: .5rem; }
h3 { font-size: 1rem; margin: 2rem 0 .5rem; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; -webkit-overflow-scrolling: touch; }
figure img { display: block; width: 100%; height: auto;
  mix-blend-mode: multiply; }
@media (prefers-color-scheme: dark) { figure img { filter: invert(1) hue-rotate(180deg);
  mix-blend-mode: screen; } }
.gallery { display: flex; flex-wrap: wrap; gap: 1rem; }
.gallery figure { width: 15rem; max-width: 100%; margin: .6rem 0; }
.gallery img { filter: none; mix-blend-mode: normal; border-radius: 6px; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; vertical-align: top; padding: .3rem .7rem;
  border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; }
thead th { color: var(--soft); border-bottom-width: 2px; vertical-align: bottom;
  white-space: normal; min-width: 4.5rem; }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--page);
  white-space: normal; min-width: 9rem; max-width: 22rem; overflow-wrap: break-word; }
td.words { text-align: left; white-space: normal; min-width: 12rem; overflow-wrap: anywhere; }
thead th.words { text-align: left; }
td small { display: block; color: var(--soft); }
td.up { background: color-mix(in srgb, var(--high) var(--by), transparent); }
td.down { background: color-mix(in srgb, var(--low) var(--by), transparent); }
pre { overflow-x: auto; font-size: .8rem; }
details { margin-top: .8rem; }
summary { cursor: pointer; overflow-wrap: anywhere; }
@media (max-width: 40rem) { body { padding: 1rem .8rem 3rem; font-size: 15px; }
  table { font-size: .82rem; }
  th, td { padding: .3rem .5rem; }
  th:first-child { min-width: 7.5rem; max-width: 9rem; } }
"""
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_WORDS = 28  # a longer cell is text: it wraps and stands left


def to_html(title: str, summary: str, sections: Sequence[Section]) -> str:
    """The page; whatever it is given is text and never markup."""
    anchors = [f"section-{index}" for index in range(len(sections))]
    links = [f'<a href="#{a}">{escape(s.title)}</a>' for a, s in zip(anchors, sections)]
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1><p>{escape(summary)}</p><nav>{''.join(links)}</nav>",
    ]
    for anchor, section in zip(anchors, sections):
        parts.append(f'<section id="{anchor}"><h2>{escape(section.title)}</h2>')
        parts += [_html(block) for block in section.blocks]
        parts.append("</section>")
    return "\n".join([*parts, "</body></html>"]) + "\n"


def to_markdown(title: str, summary: str, sections: Sequence[Section]) -> str:
    """The same without pictures and what is folded away."""
    parts = [f"# {_plain(title)}", _plain(summary)]
    for section in sections:
        parts.append(f"## {_plain(section.title)}")
        for block in section.blocks:
            if isinstance(block, Notes):
                parts.append("\n".join(f"* {_plain(line)}" for line in block.lines))
            elif isinstance(block, Table):
                header = [f"| {' | '.join(map(_plain, block.columns))} |"]
                header.append("|---" * len(block.columns) + "|")
                rows = [f"| {' | '.join(map(_markdown, row))} |" for row in block.rows]
                parts += [f"### {_plain(block.title)}", "\n".join(header + rows)]
                parts.append(_plain(block.caption))
    return "\n\n".join(parts) + "\n"


def slugs(titles: Sequence[str]) -> list[str]:
    """A name of small letters, digits and dashes for every title; no two are the same."""
    found: list[str] = []
    for title in titles:
        name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "untitled"
        again = (f"{name}-{number}" for number in itertools.count(2))
        found.append(name if name not in found else next(x for x in again if x not in found))
    return found


def _html(block) -> str:
    if isinstance(block, Table):
        return _html_table(block)
    if isinstance(block, Gallery):
        return f'<div class="gallery">{"".join(map(_html, block.pictures))}</div>'
    if isinstance(block, Picture):
        data = base64.b64encode(block.data).decode()
        source = f'src="data:image/{block.kind};base64,{data}"'
        image = f'<img alt="{escape(block.title)}" {source}{_width(block)}>'
        return _figure(block.title, image, block.caption)
    if isinstance(block, Notes):
        items = "".join(f"<li>{escape(line)}</li>" for line in block.lines)
        kind = ' class="warning"' if block.warning else ""
        return f"<div{kind}><ul>{items}</ul></div>"
    folded = f"<pre>{escape(block.text)}</pre>"
    return f"<details><summary>{escape(block.summary)}</summary>{folded}</details>"


def _html_table(table: Table) -> str:
    columns = list(zip(*table.rows)) or [()] * len(table.columns)
    kinds = [' class="words"' if any(map(_is_words, column)) else "" for column in columns]
    kinds[0] = ""
    header = [f'<th scope="col"{k}>{escape(name)}</th>' for k, name in zip(kinds, table.columns)]
    lines = [f"<thead><tr>{''.join(header)}</tr></thead>", "<tbody>"]
    for row in table.rows:
        cells = [_html_cell(cell, kind) for kind, cell in zip(kinds[1:], row[1:])]
        lines.append(f'<tr><th scope="row">{escape(_text(row[0]))}</th>{"".join(cells)}</tr>')
    body = "".join([*lines, "</tbody>"])
    return _figure(table.title, f"<table>{body}</table>", table.caption)


def _figure(title: str, body: str, caption: str) -> str:
    parts = [f"<h3>{escape(title)}</h3>", f'<div class="scroll">{body}</div>']
    return f"<figure>{''.join(parts)}<figcaption>{escape(caption)}</figcaption></figure>"


def _width(picture: Picture) -> str:
    """Bounds between which the letters of a figure of 160 dots per inch are legible."""
    if picture.kind != "png":
        return ""
    inches = int.from_bytes(picture.data[16:20], "big") / 160
    return f' style="min-width:{4.4 * inches:.1f}rem;max-width:{7 * inches:.1f}rem"'


def _html_cell(cell: str | Entry, kind: str) -> str:
    cell = Entry(cell) if isinstance(cell, str) else cell
    if cell.share is not None:
        direction = "up" if cell.share >= 0.5 else "down"
        kind = f' class="{direction}" style="--by:{abs(cell.share - 0.5) * 90:.0f}%"'
    note = f"<small>{escape(_note(cell))}</small>" if _note(cell) else ""
    text = f"<b>{escape(cell.text)}</b>" if cell.best else escape(cell.text)
    return f"<td{kind}>{text}{note}</td>"


def _markdown(cell: str | Entry) -> str:
    cell = Entry(cell) if isinstance(cell, str) else cell
    text = f"**{_plain(cell.text)}**" if cell.best else _plain(cell.text)
    return text + (f" ({_plain(_note(cell))})" if _note(cell) else "")


def _note(cell: Entry) -> str:
    return ", ".join(filter(None, [" to ".join(cell.ends or ()), cell.note]))


def _is_words(cell: str | Entry) -> bool:
    return len(_text(cell)) > _WORDS


def _text(cell: str | Entry) -> str:
    return cell if isinstance(cell, str) else cell.text


def _plain(text: str) -> str:
    """Text that Markdown takes for no markup."""
    return re.sub(r"([\\`*_\[\]<>|#$])", r"\\\1", " ".join(text.split()))
