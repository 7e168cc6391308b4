"""What stands behind every cell of a report: its runs by id, and each run's hashes. For people who check."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from kdharness.reporting.table import Table


def manifest(tables: Sequence[Table], digests: Mapping[str, Any]) -> dict[str, Any]:
    """`{"tables": [{"title", "cells": [{"row", "column", ..., "runs": [id, ...]}]}], "runs": {id: hashes}}`.

    `digests` are dataclasses by run id, as `Store.digests` gives them. Every run of a cell is named, finished or not,
    and every teacher's of a head; an imported teacher has no run and stands only under "teachers".
    """
    told = [_table(table) for table in tables]
    named = {run for table in told for one in (*table["cells"], *table["teachers"]) for run in one["runs"]}
    return {"tables": told, "runs": {run: asdict(digests[run]) for run in sorted(named & digests.keys())}}


def _table(table: Table) -> dict[str, Any]:
    heads = (*table.rows, *table.columns)
    return {
        "title": table.title,
        "cells": [
            {
                "panel": cell.panel or None,
                "row": cell.row,
                "column": cell.column,
                "metric": cell.metric,
                "mean": cell.mean,
                "n": cell.n,
                "setting_key": cell.setting_key,
                "runs": list(cell.wanted_runs),
            }
            for _, cell in sorted(table.cells.items())
        ],
        "teachers": [
            {"pair": head.name, "accuracy": head.teacher.accuracy, "runs": list(head.teacher.runs)}
            for head in heads
            if head.teacher is not None
        ],
    }
