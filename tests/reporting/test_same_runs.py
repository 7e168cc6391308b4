"""Runs that stand in several rows, runs without a metric: counted, tested and told once."""

from __future__ import annotations

import pytest

from kdharness.core.errors import BadInput
from kdharness.core.records import TableSpec
from kdharness.reporting import statistics
from kdharness.reporting.tables import build_table

from .frames import frame, run, seeds

NONE = seeds("none", 80.0, 81.0, 82.5)
KD = seeds("kd", 84.0, 85.0, 85.5, row=1)
AGAIN = [one | {"label": "kd again", "row": 2} for one in KD]
DKD = seeds("dkd", 81.0, 83.0, 84.0, row=3)


def test_a_comparison_that_stands_twice_is_adjusted_for_once() -> None:
    twice, once = (
        build_table(frame(NONE, KD, again, DKD), TableSpec(baseline="none")).cells.values() for again in (AGAIN, [])
    )
    by_row = {cell.row: (cell.p_value, cell.q_value) for cell in twice}
    assert by_row["kd"] == by_row["kd again"]
    assert {cell.row: (cell.p_value, cell.q_value) for cell in once}.items() <= by_row.items()
    tested = statistics.benjamini_hochberg([by_row["kd"][0] or 0.0, by_row["dkd"][0] or 0.0])
    assert [by_row["kd"][1], by_row["dkd"][1]] == tested


def test_runs_are_not_tested_against_themselves() -> None:
    table = build_table(frame(KD, AGAIN, DKD), TableSpec(baseline="kd"))
    cells = {cell.row: cell for cell in table.cells.values()}
    assert cells["kd again"].p_value is None and cells["kd again"].q_value is None
    assert cells["dkd"].q_value == cells["dkd"].p_value is not None
    assert "kd and kd again show the same runs: one setting." in table.caption


def test_rows_that_show_the_same_runs_are_ranked_as_one() -> None:
    other = [
        [one | {"pair": "resnet32 -> resnet8", "run_id": f"{one['run_id']}-other"} for one in each]
        for each in (NONE, KD, AGAIN, DKD)
    ]
    spec = TableSpec(average="rank")
    twice = build_table(frame(NONE, KD, AGAIN, DKD, *other), spec)
    once = build_table(frame(NONE, KD, DKD, other[0], other[1], other[3]), spec)
    assert {twice.rows[at].name: rank for at, (rank, _) in twice.ranks.items()} == {
        "none": 3.0, "kd": 1.0, "kd again": 1.0, "dkd": 2.0,
    }  # fmt: skip
    ranked = [[one for one in table.caption if one.startswith("Rank:")] for table in (twice, once)]
    assert ranked[0] == ranked[1] and "over 2 pairs" in ranked[0][0] and "Friedman" in ranked[0][0]


def test_rows_without_runs_in_common_are_not_said_to_show_the_same() -> None:
    assert not any("same runs" in said for said in build_table(frame(NONE, KD, DKD), TableSpec()).caption)


def test_a_run_that_misses_is_counted_once_however_often_it_stands_in_the_table() -> None:
    waiting = [run("kd", 2, row=1), run("kd", 2, row=2) | {"label": "kd again"}]
    data = frame(NONE, KD[:2], AGAIN[:2], waiting)
    said = " ".join(build_table(data, TableSpec(metric=("test_top1", "test_loss"))).caption)
    assert "1 of 6 runs are not in the means (n/asked for)." in said


def test_an_excluded_run_of_two_pairs_is_one_run() -> None:
    pairs = ("resnet20 -> resnet8", "resnet32 -> resnet8")
    data = frame(*([one | {"pair": pair, "setting_key": "alone"} for one in NONE] for pair in pairs))
    data["excluded"] = ["a wrong folder" if run_id == data["run_id"][0] else None for run_id in data["run_id"]]
    table = build_table(data, TableSpec())
    (note,) = table.footnotes
    assert "(1 excluded)" in note.text and note.text.endswith("Excluded: a wrong folder.")
    assert [cell.notes for cell in table.cells.values()] == [("†",), ("†",)]


def test_a_finished_run_that_was_not_analysed_is_said_to_be() -> None:
    data = frame(NONE, KD)
    data["test_ece"] = [0.1, None, 0.2, *[None] * 3]
    for metric, said in (("test_ece", "were not analysed (kdharness evaluate) or "), ("test_top1", "")):
        data["test_top1_last"] = data["test_ece"]
        notes = [one.text for one in build_table(data, TableSpec(metric=metric)).footnotes]
        assert f"some finished runs {said}have no finite value of this metric and are not in the mean." in notes


def test_a_metric_that_is_not_measured_yet_leaves_its_column_empty_beside_others() -> None:
    data = frame(NONE, KD)
    table = build_table(data, TableSpec(metric="test_top1", costs=("train_extra_parameters",)))
    costs = [cell for cell in table.cells.values() if cell.metric == "train_extra_parameters"]
    assert len(costs) == 2 and all(cell.mean is None and not cell.notes for cell in costs)
    said = " ".join(table.caption)
    assert "No run has train_extra_parameters yet: `kdharness evaluate` measures it." in said
    assert "not in the means" not in said
    for metric in ("train_extra_parameters", ("test_top1", "test_top"), "top1"):
        with pytest.raises(BadInput, match="no finished run has the metric") as error:
            build_table(data, TableSpec(metric=metric))
        assert "Did you mean 'test_top1'?" in str(error.value) or metric == "train_extra_parameters"
