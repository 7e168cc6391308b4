"""Conformance of tables: what holds of every table over every frame."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from kdharness.reporting import names
from kdharness.reporting.table import Table

if TYPE_CHECKING:
    import pandas as pd

TOLERANCE = 1e-5


def check_table(table: Table, frame: "pd.DataFrame") -> None:
    """Every cell knows its runs, holds one setting, and its numbers are those of the frame, computed apart.

    Raises AssertionError with the promise that was broken.
    """
    by_run = {row["run_id"]: row for row in frame.to_dict("records")}
    seen: set[str] = set()
    for (row, column), cell in table.cells.items():
        assert (cell.row, cell.column) == (table.rows[row].name, table.columns[column].name), (
            "cells stand at their heads"
        )
        runs = [by_run[run] for run in cell.wanted_runs]
        assert len({run["setting_key"] for run in runs}) == 1, f"{cell.row}: one setting a cell"
        assert len({run["purpose"] for run in runs}) == 1, f"{cell.row}: one purpose a cell"
        weights = {run["teacher_sha256"] for run in runs if isinstance(run["teacher_sha256"], str)}
        assert len(weights) <= 1, f"{cell.row}: one teacher's weights a cell"
        assert len(set(cell.wanted_runs)) == len(cell.wanted_runs), f"{cell.row}: a run counts once"
        assert set(cell.runs) <= set(cell.wanted_runs) and len(cell.runs) == cell.n == len(cell.seeds)
        assert all(by_run[run]["state"] == "complete" for run in cell.runs), (
            f"{cell.row}: only finished runs are averaged"
        )
        values = [float(by_run[run][cell.metric]) for run in cell.runs]
        _check_numbers(values, cell.mean, cell.std)
        assert cell.mark is None or cell.complete, f"{cell.row}: an incomplete cell is never marked"
        seen.update(cell.wanted_runs)
    purposes = {by_run[run]["purpose"] for run in seen}
    asked = {run for run, row in by_run.items() if row["purpose"] in purposes}
    assert seen == asked, "no run of the purpose is left out"
    _check_marks(table)


def _check_numbers(values: list[float], mean: float | None, std: float | None) -> None:
    assert (mean is None) == (not values) and (std is None) == (len(values) < 2), "a mean of one, a std of two"
    if mean is not None:
        assert abs(mean - sum(values) / len(values)) < TOLERANCE, "the mean is the mean of the runs"
    if std is not None and mean is not None:
        variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
        assert abs(std - variance**0.5) < 1e-6, "the std is the sample std of the runs"


def _check_marks(table: Table) -> None:
    """Where distillers are rows and pairs are columns, a best cell is at least as good as every complete one below."""
    better: Mapping[bool, float] = {True: -1.0, False: 1.0}
    for column in range(len(table.columns)):
        sign = better[names.lower_is_better(table.columns[column].metric or table.metric)]
        for panel in {head.panel for head in table.rows}:
            cells = [c for (_, at), c in table.cells.items() if at == column and c.panel == panel and c.complete]
            best = [cell for cell in cells if cell.mark == "best"]
            if table.columns[column].teacher is None or not best:
                continue
            top = max(sign * cell.mean for cell in cells if cell.mean is not None)
            assert all(cell.mean is not None and sign * cell.mean >= top - TOLERANCE for cell in best), "best is best"
