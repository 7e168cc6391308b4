"""A table as Markdown, readable as plain text too."""

from collections.abc import Sequence

from rich.cells import cell_len

from kdharness.reporting import text
from kdharness.reporting.table import Cell, Filled, Table


def render(table: Table) -> str:
    """Title, aligned pipe table, caption and notes."""
    blocks = text.blocks(table)
    heads, body = _heads(table, blocks), []
    for line in text.lines(table):
        if line.row is None:
            star = "**" if line.panel else "*" if line.text else ""
            body.append([star + _escape(line.text) + star] + [""] * (len(heads) - 1))
            continue
        row = ["Δ" if line.delta else _escape(_named(line.text, text.under(table.rows[line.row])))]
        for block in blocks:
            row += _cells(table, line, block)
        row += [text.rank(table, line.row) if not line.delta else ""] if table.ranks else []
        body.append(row)
    right = [False] + [True] * (len(heads) - 1)
    widths = [max(3, *(cell_len(row[index]) for row in [heads, *body])) for index in range(len(heads))]
    rule = "|" + "|".join("-" * (width + 1) + (":" if r else "-") for width, r in zip(widths, right, strict=True)) + "|"
    grid = [_pipe(heads, widths, right), rule, *(_pipe(row, widths, right) for row in body)]
    return "\n".join([f"### {_escape(table.title)}", "", *grid, "", "\n\n".join(map(_escape, text.notes(table))), ""])


def _heads(table: Table, blocks: Sequence[text.Block]) -> list[str]:
    heads = [_escape(text.corner(table))]
    for block in blocks:
        name = f"{block.printed}, {block.said}" if block.said else block.printed
        heads += [_escape(_named(name, ", ".join(block.under))), *block.extras]
    return [*heads, "Rank"] if table.ranks else heads


def _named(name: str, about: str) -> str:
    return f"{name} ({about})" if about else name


def _cells(table: Table, line: text.Line, block: text.Block) -> list[str]:
    """The value and what stands beside it."""
    if len(block.columns) > 1:
        return _shared([] if line.delta else text.shared(table, line.row or 0, block), block)
    position = (line.row or 0, block.columns[0])
    cell = table.cells.get(position)
    if line.delta:
        return [text.delta(cell.against) if cell else "", *[""] * len(block.extras)]
    if position in table.filled:
        return [_filled(table.filled[position]), *text.extras(None, block)]
    extras = [_escape(extra) for extra in text.extras(cell, block)]
    if block.extras and cell is not None and cell.beside is not None and cell.beside.notes:
        extras[-1] += _marks(cell.beside.notes)
    return [_cell(cell, table) if cell else "", *extras]


def _filled(value: Filled) -> str:
    return f"*{text.filled(value)}*{_marks((value.letter, *value.notes))}"


def _marks(notes: Sequence[str]) -> str:
    return f"<sup>{' '.join(map(_escape, notes))}</sup>" if notes else ""


def _shared(cells: Sequence[Cell | None], block: text.Block) -> list[str]:
    """`4.02 / **2.31** / 2.51 (5)`."""
    values = " / ".join(_marked(cell) if cell else text.EMPTY for cell in cells)
    count = text.shared_count(cells)
    behind = f" ({count}{_marks(text.shared_notes(cells))})" if count else ""
    return [values + behind, *(text.shared_print(cells) for _ in block.extras)]


def _cell(cell: Cell, table: Table) -> str:
    count = f"({text.count(cell)}{_marks(cell.notes)})" if text.needs_count(cell) else ""
    return " ".join(part for part in (_marked(cell), text.spread(cell, table), count) if part)


def _marked(cell: Cell) -> str:
    mean = text.mean(cell)
    return {"best": f"**{mean}**", "second": f"<u>{mean}</u>", None: mean}[cell.mark]


def _pipe(row: list[str], widths: list[int], right: list[bool]) -> str:
    cells = []
    for value, width, to_the_right in zip(row, widths, right, strict=True):
        space = " " * (width - cell_len(value))
        cells.append(space + value if to_the_right else value + space)
    return "| " + " | ".join(cells) + " |"


def _escape(value: str) -> str:
    """Text that no Markdown reader takes for markup or for the end of a cell."""
    return value.translate(_MARKUP)


_MARKUP = str.maketrans({sign: "\\" + sign for sign in "\\`*_[]|#"} | {"&": "&amp;", "<": "&lt;", "\r": " ", "\n": " "})
