"""Tables as CSV (RFC 4180), one line a cell: for data frames and spreadsheets."""

import csv
import io
from collections.abc import Sequence

from kdharness.reporting.table import Cell, Table

FIELDS = (
    "table", "panel", "group", "row", "column", "teacher", "teacher_accuracy", "dataset", "metric", "mean", "std", "n",
    "wanted", "states", "low", "high", "mark", "delta", "delta_to", "p_value", "against_delta", "against",
    "setting_key", "seeds", "runs", "notes",
)  # fmt: skip
"""`low` and `high` are Student's t 95 % interval; `p_value` is Welch's against the baseline."""


def render(tables: Sequence[Table]) -> str:
    """All cells of all tables under one header; lines end in CRLF."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(FIELDS)
    for table in tables:
        for row, column in sorted(table.cells):
            writer.writerow([_safe(value) for value in _values(table, row, column, table.cells[row, column])])
    return out.getvalue()


def _values(table: Table, row: int, column: int, cell: Cell) -> tuple[object, ...]:
    head = table.rows[row]
    teacher = table.columns[column].teacher or head.teacher
    low, high = cell.interval or (None, None)
    footnotes = {note.mark: note.text for note in table.footnotes}
    return (
        table.title, cell.panel, head.group, cell.row, cell.column, teacher.name if teacher else None,
        teacher.accuracy if teacher else None, table.dataset, table.metric, cell.mean, cell.std, cell.n, cell.wanted,
        " ".join(f"{state}:{count}" for state, count in sorted(cell.states.items())), low, high, cell.mark,
        cell.delta.value if cell.delta else None, cell.delta.to if cell.delta else None, cell.p_value,
        cell.against.value if cell.against else None, cell.against.to if cell.against else None, cell.setting_key,
        " ".join(map(str, cell.seeds)), " ".join(cell.runs),
        " ".join(footnotes[mark] for mark in cell.notes),
    )  # fmt: skip


def _safe(value: object) -> object:
    """Numbers as they are; a text that a spreadsheet would run as a formula gets a quote in front (OWASP)."""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r", "\n"):
        return "'" + value
    return value
