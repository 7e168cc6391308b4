"""From frame to table: what is averaged, ranked, compared, refused and noted."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdharness.core.errors import BadInput
from kdharness.core.records import TableSpec
from kdharness.reporting import text
from kdharness.reporting.footnotes import Marks
from kdharness.reporting.render import render
from kdharness.reporting.table import Cell, Table
from kdharness.reporting.tables import build_table
from kdharness.testing.table import check_table

from .frames import frame, quickstart, run, seeds, teacher


def cell(table: Table, row: str, column: str = "resnet20 -> resnet8") -> Cell:
    return next(cell for cell in table.cells.values() if (cell.row, cell.column) == (row, column))


def rows(table: Table) -> list[str]:
    return [head.name for head in table.rows]


def test_a_finished_study() -> None:
    table = build_table(quickstart(), TableSpec(baseline="kd"))
    check_table(table, quickstart())
    assert rows(table) == ["none", "kd", "dkd", "KD+LS", "luminet", "fitnet"]
    assert [head.group for head in table.rows] == [None, None, None, None, "Newer", "Feature"]
    head = table.columns[0].teacher
    assert head is not None and (head.name, head.accuracy) == ("resnet20", 98.06)
    assert table.metric == "test_top1_last" and cell(table, "kd").mean == pytest.approx(96.11)
    assert cell(table, "kd").std == pytest.approx(0.28)
    assert cell(table, "dkd").delta is not None and cell(table, "dkd").delta.value == pytest.approx(0.18667, abs=1e-5)
    assert cell(table, "kd").delta is None
    assert cell(table, "none").delta is not None and cell(table, "none").delta.improves is False
    assert "smoke benchmark" in " ".join(table.caption) and "sample standard deviation" in " ".join(table.caption)
    assert "seeds 0, 1, 2" in " ".join(table.caption) and "30 epochs" in " ".join(table.caption)


def test_ties_share_a_mark_and_rounding_does_not_make_one() -> None:
    table = build_table(quickstart(), TableSpec())
    marks = {name: cell(table, name).mark for name in rows(table)}
    # KD+LS and luminet have the same values in another order
    assert marks == {"none": None, "kd": None, "dkd": "second", "KD+LS": "best", "luminet": "best", "fitnet": None}
    # the same counts of 359, summed in another order: 0.1 + 0.2 + 0.3 is not 0.3 + 0.2 + 0.1
    values = [100 * count / 359 for count in (351, 349, 356)]
    table = build_table(frame(seeds("a", *values), seeds("b", *values[::-1], row=1)), TableSpec(baseline="a"))
    assert cell(table, "a").mark is cell(table, "b").mark is None and cell(table, "b").delta.value == 0.0
    near = frame(seeds("a", 90.001, 90.001), seeds("b", 90.002, 90.002, row=1), seeds("c", 89.0, 89.0, row=2))
    table = build_table(near, TableSpec())
    assert (cell(table, "a").mark, cell(table, "b").mark, cell(table, "c").mark) == ("second", "best", None)


def test_a_lower_loss_is_the_better_one() -> None:
    table = build_table(quickstart(), TableSpec(metric="test_loss", baseline="kd"))
    assert table.metric == "test_loss_last"
    assert cell(table, "KD+LS").mark == "best"
    assert cell(table, "KD+LS").delta is not None and cell(table, "KD+LS").delta.improves is True


def test_the_default_baseline_is_the_student_alone() -> None:
    table = build_table(quickstart(), TableSpec())
    assert table.baseline == "none" and cell(table, "kd").delta is not None
    assert cell(table, "kd").delta.value == pytest.approx(0.83)


def test_against_names_another_row() -> None:
    table = build_table(quickstart(), TableSpec(baseline="none"))
    against = cell(table, "KD+LS").against
    assert against is not None and (against.to, round(against.value, 2)) == ("kd", 0.74) and table.has_against
    assert not build_table(quickstart(), TableSpec(baseline="kd")).has_against  # Δ says it already


def test_unfinished_and_lost_runs_are_counted_in_sight() -> None:
    data = frame(
        teacher(None),
        seeds("none", 90.0, 90.0, 90.0),
        seeds("kd", 99.0, None, None, row=1),
        [run("dkd", 0, 98.0, row=2), run("dkd", 1, state="diverged", row=2), run("dkd", 2, state="failed", row=2)],
        seeds("fitnet", None, None, None, row=3),
    )
    table = build_table(data, TableSpec())
    check_table(table, data)
    assert (cell(table, "kd").n, cell(table, "kd").wanted, cell(table, "kd").mark) == (1, 3, None)
    assert cell(table, "kd").std is None and cell(table, "kd").notes == ()
    assert cell(table, "dkd").notes == ("†",) and cell(table, "dkd").mark is None
    assert [note.mark for note in table.footnotes] == ["†"] and "1 diverged, 1 failed" in table.footnotes[0].text
    assert cell(table, "fitnet").mean is None and cell(table, "fitnet").n == 0
    assert "7 of 12 runs" in " ".join(table.caption)
    assert table.columns[0].teacher is not None and table.columns[0].teacher.accuracy is None


def test_a_table_may_show_some_rows_only() -> None:
    table = build_table(quickstart(), TableSpec(only=("kd", "KD+LS"), baseline="kd"))
    assert rows(table) == ["kd", "KD+LS"]
    assert cell(table, "kd").mark == "second" and cell(table, "KD+LS").mark == "best"
    assert table.columns[0].student == pytest.approx(95.28)  # the head knows the student alone all the same
    with pytest.raises(BadInput, match="no row is called 'KD-LS'") as error:
        build_table(quickstart(), TableSpec(only=("kd", "KD-LS")))
    assert error.value.remedy.startswith("Near it: KD+LS")


def test_a_row_whose_search_has_not_chosen_yet_is_no_mistake() -> None:
    data = frame(seeds("none", 90.0), seeds("DKD", None, purpose="search", row=1))
    assert rows(build_table(data, TableSpec(only=("none", "DKD", "DKD, paper's constants")))) == ["none"]
    assert rows(build_table(data, TableSpec(only=("none", "DKD, plug-in's defaults")))) == ["none"]


def test_a_row_may_be_called_as_a_value_or_a_pair_and_is_a_method_all_the_same() -> None:
    table = build_table(
        frame(seeds("T=4", 90.0, 91.0), seeds("a -> b (ours)", 90.0, 91.0, ours=True, row=1)), TableSpec()
    )
    assert text.corner(table) == "Method" and [head.printed for head in table.rows] == ["T=4", "a -> b (ours)"]


def test_a_warm_up_that_never_ends_is_told_where_its_numbers_stand() -> None:
    short = {"constants": {"warmup": 20}, "recipe": {"epochs": 10}, "epochs": 10}
    table = build_table(frame(seeds("none", 90.0, row=0), seeds("dkd", 91.0, row=1, **short)), TableSpec())
    (note,) = [note for note in table.footnotes if "warmup" in note.text]
    assert "`warmup: 20` is longer than the training of 10 epochs" in note.text
    assert note.mark in cell(table, "dkd").notes and note.mark not in cell(table, "none").notes


def test_marks_stay_short_however_many_there_are() -> None:
    marks = Marks()
    given = [marks.of(f"remark {number}") for number in range(1000)]
    assert given[:2] == ["a", "b"] and given[25:28] == ["z", "aa", "ab"] and given[701:703] == ["zz", "aaa"]
    assert len(set(given)) == 1000 and marks.of("remark 27") == "ab"


def test_an_axis_that_is_not_placed_becomes_rows() -> None:
    data = frame(
        seeds("none", 90.0, 90.0),
        *(seeds("KD", 91.0 + t, 91.0, row=1, distiller="kd", axes={"temperature": t}) for t in (4.0, 1.0, 2.5)),
    )
    table = build_table(data, TableSpec())
    check_table(table, data)
    assert rows(table) == ["none", "KD (temperature=1)", "KD (temperature=2.5)", "KD (temperature=4)"]


def test_words_on_an_axis_stand_as_in_the_study() -> None:
    """Numbers by size, words not by the alphabet; in rows and in columns."""
    kinds = ["zscore", "none", "mean"]
    data = frame(
        *(seeds("KD", 91.0, 91.5, distiller="kd", axes={"kind": kind, "w": w}) for kind in kinds for w in (9, 3))
    )
    table = build_table(data, TableSpec(columns="kind"))
    assert [head.name for head in table.columns] == [f"kind={kind}" for kind in kinds]
    assert rows(table) == ["KD (w=3)", "KD (w=9)"]
    turned = render(build_table(data, TableSpec(rows="w", columns="kind")), "md")
    assert "| w " in turned and "Method" not in turned
    assert rows(build_table(data, TableSpec()))[::2] == [f"KD (kind={kind}, w=3)" for kind in kinds]


def test_an_axis_can_be_the_columns() -> None:
    data = frame(*(seeds("KD", 91.0 + t, 91.0, distiller="kd", axes={"temperature": t}) for t in (1.0, 2.0)))
    for columns in ("temperature", "KD.temperature"):
        table = build_table(data, TableSpec(columns=columns))
        check_table(table, data)
        assert [head.name for head in table.columns] == ["temperature=1", "temperature=2"] and rows(table) == ["KD"]
        assert table.rows[0].panel == "resnet20 -> resnet8"
        assert "| **ResNet20 → ResNet8** |" in render(table, "md")


def test_a_recipe_axis_becomes_panels_with_their_own_ranks() -> None:
    data = frame(
        *(
            seeds(name, top1 + batch, top1, row=row, axes={"recipe.batch_size": batch}, recipe={"batch_size": batch})
            for batch in (32, 64)
            for row, (name, top1) in enumerate([("none", 20.0), ("kd", 22.0)])
        )
    )
    table = build_table(data, TableSpec())
    check_table(table, data)
    assert [(head.panel, head.name) for head in table.rows] == [
        ("recipe.batch_size=32", "none"), ("recipe.batch_size=32", "kd"),
        ("recipe.batch_size=64", "none"), ("recipe.batch_size=64", "kd"),
    ]  # fmt: skip
    assert [table.cells[row, 0].mark for row in range(4)] == ["second", "best", "second", "best"]
    assert all(c.delta is None or c.delta.value == pytest.approx(2.0) for c in table.cells.values())
    assert not table.footnotes


def test_pairs_can_be_rows() -> None:
    other = "resnet56 -> resnet20"
    data = frame(
        teacher(98.0), teacher(99.0, model="resnet56"), seeds("none", 90.0, 91.0), seeds("kd", 92.0, 93.0, row=1),
        seeds("none", 94.0, 95.0, pair=other), seeds("kd", 96.0, 94.0, row=1, pair=other),
    )  # fmt: skip
    table = build_table(data, TableSpec(rows="pair", columns="distiller"))
    check_table(table, data)
    assert rows(table) == ["resnet20 -> resnet8", other]
    assert [head.name for head in table.columns] == ["none", "kd"]
    assert [head.teacher.accuracy for head in table.rows if head.teacher] == [98.0, 99.0]
    assert cell(table, other, "kd").mark == "best" and cell(table, other, "kd").delta.value == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("sides", "panels"),
    [
        (("teacher", "student"), {"none", "kd"}),
        (("distiller", "student"), {"resnet20", "resnet56"}),
        (("group", "pair"), {"none", "kd"}),
        (("teacher", "distiller"), {"resnet8", "resnet20"}),
    ],
)
def test_whatever_is_not_placed_makes_panels(sides: tuple[str, str], panels: set[str]) -> None:
    pairs = ["resnet20 -> resnet8", "resnet56 -> resnet8", "resnet56 -> resnet20"]
    data = frame(
        teacher(98.0), teacher(99.0, model="resnet56"),
        *(seeds(name, 90.0 + n + row, 91.0, pair=pair, row=row, group="G")
          for n, pair in enumerate(pairs) for row, name in enumerate(["none", "kd"])),
    )  # fmt: skip
    table = build_table(data, TableSpec(rows=sides[0], columns=sides[1]))
    check_table(table, data)
    assert {head.panel for head in table.rows} == panels and len(table.cells) == 6
    assert sum(c.mark == "best" for c in table.cells.values()) == 3
    assert [c.delta.value for c in table.cells.values() if c.delta] == [0.5, 0.5, 0.5]


def test_settings_are_never_pooled() -> None:
    data = frame(
        seeds("kd", 90.0, 91.0, constants={"temperature": 4.0, "kd_weight": 0.9}, study="one"),
        seeds("kd", 80.0, 81.0, constants={"temperature": 2.0, "kd_weight": 0.9}, study="two"),
    )
    table = build_table(data, TableSpec())
    check_table(table, data)
    assert rows(table) == ["kd [temperature=2]", "kd [temperature=4]"]


def test_students_of_different_teacher_weights_are_never_pooled() -> None:
    one = [run("kd", seed, 90.0, teacher_sha256="a" * 64) for seed in (0, 1)]
    two = [run("kd", 2, 95.0, teacher_sha256="b" * 64), run("kd", 3)]
    table = build_table(frame(one, two), TableSpec())
    check_table(table, frame(one, two))
    assert sorted((c.n, c.wanted) for c in table.cells.values()) == [(1, 1), (2, 3)]
    assert all("teacher weights" in name for name in rows(table))


def test_a_run_that_two_studies_ask_for_counts_once() -> None:
    data = frame(seeds("kd", 90.0, 91.0, study="one"), seeds("kd", 90.0, 91.0, study="two"))
    assert cell(build_table(data, TableSpec()), "kd").n == 2


def test_teachers_and_search_runs_are_in_no_cell_of_final_runs() -> None:
    search = [
        run("kd", 0, purpose="search", state="complete", val_top1_last=50.0, val_top1_best=51.0, test_top1_last=None)
    ]
    data = frame(teacher(98.0), seeds("kd", 90.0, 91.0), search)
    table = build_table(data, TableSpec())
    check_table(table, data)
    assert cell(table, "kd").values == (90.0, 91.0)
    table = build_table(data, TableSpec(metric="val_top1", select="best-val"))
    assert table.metric == "val_top1_best" and cell(table, "kd").values == (51.0,)
    assert "Runs of a search" in " ".join(table.caption)


def test_best_is_marked_as_selected_on_test() -> None:
    table = build_table(quickstart(), TableSpec(select="best"))
    assert table.metric == "test_top1_best" and "selected on test" in table.title
    assert "selected on test" in " ".join(table.caption)


def test_best_val_over_final_runs_is_refused_with_the_reason() -> None:
    with pytest.raises(BadInput, match="no validation images"):
        build_table(quickstart(), TableSpec(select="best-val"))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (TableSpec(metric="test_topl"), "Did you mean 'test_top1'"),
        (TableSpec(baseline="kdd"), "Rows: none, kd"),
        (TableSpec(rows="methods"), "It can have: distiller, pair, student"),
        (TableSpec(rows="pair"), "in its rows and in its columns"),
    ],
)
def test_what_is_not_there_is_refused(spec: TableSpec, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        build_table(quickstart(), spec)


def test_a_baseline_of_several_rows_must_be_named_in_full() -> None:
    data = frame(*(seeds("kd", 91.0 + t, 91.0, axes={"temperature": t}) for t in (1.0, 2.0)))
    with pytest.raises(BadInput, match=r"kd \(temperature=1\), kd \(temperature=2\)"):
        build_table(data, TableSpec(baseline="kd"))
    assert build_table(data, TableSpec(baseline="kd (temperature=2)")).baseline == "kd (temperature=2)"


def test_what_may_only_move_bits_is_pooled_and_said() -> None:
    data = frame([run("kd", 0, 90.0), run("kd", 1, 91.0, numerics_key="n2")], seeds("dkd", 90.0, 90.0, row=1))
    table = build_table(data, TableSpec())
    assert cell(table, "kd").n == 2 and cell(table, "kd").notes == ("a",) and cell(table, "dkd").notes == ()
    assert "last bits" in table.footnotes[0].text
    mixed = build_table(frame([run("kd", 0, 90.0, mixed_numerics=True)]), TableSpec())
    assert cell(mixed, "kd").notes == ("a",)


def test_a_row_with_a_recipe_of_its_own_is_marked() -> None:
    data = frame(seeds("none", 90.0), seeds("kd", 91.0, row=1), seeds("mlkd", 93.0, row=2, recipe={"epochs": 480}))
    table = build_table(data, TableSpec())
    assert cell(table, "mlkd").notes == ("a",) and cell(table, "kd").notes == ()
    assert table.footnotes[0].text == "trained by a recipe of its own: epochs 480."


def test_a_study_without_a_finished_run_is_a_table_without_numbers() -> None:
    data = frame(seeds("none", None, None), seeds("kd", None, None, row=1)).drop(columns="test_top1_last")
    table = build_table(data, TableSpec())
    assert [c.n for c in table.cells.values()] == [0, 0]


def test_report_loads_no_torch() -> None:
    code = (
        "import sys, kdharness.reporting.tables, kdharness.reporting.render, kdharness.reporting.render_terminal,"
        "kdharness.reporting.statistics as s; s.interval([1.0, 2.0]); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_ten_thousand_runs_are_quick() -> None:
    rows = [
        run(f"method {m}", seed, 90.0 + (m * 7 + seed) % 9, pair=f"resnet{20 + p} -> resnet8", row=m)
        for p in range(20) for m in range(100) for seed in range(5)
    ]  # fmt: skip
    data = frame(rows)
    began = time.process_time()
    table = build_table(data, TableSpec(baseline="method 1"))
    assert time.process_time() - began < 4.0 and len(table.cells) == 2000


STRICT = TableSpec(strict_numerics=True, metric=("test_top1", "test_loss"), average="rank")
MANY_PANELS = TableSpec(rows="group", columns="student")
VALUE = st.one_of(st.none(), st.floats(0, 100), st.just(math.inf))


@st.composite
def any_run(draw: st.DrawFn) -> dict[str, Any]:
    state = draw(st.sampled_from(["complete", "complete", "complete", "waiting", "failed", "diverged"]))
    excluded = draw(st.sampled_from([None, None, None, "wrong data"]))
    value = draw(VALUE) if state == "complete" else None
    axes = draw(st.sampled_from([{}, {"temperature": 2.0}, {"recipe.batch_size": 32}]))
    return run(
        draw(st.sampled_from(["none", "kd", "dkd"])),
        draw(st.integers(0, 3)),
        value,
        state=state,
        excluded=excluded,
        pair=draw(st.sampled_from(["resnet20 -> resnet8", "vgg13 -> vgg8"])),
        study=draw(st.sampled_from(["one", "two"])),
        dataset=draw(st.sampled_from(["digits", "cifar100"])),
        purpose=draw(st.sampled_from(["final", "final", "search"])),
        constants={"kd_weight": draw(st.sampled_from([0.5, 0.9]))},
        axes=axes,
        recipe={"batch_size": 32} if axes else {},
        teacher_sha256=draw(st.sampled_from(["a" * 64, "b" * 64, None])),
        numerics_key=draw(st.sampled_from(["n1", "n2"])),
    )


@given(st.lists(any_run(), min_size=1, max_size=30, unique_by=lambda r: r["run_id"]))
@settings(max_examples=40, deadline=None)
def test_random_runs_are_never_pooled_across_settings(runs: list[dict[str, Any]]) -> None:
    data = frame(runs)
    if not any(r["purpose"] == "final" for r in runs):
        with pytest.raises(BadInput, match="no final runs"):
            build_table(data, TableSpec())
        return
    for spec in (TableSpec(), TableSpec(rows="pair", columns="distiller"), MANY_PANELS, STRICT):
        table = build_table(data, spec)
        kept = {run_id for c in table.cells.values() for run_id in c.runs}
        check_table(table, data)
        counts = [r for r in runs if r["test_top1_last"] is not None and not r["excluded"]]
        finite = {r["run_id"] for r in counts if math.isfinite(r["test_top1_last"])}
        assert kept == finite & {r["run_id"] for r in runs if r["purpose"] == "final"}
        if spec.strict_numerics:
            numerics = {r["run_id"]: r["numerics_key"] for r in runs}
            assert all(len({numerics[run_id] for run_id in c.runs}) <= 1 for c in table.cells.values())


def test_an_excluded_run_is_counted_in_sight_with_its_reason_and_never_averaged() -> None:
    data = frame(
        teacher(98.0) | {"excluded": "trained too long"},
        seeds("kd", 96.0, 97.0, 50.0, row=1),
        seeds("dkd", 95.0, 95.0, 95.0, row=2),
    )
    data["excluded"] = [*data["excluded"][:3], "a wrong <image> folder", *[None] * 3]
    table = build_table(data, TableSpec())
    kd, dkd = cell(table, "kd"), cell(table, "dkd")
    assert (kd.mean, kd.n, kd.wanted, kd.states) == (96.5, 2, 3, {"complete": 2, "excluded": 1})
    assert kd.notes == ("†",) and kd.mark is None and dkd.mark is None and text.count(kd) == "2/3"
    (note,) = table.footnotes
    assert note.text == (
        "not all runs count (1 excluded): mean of the others that are finished, ranked below complete cells. "
        "Excluded: a wrong <image> folder."
    )
    assert text.teacher(table.columns[0]) == "teacher 98.00", "it taught all the same"
    again = build_table(data.assign(excluded=None), TableSpec())
    assert cell(again, "kd").n == 3 and again.footnotes == ()


def test_one_epoch_is_singular() -> None:
    short = quickstart()
    short["recipe"] = [{**recipe, "epochs": 1} for recipe in short["recipe"]]
    assert "Protocol: 1 epoch, " in " ".join(build_table(short, TableSpec()).caption)


def test_a_caption_lists_what_was_varied_or_says_from_where_to_where() -> None:
    data = quickstart()
    for values, said in ((3, "lr 0.01 / 0.02 / 0.03, "), (13, "lr 0.01 to 0.13 (13 values), ")):
        data["recipe"] = [{**recipe, "lr": (at % values + 1) / 100} for at, recipe in enumerate(data["recipe"])]
        assert said in " ".join(build_table(data, TableSpec()).caption)


def test_the_head_of_an_ensemble_has_each_member_s_accuracy() -> None:
    both = "resnet20 + wrn_16_1 -> resnet8"
    ids = "teacher-digits-resnet20-0 + teacher-digits-wrn_16_1-0"
    data = frame(teacher(98.0), teacher(97.5, model="wrn_16_1"), run("kd", 0, 96.0, pair=both, teacher_run_id=ids))
    (head,) = build_table(data, TableSpec()).columns
    assert head.printed == "ResNet20 + WRN-16-1 → ResNet8"
    assert text.teacher(head) == "teachers 98.00 + 97.50"
    unfinished = frame(teacher(98.0), run("kd", 0, 96.0, pair=both, teacher_run_id=ids))
    assert text.teacher(build_table(unfinished, TableSpec()).columns[0]) == "teachers 98.00 + not finished"


def test_an_imported_teacher_is_told_as_such() -> None:
    made = teacher(79.42, model="resnet32x4", dataset="cifar100") | {"distiller": "imported"}
    data = frame(made, run("kd", 0, 73.0, pair="resnet32x4 -> resnet8x4", dataset="cifar100"))
    table = build_table(data, TableSpec())
    assert text.teacher(table.columns[0]) == "teacher 79.42, imported"
    assert "Imported: released weights, evaluated here." in table.caption


def test_constants_that_were_never_released_are_a_footnote() -> None:
    data = frame(teacher(98.0), run("luminet", 0, 96.0, unpublished="hossain2025luminet"), run("kd", 0, 95.0, row=1))
    table = build_table(data, TableSpec())
    (note,) = [note for note in table.footnotes if "released no constants" in note.text]
    marked = {cell.row for cell in table.cells.values() if note.mark in cell.notes}
    assert marked == {"luminet"}
