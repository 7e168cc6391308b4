"""A table for a terminal: bold and underlined, one line a row where it fits, two where it does not."""

import io

from rich import box
from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.table import Table as Grid
from rich.text import Text

from kdharness.reporting import text
from kdharness.reporting.table import Cell, Table

MARKS = {"best": "bold", "second": "underline", None: ""}


def render(table: Table, width: int = 100) -> RenderableType:
    """Title, grid, caption and notes, at most `width` cells wide where the names allow it."""
    wide = _grid(table, stacked=False)
    grid = wide if _width(wide) <= width else _grid(table, stacked=True)
    notes = [Text(note, style="dim") for note in text.notes(table)]
    return Group(Text(table.title, style="bold"), grid, *notes)


def _grid(table: Table, *, stacked: bool) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="")
    grid.add_column(Text(text.corner(table)), no_wrap=not stacked, overflow="fold")
    for column in table.columns:
        head = Text(column.printed)
        if text.teacher(column):
            head.append("\n" + text.teacher(column), style="dim")
        grid.add_column(head, no_wrap=not stacked, overflow="fold")
        if not stacked and table.has_delta:
            grid.add_column(Text("Δ"), justify="right", no_wrap=True)
        if not stacked and table.has_against:
            grid.add_column(Text("vs"), justify="right", no_wrap=True)
    longest = max((len(text.mean(cell, table)) for cell in table.cells.values()), default=0)
    for position, line in enumerate(text.lines(table)):
        if line.row is None:
            if position:
                grid.add_section()
            if line.text:
                grid.add_row(Text(line.text, style="bold" if line.panel else "italic"))
            continue
        name = Text(line.text)
        if text.teacher(table.rows[line.row]):
            name.append("  " + text.teacher(table.rows[line.row]), style="dim")
        row = [name]
        for at in range(len(table.columns)):
            cell = table.cells.get((line.row, at))
            if stacked:
                row.append(_stack(cell, table, longest) if cell else Text(""))
                continue
            row.append(_value(cell, table, longest) if cell else Text(""))
            if table.has_delta:
                row.append(Text(text.delta(cell.delta, table) if cell else ""))
            if table.has_against:
                row.append(Text(text.against(cell.against, table) if cell else "", style="dim"))
        grid.add_row(*row)
    return grid


def _value(cell: Cell, table: Table, longest: int) -> Text:
    """`96.02 ± 0.42 (3/5† a)`, its mean padded so that points stand under points."""
    mean, spread = text.mean(cell, table), text.spread(cell, table)
    notes = "".join(note if note == "†" else f"\u00a0{note}" for note in cell.notes)
    return Text.assemble(
        " " * (longest - len(mean)),
        (mean, MARKS[cell.mark]),
        f" {spread}" if spread else "",
        (f" ({text.count(cell)}{notes})", "dim"),
    )


def _stack(cell: Cell, table: Table, longest: int) -> Text:
    """The value, and under it the differences."""
    stack = _value(cell, table, longest)
    under = [f"Δ {text.delta(cell.delta, table)}"] if cell.delta else []
    under += [text.against(cell.against, table)] if cell.against and table.has_against else []
    return stack.append("".join(f"\n{line}" for line in under), style="dim")


def _width(grid: Grid) -> int:
    """Terminal cells that a grid takes where nothing is folded."""
    console = Console(width=100_000, file=io.StringIO())
    return Measurement.get(console, console.options, grid).maximum
