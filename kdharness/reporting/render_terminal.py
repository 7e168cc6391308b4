"""A table for a terminal: bold and underlined, one line a row where it fits, two where it does not."""

import io
from collections.abc import Sequence

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
    blocks = text.blocks(table)
    for block in blocks:
        head = Text(block.printed)
        for under in filter(None, (block.said, ", ".join(block.under))):
            head.append("\n" + under, style="dim")
        grid.add_column(head, no_wrap=not stacked, overflow="fold")
        for extra in [] if stacked else block.extras:
            grid.add_column(Text(extra), justify="right", no_wrap=True)
    if table.ranks:
        grid.add_column(Text("Rank"), justify="right", no_wrap=True)
    longest = max((len(text.mean(cell)) for cell in table.cells.values()), default=0)
    for position, line in enumerate(text.lines(table)):
        if line.row is None:
            if position:
                grid.add_section()
            if line.text:
                grid.add_row(Text(line.text, style="bold" if line.panel else "italic"))
            continue
        name = Text(line.text, style="dim" if line.delta else "")
        if text.under(table.rows[line.row]) and not line.delta:
            name.append("  " + text.under(table.rows[line.row]), style="dim")
        row = [name]
        for block in blocks:
            row += _cells(table, line, block, longest, stacked=stacked)
        row += [Text("" if line.delta else text.rank(table, line.row))] if table.ranks else []
        grid.add_row(*row)
    return grid


def _cells(table: Table, line: text.Line, block: text.Block, longest: int, *, stacked: bool) -> list[Text]:
    """The value and what stands beside it, or under it."""
    if len(block.columns) > 1:
        return _shared([] if line.delta else text.shared(table, line.row or 0, block), block, stacked=stacked)
    position = (line.row or 0, block.columns[0])
    cell = table.cells.get(position)
    beside = [] if stacked else [Text("") for _ in block.extras]
    if line.delta:
        return [_coloured(cell) if cell else Text(""), *beside]
    if position in table.filled:
        value = table.filled[position]
        return [Text(f"{text.filled(value)} {' '.join((value.letter, *value.notes))}", style="dim"), *beside]
    if cell is None:
        return [Text(""), *beside]
    if stacked:
        return [_stack(cell, table, block, longest)]
    return [_value(cell, table, longest), *(Text(extra, style="dim") for extra in _extras(cell, block))]


def _shared(cells: Sequence[Cell | None], block: text.Block, *, stacked: bool) -> list[Text]:
    """`4.02 / 2.31 / 2.51 (5)`."""
    values = Text(" / ").join(Text(text.mean(cell), MARKS[cell.mark]) if cell else Text(text.EMPTY) for cell in cells)
    count, notes = text.shared_count(cells), "\u00a0".join(text.shared_notes(cells))
    values.append(f" ({count}{notes})" if count else "", style="dim")
    printed = text.shared_print(cells) if block.extras else ""
    if stacked:
        return [values.append(f"\nprinted {printed}" if printed else "", style="dim")]
    return [values, *(Text(printed, style="dim") for _ in block.extras)]


def _coloured(cell: Cell) -> Text:
    style = {"large": "red", "small": "blue", "": ""}[text.tone(cell.against)]
    return Text(text.delta(cell.against), style=style)


def _extras(cell: Cell, block: text.Block) -> list[str]:
    extras = text.extras(cell, block)
    if extras and cell.beside is not None and cell.beside.notes:
        extras[-1] += "\u00a0" + "\u00a0".join(cell.beside.notes)
    return extras


def _value(cell: Cell, table: Table, longest: int) -> Text:
    """`96.02 ± 0.42 (3/5† a)`, its mean padded so that points stand under points."""
    mean, spread = text.mean(cell), text.spread(cell, table)
    notes = "".join(note if note == "†" else f"\u00a0{note}" for note in cell.notes)
    return Text.assemble(
        " " * (longest - len(mean)),
        (mean, MARKS[cell.mark]),
        f" {spread}" if spread else "",
        (f" ({text.count(cell)}{notes})" if text.needs_count(cell) else "", "dim"),
    )


def _stack(cell: Cell, table: Table, block: text.Block, longest: int) -> Text:
    """The value, and under it what would stand beside it."""
    stack = _value(cell, table, longest)
    names = ("Δ " if head == "Δ" else "" if head == "vs" else f"{head} " for head in block.extras)
    under = [name + extra for name, extra in zip(names, _extras(cell, block), strict=True) if extra]
    return stack.append("".join(f"\n{line}" for line in under), style="dim")


def _width(grid: Grid) -> int:
    """Terminal cells that a grid takes where nothing is folded."""
    console = Console(width=100_000, file=io.StringIO())
    return Measurement.get(console, console.options, grid).maximum
