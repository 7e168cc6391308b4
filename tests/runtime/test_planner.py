"""The planner decides without I/O: every case is a queue, slots and the expected instructions."""

import random

import pytest

from kdharness.results.records import Common, QueueRow
from kdharness.runtime.planner import MOST_MEMBERS, Start, plan


def row(run_id, state="waiting", *, seed=0, place=1, purpose="final", needs=(), **more):
    return QueueRow(run_id=run_id, state=state, seed=seed, row=place, purpose=purpose, needs=tuple(needs), **more)


def started(queue, slots=("a", "b", "c", "d"), **options):
    return [start.run_ids[0] for start in plan(queue, slots, **options).start]


TEACHER = row("t", purpose="teacher", place=0)


def students(seeds=2, needs=("t",)):
    return [row(f"{name}{seed}", seed=seed, needs=needs) for name in ("kd", "dkd") for seed in range(seeds)]


def test_teachers_come_first_and_only_runs_that_need_none_go_beside_them():
    none = [row(f"none{seed}", seed=seed) for seed in (0, 1)]
    assert started([*none, TEACHER, *students()]) == ["t", "none0", "none1"]


def test_breadth_first_by_seed():
    queue = [row("t", "complete", purpose="teacher"), *students(seeds=3)]
    assert started(queue, slots=tuple("abcdef")) == ["kd0", "dkd0", "kd1", "dkd1", "kd2", "dkd2"]


def test_an_assistant_that_others_need_goes_before_the_other_runs_of_its_seed():
    queue = [row("plain"), row("last", needs=["assistant"]), row("assistant", purpose="final")]
    assert started(queue) == ["assistant", "plain"]


def test_slots_are_filled_in_order_and_never_twice():
    queue = [row("t", "complete", purpose="teacher"), *students()]
    assert plan(queue, ("cpu:1", "cpu:0")).start == (Start(("kd0",), "cpu:1"), Start(("dkd0",), "cpu:0"))
    assert plan(queue, ()).start == ()


def test_a_run_is_submitted_once_though_its_job_has_not_claimed_yet():
    queue = [row("a"), row("b")]
    assert started(queue, ours={"a"}) == ["b"]


def test_a_run_that_two_labels_show_starts_once():
    assert started([row("a"), row("a", place=2), row("b")]) == ["a", "b"]


def test_runs_of_another_runner_are_left_alone_and_waited_for():
    outcome = plan([row("a", "running"), row("b", "running")], ("cpu:0",), ours={"a"})
    assert (outcome.start, outcome.elsewhere, outcome.done) == ((), ("b",), False)


def test_dependents_wait_while_another_runner_trains_the_teacher():
    queue = [row("t", "running", purpose="teacher"), *students()]
    outcome = plan(queue, ("cpu:0",))
    assert outcome.start == () and outcome.blocked == {} and not outcome.done


def test_a_failed_teacher_blocks_its_dependents_through_assistants_and_ends_the_study():
    for state in ("failed", "diverged", "cancelled"):
        queue = [row("t", state, purpose="teacher"), row("assistant", needs=["t"]), row("s", needs=["assistant"])]
        outcome = plan(queue, ("cpu:0",))
        assert outcome.blocked == {"assistant": "t", "s": "t"}
        assert outcome.start == () and outcome.done


def test_a_failed_teacher_leaves_the_others_going():
    queue = [row("t", "failed", purpose="teacher"), row("s", needs=["t"]), row("free")]
    outcome = plan(queue, ("cpu:0", "cpu:1"))
    assert [start.run_ids for start in outcome.start] == [("free",)] and not outcome.done


def test_a_need_that_the_queue_does_not_hold_blocks():
    assert plan([row("s", needs=["gone"])], ("cpu:0",)).blocked == {"s": "gone"}


def test_given_up_runs_count_as_failed():
    queue = [TEACHER, row("s", needs=["t"])]
    outcome = plan(queue, ("cpu:0",), given_up={"t"})
    assert outcome.blocked == {"s": "t"} and outcome.done and outcome.start == ()


def test_stopping_starts_nothing_and_is_not_done_while_jobs_run():
    outcome = plan([row("a"), row("b")], ("cpu:0",), ours={"a"}, stopping=True)
    assert outcome.start == () and not outcome.done


def test_done_when_everything_ended():
    assert plan([row("a", "complete"), row("b", "failed"), row("c", "diverged")], ("cpu:0",)).done
    assert plan([], ("cpu:0",)).done
    assert not plan([row("a", "complete")], ("cpu:0",), ours={"a"}).done


def test_any_queue_trains_every_run_once_after_what_it_needs():
    queue = {
        each.run_id: each
        for each in [TEACHER, *students(3), *[row(f"none{s}", seed=s) for s in range(3)], row("s", needs=["kd0"])]
    }
    order = []
    while not (outcome := plan(list(queue.values()), ("a", "b", "c"))).done:
        assert outcome.start
        for start in outcome.start:
            (run_id,) = start.run_ids
            assert all(queue[need].state == "complete" for need in queue[run_id].needs)
            order.append(run_id)
        for start in outcome.start:
            (run_id,) = start.run_ids
            queue[run_id] = row(run_id, "complete", seed=queue[run_id].seed, needs=queue[run_id].needs)
    assert sorted(order) == sorted(queue)


A, B, NOBODY = Common("64", "a"), Common("64", "b"), Common("64")


def cohorts(queue, free=("a",), **options):
    return [" ".join(start.run_ids) for start in plan(queue, free, **options).start]


def test_runs_of_one_seed_that_share_batches_and_teacher_are_one_job():
    queue = [row(f"{name}{seed}", seed=seed, common=A) for name in ("kd", "dkd") for seed in (0, 1)]
    assert cohorts(queue, ("a", "b")) == ["kd0 dkd0", "kd1 dkd1"]


@pytest.mark.parametrize(
    "other", [{"seed": 1}, {"epoch": 3}, {"common": B}, {"common": Common("32", "a")}, {"common": None}]
)
def test_what_differs_is_not_trained_side_by_side(other):
    queue = [row("a", common=A), row("b", **{"common": A, **other}), row("c", common=A)]
    assert cohorts(queue) == ["a c"]


def test_a_run_without_a_teacher_joins_any_but_brings_no_two_teachers_together():
    assert cohorts([row("none", common=NOBODY), row("a", common=A), row("b", common=B), row("a2", common=A)]) == [
        "none a a2"
    ]
    assert cohorts([row("a", common=A), row("b", common=B), row("none", common=NOBODY)]) == ["a none"]


def test_no_cohort_is_so_large_that_a_slot_is_idle():
    group = [row(str(number), common=A) for number in range(5)]
    assert cohorts(group, ("a", "b")) == ["0 1 2", "3 4"]
    assert cohorts(group, ("b",), slots=2) == ["0 1 2"], "the other slot will be free before this one"
    assert cohorts(group, ("a", "b", "c", "d", "e", "f")) == list("01234")


def test_runs_that_others_need_have_jobs_of_their_own_kind():
    queue = [row("t", purpose="teacher", common=NOBODY), row("none", common=NOBODY), row("s", needs=["t"], common=A)]
    assert cohorts(queue) == ["t"]


def test_memory_bounds_a_cohort():
    many = [row(f"r{number}", common=A, student="small") for number in range(2 * MOST_MEMBERS)]
    assert [len(start.run_ids) for start in plan(many, ("a",)).start] == [MOST_MEMBERS]
    large = [row(str(number), common=A, student="large" if number % 2 else "small") for number in range(6)]
    assert cohorts(large, parts={"large": 0.4, "small": 0.001}) == ["0 1 2 3 4"]
    assert cohorts(large, parts={"large": 7.0}) == ["0 2 4"]
    assert cohorts(large[1:], parts={"large": 7.0}) == ["1"], "a run that is too large for all bounds is trained alone"


def test_a_run_that_may_have_brought_a_job_down_trains_alone_and_first():
    queue = [row("a", common=A), row("b", common=A, alone=True), row("c", common=A)]
    assert cohorts(queue) == ["b"]
    assert cohorts(queue, ("a", "b")) == ["b", "a c"]
    assert cohorts([row("0", common=A), row("1", common=A, alone=True, seed=1)]) == ["0"]


def test_what_died_beside_others_has_twice_the_room_each_time():
    many = [row(f"r{number}", common=A, deaths=2) for number in range(20)]
    assert [len(start.run_ids) for start in plan(many, ("a",)).start] == [MOST_MEMBERS / 4]
    assert cohorts([row("a", common=A, deaths=5), row("b", common=A)]) == ["a"]


def test_runs_of_other_seeds_join_where_the_table_is_warm():
    queue = [row(f"{name}{seed}", seed=seed, common=A) for seed in (0, 1, 2) for name in ("kd", "fitnet")]
    warm = {"kd0", "kd1", "kd2"}
    assert cohorts(queue, warm=warm) == ["kd0 fitnet0 kd1 kd2"]
    assert cohorts(queue, ("a", "b"), warm=warm) == ["kd0 fitnet0 kd1", "fitnet1 kd2"]
    assert cohorts(queue, tuple("abcdef"), warm=warm) == ["kd0", "fitnet0", "kd1", "fitnet1", "kd2", "fitnet2"]
    other = [row("a", common=A), row("b", seed=1, common=B), row("c", seed=1, common=A, epoch=2)]
    assert cohorts(other, warm={"a", "b", "c"}) == ["a"]
    many = [row(str(seed), seed=seed, common=A) for seed in range(40)]
    assert [len(start.run_ids) for start in plan(many, ("a",), warm=set(map(str, range(40)))).start] == [MOST_MEMBERS]


def test_whatever_the_queue_no_slot_is_idle_and_every_run_trains_once():
    dice = random.Random(3)
    for _ in range(50):
        queue = [
            row(
                f"{number}", seed=dice.randrange(3), common=dice.choice([A, B, NOBODY, None]), alone=dice.random() < 0.1
            )
            for number in range(dice.randrange(1, 30))
        ]
        slots = tuple("abcd"[: dice.randrange(1, 5)])
        trained = []
        while queue:
            start = plan(queue, slots).start
            assert len(start) == min(len(slots), len(queue))
            ended = [run_id for each in start for run_id in each.run_ids]
            trained += ended
            queue = [one for one in queue if one.run_id not in ended]
        assert len(trained) == len(set(trained))
