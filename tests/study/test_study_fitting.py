"""Which cells fit into some hours: schedules worked out by hand."""

from study_texts import expanded

from kdharness.study.fitting import fit
from kdharness.study.plan import make_plan, render_plan

HOUR = 3600.0
WANTED = expanded().wanted  # a teacher, and two seeds of none, kd and KD+LS; the last two need the teacher


def seeds(slots, hours, complete=(), teacher=4.0, student=2.0):
    cells = fit(
        WANTED,
        lambda run: HOUR * (teacher if run.purpose == "teacher" else student),
        complete=frozenset(complete),
        slots=slots,
        limit_seconds=HOUR * hours,
    )
    assert all(cell.wanted == 2 for cell in cells)
    return {cell.label: cell.seeds for cell in cells}


def test_one_slot_goes_teacher_first_then_seed_by_seed():
    # teacher 0-4, none0 4-6, kd0 6-8, LS0 8-10, none1 10-12, kd1 12-14, LS1 14-16
    for hours, expected in ((3, (0, 0, 0)), (6, (1, 0, 0)), (9.9, (1, 1, 0)), (12, (2, 1, 1)), (16, (2, 2, 2))):
        assert tuple(seeds(1, hours).values()) == expected, hours


def test_several_slots_wait_for_the_teacher():
    # slot 1: teacher 0-4, LS0 4-6, kd1 6-8; slot 2: none0 0-2, kd0 waits until 4, 4-6, none1 6-8, LS1 8-10
    assert seeds(2, 4) == {"none": 1, "kd": 0, "KD+LS": 0}
    assert seeds(2, 6) == {"none": 1, "kd": 1, "KD+LS": 1}
    assert seeds(2, 10) == {"none": 2, "kd": 2, "KD+LS": 2}


def test_what_is_finished_costs_nothing():
    done = [run.run_id for run in WANTED if run.purpose == "teacher" or run.label == "kd"]
    assert seeds(1, 0, done) == {"none": 0, "kd": 2, "KD+LS": 0}
    assert seeds(1, 4, done) == {"none": 1, "kd": 2, "KD+LS": 1}


def test_the_plan_says_it():
    assert make_plan(expanded(), None, slots=4).fits == []
    plan = make_plan(expanded(), None, slots=4, hours=48)
    assert [(cell.label, cell.seeds) for cell in plan.fits] == [("none", 2), ("kd", 2), ("KD+LS", 2)]
    assert "fits      in 48 h: 3 of 3 cells with all seeds" in render_plan(plan)
    assert "0 of 3 cells" in render_plan(make_plan(expanded(), None, slots=4, hours=0))
