"""Printed numbers in our tables: beside cells, in their place, never in ranks or tests."""

from __future__ import annotations

import csv
import io
import json
import math

import pandas as pd
import pytest
from scipy import stats

from kdharness.core.errors import BadInput
from kdharness.core.records import Fill, Smoke, TableSpec
from kdharness.reporting.published.values import Registry, read_registry
from kdharness.reporting.render import FORMATS, render
from kdharness.reporting.table import Beside, Cell, Table
from kdharness.reporting.tables import build_table
from kdharness.testing.table import check_table

from .frames import frame, run, seeds, teacher

LS2 = "sun2024logit Table 2"
PAIR = {"pair": "resnet32x4 -> resnet8x4", "dataset": "cifar100", "recipe": {"epochs": 240}}
LS = {"distiller": "kd", "constants": {"standardize": "zscore", "temperature": 2.0, "kd_weight": 9.0}}


@pytest.fixture(scope="module")
def registry() -> Registry:
    return read_registry()


def study(*more: object, imported: float = 79.42) -> pd.DataFrame:
    return frame(
        teacher(imported, model="resnet32x4", dataset="cifar100"),
        seeds("none", 72.4, 72.6, 72.5, row=0, **PAIR),
        seeds("kd", 73.3, 73.5, 73.1, row=1, **PAIR),
        seeds("KD+LS", 76.5, 76.7, 76.6, row=2, **PAIR, **LS),
        *more,  # type: ignore[arg-type]
    )


def cell(table: Table, row: str) -> Cell:
    return next(cell for cell in table.cells.values() if cell.row == row)


def beside(table: Table, row: str) -> Beside:
    found = cell(table, row).beside
    assert found is not None
    return found


def test_ours_and_print_in_words(registry: Registry) -> None:
    """KD was copied from CRD, which printed the last epoch: it is compared with ours; the paper's own rows are not."""
    table = build_table(study(), TableSpec(published=LS2), registry=registry)
    check_table(table, study())
    kd = beside(table, "kd")
    assert (kd.text, kd.selection, kd.verdict) == ("73.33", "last", "compatible")
    # ours 73.3, s 0.2: -0.03 / (0.2 sqrt(1/3 + 1)) = -0.1299
    assert kd.score == pytest.approx(-0.03 / (0.2 * math.sqrt(4 / 3)))
    ls = beside(table, "KD+LS")
    assert (ls.text, ls.selection, ls.verdict, ls.reason) == ("76.62", "best", None, "best epoch")
    assert ls.difference == pytest.approx(-0.02) and ls.score is None
    best = build_table(study(), TableSpec(published=LS2, select="best"), registry=registry)
    ls = beside(best, "KD+LS")  # ours 76.85, s 0.1, four trials in print
    assert ls.score == pytest.approx((76.85 - 76.62) / (0.1 * math.sqrt(1 / 3 + 1 / 4))) and ls.verdict == "compatible"
    assert beside(best, "kd").reason == "last epoch"
    assert beside(table, "none").text == "72.50"


@pytest.mark.parametrize(("shift", "verdict"), [(0.0, "compatible"), (1.5, "above"), (-1.5, "below")])
def test_the_bound_is_student_s(registry: Registry, shift: float, verdict: str) -> None:
    values = [73.23 + shift, 73.33 + shift, 73.43 + shift]
    data = frame(seeds("kd", *values, row=1, **PAIR))
    found = beside(build_table(data, TableSpec(published=LS2), registry=registry), "kd")
    assert found.verdict == verdict and found.score is not None
    bound = stats.t.ppf(0.975, 2)
    assert (abs(found.score) <= bound) == (verdict == "compatible")


def test_what_cannot_be_compared_says_why(registry: Registry) -> None:
    other = {"constants": {"standardize": "zscore", "temperature": 4.0, "kd_weight": 9.0}, "distiller": "kd"}
    data = frame(
        seeds("none", 72.5, row=0, **PAIR),
        seeds("kd", None, None, row=1, **PAIR),
        seeds("KD+LS", 76.5, 76.7, row=2, **PAIR, **other),
        seeds("dkd", 76.5, 76.7, row=3, **{**PAIR, "recipe": {"epochs": 100}}),
        seeds("control", 70.0, 71.0, row=4, distiller="kd", departs="teacher shuffled", **PAIR),
        seeds("luminet", 77.0, 77.0, row=5, **PAIR),
    )
    table = build_table(data, TableSpec(published=LS2, select="best"), registry=registry)
    assert beside(table, "kd").reason == "unfinished"
    assert beside(table, "KD+LS").reason == "trained otherwise"
    assert beside(table, "dkd").reason == "trained otherwise"
    assert cell(table, "control").beside is None and cell(table, "luminet").beside is None
    said = {note.mark: note.text for note in table.footnotes}
    told = [said[mark] for mark in beside(table, "KD+LS").notes]
    assert "trained otherwise: temperature: theirs 2.0, ours 4.0." in told
    one = build_table(frame(seeds("none", 72.5, **PAIR)), TableSpec(published=LS2), registry=registry)
    assert beside(one, "none").reason == "one run"


def test_a_contradiction_that_the_code_settles_has_a_verdict_and_its_note(registry: Registry) -> None:
    pair = {"pair": "vgg13 -> mobilenetv2", "dataset": "cifar100"}
    small, large = ({**pair, "recipe": {"epochs": 240, "lr": lr}} for lr in (0.01, 0.05))
    data = frame(seeds("luminet", 70.3, 70.4, **small), seeds("ttm", 69.0, 69.2, row=1, **large))
    table = build_table(data, TableSpec(published="hossain2025luminet Table 1b", select="best"), registry=registry)
    ours = beside(table, "luminet")
    assert (ours.text, ours.verdict) == ("70.50", "compatible")
    assert any("released configurations have 0.01" in table.noted[mark] for mark in ours.notes)
    said = [table.noted[mark] for mark in beside(table, "ttm").notes]  # trained with 0.05, as only the paper says
    assert beside(table, "ttm").verdict is None and "trained otherwise: lr: theirs 0.01, ours 0.05." in said


def test_a_contradicted_value_is_shown_and_never_compared(registry: Registry) -> None:
    pair = {"pair": "resnet34_imagenet -> resnet18_imagenet", "dataset": "imagenet"}
    data = frame(seeds("crd", 71.0, 71.2, **pair), seeds("kd", 71.0, 71.2, row=1, **pair))
    table = build_table(data, TableSpec(published="hossain2025luminet Table 2", select="best"), registry=registry)
    found = beside(table, "crd")
    assert (found.text, found.reason, found.verdict) == ("70.81", "contradicted", None)
    said = {note.mark: note.text for note in table.footnotes}
    assert any("shifted by one column" in said[mark] for mark in found.notes)


def test_differences_of_raw_and_of_standardized_logits(registry: Registry) -> None:
    """Figure 3 prints both under one name, and on what they are."""
    values = {"test_logit_difference": 0.9, "test_zscore_difference": 0.2}
    data = frame(run("KD+LS", 0, 76.6, **PAIR, **LS, **values))
    spec = TableSpec(rows="metric", columns="distiller", metric=tuple(values), published="sun2024logit Figure 3")
    table = build_table(data, spec, registry=registry)
    assert [found.beside.text for found in table.cells.values() if found.beside] == ["0.94", "0.18"]


def test_each_point_of_a_printed_ablation(registry: Registry) -> None:
    """Table 4: four standardizations by seven weights; a point without its own print has nothing beside it."""
    made = [
        seeds("KD", 76.0, 76.2, row=1, distiller="kd", axes={"kd_weight": weight}, **PAIR,
              constants={"standardize": kind, "temperature": 2.0, "kd_weight": weight, "ce_weight": 0.1})
        for kind, weight in (("zscore", 9.0), ("zscore", 10.0))
    ]  # fmt: skip
    table = build_table(frame(*made), TableSpec(published="sun2024logit Table 4"), registry=registry)
    printed = {cell.row: cell.beside.text for cell in table.cells.values() if cell.beside}
    assert printed == {"KD (kd_weight=9)": "76.62"}


def test_filled_rows_stand_outside_of_ranks_and_tests(registry: Registry) -> None:
    spec = TableSpec(fill=(Fill(table=LS2, rows=("simkd", "mlkd", "kd", "dkd+ls")),), baseline="kd", average="rank")
    table = build_table(study(), spec, registry=registry)
    check_table(table, study())
    names = [head.name for head in table.rows]
    assert names == ["none", "kd", "KD+LS", "SimKD (printed)", "MLKD (printed)", "DKD+LS (printed)"]
    assert {table.rows[row].group for row, _ in table.filled} == {"From print"}
    assert set(table.filled) == {(3, 0), (4, 0), (5, 0)} and not set(table.filled) & set(table.cells)
    simkd = table.filled[3, 0]
    assert simkd.text == "78.08" and cell(table, "KD+LS").mark == "best"  # 76.6 of ours beside 78.08 in print
    said = {note.mark: note.text for note in table.footnotes}
    assert "best epoch" in said[simkd.letter] and "ResNet32×4 79.42" in said[simkd.letter]
    assert table.filled[4, 0].notes[0] == "‡" and "240 epochs" in said["‡"]
    assert set(table.ranks) == {0, 1, 2}
    matched = build_table(study(), spec.model_copy(update={"matched_budget": True}), registry=registry)
    assert [head.name for head in matched.rows if head.group] == ["SimKD (printed)", "DKD+LS (printed)"]


def test_a_cell_of_a_row_of_ours_is_filled_where_no_run_is_asked_for(registry: Registry) -> None:
    other = {**PAIR, "pair": "vgg13 -> vgg8"}
    data = frame(
        seeds("kd", 73.0, 73.2, **PAIR), seeds("none", 72.0, row=1, **PAIR), seeds("none", 70.0, row=1, **other)
    )
    table = build_table(data, TableSpec(fill=(Fill(table=LS2, rows=("kd",)),)), registry=registry)
    (at,) = table.filled
    assert table.rows[at[0]].name == "kd" and table.columns[at[1]].name == "vgg13 -> vgg8"
    assert table.filled[at].text == "72.98"
    for form in FORMATS:
        assert "72.98" in render(table, form), form


def test_teachers_that_are_not_the_paper_s(registry: Registry) -> None:
    near = build_table(study(imported=79.2), TableSpec(published=LS2), registry=registry)
    far = build_table(study(imported=78.9), TableSpec(published=LS2), registry=registry)
    assert near.columns[0].teacher is not None and near.columns[0].teacher.printed == 79.42
    assert not any("teachers more than" in note.text for note in near.footnotes)
    assert any("78.90 here, 79.42 in print" in note.text for note in far.footnotes)
    assert "(print 79.42)" in render(far, "md")


def test_every_format_says_what_was_printed(registry: Registry) -> None:
    spec = TableSpec(published=LS2, fill=(Fill(table=LS2, rows=("simkd",)),), baseline="kd")
    table = build_table(study(), spec, registry=registry)
    for form in FORMATS:
        text = render(table, form)
        assert "compatible" in text and "78.08" in text and "best epoch" in text, form
    rows = list(csv.DictReader(io.StringIO(render(table, "csv"), newline="")))
    filled = [row for row in rows if not row["setting_key"]]
    assert [(row["printed"], row["printed_in"], row["mean"], row["n"]) for row in filled] == [("78.08", LS2, "", "")]
    said = json.loads(render(table, "json"))["tables"][0]
    assert said["filled"][0]["text"] == "78.08" and said["published"] == LS2
    latex = render(table, "latex")
    assert r"\textcolor{gray}{78.08" in latex and "xcolor" in latex.splitlines()[0]


def test_a_shrunk_study_stands_beside_what_is_printed_for_the_whole_one(registry: Registry) -> None:
    """Values, rows from print and the paper's teacher as in the whole study's table; no word on how they compare."""
    here = {"pair": "vgg13 -> vgg8", "dataset": "digits-smoke"}
    smoke = Smoke(study="ls", dataset="cifar100", pairs={here["pair"]: PAIR["pair"]})
    data = frame(teacher(12.0, model="vgg13", dataset="digits-smoke"), seeds("kd", 11.0, **here))
    spec = TableSpec(published=LS2, fill=(Fill(table=LS2, rows=("simkd",)),), title="Table 2 (smoke)")
    table = build_table(data, spec, registry=registry, smoke=smoke)
    found = beside(table, "kd")
    assert (found.text, found.verdict) == ("73.33", None) and [one.text for one in table.filled.values()] == ["78.08"]
    assert table.columns[0].printed == "VGG13 → VGG8"
    assert table.columns[0].teacher is not None and table.columns[0].teacher.printed == 79.42
    assert not any("from the paper's" in note.text for note in table.footnotes)
    for form in FORMATS:
        text = render(table, form)
        assert "smoke" in text and "Student's t" not in text, form
    assert "Smoke form of ls (128 digits for cifar100, VGG13 → VGG8 for ResNet32×4 → ResNet8×4)" in render(table, "md")


def test_what_is_not_there_or_cannot_be_filled(registry: Registry) -> None:
    with pytest.raises(BadInput, match="Did you mean 'sun2024logit Table 2'"):
        build_table(study(), TableSpec(published="sun2024logit Tble 2"), registry=registry)
    with pytest.raises(BadInput, match="has no row 'simkdd'"):
        build_table(study(), TableSpec(fill=(Fill(table=LS2, rows=("simkdd",)),)), registry=registry)
    with pytest.raises(BadInput, match="distillers in rows"):
        build_table(study(), TableSpec(rows="pair", columns="distiller", fill=(Fill(table=LS2),)), registry=registry)
    with pytest.raises(BadInput, match="none were given"):
        build_table(study(), TableSpec(published=LS2))


def test_a_run_that_no_paper_has(registry: Registry) -> None:
    data = frame(run("mylab.rank", 0, 99.0, **PAIR), seeds("kd", 73.0, 73.1, row=1, **PAIR))
    table = build_table(data, TableSpec(published=LS2), registry=registry)
    assert cell(table, "mylab.rank").beside is None
