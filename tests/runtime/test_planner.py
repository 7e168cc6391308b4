"""The planner decides without I/O: every case is a queue, slots and the expected instructions."""

from kdharness.results.records import QueueRow
from kdharness.runtime.planner import Start, plan


def row(run_id, state="waiting", *, seed=0, place=1, purpose="final", needs=()):
    return QueueRow(run_id=run_id, state=state, seed=seed, row=place, purpose=purpose, needs=tuple(needs))


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
