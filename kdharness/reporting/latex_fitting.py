"""In which size and how many parts a LaTeX table fits on pages."""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise, starmap
from typing import NamedTuple

from kdharness.reporting.latex_width import SIZES, Natural, Size, natural
from kdharness.reporting.table import Head, Table


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

_SPAN = re.compile(r"\s*\\multicolumn\{(\d+)\}\{[^{}]*(?:\{\})?l?\}")

Lines = list[str]


class Measured(NamedTuple):
    """How wide the cells of a tabular are."""

    columns: defaultdict[int, set[Natural]]
    """What stands in each column."""
    spanned: list[tuple[int, int, Natural]]
    """What spans several: from, to and width."""


def measured(lines: Lines) -> Measured:
    """Of a tabular's lines, or some of them."""
    columns: defaultdict[int, set[Natural]] = defaultdict(set)
    spanned: list[tuple[int, int, Natural]] = []
    for line in lines:
        column = 0
        for cell in line.removesuffix(r"\\").split(" & ") if line.endswith(r"\\") else []:
            span = _SPAN.match(cell) if "multicolumn" in cell else None
            if span is not None:
                spanned.append((column, column + int(span[1]), natural(cell[span.end() :].strip())))
            else:
                columns[column].add(natural(cell.strip()))
            column += int(span[1]) if span is not None else 1
    return Measured(columns, spanned)


@dataclass(frozen=True)
class Body:
    """A tabular as it is written."""

    lines: Lines
    known: Measured | None = None
    """What was measured of it before."""

    @cached_property
    def _measured(self) -> Measured:
        return self.known or measured(self.lines)

    def widths(self, size: Size) -> list[float]:
        """Of its columns in points: each as wide as its widest cell."""
        columns, spanned = self._measured
        widest = defaultdict(float, {at: max(one.at(size.letters) for one in each) for at, each in columns.items()})
        for first, last, needed in spanned:
            there = sum(widest[column] for column in range(first, last)) + size.gap * (last - first - 1)
            widest[last - 1] += max(0.0, needed.at(size.letters) - there)
        return [widest[column] for column in sorted(widest)]

    def across(self, size: Size) -> float:
        """In points: its columns and the space between."""
        columns = self.widths(size)
        return sum(columns) + size.gap * (len(columns) - 1)


def parts(table: Table, body: Body, written: Callable[[int, int], Body], limit: float) -> list[Body]:
    """The table cut between its columns into as few as fit, each with all rows; a pair's columns stay together unless
    they are too wide for a part of their own.

    `body` is the whole, `written` the part from one column to before another. One whose columns share cells is not cut.
    """
    smallest = SIZES[-1]
    if table.within is not None or body.across(smallest) <= limit:
        return [body]
    names, *others = body.widths(smallest)
    room = limit - names  # of each part for its share of the others; with fewer parts one would be too wide
    least = int(sum(one + smallest.gap for one in others) / room) if room > 0 else len(table.columns)

    part = cache(written)
    cuts = [0, len(table.columns)]
    for ends in ([0, *(last + 1 for _, last in alike(table.columns))], range(len(table.columns) + 1)):
        whole = len(ends) - 1
        for number in range(max(1, min(least, whole)), whole + 1):
            cuts = [ends[round(at * whole / number)] for at in range(number + 1)]
            if all(part(*between).across(smallest) <= limit for between in pairwise(cuts)):
                return list(starmap(part, pairwise(cuts)))
    return list(starmap(part, pairwise(cuts)))


def alike(columns: Sequence[Head]) -> list[tuple[int, int]]:
    """First and last of the neighbours that share a printed name: one pair under several metrics."""
    runs: list[tuple[int, int]] = []
    for index, column in enumerate(columns):
        if runs and column.metric and columns[runs[-1][0]].printed == column.printed:
            runs[-1] = (runs[-1][0], index)
        else:
            runs.append((index, index))
    return runs


def pages(bodies: Sequence[Body], notes: int, leading: float, limit: float) -> list[list[Body]]:
    """The parts page by page, so many notes below the last, in lines and on pages of so many points."""
    found: list[list[Body]] = [[]]
    for number, body in enumerate(bodies, 1):
        down = sum(RULES + leading * _rows(one) for one in [*found[-1], body])
        if found[-1] and down + (1.5 * notes * leading if number == len(bodies) else 0) > limit:
            found.append([])
        found[-1].append(body)
    return found


def _rows(body: Body) -> int:
    return sum(line.endswith(r"\\") for line in body.lines)


def size(bodies: Sequence[Body], limit: float) -> Size:
    """The largest in which all of them fit, else the smallest."""
    return next((one for one in SIZES if all(body.across(one) <= limit for body in bodies)), SIZES[-1])
