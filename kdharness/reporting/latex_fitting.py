"""In which size and how many parts a LaTeX table fits on pages."""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import NamedTuple, TypeVar

from kdharness.reporting.latex_width import SIZES, Size, width
from kdharness.reporting.table import Cell, Filled, Head, Table


class Page(NamedTuple):
    """What a page has for a table, in points."""

    across: float
    down: float
    """Beside a long caption."""


COLUMN = 219
"""Points across of a column of two: ACL's, the narrowest of the conferences'."""
ONE_COLUMN, TWO_COLUMNS = Page(345, 400), Page(455, 430)
"""`article` of 10 points, and a page of two columns as ACL has it."""

RULES = 24
"""Points that the rules of a body and the space above it take."""

_CELL_END = re.compile(r"(?<!\\)&")
_SPAN = re.compile(r"\s*\\multicolumn\{(\d+)\}\{[^{}]*(?:\{\})?l?\}")

Lines = list[str]
T = TypeVar("T")
Columns = Mapping[int, Mapping[int, T]]
"""By column, then by row."""


def parts(table: Table, body: Lines, written: Callable[[Table], Lines], limit: float) -> list[Lines]:
    """The table cut between its columns into as few as fit, each with all rows; a pair's columns stay together.

    `body` is the whole as written. One whose columns share cells is not cut.
    """
    smallest = SIZES[-1]
    names, *others = columns = widths(body, smallest)
    if table.within is not None or _across(columns, smallest) <= limit:
        return [body]
    ends = [0, *(last + 1 for _, last in alike(table.columns))]
    whole = len(ends) - 1
    cells, filled = _by_column(table.cells), _by_column(table.filled)
    room = limit - names  # of each part for its share of the others; with fewer parts one would be too wide
    least = int(sum(one + smallest.gap for one in others) / room) if room > 0 else whole

    @cache
    def part(first: int, last: int) -> tuple[Lines, bool]:
        lines = written(_part(table, cells, filled, first, last))
        return lines, across(lines, smallest) <= limit

    for number in range(max(1, min(least, whole)), whole + 1):
        cuts = [ends[round(at * whole / number)] for at in range(number + 1)]
        if number == whole or all(part(*between)[1] for between in pairwise(cuts)):
            return [part(*between)[0] for between in pairwise(cuts)]
    return [body]


def alike(columns: Sequence[Head]) -> list[tuple[int, int]]:
    """First and last of the neighbours that share a printed name: one pair under several metrics."""
    runs: list[tuple[int, int]] = []
    for index, column in enumerate(columns):
        if runs and column.metric and columns[runs[-1][0]].printed == column.printed:
            runs[-1] = (runs[-1][0], index)
        else:
            runs.append((index, index))
    return runs


def _by_column(cells: Mapping[tuple[int, int], T]) -> dict[int, dict[int, T]]:
    found: dict[int, dict[int, T]] = {}
    for (row, column), cell in cells.items():
        found.setdefault(column, {})[row] = cell
    return found


def _part(table: Table, cells: Columns[Cell], filled: Columns[Filled], first: int, last: int) -> Table:
    return replace(
        table,
        columns=table.columns[first:last],
        cells={(row, at - first): cell for at in range(first, last) for row, cell in cells.get(at, {}).items()},
        filled={(row, at - first): value for at in range(first, last) for row, value in filled.get(at, {}).items()},
        ranks=table.ranks if last >= len(table.columns) else {},
    )


def pages(bodies: Sequence[Lines], notes: int, leading: float, limit: float) -> list[list[Lines]]:
    """The parts page by page, so many notes below the last, in lines and on pages of so many points."""
    found: list[list[Lines]] = [[]]
    for number, body in enumerate(bodies, 1):
        down = sum(RULES + leading * _rows(one) for one in [*found[-1], body])
        if found[-1] and down + (1.5 * notes * leading if number == len(bodies) else 0) > limit:
            found.append([])
        found[-1].append(body)
    return found


def _rows(body: Lines) -> int:
    return sum(line.endswith(r"\\") for line in body)


def size(bodies: Sequence[Lines], limit: float) -> Size:
    """The largest in which all of them fit, else the smallest."""
    return next((one for one in SIZES if all(across(body, one) <= limit for body in bodies)), SIZES[-1])


def across(body: Sequence[str], size: Size) -> float:
    """How wide the tabular is in points: its columns and the space between."""
    return _across(widths(body, size), size)


def _across(columns: Sequence[float], size: Size) -> float:
    return sum(columns) + size.gap * (len(columns) - 1)


def widths(body: Sequence[str], size: Size) -> list[float]:
    """Of the tabular's columns in points: each as wide as its widest cell."""
    widest: defaultdict[int, float] = defaultdict(float)
    spanned: list[tuple[int, int, float]] = []
    for line in body:
        column = 0
        for cell in _CELL_END.split(line.removesuffix(r"\\")) if line.endswith(r"\\") else []:
            span = _SPAN.match(cell) if "multicolumn" in cell else None
            if span is not None:
                spanned.append((column, column + int(span[1]), width(cell[span.end() :].strip(), size.letters)))
            else:
                widest[column] = max(widest[column], width(cell.strip(), size.letters))
            column += int(span[1]) if span is not None else 1
    for first, last, needed in spanned:
        there = sum(widest[column] for column in range(first, last)) + size.gap * (last - first - 1)
        widest[last - 1] += max(0.0, needed - there)
    return [widest[column] for column in sorted(widest)]
