"""Several values in one cell, costs beside accuracies, and metrics without a better end."""

import csv
import io
import json
import re
from typing import Any

import pandas as pd
import pytest

from kdharness.core.errors import BadInput
from kdharness.core.records import TableSpec
from kdharness.reporting import names
from kdharness.reporting.render import FORMATS, render
from kdharness.reporting.render_latex import tabular
from kdharness.reporting.table import Table
from kdharness.reporting.tables import build_table
from kdharness.testing.table import check_table

from .frames import frame, seeds, teacher

PAIRS = ("resnet32x4 -> resnet8x4", "vgg13 -> vgg8")


def calibrated() -> pd.DataFrame:
    """Three methods on two pairs; KD has the best ECE, LumiNet the best FPR95, entropy and costs beside them."""
    values = {"CE": (0.04, 30.0, 0.3), "KD": (0.02, 29.0, 0.9), "LumiNet": (0.03, 28.0, 0.6)}
    parts = []
    for pair in PAIRS:
        for row, (label, (ece, fpr95, entropy)) in enumerate(values.items()):
            here: dict[str, Any] = {"pair": pair, "row": row, "distiller": {"CE": "none"}.get(label, label.lower())}
            runs = seeds(label, 70.0 + row, 71.0 + row, **here, against="KD" if row == 2 else None)
            measured = {"test_ece": ece, "test_fpr95": fpr95, "test_entropy": entropy, "train_step_ms_cpu": 12.345}
            parts += [one | measured | {"train_extra_parameters": 123456.0 * row} for one in runs]
    return frame(teacher(79.4, model="resnet32x4"), parts)


def build(**spec: Any) -> Table:
    table = build_table(calibrated(), TableSpec.model_validate(spec))
    check_table(table, calibrated())
    return table


def triples() -> Table:
    return build(rows="pair", columns="distiller", metric=("test_ece", "test_fpr95"), within="distiller")


def body(text: str) -> list[str]:
    """The lines of a Markdown table below its rule, without white space."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return ["".join(line.split()) for line in lines[2:]]


def test_methods_share_a_cell_measure_by_measure() -> None:
    text = render(triples(), "md")
    assert "ECE, CE / KD / LumiNet" in text and "FPR at 95 % TPR (%), CE / KD / LumiNet" in text
    line = "0.0400/**0.0200**/<u>0.0300</u>(2)|30.00/<u>29.00</u>/**28.00**(2)|"
    assert all(one.endswith(line) for one in body(text)) and len(body(text)) == 2
    assert "Mean over seeds 0, 1;" in text and "±" not in text and "Δ" not in text


def test_measures_share_a_cell_pair_by_pair() -> None:
    table = build(metric=("test_top1", "test_ece"), within="metric", baseline="KD")
    assert [line.split("|")[1] for line in body(render(table, "md"))] == ["CE", "KD", "LumiNet"]
    assert body(render(table, "md"))[2].endswith("**72.50**/<u>0.0300</u>(2)|" * 2)
    assert "teacher 79.40, student 70.50" in render(table, "md")
    assert re.search(r"\\scriptsize teacher 79\.40\}.*\n.*\\scriptsize student 70\.50\}", render(table, "latex"))


def test_an_unfinished_part_is_counted_alone() -> None:
    data = calibrated()
    late = (data["label"] == "KD") & (data["seed"] == 1) & (data["pair"] == PAIRS[0])
    data.loc[late, "state"] = "waiting"
    spec = TableSpec(rows="pair", columns="distiller", metric="test_ece", within="distiller")
    text = render(build_table(data, spec), "md")
    assert "0.0400/0.0200/**0.0300**(2/1/2/2)|" not in body(text)[0] and "(2/1/2/2)" in body(text)[0]
    assert body(text)[1].endswith("(2)|")


@pytest.mark.parametrize("form", sorted(set(FORMATS) - {"json", "csv"}))
def test_every_rendering_has_them(form: str) -> None:
    text = render(triples(), form)
    assert text.count(" / ") >= 2 * 2 * 2 + 2 and "0.0400" in text


def test_programs_have_them_one_by_one() -> None:
    (table,) = json.loads(render(triples(), "json"))["tables"]
    assert len(table["cells"]) == 12 and {cell["n"] for cell in table["cells"]} == {2}
    assert len(list(csv.DictReader(io.StringIO(render(triples(), "csv"))))) == 12


def test_methods_are_compared_within_a_measure() -> None:
    """In columns too, where two measures stand beside each other in a row."""
    table = build(rows="pair", columns="distiller", metric=("test_ece", "test_fpr95"), baseline="CE")
    deltas = {(cell.column, cell.delta.value) for cell in table.cells.values() if cell.delta}
    assert {(column, round(value, 6)) for column, value in deltas} == {
        ("KD, test_ece", -0.02), ("LumiNet, test_ece", -0.01), ("KD, test_fpr95", -1.0), ("LumiNet, test_fpr95", -2.0),
    }  # fmt: skip


def test_what_a_cell_cannot_hold_is_refused() -> None:
    with pytest.raises(BadInput, match="not of 'teacher'"):
        build(within="teacher")


def test_costs_stand_behind_as_plain_numbers() -> None:
    table = build(costs=("train_step_ms_cpu", "train_extra_parameters"), baseline="KD", average="rank")
    text = render(table, "md")
    assert body(text)[2].count("|12.35|246,912|") == 2, "beside each pair"
    assert "Training step (ms, cpu) and Extra parameters: means, in no ranking." in text
    costs = [cell for cell in table.cells.values() if cell.plain]
    assert len(costs) == 12 and all(cell.mark is None and cell.delta is None and cell.q_value is None for cell in costs)
    assert {places for _, places in table.ranks.values()} == {2}, "ranked by accuracy alone"
    assert r"top-1 (\%) & $\Delta$ & Training step (ms, cpu) & Extra parameters" in render(table, "latex")
    rows = [line for line in tabular(table).splitlines() if line.startswith("LumiNet")]
    assert [line.count("&") for line in rows] == [9]


def test_a_cost_that_lacks_runs_says_so() -> None:
    data = calibrated()
    data.loc[(data["label"] == "KD") & (data["seed"] == 1), "state"] = "waiting"
    text = render(build_table(data, TableSpec(costs=("train_extra_parameters",))), "md")
    assert "123,456(1/2)" in body(text)[1]


def test_nothing_is_best_where_no_end_is_better() -> None:
    table = build(metric=("test_entropy", "test_ece"), baseline="CE", delta="rows", average="rank")
    entropies = [cell for cell in table.cells.values() if cell.metric == "test_entropy"]
    assert all(cell.mark is None for cell in entropies)
    assert all(cell.delta.improves is None for cell in entropies if cell.delta)
    assert {places for _, places in table.ranks.values()} == {2}, "ECE of two pairs"
    (told,) = json.loads(render(build(metric="test_entropy"), "json"))["tables"]
    assert told["lower_is_better"] is None
    assert r"\textcolor{black}" in render(table, "latex") and r"\textcolor{blue}" in render(table, "latex")


def test_which_end_is_better() -> None:
    neither = ("test_entropy", "test_softened_entropy", "test_gradient_norm", "test_logit_std", "test_zscore_range")
    assert not any(map(names.has_direction, neither))
    lower = ("test_ece", "test_logit_difference", "test_zscore_difference_max", "train_seconds", "test_batch_ms_cuda")
    assert all(map(names.has_direction, lower)) and all(map(names.lower_is_better, lower))
    higher = ("test_top1_last", "test_agreement", "test_transfer_stl10_top1")
    assert all(map(names.has_direction, higher)) and not any(map(names.lower_is_better, higher))
