"""The papers' printed numbers: that all are there, recompute, and carry what contradicts them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kdharness.core.errors import BadInput
from kdharness.reporting.published import checks
from kdharness.reporting.published.adding import add_values
from kdharness.reporting.published.values import FIELDS, Printed, Registry, read_registry, read_values

HEAD = ",".join(FIELDS)
ROW = "mine,Table 1,cifar100,test,classification,{},{},{},{},{},,,{{}},"


@pytest.fixture(scope="module")
def registry() -> Registry:
    return read_registry()


def one(registry: Registry, key: str, **cell: str) -> Printed:
    (found,) = [v for v in registry.table(key) if all(getattr(v, name) == value for name, value in cell.items())]
    return found


def test_every_row_loads_and_is_sound(registry: Registry) -> None:
    assert len(registry.values) == 2075 and len({value.source for value in registry.values}) == 13
    assert checks.problems(registry) == []


def test_every_printed_difference_recomputes(registry: Registry) -> None:
    triples = checks.deltas(registry)
    assert len(triples) == sum(value.metric.startswith("delta_") for value in registry.values) == 118
    for delta, own, base in triples:
        assert round(own.value - base.value, delta.decimals) == pytest.approx(delta.value), delta
    by_note = {base.method for delta, _, base in triples if delta.table == "Table 4"}
    assert by_note == {"mlkd"}


def test_a_difference_that_does_not_recompute_is_told() -> None:
    rows = [("kd", "top1", "73.33"), ("kd+ls", "top1", "76.62"), ("kd+ls", "delta_top1", "3.19")]
    text = "\n".join([HEAD, *(ROW.format("resnet32x4", "resnet8x4", *row) for row in rows)])
    values = tuple(read_values(text, "mine.csv"))
    said = checks.wrong_deltas(Registry(values, {}, ()))
    assert said == [
        "mine Table 1, resnet32x4 -> resnet8x4, kd+ls, delta_top1: 3.19 is printed, 76.62 - 73.33 is not that"
    ]
    (alone,) = checks.wrong_deltas(Registry(values[1:], {}, ()))
    assert "are not there" in alone
    twice = checks.problems(Registry((values[0], replace(values[0], text="101")), {}, ()))
    assert [line.rpartition(": ")[2] for line in twice] == ["stands twice", "stands twice", "101 is no percentage"]


def test_contradictions_stand_on_their_cells(registry: Registry) -> None:
    kd = one(registry, "hossain2025luminet table 7", method="kd", text="73.08")
    assert any("73.33 in tables 1a and 3a" in note.text for note in registry.notes(kd)) and not registry.is_usable(kd)
    shifted = [v for v in registry.table("hossain2025luminet Table 2") if not registry.is_usable(v)]
    assert {(v.student, v.method) for v in shifted} == {("resnet18", name) for name in ("ofd", "crd", "reviewkd")}
    right = one(registry, "sun2024logit Table 3", student="resnet18", method="crd", metric="top1")
    assert right.text == "71.17" and registry.is_usable(right)


def test_how_a_number_was_selected(registry: Registry) -> None:
    """A paper's own rows are its own protocol; rows copied from CRD keep CRD's, which its code states."""
    here = {"student": "resnet8x4", "metric": "top1"}
    assert registry.selection(one(registry, "sun2024logit Table 2", method="kd+ls", **here)) == "best"
    copied = one(registry, "sun2024logit Table 2", method="kd", **here)
    assert copied.text == "73.33" and registry.selection(copied) == "last"
    typo = one(registry, "sun2024logit Table 1", teacher="vgg13", method="fitnet", metric="top1")
    assert typo.text == "64.16" and registry.selection(typo) == "best"  # CRD has 64.14
    logs = registry.table("sun2024logit_logs logs/KD")
    assert {registry.selection(v) for v in logs} == {"last", "best"}


def test_tables_are_found_by_key(registry: Registry) -> None:
    assert registry.table("SUN2024logit  table 2") is registry.tables["sun2024logit Table 2"]
    with pytest.raises(BadInput, match="Did you mean 'sun2024logit Table 2'"):
        registry.table("sun2024logit Tabel 2")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n", "not a file of printed values"),
        (f"{HEAD}\nmine,Table 1\n", "mine.csv:2: a row has 14 columns"),
        (f"{HEAD}\n{ROW.format('a', 'b', 'kd', 'top1', 'high')}\n", "mine.csv:2: a row that cannot be read"),
        (f"{HEAD}\n{ROW.format('a', 'b', 'kd', 'top1', 'nan')}\n", "a value is a finite number"),
        (f"{HEAD}\n{ROW.format('a', 'b', '', 'top1', '1')}\n", "cannot be empty"),
    ],
)
def test_what_is_no_printed_value_is_told_with_its_line(text: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        read_values(text, "mine.csv")


def test_numbers_of_one_s_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text(HEAD + "\n" + ROW.format("resnet32x4", "resnet8x4", "kd", "top1", "73.50") + "\n")
    folder = tmp_path / "published"
    add_values(file, folder, paper='Doe, "2026"', selection="last")
    registry = read_registry(folder)
    (value,) = registry.table("mine Table 1")
    assert registry.selection(value) == "last" and registry.sources["mine"].paper == 'Doe, "2026"'
    assert len(registry.values) == 2076
    with pytest.raises(BadInput, match="added already"):
        add_values(file, folder, paper="Doe", selection="last")
    add_values(file, folder, paper="Doe", selection="best", cite="doe2026", replace=True)
    assert read_registry(folder).sources["mine"].cite == "doe2026"
    with pytest.raises(BadInput, match="unknown selection"):
        add_values(file, folder, paper="Doe", selection="first")
    file.write_text(file.read_text().replace("mine,", "sun2024logit,"))
    with pytest.raises(BadInput, match="a source of the package"):
        add_values(file, folder, paper="Doe", selection="last")
