"""What a table says unasked: rows at chance level, teachers of another recipe, runs that stand twice, picks on test."""

from __future__ import annotations

from typing import Any

import pytest

from kdharness.core.records import TableSpec
from kdharness.reporting.datasets import chance
from kdharness.reporting.ledger import tried
from kdharness.reporting.render import render
from kdharness.reporting.table import Table
from kdharness.reporting.tables import build_table

from .frames import frame, seeds, teacher


def noted(table: Table, row: str) -> list[str]:
    cell = next(cell for cell in table.cells.values() if cell.row == row)
    return [table.noted[mark] for mark in cell.notes]


def said(table: Table) -> str:
    return " ".join(table.caption)


def test_a_row_that_learnt_nothing_has_a_footnote() -> None:
    runs = [seeds("kd", 96.0, 96.5, 96.2), seeds("gone", 10.0, 8.2, 13.9, row=1), seeds("once", 95.0, 10.3, row=2)]
    table = build_table(frame(*runs), TableSpec())
    assert noted(table, "gone") == ["2 of 3 runs at chance level (10.0 %)."] and noted(table, "kd") == []
    assert noted(table, "once") == ["1 of 2 runs at chance level (10.0 %)."]
    all_of_them = build_table(frame(seeds("gone", 10.0, 8.2)), TableSpec())
    assert noted(all_of_them, "gone") == ["at chance level (10.0 %)."]
    assert r"\textsuperscript{a}" in render(table, "latex") and "at chance level (10.0 %)" in render(table, "html")
    nowhere = build_table(frame(seeds("kd", 0.1, dataset="mine")), TableSpec())
    assert noted(nowhere, "kd") == []  # how many classes it has is not known


def test_chance_is_that_of_the_classes_and_of_the_test_images() -> None:
    # 10,000 images of 100 classes: 1 % and 1.96 standard deviations of a share of 0.01, 0.0995 points each
    guess = chance("cifar100", "test_top1_last")
    assert guess is not None and guess.level == 1.0 and guess.highest == pytest.approx(1 + 1.96 * 0.099499, abs=1e-4)
    five = chance("cifar100", "test_top5_best")
    assert five is not None and five.level == 5.0
    assert chance("cifar100", "test_loss_last") is chance("unknown", "test_top1_last") is None


def test_teachers_of_another_recipe_are_told() -> None:
    taught = teacher(98.0)
    own = build_table(frame(taught, seeds("kd", 96.0, 96.5)), TableSpec())
    assert "another recipe" not in said(own)
    short: dict[str, Any] = {"recipe": {"epochs": 2, "milestones": [], "lr": 0.1}}
    table = build_table(frame(taught, seeds("kd", 96.0, 96.5, **short)), TableSpec())
    assert "Teachers were trained by another recipe: epochs 30, lr 0.05." in said(table)
    imported = {**taught, "recipe": {}, "distiller": "imported"}
    assert "another recipe" not in said(build_table(frame(imported, seeds("kd", 96.0, **short)), TableSpec()))


@pytest.mark.parametrize("sides", [("distiller", "pair"), ("pair", "distiller")])
def test_a_student_alone_that_stands_under_several_pairs_is_told(sides: tuple[str, str]) -> None:
    pairs = {"resnet20 -> resnet8": "kd1", "resnet32 -> resnet8": "kd2"}
    parts = [seeds("kd", 96.0, 96.5, pair=pair, setting_key=key, row=1) for pair, key in pairs.items()]
    alone = [seeds("none", 95.0, 95.5, pair=pair, setting_key="alone") for pair in pairs]
    spec = TableSpec(rows=sides[0], columns=sides[1])
    table = build_table(frame(*alone, *parts), spec)
    assert "none: without a teacher, the same runs under every pair of one student." in said(table)
    assert "the same runs" not in said(build_table(frame(alone[0], parts[0]), spec))


def test_the_ledger_counts_what_one_row_tried_and_not_the_other_rows_of_its_method() -> None:
    method = ("digits", "resnet20 -> resnet8", "kd")
    kd, ls = seeds("KD", 96.0, 96.5, distiller="kd"), seeds("KD+LS", 96.1, 96.9, distiller="kd", constants={"T": 2.0})
    both = frame(kd, [{**run, "row": 1} for run in ls])
    assert tried(both, {method: 2}) == {"KD": 1, "KD+LS": 1} and tried(both, {method: 4}) == {"KD": 3, "KD+LS": 3}
    assert "flatter" not in said(build_table(both, TableSpec(), tried=tried(both, {method: 2})))
    some = build_table(both, TableSpec(only=("KD",)), tried=tried(both, {method: 4}))
    assert "Up to 3 settings of one row and pair had their test score revealed, in whichever study (KD)" in said(some)
    axis = [seeds("T", 96.0 + t, 96.4 + t, distiller="kd", constants={"t": t}, axes={"t": t}) for t in (0.1, 0.2, 0.3)]
    unfinished = seeds("later", None, distiller="kd", constants={"T": 9.0})
    assert tried(frame(kd, *axis, unfinished), {method: 4}) == {"KD": 1, "T": 3}
