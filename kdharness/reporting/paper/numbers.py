r"""Every number of the tables by name, so that text and table cannot drift: `\kdh{TABLE}{ROW}{COLUMN}{QUANTITY}`.

One look-up macro instead of one macro for each cell: TeX's names are letters only, and nobody wants to write
`\KdPlusLsResnetThirtyTwoXFourResnetEightXFourMean`. The look-up reads as the table does, an unknown name stops the
compilation and says which it was (a macro of one's own misspelt may be somebody else's), and it expands to the bare
number, so that it may stand in `\num`, `\fpeval`, a caption or a heading. The names have no character that a babel
language makes active.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from kdharness.reporting import text
from kdharness.reporting.latex import escape
from kdharness.reporting.table import Cell, Head, Table

HEADS, RANK = "heads", "rank"
"""The row of what stands in a column's head, the column of a row's mean rank."""

QUANTITIES = {
    "mean": "the mean", "pm": "what stands behind it after the plus-minus", "n": "the number of runs",
    "value": "mean and spread", "delta": "the difference to the baseline", "vs": "the difference to the row named",
    "printed": "what a paper printed", "teacher, student": "accuracies in the heads", "rank": "the mean rank",
}  # fmt: skip

_ABOUT = r"""% Every number of the tables: \kdh{TABLE}{ROW}{COLUMN}{QUANTITY} is the number as it is printed there.
% It expands fully, and an unknown name stops the compilation. Signed numbers stand best in $...$.
% ROW and COLUMN are called as in the table, in letters, digits, +, - and . alone: KD (temperature=2) is
% KD-temperature-2, resnet56 -> resnet20 is resnet56-to-resnet20. Quantities:"""

_MACROS = r"""\providecommand{\kdh}[4]{%
  \ifcsname kdh/#1/#2/#3/#4\endcsname\csname kdh/#1/#2/#3/#4\endcsname
  \else\PackageError{kdharness}{no number is called \string\kdh{#1}{#2}{#3}{#4}}%
    {numbers.tex has them all; it is written anew by kdharness report --paper}\textbf{??}\fi}
\providecommand{\kdhset}[5]{\expandafter\gdef\csname kdh/#1/#2/#3/#4\endcsname{#5}}"""


def numbers(tables: Mapping[str, Table]) -> str:
    """The file that defines the numbers of the tables, each table by its key."""
    lines = [_ABOUT, *(f"%   {name}: {what}" for name, what in QUANTITIES.items()), _MACROS]
    for key, table in tables.items():
        lines += [f"\\kdhset{{{key}}}{{{row}}}{{{column}}}{{{quantity}}}{{{value}}}"
                  for row, column, quantity, value in _of_table(table)]  # fmt: skip
    return "\n".join([*lines, ""])


def first_of(tables: Mapping[str, Table]) -> tuple[str, ...]:
    """Table, row, column and quantity of the first mean; empty where there is none."""
    named = ((key, *names) for key, table in tables.items() for *names, _ in _of_table(table))
    return next((names for names in named if names[-1] == "mean"), ())


def keys(heads: Sequence[Head]) -> list[str]:
    """The names of rows or columns in `\\kdh`, each once: `KD+LS`, `resnet56-to-resnet20`."""
    found: Counter[str] = Counter()
    names = []
    for head in heads:
        name = plain(f"{head.panel} {head.name}")
        found[name] += 1
        while found[name] > 1:
            name = f"{name}-{found[name]}"
            found[name] += 1
        names.append(name)
    return names


def plain(name: str) -> str:
    """The name with nothing but letters, digits, `+`, `-` and `.`."""
    spoken = name.replace("->", " to ").replace("'", "")
    ascii_only = unicodedata.normalize("NFKD", spoken).encode("ascii", "ignore").decode()
    return re.sub(r"-*\+-*", "+", re.sub(r"[^A-Za-z0-9+.]+", "-", ascii_only)).strip("-") or "unnamed"


def _of_table(table: Table) -> Iterator[tuple[str, str, str, str]]:
    """Row, column, quantity and the LaTeX that the table itself prints, from its top left to its bottom right."""
    rows, columns = keys(table.rows), keys(table.columns)
    for key, head in zip(columns, table.columns, strict=True):
        if head.teacher is not None and head.teacher.accuracy is not None:
            yield HEADS, key, "teacher", text.number(head.teacher.accuracy, 2)
        if head.student is not None:
            yield HEADS, key, "student", text.number(head.student, 2)
    for (row, column), cell in sorted(table.cells.items()):
        for quantity, value in _of_cell(cell, table).items():
            yield rows[row], columns[column], quantity, value
    for (row, column), filled in sorted(table.filled.items()):
        yield rows[row], columns[column], "mean", escape(filled.text)
        yield rows[row], columns[column], "value", escape(text.filled(filled))
    for row in sorted(table.ranks):
        yield rows[row], RANK, "rank", text.rank(table, row)


def _of_cell(cell: Cell, table: Table) -> dict[str, str]:
    mean, pm = escape(text.mean(cell)), text.half_width(cell, table)
    told = {
        "mean": mean,
        "pm": pm,
        "n": text.count(cell),
        "value": f"{mean}\\,$\\pm$\\,{pm}" if pm else mean,
        "delta": text.delta(cell.delta),
        "vs": text.delta(cell.against),
        "printed": escape(cell.beside.text) if cell.beside else "",
    }
    return {quantity: value for quantity, value in told.items() if value}
