"""The words of a table that every rendering shares: numbers, counts, heads, and the order of its lines."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from kdharness.reporting import names, statistics
from kdharness.reporting.placing import SIDES
from kdharness.reporting.table import Beside, Cell, Delta, Filled, Head, Table

EMPTY = "–"

LARGE = 0.15
"""Points from which a difference is printed red, blue below (Sun et al., CVPR 2024, tables 1 to 3)."""


@dataclass(frozen=True)
class Line:
    """One line of a table's body: the heading of a panel or a group, or (with `row`) the cells of a row."""

    text: str
    row: int | None = None
    panel: bool = False
    delta: bool = False
    """The differences of `row` to the one that it names, not its values."""


def lines(table: Table) -> Iterator[Line]:
    """The body from top to bottom."""
    panel, group = "", None
    for index, head in enumerate(table.rows):
        if head.panel != panel:
            panel, group = head.panel, None
            yield Line(head.panel_printed, panel=True)
        if head.group != group:
            if group or head.group:
                yield Line(head.group or "")  # rows of no group stand apart from the group above
            group = head.group
        yield Line(head.printed, row=index)
        if table.delta_rows and any(at == index and cell.against for (at, _), cell in table.cells.items()):
            yield Line("Δ", row=index, delta=True)


def number(value: float, decimals: int) -> str:
    """`96.02`; counts with commas."""
    return f"{value:.{decimals}f}" if decimals else f"{value:,.0f}"


def mean(cell: Cell) -> str:
    """`96.02`, or a dash while no run is finished."""
    return EMPTY if cell.mean is None else number(cell.mean, cell.decimals)


def half_width(cell: Cell, table: Table) -> str:
    """The number behind ±, nothing where there is none and behind costs."""
    width = None if cell.plain else statistics.half_width(cell.values, table.pm)
    return "" if width is None else number(width, cell.decimals)


def spread(cell: Cell, table: Table) -> str:
    """`± 0.42`, nothing below two runs."""
    width = half_width(cell, table)
    return f"± {width}" if width else ""


def count(cell: Cell) -> str:
    """`3` of three runs, `3/5` of five."""
    return str(cell.n) if cell.complete else f"{cell.n}/{cell.wanted}"


def delta(difference: Delta | None, stars: str = "") -> str:
    """`+0.83`, with its stars; nothing where there is nothing to subtract."""
    return "" if difference is None else f"{difference.value:+.{difference.decimals}f}{stars}"


def against(difference: Delta | None) -> str:
    """`+0.41 vs KD`."""
    return "" if difference is None else f"{delta(difference)} vs {difference.to}"


def beside(printed: Beside | None) -> str:
    """`73.33 compatible`, `76.62 (best epoch)`; nothing where nothing is printed."""
    if printed is None:
        return ""
    return f"{printed.text} {printed.verdict or f'({printed.reason})'}"


@dataclass(frozen=True)
class Block:
    """What is printed under one head: a column of the table, or several whose values share a cell."""

    columns: tuple[int, ...]
    printed: str
    said: str
    """The metric, where the table has several; of a shared cell what its parts are."""
    under: tuple[str, ...]
    """The teacher, and the student alone."""
    metric: str
    """What stands above the values alone: `top-1 (%)`."""
    extras: tuple[str, ...]
    """What stands beside the values: Δ, vs, printed."""
    tip: tuple[str, ...]
    """The teacher's runs."""


def blocks(table: Table) -> list[Block]:
    """The columns from left to right as they are printed."""
    if table.within is None:
        return [_block(table, (index,)) for index in range(len(table.columns))]
    together: dict[str, list[int]] = {}
    for index, head in enumerate(table.columns):
        together.setdefault((head.metric or table.metric) if table.within == "columns" else head.printed, []).append(
            index
        )
    return [_block(table, tuple(columns)) for columns in together.values()]


def _block(table: Table, columns: tuple[int, ...]) -> Block:
    first = table.columns[columns[0]]
    metric, runs = value_head(table, first), first.teacher.runs if first.teacher else ()
    if table.within is not None:
        shared = table.within == "columns"
        heads = [table.columns[index] for index in columns]
        parts = " / ".join(head.printed if shared else value_head(table, head) for head in heads)
        name = names.short_metric(first.metric or table.metric) if shared else first.printed
        extras = ("printed",) if table.has_beside else ()
        return Block(columns, name, parts, () if shared else about(first), parts, extras, runs)
    several = len(table.metrics) > 1 and first.metric and first.name != first.metric
    plain = columns[0] not in table.compared
    shown = {"Δ": table.has_delta, "vs": table.has_against, "printed": table.has_beside}
    beside = tuple(name for name in shown if shown[name] and not plain)
    return Block(columns, first.printed, metric if several else "", about(first), metric, beside, runs)


def extras(cell: Cell | None, block: Block) -> list[str]:
    """One text for each of the block's."""
    texts = {
        "Δ": delta(cell.delta, cell.stars) if cell else "",
        "vs": against(cell.against) if cell else "",
        "printed": beside(cell.beside) if cell else "",
    }
    return [texts[head] for head in block.extras]


def shared(table: Table, row: int, block: Block) -> list[Cell | None]:
    """The cells that stand in one, none where all are missing."""
    cells = [table.cells.get((row, column)) for column in block.columns]
    return cells if any(cells) else []


def shared_count(cells: Sequence[Cell | None]) -> str:
    """`5` where all have as many runs, else `5 / 5 / 3`; nothing behind costs."""
    counts = [count(cell) if cell else EMPTY for cell in cells]
    if all(cell is None or not needs_count(cell) for cell in cells):
        return ""
    return counts[0] if len(set(counts)) == 1 else " / ".join(counts)


def shared_notes(cells: Sequence[Cell | None]) -> tuple[str, ...]:
    """The marks of all of them, each once."""
    return tuple(dict.fromkeys(note for cell in cells if cell for note in cell.notes))


def shared_print(cells: Sequence[Cell | None]) -> str:
    """What the paper has in such a cell: `4.19 / 2.27 / –`; nothing where nothing is printed."""
    printed = [cell.beside.text if cell and cell.beside else EMPTY for cell in cells]
    return " / ".join(printed) if set(printed) != {EMPTY} else ""


def needs_count(cell: Cell) -> bool:
    """Whether n stands behind the value: a cost whose runs are all there has a number alone."""
    return not (cell.plain and cell.complete and not cell.notes)


def filled(value: Filled) -> str:
    """`72.10 ± 0.11`, as printed."""
    return value.text if value.std is None else f"{value.text} ± {value.std:g}"


def tone(difference: Delta | None) -> Literal["large", "small", ""]:
    """Which of the two colours of Logit Standardization's tables a difference has: large from 0.15 for the better."""
    if difference is None or (difference.improves is None and difference.value):
        return ""
    return "large" if difference.improves and abs(difference.value) >= LARGE - 1e-9 else "small"


def rank(table: Table, row: int) -> str:
    """The mean rank of a row: `1.4`."""
    return f"{table.ranks[row][0]:.1f}" if row in table.ranks else ""


def teacher(head: Head) -> str:
    """`teacher 98.06`, `teacher 79.42, imported (print 79.42)`, `teacher not finished`, nothing where there is none."""
    if head.teacher is None:
        return ""
    if head.teacher.ensemble:
        each = ("not finished" if one is None else f"{one:.2f}" for one in head.teacher.ensemble)
        return "teachers " + " + ".join(each) + (", imported" if head.teacher.imported else "")
    if head.teacher.accuracy is not None:
        printed = "" if head.teacher.printed is None else f" (print {head.teacher.printed:.2f})"
        return f"teacher {head.teacher.accuracy:.2f}" + (", imported" if head.teacher.imported else "") + printed
    return "teachers differ*" if len(head.teacher.runs) > 1 else "teacher not finished"


def about(head: Head) -> tuple[str, ...]:
    """What stands with a head's name: its teacher, and the student trained alone."""
    parts = (teacher(head), "" if head.student is None else f"student {head.student:.2f}")
    return tuple(filter(None, parts))


def under(head: Head) -> str:
    """The same in one line."""
    return ", ".join(about(head))


def corner(table: Table) -> str:
    """What stands above the rows' names."""
    side = next((head.side for head in table.rows), "distiller")
    if side in SIDES:
        return "Method" if side == "distiller" else side.capitalize()
    return names.axis(side)


def value_head(table: Table, column: Head) -> str:
    """What stands above the values of one column: `top-1 (%)`; nothing where its rows are of several metrics."""
    if len(table.metrics) > 1 and not column.metric:
        return ""
    return names.short_metric(column.metric or table.metric)


def notes(table: Table) -> list[str]:
    """Caption, footnotes and what is missing, one sentence or note each."""
    footnotes = [f"{note.mark} {note.text}" for note in table.footnotes]
    return [" ".join(table.caption), *footnotes, *([f"Note: {table.missing}"] if table.missing else [])]
