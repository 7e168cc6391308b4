"""The plan: counts, reuse, cost and what the seeds can show."""

from dataclasses import replace
from pathlib import Path

import pytest
from fake_search import SEARCHED
from study_texts import SOUND, change, expanded

from kdharness.core.home import Home
from kdharness.results.owner import Owner
from kdharness.results.store import Store
from kdharness.study.cost import size
from kdharness.study.plan import make_plan, render_plan
from kdharness.study.power import smallest_difference


class FakeStore:
    """Answers what is finished; that no method has changed, and no accuracy is known."""

    def __init__(self, rows: list[tuple]) -> None:
        self.rows = rows

    def query(self, sql: str, limit: int | None = None, **values: str) -> tuple[list[str], list[tuple]]:
        return [], [] if "distiller_revision" in sql or "metrics" in sql else self.rows


def test_a_fresh_plan_counts_settings_runs_and_missing_teachers() -> None:
    plan = make_plan(expanded(), None, slots=2)
    assert (plan.settings, plan.runs, plan.to_train, plan.reused) == (3, 7, 7, 0)
    assert [(one.model, one.origin, one.ready) for one in plan.teachers] == [("resnet20", "trained", False)]
    assert [(row.label, row.runs, row.missing) for row in plan.rows] == [("none", 2, 2), ("kd", 2, 2), ("KD+LS", 2, 2)]
    assert 10 < plan.seconds < 600
    assert 1 < plan.disk_mib < 100
    assert plan.measured_runs == 0


def test_a_run_of_two_rows_is_planned_once_and_that_is_said() -> None:
    twice = SOUND.replace("  - none\n", "  - none\n  - {name: none, label: alone}\n")
    plan, once = make_plan(expanded(twice), None), make_plan(expanded(), None)
    assert plan.runs == once.runs and sum(row.runs for row in plan.rows) == sum(row.runs for row in once.rows) + 2
    assert "shared    2 runs in several rows: trained once" in render_plan(plan).splitlines()
    assert "shared" not in render_plan(once)


def test_finished_runs_are_reused_and_their_time_is_taken_as_measure() -> None:
    wanted = expanded().wanted
    done = [run for run in wanted if run.label in ("teacher", "none")] + [wanted[3]]
    store = FakeStore(
        [(r.run_id, "digits", r.student, "resnet20" if r.label == "kd" else None, 30, 9000) for r in done]
    )
    plan = make_plan(expanded(), store, slots=1)  # type: ignore[arg-type]
    assert (plan.runs, plan.reused, plan.to_train, plan.measured_runs) == (7, 4, 3, 4)
    assert [one.ready for one in plan.teachers] == [True]
    assert [row.missing for row in plan.rows] == [0, 1, 2]
    assert plan.seconds == pytest.approx(3 * 9.0)


def test_why_runs_of_a_changed_method_are_trained_again(tmp_path: Path) -> None:
    expansion = expanded()
    store = Store(Home(tmp_path), create=True)
    asked = [
        replace(run, setting=run.setting.model_copy(update={"distiller_revision": "0123456789abcdef"}))
        if run.setting.distiller == "kd"
        else run
        for run in expansion.wanted
    ]
    store.save_study("sound", SOUND, asked, path="study.yaml", spec={})
    for label in ("teacher", "kd"):
        ids = [run.run_id for run in asked if run.label == label]
        for lease in store.claim(ids, Owner.current(), slot="cpu:0") or []:
            store.complete(lease, {}, {}, "a" * 64, None, None)
    plan = make_plan(expansion, store)
    assert plan.changed == [
        "kd changed since (revision 01234567 → 1): 2 finished runs of it stay in the database under the old revision"
    ]
    assert f"changed   {plan.changed[0]}" in render_plan(plan)
    store.save_study("sound", SOUND, expansion.wanted, path="study.yaml", spec={})
    assert make_plan(expansion, store).changed == []


def test_a_searched_row_is_planned_as_such() -> None:
    plan = make_plan(expanded(SEARCHED), None)
    assert plan.search_runs == 19
    assert [row.searched for row in plan.rows] == [True, False, False]
    assert plan.seconds > make_plan(expanded(SOUND), None).seconds
    assert "searched first" in render_plan(plan)


def test_what_seeds_can_show_equals_the_simulation() -> None:
    assert smallest_difference(1) is None
    for seeds, points in ((3, 0.77), (5, 0.51), (10, 0.34)):  # simulated at a standard deviation of 0.25 points
        assert smallest_difference(seeds) == pytest.approx(points, abs=0.01)
    assert smallest_difference(4, 0.5) == pytest.approx(2 * (smallest_difference(4, 0.25) or 0))


def test_the_spread_is_that_of_the_finished_runs_once_they_are_enough(tmp_path: Path) -> None:
    expansion = expanded(change("seeds: 2", "seeds: 5"))
    store = Store(Home(tmp_path), create=True)
    store.save_study("sound", SOUND, expansion.wanted, path="study.yaml", spec={})
    for label, freedom in (("teacher", 0), ("kd", 4), ("none", 8), ("KD+LS", 12)):
        ids = [run.run_id for run in expansion.wanted if run.label == label]
        for seed, lease in enumerate(store.claim(ids, Owner.current(), slot="cpu:0") or []):
            # seeds 0 to 4 around each row's mean: variance 2.5
            store.complete(lease, {"test_top1_last": 60.0 + freedom + seed}, {}, "a" * 64, None, None)
        plan = make_plan(expansion, store)
        assert (plan.spread, plan.spread_runs) == (pytest.approx(2.5**0.5), 15) if freedom > 10 else (0.25, 0)
    assert plan.smallest_difference == smallest_difference(5, 2.5**0.5)
    assert "(at a run-to-run standard deviation of 1.58, that of 15 finished runs here)" in render_plan(plan)
    store.exclude(ids[:1], "for the test")
    assert make_plan(expansion, store).spread_runs == 14, "no mean takes it"


def test_the_size_of_a_model_is_the_published_one() -> None:
    adds, parameters = size("resnet8x4", 100, (3, 32, 32))
    assert (round(adds / 1e6, 2), parameters) == (177.07, 1_233_540)


def test_the_plan_is_printed_for_a_person() -> None:
    text = render_plan(make_plan(expanded(), None, slots=2))
    assert "teacher   resnet20 (" in text
    assert "3 seeds" not in text
    assert max(map(len, text.splitlines())) <= 140
