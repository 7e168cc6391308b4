"""In which size and how many parts a LaTeX table fits on pages."""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

from kdharness.reporting.latex_width import SIZES, Size, width
from kdharness.reporting.table import Head, Table

COLUMN, ONE_COLUMN, TWO_COLUMNS = 219, 345, 455
"""Points across: a column of two (ACL's, the narrowest of the conferences'), the text of a page of one column
(`article` of 10 points) and of one of two columns (ACL's)."""

TALLEST = 62
"""Rows in the smallest size that one page takes beside a caption."""

Lines = list[str]


def parts(table: Table, written: Callable[[Table], Lines], limit: float) -> list[Table]:
    """The table cut between its columns into as few as fit, each with all rows; a pair's columns stay together.

    One whose columns share cells is not cut.
    """
    if table.within is not None:
        return [table]
    ends = [0, *(last + 1 for _, last in alike(table.columns))]
    whole = len(ends) - 1
    for number in range(1, whole + 1):
        cuts = [ends[round(at * whole / number)] for at in range(number + 1)]
        found = [_part(table, first, last) for first, last in pairwise(cuts)]
        if number == whole or all(across(written(part), SIZES[-1]) <= limit for part in found):
            return found
    return [table]


def alike(columns: Sequence[Head]) -> list[tuple[int, int]]:
    """First and last of the neighbours that share a printed name: one pair under several metrics."""
    runs: list[tuple[int, int]] = []
    for index, column in enumerate(columns):
        if runs and column.metric and columns[runs[-1][0]].printed == column.printed:
            runs[-1] = (runs[-1][0], index)
        else:
            runs.append((index, index))
    return runs


def _part(table: Table, first: int, last: int) -> Table:
    return replace(
        table,
        columns=table.columns[first:last],
        cells={(row, at - first): cell for (row, at), cell in table.cells.items() if first <= at < last},
        filled={(row, at - first): value for (row, at), value in table.filled.items() if first <= at < last},
        ranks=table.ranks if last >= len(table.columns) else {},
    )


def pages(bodies: Sequence[Lines], notes: int) -> list[list[Lines]]:
    """The parts page by page, so many notes below the last."""
    found: list[list[Lines]] = [[]]
    for number, body in enumerate(bodies, 1):
        below = 1.5 * notes if number == len(bodies) else 0
        if found[-1] and sum(map(_rows, [*found[-1], body])) + below > TALLEST:
            found.append([])
        found[-1].append(body)
    return found


def _rows(body: Lines) -> int:
    return sum(line.endswith(r"\\") for line in body)


def size(bodies: Sequence[Lines], limit: float) -> Size:
    """The largest in which all of them fit, else the smallest."""
    return next((one for one in SIZES if all(across(body, one) <= limit for body in bodies)), SIZES[-1])


def across(body: Sequence[str], size: Size) -> float:
    """How wide the tabular is in points: the widest cells of its columns and the space between."""
    widest: defaultdict[int, float] = defaultdict(float)
    spanned: list[tuple[int, int, float]] = []
    for line in body:
        column = 0
        for cell in re.split(r"(?<!\\)&", line.removesuffix(r"\\")) if line.endswith(r"\\") else []:
            span = re.match(r"\s*\\multicolumn\{(\d+)\}\{[^{}]*(?:\{\})?l?\}", cell)
            if span is not None:
                spanned.append((column, column + int(span[1]), width(cell[span.end() :].strip(), size.letters)))
            else:
                widest[column] = max(widest[column], width(cell.strip(), size.letters))
            column += int(span[1]) if span is not None else 1
    for first, last, needed in spanned:
        there = sum(widest[column] for column in range(first, last)) + size.gap * (last - first - 1)
        widest[last - 1] += max(0.0, needed - there)
    return sum(widest.values()) + size.gap * (len(widest) - 1)
