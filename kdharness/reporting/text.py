"""The words of a table that every rendering shares: numbers, counts, heads, and the order of its lines."""

from collections.abc import Iterator
from dataclasses import dataclass

from kdharness.reporting import names
from kdharness.reporting.table import Cell, Delta, Head, Table

EMPTY = "–"


@dataclass(frozen=True)
class Line:
    """One line of a table's body: the heading of a panel or a group, or (with `row`) the cells of a row."""

    text: str
    row: int | None = None
    panel: bool = False


def lines(table: Table) -> Iterator[Line]:
    """The body from top to bottom."""
    panel, group = "", None
    for index, head in enumerate(table.rows):
        if head.panel != panel:
            panel, group = head.panel, None
            yield Line(panel, panel=True)
        if head.group != group:
            if group or head.group:
                yield Line(head.group or "")  # rows of no group stand apart from the group above
            group = head.group
        yield Line(head.printed, row=index)


def number(value: float, table: Table) -> str:
    return f"{value:.{table.decimals}f}"


def mean(cell: Cell, table: Table) -> str:
    """`96.02`, or a dash while no run is finished."""
    return EMPTY if cell.mean is None else number(cell.mean, table)


def spread(cell: Cell, table: Table) -> str:
    """`± 0.42`, nothing below two runs."""
    return "" if cell.std is None else f"± {number(cell.std, table)}"


def count(cell: Cell) -> str:
    """`3` of three runs, `3/5` of five."""
    return str(cell.n) if cell.complete else f"{cell.n}/{cell.wanted}"


def delta(difference: Delta | None, table: Table) -> str:
    """`+0.83`; nothing where there is nothing to subtract."""
    return "" if difference is None else f"{difference.value:+.{table.decimals}f}"


def against(difference: Delta | None, table: Table) -> str:
    """`+0.41 vs KD`."""
    return "" if difference is None else f"{delta(difference, table)} vs {difference.to}"


def teacher(head: Head) -> str:
    """`teacher 98.06`, `teacher 79.42, imported`, `teacher not finished`, or nothing where the head is no pair."""
    if head.teacher is None:
        return ""
    if head.teacher.ensemble:
        each = ("not finished" if one is None else f"{one:.2f}" for one in head.teacher.ensemble)
        return "teachers " + " + ".join(each) + (", imported" if head.teacher.imported else "")
    if head.teacher.accuracy is not None:
        return f"teacher {head.teacher.accuracy:.2f}" + (", imported" if head.teacher.imported else "")
    return "teachers differ*" if len(head.teacher.runs) > 1 else "teacher not finished"


def corner(table: Table) -> str:
    """What stands above the rows' names."""
    return "Pair" if any("->" in head.name for head in table.rows) else "Method"


def value_head(table: Table) -> str:
    """What stands above the values of one column: `top-1 (%)`."""
    name = names.metric(table.metric)
    return name.removeprefix("Test ").replace("top-1 accuracy", "top-1").replace("top-5 accuracy", "top-5")


def notes(table: Table) -> list[str]:
    """Caption, footnotes and what is missing, one sentence or note each."""
    footnotes = [f"{note.mark} {note.text}" for note in table.footnotes]
    return [" ".join(table.caption), *footnotes, *([f"Note: {table.missing}"] if table.missing else [])]
