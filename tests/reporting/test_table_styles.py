"""The papers' layouts and the tests behind a table's marks."""

from __future__ import annotations

import json
import re
from typing import Any

import pandas as pd
import pytest

from kdharness.core.errors import BadInput
from kdharness.core.records import TableSpec
from kdharness.reporting import statistics, text
from kdharness.reporting.methods import cite_key, known_methods, printed_method
from kdharness.reporting.render import FORMATS, render
from kdharness.reporting.render_latex import tabular
from kdharness.reporting.table import Cell, Table
from kdharness.reporting.tables import build_table
from kdharness.testing.table import check_table

from .frames import frame, quickstart, run, seeds, teacher

PAIRS = ("resnet56 -> resnet20", "wrn_40_2 -> wrn_16_2", "resnet32x4 -> resnet8x4", "vgg13 -> vgg8")
FIVE = (0.0, 0.1, -0.1, 0.2, -0.2)


def cell(table: Table, row: str, column: str = "resnet20 -> resnet8") -> Cell:
    return next(cell for cell in table.cells.values() if (cell.row, cell.column) == (row, column))


def several() -> pd.DataFrame:
    """Four pairs, five seeds: DKD is best everywhere, KD and none take turns."""
    parts: list[Any] = []
    for n, pair in enumerate(PAIRS):
        here: dict[str, Any] = {"pair": pair, "dataset": "cifar100"}
        parts += [
            teacher(75.0 + n, model=pair.split()[0], dataset="cifar100"),
            seeds("none", *(70.0 + n + (n % 2) + d for d in FIVE), row=0, **here),
            seeds("kd", *(70.5 + n + d for d in FIVE), row=1, **here),
            seeds("dkd", *(72.5 + n + d for d in FIVE), row=2, against="kd", **here),
        ]
    return frame(*parts)


def test_stars_only_from_five_runs_on_and_adjusted_over_the_table() -> None:
    table = build_table(several(), TableSpec(baseline="none"))
    tested = [c for c in table.cells.values() if c.p_value is not None]
    assert len(tested) == 8
    adjusted = statistics.benjamini_hochberg([c.p_value or 0.0 for c in tested])
    assert [c.q_value for c in tested] == adjusted
    assert cell(table, "dkd", PAIRS[0]).stars == "**" and cell(table, "dkd", PAIRS[0]).effect > 5
    assert "+2.50**" in render(table, "md").replace("\\*", "*") and "Benjamini" in " ".join(table.caption)
    assert all(c.stars == "" for c in build_table(quickstart(), TableSpec(baseline="none")).cells.values())


def test_tests_are_paired_only_where_the_study_said_so() -> None:
    values = [70.0, 72.0, 71.0, 73.0, 69.0]
    data = frame(
        seeds("none", *values), seeds("kd", *(v + 0.3 + d / 10 for v, d in zip(values, FIVE, strict=True)), row=1)
    )
    welch, paired = (build_table(data, TableSpec(), paired=yes) for yes in (False, True))
    assert cell(welch, "kd").p_value > 0.5 and cell(paired, "kd").p_value < 1e-3
    assert "paired by seed" in " ".join(paired.caption) and "paired" not in " ".join(welch.caption)
    lacking = frame(seeds("none", *values), seeds("kd", *values[:3], None, None, row=1))
    assert cell(build_table(lacking, TableSpec(), paired=True), "kd").n == 3


def test_bold_is_what_no_test_tells_from_the_best() -> None:
    data = frame(
        seeds("a", *(90.0 + d for d in FIVE)), seeds("b", *(90.1 + d for d in FIVE), row=1),
        seeds("c", *(85.0 + d for d in FIVE), row=2),
    )  # fmt: skip
    plain, test = (build_table(data, TableSpec(bold=bold)) for bold in ("best", "indistinguishable"))
    assert {c.row: c.mark for c in plain.cells.values()} == {"a": "second", "b": "best", "c": None}
    assert {c.row: c.mark for c in test.cells.values()} == {"a": "best", "b": "best", "c": None}
    assert "does not tell from it" in " ".join(test.caption)


def test_mean_ranks_over_pairs() -> None:
    table = build_table(several(), TableSpec(average="rank"))
    # none is last at the even pairs (70 + n against 70.5 + n), second at the odd ones
    assert table.ranks == {0: (2.5, 4), 1: (2.5, 4), 2: (1.0, 4)}
    said = " ".join(table.caption)
    assert "mean rank over 4 pairs" in said and "Friedman" in said and "Nemenyi" in said and "share teachers" in said
    for form in set(FORMATS) - {"csv"}:
        assert "2.5" in render(table, form), form
    gap = frame(several().to_dict("records"), run("fitnet", 0, 70.0, row=3, pair=PAIRS[0], dataset="cifar100"))
    assert build_table(gap, TableSpec(average="rank")).ranks[0] == (3.5, 1)  # fitnet has one pair only


def test_ranks_that_were_asked_for_and_are_not_there_are_told() -> None:
    turned = build_table(several(), TableSpec(rows="pair", columns="distiller", average="rank"))
    assert turned.ranks == {} and "No ranks: the rows are no methods." in turned.caption
    apart = frame(seeds("none", 70.0, 71.0, pair=PAIRS[0]), seeds("kd", 70.0, 71.0, row=1, pair=PAIRS[1]))
    assert "No ranks: no pair has finished runs of all rows." in build_table(apart, TableSpec(average="rank")).caption
    one = build_table(frame(seeds("none", 70.0), seeds("kd", 71.0, row=1)), TableSpec(average="rank"))
    assert "Rank: mean rank over 1 pair that all rows have, 1 is best." in one.caption  # no test, none to be warned of


def test_an_axis_of_a_row_that_is_not_shown_is_no_side_and_how_to_show_it_is_told() -> None:
    axis: dict[str, Any] = {"axes": {"temperature": 2.0}}
    data = frame(seeds("none", 70.0), seeds("KD", 71.0, row=1, **axis))
    assert build_table(data, TableSpec(rows="KD.temperature", columns="pair")).cells
    for only, said in ((("none",), "`--row 'KD'` adds one."), ((), "It can have: distiller")):
        with pytest.raises(BadInput, match="a table cannot have rows") as error:
            build_table(data, TableSpec(rows="KD.temperature" if only else "KD.weight", only=only))
        assert said in error.value.remedy and ("adds one" in error.value.remedy) == bool(only)


def test_marks_are_in_the_order_of_reading() -> None:
    """Whatever the order of the runs: row by row, and in a cell from a to z."""
    own: dict[str, Any] = {"recipe": {"epochs": 9}}
    runs = [
        seeds("none", 70.0, 71.0, pair=PAIRS[0], row=0),
        seeds("kd", 70.0, 71.0, pair=PAIRS[0], row=1, unpublished="ls"),
        seeds("none", 70.0, 71.0, pair=PAIRS[1], row=0),
        seeds("kd", 70.0, 71.0, pair=PAIRS[1], row=1),
        seeds("dkd", 70.0, 71.0, pair=PAIRS[1], row=2, unpublished="ls", **own),
        seeds("at", 70.0, 71.0, pair=PAIRS[1], row=3),
        seeds("none again", 70.0, 71.0, pair=PAIRS[1], row=-1, **own),
    ]
    table = build_table(frame(*runs), TableSpec())
    assert [cell.notes for cell in table.cells.values() if cell.notes] == [("a",), ("b",), ("a", "b")]
    assert list(table.cells) == sorted(table.cells) and [note.mark for note in table.footnotes] == ["a", "b"]


def test_differences_in_rows_have_the_colours_of_logit_standardization() -> None:
    data = frame(
        seeds("kd", 70.0, 70.2), seeds("KD+LS", 73.0, 73.2, row=1, against="kd"),
        seeds("dkd", 71.0, 71.2, row=2), seeds("DKD+LS", 71.1, 71.3, row=3, against="dkd"),
    )  # fmt: skip
    table = build_table(data, TableSpec(delta="rows"))
    lines = [(line.text, line.delta) for line in text.lines(table)]
    assert lines == [("kd", False), ("KD+LS", False), ("Δ", True), ("dkd", False), ("DKD+LS", False), ("Δ", True)]
    assert not table.has_delta and not table.has_against
    latex = render(table, "latex")
    assert r"\textcolor{red}{$+3.00$}" in latex and r"\textcolor{blue}{$+0.10$}" in latex
    page = render(table, "html")
    assert 'class="num large">+3.00' in page and 'class="num small">+0.10' in page
    markdown = [line for line in render(table, "md").splitlines() if line.startswith("| Δ")]
    assert [re.findall(r"[+-]\d\.\d\d", line) for line in markdown] == [["+3.00"], ["+0.10"]]


def two_metrics() -> pd.DataFrame:
    data = several()
    data["test_top5_last"] = [value + 15 for value in data["test_top1_last"]]
    data["train_seconds"] = [60.0 + at for at in range(len(data))]
    return data


def test_top1_and_top5_beside_each_other() -> None:
    table = build_table(two_metrics(), TableSpec(metric=("test_top1", "test_top5", "train_seconds"), baseline="kd"))
    check_table(table, two_metrics())
    assert [column.metric for column in table.columns[:3]] == ["test_top1_last", "test_top5_last", "train_seconds"]
    assert len(table.columns) == 12 and {column.printed for column in table.columns[:3]} == {"ResNet56 → ResNet20"}
    best = {(c.row, c.metric) for c in table.cells.values() if c.mark == "best"}
    assert best == {("dkd", "test_top1_last"), ("dkd", "test_top5_last"), ("none", "train_seconds")}  # less is better
    latex = tabular(table).splitlines()
    head = next(line for line in latex if "ResNet56" in line)
    assert head.count(r"\multicolumn{6}{c}") == 4  # a pair over three metrics, each with its difference
    assert "top-1 (%)" in render(table, "md") and "Training time (s)" in render(table, "md")
    said = json.loads(render(table, "json"))["tables"][0]
    assert said["metrics"] == ["test_top1_last", "test_top5_last", "train_seconds"]


def test_blocks_of_pairs_with_methods_in_columns() -> None:
    """LumiNet's table 2: a block for each pair, top-1 and top-5 in rows, methods in columns."""
    spec = TableSpec(rows="metric", columns="distiller", metric=("test_top1", "test_top5"))
    table = build_table(two_metrics(), spec)
    check_table(table, two_metrics())
    assert [head.name for head in table.columns] == ["none", "kd", "dkd"]
    assert [(head.panel, head.name) for head in table.rows[:3]] == [
        (PAIRS[0], "test_top1_last"), (PAIRS[0], "test_top5_last"), (PAIRS[1], "test_top1_last"),
    ]  # fmt: skip
    assert sum(c.mark == "best" for c in table.cells.values()) == 8
    for form in FORMATS:
        assert "87.50" in render(table, form) or form in ("csv", "json"), form


def test_metrics_of_a_search_and_of_final_runs_are_no_table() -> None:
    with pytest.raises(BadInput, match="not over val_"):
        build_table(several(), TableSpec(metric=("test_top1", "val_top1")))


def test_strict_numerics_split_cells() -> None:
    data = frame(
        [run("kd", 0, 90.0), run("kd", 1, 91.0), run("kd", 2, 92.0, numerics_key="n2"), run("kd", 3)],
        seeds("none", 80.0, 81.0, row=1),
    )
    pooled, strict = (build_table(data, TableSpec(strict_numerics=yes)) for yes in (False, True))
    check_table(strict, data)
    assert sorted((c.n, c.wanted) for c in pooled.cells.values()) == [(2, 2), (3, 4)]
    split = {c.row: (c.n, c.wanted, c.notes) for c in strict.cells.values()}
    assert split == {"none": (2, 2, ()), "kd [numerics=n1]": (2, 3, ()), "kd [numerics=n2]": (1, 1, ())}


@pytest.mark.parametrize(("pm", "shown"), [("std", "± 0.28"), ("sem", "± 0.16"), ("ci", "± 0.70")])
def test_what_stands_behind_plus_minus_is_said(pm: Any, shown: str) -> None:
    table = build_table(quickstart(), TableSpec(pm=pm, baseline="kd"))
    assert f"96.11 {shown}" in render(table, "md")
    words = {"std": "sample standard deviation", "sem": "standard error", "ci": "half of the 95 % interval"}
    assert words[pm] in table.caption[0]


def test_differences_between_means_over_different_seeds_are_counted() -> None:
    done = [*seeds("none", 80.0, 81.0, 82.0), *seeds("KD", 90.0, 91.0, 92.0, row=1), run("dkd", 0, 93.0, row=2)]
    said = " ".join(build_table(frame(done, [run("dkd", 1, row=2)]), TableSpec(baseline="none")).caption)
    assert "Differences between means over different seeds: 1." in said
    assert "different seeds" not in " ".join(build_table(frame(done[:6]), TableSpec(baseline="none")).caption)


def test_the_ledger_tells_how_far_the_best_of_several_flatters() -> None:
    tried = {"dkd": 8, "not shown": 100}
    said = " ".join(build_table(quickstart(), TableSpec(), tried=tried).caption)
    flatters = re.compile(r"best of 8 settings on test is expected to flatter by (\d\.\d\d) points")
    found = flatters.search(said)
    (own,) = (c.std for c in build_table(quickstart(), TableSpec()).cells.values() if c.row == "dkd")
    assert found is not None and own and float(found[1]) == pytest.approx(1.4236 * own / 3**0.5, abs=0.006)
    for other in (TableSpec(only=("none", "dkd")), TableSpec(metric=("test_top1", "test_loss"))):
        (alike,) = flatters.findall(" ".join(build_table(quickstart(), other, tried=tried).caption))
        assert alike == found[1], "the same runs, another figure"
    assert "flatter" not in " ".join(build_table(quickstart(), TableSpec(), tried={}).caption)


def test_methods_are_cited_and_printed_as_papers_do() -> None:
    from kdharness.distillers.registry import DISTILLERS

    assert {name.casefold() for name in DISTILLERS} <= known_methods()
    assert printed_method("dkd+ls") == "DKD+LS" and printed_method("kd++") == "KD++"
    assert cite_key("luminet + reviewkd") == "hossain2025luminet,chen2021reviewkd" and cite_key("mine") == ""
    ls = seeds("LS", 90.0, distiller="dkd", sources=("entry, line 3", "preset sun2024logit on digits"))
    assert r"LS~\cite{zhao2022dkd,sun2024logit}" in render(build_table(frame(ls), TableSpec(cite=True)), "latex")
    table = build_table(quickstart(), TableSpec(cite=True))
    assert r"dkd~\cite{zhao2022dkd}" in render(table, "latex") and r"\cite" not in render(quickstart_table(), "latex")


def quickstart_table() -> Table:
    return build_table(quickstart(), TableSpec())
