r"""Tables as LaTeX: a file that a paper takes in with ``\input``."""

import re
from collections.abc import Iterator, Sequence

from jaxq.reports.pages import Entry, Section, Table, slugs

BEGINNING = "% Tables of jaxq"  # of every file, by which it is known
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "-": "-{}",  # two are no dash
    "[": "{[}",  # which, like a star, would be an argument of what ends a row
    "*": "{*}",
    **{letter: f"\\{letter}" for letter in "_&%#${}"},
}
_GREEK = {  # letters that methods are called by, and fonts of words do not have
    **dict(
        zip(
            "αβγδεζηθικλμνξπρστυφχψω",
            "alpha beta gamma delta epsilon zeta eta theta iota kappa "
            "lambda mu nu xi pi rho sigma tau upsilon phi chi psi omega".split(),
        )
    ),
    **dict(zip("ΓΔΘΛΞΠΣΦΨΩ", "Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega".split())),
}
_NUMBER = re.compile(r"(-?[\d.]+)(?:e([+-]\d+))?")


def to_latex(command: str, sections: Sequence[Section]) -> str:
    """The tables of a report that a paper has room for, each in an environment ``table``.

    Args:
      command: what makes the file; it says so in a comment.
    """
    lines = [
        f"{BEGINNING}, made by:",
        f"%   {' '.join(command.split())}",
        r"% It is taken in with \input and needs \usepackage{booktabs,graphicx}.",
    ]
    tables = [
        (block, f"{block.title} {section.title}")
        for section in sections
        for block in section.blocks
        if isinstance(block, Table) and block.printed
    ]
    for (table, _), name in zip(tables, slugs([title for _, title in tables])):
        lines += ["", *_table(table, name)]
    lines += [] if tables else ["% It has no tables."]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Text that LaTeX takes for no command, in one line."""
    special = {**_SPECIAL, **{k: rf"\ensuremath{{\{name}}}" for k, name in _GREEK.items()}}
    return "".join(special.get(letter, letter) for letter in " ".join(text.split()))


def _table(table: Table, name: str) -> Iterator[str]:
    printed = table.printed
    places = [0, *(table.columns.index(column) for column in printed.columns)]
    rows = table.rows if printed.rows is None else [table.rows[row] for row in printed.rows]
    yield r"\begin{table}[htbp]"
    yield r"\centering"
    yield rf"\caption{{{escape(printed.caption)}}}\label{{tab:{name}}}"
    yield r"\vspace{1ex}"
    # No wider than the text: what is wider is made smaller.
    yield r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
    yield rf"\begin{{tabular}}{{l{'r' * len(printed.columns)}}}"
    yield r"\toprule"
    yield " & ".join(map(escape, ["method", *printed.columns])) + r" \\"
    yield r"\midrule"
    for row in rows:
        cells = [
            Entry(row[place]) if isinstance(row[place], str) else row[place] for place in places
        ]
        yield " & ".join([escape(cells[0].text), *map(_cell, cells[1:])]) + r" \\"
    yield r"\bottomrule"
    yield r"\end{tabular}}"
    yield r"\end{table}"


def _cell(cell: Entry) -> str:
    text = _number(cell.text)
    parts = [rf"\textbf{{{text}}}" if cell.best else text]
    if cell.ends:
        low, high = map(_number, cell.ends)
        parts.append(rf"{{\scriptsize[{low}, {high}]}}")
    if cell.note:
        parts.append(rf"{{\scriptsize({escape(cell.note)})}}")
    return r"\,".join(filter(None, parts))


def _number(text: str) -> str:
    """A number with a minus and a power of ten as they are printed; other text as text."""
    match = _NUMBER.fullmatch(text)
    if not match:
        return escape(text)
    digits, exponent = match.groups()
    digits = digits.replace("-", r"\ensuremath{-}")
    return digits + (rf"\ensuremath{{\times10^{{{int(exponent)}}}}}" if exponent else "")
