"""How wide a LaTeX table is, and in which size and how many parts it fits on pages. Estimated: TeX is not asked."""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

from kdharness.reporting.table import Head, Table

ONE_COLUMN, TEXT_WIDTH, SMALLER, SMALLEST = 44, 70, 108, 120
"""Characters a line that fit into a column of two, into a page's text, and into two columns in smaller sizes."""

TALLEST = 62
"""Rows in the smallest size that one page takes beside a caption."""

BETWEEN = 2.4
"""Characters that the space between two columns is wide."""

Lines = list[str]


def parts(table: Table, written: Callable[[Table], Lines]) -> list[Table]:
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
        if number == whole or all(characters(written(part)) <= SMALLEST for part in found):
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


def characters(body: Sequence[str]) -> int:
    """How wide the tabular is in characters of its size: the widest cells of its columns and the space between."""
    widest: Counter[int] = Counter()
    spanned: list[tuple[int, int, float]] = []
    for line in body:
        column = 0
        for cell in re.split(r"(?<!\\)&", line.removesuffix(r"\\")) if line.endswith(r"\\") else []:
            span = re.match(r"\s*\\multicolumn\{(\d+)\}\{c\}", cell)
            if span is not None:
                spanned.append((column, column + int(span[1]), _shown(cell[span.end() :])))
            elif r"\multicolumn" not in cell:
                widest[column] = max(widest[column], math.ceil(_shown(cell)))
            column += int(span[1]) if span is not None else 1
    for first, last, needed in spanned:
        there = sum(widest[column] for column in range(first, last)) + BETWEEN * (last - first - 1)
        widest[last - 1] += max(0, math.ceil(needed - there))
    return round(widest.total() + BETWEEN * (len(widest) - 1))


def _shown(cell: str) -> float:
    """The characters of a cell, smaller ones counted as three quarters, signs and citations as what they print."""
    cited = re.sub(r"\\cite\{([^}]*)\}", lambda found: "(00" + ", 00" * found[1].count(",") + ")", cell)
    signs = re.sub(r"\\(pm|rightarrow|times|Delta)\b", "==", cited)
    plain, *smaller = re.split(r"\\scriptsize", signs)
    counted = [len(re.sub(r"\\[A-Za-z]+ ?|\\.|[{}$]", "", part.strip())) for part in (plain, "".join(smaller))]
    return counted[0] + 0.75 * counted[1]


def size(width: int) -> Lines:
    """The commands that make so many characters fit."""
    if width <= TEXT_WIDTH:
        return []
    if width <= SMALLER:
        return [r"\footnotesize\setlength{\tabcolsep}{4pt}"]
    return [r"\scriptsize\setlength{\tabcolsep}{2pt}"]
