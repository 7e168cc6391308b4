"""Printed numbers that were asked for and that stand nowhere in the table."""

from __future__ import annotations

from kdharness.core.records import Fill, TableSpec
from kdharness.reporting.published.values import read_registry
from kdharness.reporting.render import render
from kdharness.reporting.table import Table
from kdharness.reporting.tables import build_table

from .frames import frame, seeds

TABLE = "sun2024logit Table 2"


def digits(spec: TableSpec) -> Table:
    return build_table(frame(seeds("none", 90.0, 91.0), seeds("kd", 92.0, 93.5, row=1)), spec, registry=read_registry())


def test_that_nothing_could_be_compared_is_said_and_takes_no_column() -> None:
    table = digits(TableSpec(published=TABLE))
    assert f"Printed: {TABLE}, of which nothing is compared here." in table.caption
    assert "printed" not in render(table, "md").partition("Mean ±")[0]


def test_that_nothing_could_be_filled_is_said() -> None:
    table = digits(TableSpec(fill=(Fill(table=TABLE), Fill(table=TABLE, rows=("kd",)))))
    assert not table.filled and f"Nothing here could be filled from {TABLE}." in table.caption
