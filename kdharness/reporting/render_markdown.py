"""A table as Markdown, readable as plain text too."""

from rich.cells import cell_len

from kdharness.reporting import text
from kdharness.reporting.table import Cell, Table


def render(table: Table) -> str:
    """Title, aligned pipe table, caption and notes."""
    heads = [_escape(text.corner(table))]
    right = [False]
    for column in table.columns:
        about = text.teacher(column)
        heads.append(_escape(f"{column.printed} ({about})" if about else column.printed))
        right.append(True)
        if table.has_delta:
            heads.append("Δ")
            right.append(True)
        if table.has_against:
            heads.append("vs")
            right.append(True)
    body = []
    for line in text.lines(table):
        if line.row is None:
            star = "**" if line.panel else "*" if line.text else ""
            body.append([star + _escape(line.text) + star] + [""] * (len(heads) - 1))
            continue
        about = text.teacher(table.rows[line.row])
        row = [_escape(f"{line.text} ({about})" if about else line.text)]
        for at in range(len(table.columns)):
            cell = table.cells.get((line.row, at))
            row.append(_cell(cell, table) if cell else "")
            if table.has_delta:
                row.append(text.delta(cell.delta, table) if cell else "")
            if table.has_against:
                row.append(_escape(text.against(cell.against, table)) if cell else "")
        body.append(row)
    widths = [max(3, *(cell_len(row[index]) for row in [heads, *body])) for index in range(len(heads))]
    rule = "|" + "|".join("-" * (width + 1) + (":" if r else "-") for width, r in zip(widths, right, strict=True)) + "|"
    grid = [_pipe(heads, widths, right), rule, *(_pipe(row, widths, right) for row in body)]
    return "\n".join([f"### {_escape(table.title)}", "", *grid, "", "\n\n".join(map(_escape, text.notes(table))), ""])


def _cell(cell: Cell, table: Table) -> str:
    mean = text.mean(cell, table)
    marked = {"best": f"**{mean}**", "second": f"<u>{mean}</u>", None: mean}[cell.mark]
    notes = f"<sup>{' '.join(map(_escape, cell.notes))}</sup>" if cell.notes else ""
    return " ".join(part for part in (marked, text.spread(cell, table), f"({text.count(cell)}{notes})") if part)


def _pipe(row: list[str], widths: list[int], right: list[bool]) -> str:
    cells = []
    for value, width, to_the_right in zip(row, widths, right, strict=True):
        space = " " * (width - cell_len(value))
        cells.append(space + value if to_the_right else value + space)
    return "| " + " | ".join(cells) + " |"


def _escape(value: str) -> str:
    """Text that no Markdown reader takes for markup or for the end of a cell."""
    escaped = "".join("\\" + character if character in "\\`*_[]|#" else character for character in value)
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace("\r", " ").replace("\n", " ")
