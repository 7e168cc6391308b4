"""Tables as CSV (RFC 4180), one line a cell: for data frames and spreadsheets."""

import csv
import io
from collections.abc import Sequence

from kdharness.reporting.table import Cell, Table

FIELDS = (
    "table", "panel", "group", "row", "column", "teacher", "teacher_accuracy", "dataset", "metric", "mean", "std", "n",
    "wanted", "states", "low", "high", "mark", "delta", "delta_to", "p_value", "q_value", "effect", "against_delta",
    "against", "printed", "printed_in", "printed_selection", "difference", "score", "verdict", "setting_key", "seeds",
    "runs", "notes",
)  # fmt: skip
"""`low` and `high` are Student's t 95 % interval; `p_value` is of the test against the baseline, `q_value` the same
adjusted over the table, `effect` Hedges' g. A line without `setting_key` is a printed value where no run exists."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def render(tables: Sequence[Table]) -> str:
    """All cells of all tables under one header; lines end in CRLF."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(FIELDS)
    for table in tables:
        for row, column in sorted(table.cells):
            writer.writerow(_safe(_values(table, row, column, table.cells[row, column])))
        for row, column in sorted(table.filled):
            said = _filled(table, row, column)
            writer.writerow(_safe([said.get(name) for name in FIELDS]))
    return out.getvalue()


def _values(table: Table, row: int, column: int, cell: Cell) -> tuple[object, ...]:
    head = table.rows[row]
    teacher = table.columns[column].teacher or head.teacher
    low, high = cell.interval or (None, None)
    printed = cell.beside
    return (
        table.title, cell.panel, head.group, cell.row, cell.column, teacher.name if teacher else None,
        teacher.accuracy if teacher else None, table.dataset, cell.metric, cell.mean, cell.std, cell.n, cell.wanted,
        " ".join(f"{state}:{count}" for state, count in sorted(cell.states.items())), low, high, cell.mark,
        cell.delta.value if cell.delta else None, cell.delta.to if cell.delta else None, cell.p_value, cell.q_value,
        cell.effect, cell.against.value if cell.against else None, cell.against.to if cell.against else None,
        printed.value if printed else None, f"{printed.source} {printed.table}" if printed else None,
        printed.selection if printed else None, printed.difference if printed else None,
        printed.score if printed else None, (printed.verdict or printed.reason) if printed else None,
        cell.setting_key, " ".join(map(str, cell.seeds)), " ".join(cell.runs),
        _notes(table, (*cell.notes, *(printed.notes if printed else ()))),
    )  # fmt: skip


def _filled(table: Table, row: int, column: int) -> dict[str, object]:
    value, head, metric = table.filled[row, column], table.rows[row], table.columns[column].metric or table.metric
    return {
        "table": table.title, "group": head.group, "row": head.name, "column": table.columns[column].name,
        "dataset": table.dataset, "metric": metric, "printed": value.value, "printed_in": value.source,
        "notes": _notes(table, (value.letter, *value.notes)),
    }  # fmt: skip


def _notes(table: Table, marks: Sequence[str]) -> str:
    return " ".join(table.noted[mark] for mark in marks)


def _safe(values: Sequence[object]) -> list[object]:
    """Numbers as they are; a text that a spreadsheet would run as a formula gets a quote in front (OWASP)."""
    return [f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value for value in values]
