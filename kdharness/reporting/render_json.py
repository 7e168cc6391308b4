"""Tables as JSON, for programs (`jq .` indents it): unrounded numbers, every run named."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from kdharness.reporting import names
from kdharness.reporting.table import Cell, Delta, Head, Table


def render(tables: Sequence[Table]) -> str:
    """`{"tables": [{"title", "metric", "cells": [{"row", "column", "mean", "std", "n", "runs", ...}], ...}]}`."""
    return json.dumps({"tables": [_table(table) for table in tables]}, allow_nan=False, ensure_ascii=False)


def _table(table: Table) -> dict[str, Any]:
    return {
        "title": table.title,
        "metric": table.metric,
        "metrics": list(table.metrics),
        "cells": [_cell(table.cells[position]) for position in sorted(table.cells)],
        "select": table.select,
        "dataset": table.dataset,
        "baseline": table.baseline,
        "lower_is_better": names.lower_is_better(table.metric) if names.has_direction(table.metric) else None,
        "published": table.published,
        "pm": table.pm,
        "filled": [
            {"row": table.rows[row].name, "column": table.columns[column].name, **asdict(value)}
            for (row, column), value in sorted(table.filled.items())
        ],
        "ranks": [
            {"row": table.rows[row].name, "panel": table.rows[row].panel or None, "mean": mean, "places": places}
            for row, (mean, places) in sorted(table.ranks.items())
        ],
        "rows": [_head(head) for head in table.rows],
        "columns": [_head(head) for head in table.columns],
        "caption": " ".join(table.caption),
        "footnotes": [{**vars(note)} for note in table.footnotes],
        "missing": table.missing or None,
    }


def _head(head: Head) -> dict[str, Any]:
    return {**asdict(head), "panel": head.panel or None}


def _cell(cell: Cell) -> dict[str, Any]:
    return {
        "row": cell.row,
        "column": cell.column,
        "mean": cell.mean,
        "std": cell.std,
        "n": cell.n,
        "runs": list(cell.runs),
        "panel": cell.panel or None,
        "wanted": cell.wanted,
        "wanted_runs": list(cell.wanted_runs),
        "values": list(cell.values),
        "seeds": list(cell.seeds),
        "states": dict(sorted(cell.states.items())),
        "setting_key": cell.setting_key,
        "interval": list(cell.interval) if cell.interval else None,
        "mark": cell.mark,
        "delta": _delta(cell.delta),
        "against": _delta(cell.against),
        "p_value": cell.p_value,
        "q_value": cell.q_value,
        "stars": cell.stars,
        "effect": cell.effect,
        "published": {**vars(cell.beside)} if cell.beside else None,
        "metric": cell.metric,
        "notes": list(cell.notes),
    }


def _delta(delta: Delta | None) -> dict[str, Any] | None:
    return {**vars(delta)} if delta else None
