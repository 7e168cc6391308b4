"""The run loop with jobs that only pretend to train: claims and commits are real, weights are not."""

import os
import signal
import subprocess
import threading

import pytest
from tiny_study import ask, wanted

from kdharness.core.errors import ExitCode
from kdharness.results.owner import Owner, _start_of
from kdharness.results.store import Store
from kdharness.runtime.executors import Handle, InProcessExecutor
from kdharness.runtime.jobs import Jobs
from kdharness.runtime.progress import NoProgress
from kdharness.runtime.rescue import Rescue
from kdharness.runtime.scheduler import run_study
from kdharness.runtime.signals import stop_on_signals


class Heard(NoProgress):
    """Remembers what was said and shown."""

    def __init__(self):
        self.said = []
        self.shown = []

    def say(self, text, *, bad=False):
        self.said.append(text)

    def show(self, snapshot):
        self.shown.append(snapshot)


class Pretend:
    """A job that completes its runs, or does to a run what `fate` says."""

    def __init__(self, store, **fate):
        self.store = store
        self.fate = fate
        self.order = []

    def __call__(self, run_ids, slot):
        self.order += run_ids
        leases = self.store.claim(run_ids, Owner.current(), slot=slot)
        if leases is None:
            return ExitCode.LEASE_LOST
        for lease in leases:
            self.fate.get(lease.run_id, self.complete)(lease)
        return ExitCode.DONE

    def complete(self, lease):
        self.store.complete(lease, {"test_top1_last": 1.0}, {}, "0" * 64, None, None)

    def fail(self, lease):
        self.store.end(lease, "failed", reason="error", message="boom")


def go(store, home, job, progress=None, **options):
    options = {"slots": ("cpu:0", "cpu:1"), "executor": InProcessExecutor(job), **options}
    return run_study(store, "tiny", home=home, progress=progress or NoProgress(), **options)


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr("kdharness.runtime.scheduler.TICK_SECONDS", 0.001)
    monkeypatch.setattr("kdharness.runtime.scheduler.LOOK_SECONDS", 0.01)


def test_a_study_is_run_breadth_first_and_a_second_time_does_nothing(home, store):
    ids = ask(store, wanted(seeds=2))
    job = Pretend(store)
    outcome = go(store, home, job)
    names = {run_id: name for name, run_id in ids.items()}
    assert [names[run_id] for run_id in job.order] == ["teacher0", "none0", "kd0", "none1", "kd1"]
    assert (outcome.exit_code, outcome.total, outcome.complete, outcome.trained) == (ExitCode.DONE, 5, 5, 5)
    again = go(store, home, Pretend(store))
    assert (again.exit_code, again.complete, again.trained) == (ExitCode.DONE, 5, 0)


def test_a_failed_run_is_told_with_its_log_and_the_others_go_on(home, store):
    ids = ask(store, wanted(seeds=2))
    job = Pretend(store)
    job.fate[ids["none0"]] = job.fail
    heard = Heard()
    outcome = go(store, home, job, heard)
    assert (outcome.exit_code, outcome.complete, outcome.unfinished) == (ExitCode.SOME_FAILED, 4, 0)
    (failed,) = outcome.failed
    assert (failed.label, failed.seed, failed.message, failed.log) == ("none", 0, "boom", home.log(ids["none0"]))
    assert any("none resnet14 -> resnet8 seed 0: failed: boom" in text for text in heard.said)
    assert heard.shown[-1].complete == 4 and heard.shown[-1].failed == 1


def test_a_failed_teacher_blocks_its_students_only(home, store):
    ids = ask(store, wanted(seeds=2))
    job = Pretend(store)
    job.fate[ids["teacher0"]] = job.fail
    outcome = go(store, home, job)
    assert outcome.exit_code == ExitCode.SOME_FAILED and outcome.complete == 2
    assert outcome.blocked == {ids["kd0"]: ids["teacher0"], ids["kd1"]: ids["teacher0"]}
    assert outcome.unfinished == 0


def test_fail_fast_starts_nothing_more(home, store):
    ids = ask(store, wanted(seeds=3))
    job = Pretend(store)
    job.fate[ids["teacher0"]] = job.fail
    outcome = go(store, home, job, slots=("cpu:0",), fail_fast=True)
    assert outcome.exit_code == ExitCode.SOME_FAILED
    assert job.order == [ids["teacher0"]]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, ExitCode.INTERRUPTED), (signal.SIGTERM, ExitCode.STOPPED)]
)
def test_a_signal_stops_resumably(home, store, number, code):
    ids = ask(store, wanted(seeds=2))
    job = Pretend(store)

    def interrupted(lease):
        job.complete(lease)
        os.kill(os.getpid(), number)

    job.fate[ids["none0"]] = interrupted
    before = signal.getsignal(number)
    outcome = go(store, home, job, slots=("cpu:0",))
    assert (outcome.exit_code, outcome.complete, outcome.unfinished) == (code, 3, 2)  # kd0 was in none0's job
    assert signal.getsignal(number) is before
    assert go(store, home, Pretend(store)).exit_code == ExitCode.DONE


def test_a_job_that_never_claims_is_given_up_after_three_times(home, store):
    ids = ask(store, wanted())
    order = []

    def broken(run_ids, slot):
        order.append(run_ids[0])
        return ExitCode.INTERNAL if run_ids[0] == ids["teacher0"] else Pretend(store)(run_ids, slot)

    heard = Heard()
    outcome = go(store, home, broken, heard)
    assert order.count(ids["teacher0"]) == 3
    assert outcome.exit_code == ExitCode.SOME_FAILED and outcome.complete == 1
    assert [failed.run_id for failed in outcome.failed] == [ids["teacher0"]]
    assert outcome.blocked == {ids["kd0"]: ids["teacher0"]} and outcome.unfinished == 0
    assert any("given up" in text for text in heard.said)


def dead_owner():
    alive = Owner.current()
    return Owner(alive.host, alive.boot_id, alive.pid, alive.pid_start - 1, "gone")


def test_runs_of_a_dead_runner_are_taken_over(home, store):
    ids = ask(store, wanted())
    store.claim([ids["teacher0"]], dead_owner(), slot="cpu:0")
    heard = Heard()
    outcome = go(store, home, Pretend(store), heard)
    assert outcome.exit_code == ExitCode.DONE and outcome.complete == 3
    assert any("its job died; starting over (attempt 2)" in text for text in heard.said)


def test_a_dead_owner_is_not_kept_alive_by_a_job_that_has_his_pid_now(home, store):
    ids = ask(store, wanted())
    with subprocess.Popen(["sleep", "60"]) as job:
        me, start = Owner.current(), _start_of(job.pid)
        jobs = Jobs(InProcessExecutor(lambda *_: ExitCode.DONE))
        jobs.by_slot["cpu:0"] = Handle(1, (ids["teacher0"],), "cpu:0", job.pid)
        store.claim([ids["teacher0"]], Owner(me.host, me.boot_id, job.pid, start, "ours"), slot="cpu:0")
        store.claim([ids["none0"]], Owner(me.host, me.boot_id, job.pid, start - 1, "gone"), slot="cpu:1")
        job.kill()
        os.waitid(os.P_PID, job.pid, os.WEXITED | os.WNOWAIT)
        queue = Rescue(store, "tiny", jobs, NoProgress(), 3).free(store.queue("tiny"), {})
    states = {row.run_id: row.state for row in queue}
    assert states == {ids["teacher0"]: "running", ids["none0"]: "waiting", ids["kd0"]: "waiting"}


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (ExitCode.INTERNAL, "ended with exit code 4"),
        (ExitCode.DONE, "ended with exit code 0"),
        (-signal.SIGSEGV, "was killed by SIGSEGV"),
        (-signal.SIGKILL, "was killed by SIGKILL, maybe for its memory"),
    ],
)
def test_a_run_that_dies_again_and_again_is_failed_after_three_attempts(home, store, code, said):
    """Whatever the job says at its end: without a result it is a failure."""
    ids = ask(store, wanted())
    attempts = []

    def dying(run_ids, slot):
        if run_ids[0] != ids["none0"]:
            return Pretend(store)(run_ids, slot)
        attempts.append(slot)
        store.claim(run_ids, dead_owner(), slot=slot)
        return code

    outcome = go(store, home, dying)
    assert len(attempts) == 3
    assert outcome.exit_code == ExitCode.SOME_FAILED and outcome.complete == 2
    (failed,) = outcome.failed
    assert failed.run_id == ids["none0"]
    assert failed.message.startswith(f"3 attempts in a row ended without a new checkpoint; the last {said}")


def test_a_run_that_another_runner_has_is_waited_for(home, store):
    ids = ask(store, wanted())
    (lease,) = store.claim([ids["teacher0"]], Owner.current(), slot="cpu:0")
    other = threading.Timer(0.3, Pretend(store).complete, [lease])
    other.start()
    job = Pretend(store)
    outcome = go(store, home, job)
    other.join()
    assert outcome.exit_code == ExitCode.DONE and (outcome.complete, outcome.trained) == (3, 2)
    assert ids["teacher0"] not in job.order


def test_two_runners_share_a_study(home, store):
    ids = ask(store, wanted(seeds=4))
    outcomes = []
    jobs = [Pretend(store), Pretend(second := Store(home))]

    def runner(opened, job):
        # signals belong to the main thread; a runner of its own process is in test_kills
        from kdharness.runtime.ending import Ending
        from kdharness.runtime.jobs import Jobs
        from kdharness.runtime.notify import Notifier
        from kdharness.runtime.scheduler import _Runner
        from kdharness.runtime.signals import Stop

        quiet = NoProgress()
        jobs, ending = Jobs(InProcessExecutor(job)), Ending(Stop(), quiet)
        one = _Runner(opened, "tiny", home, ("cpu:0",), jobs, ending, quiet, Notifier((), "tiny", quiet.say))
        one.loop()
        outcomes.append(one.outcome())

    threads = [threading.Thread(target=runner, args=pair) for pair in zip((store, second), jobs, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    second.close()
    assert [outcome.complete for outcome in outcomes] == [9, 9]
    assert all(len(store.run(run_id).history) == 1 for run_id in ids.values())


class Counting:
    def __init__(self, behind):
        self.behind, self.tended = behind, 0

    def tend(self):
        self.tended += 1

    def finish(self, *, wait):
        return self.behind if wait else -1


def test_the_mirror_is_tended_and_its_rest_is_told(home, store):
    ask(store, wanted())
    mirror = Counting(behind=7)
    assert go(store, home, Pretend(store), mirror=mirror).mirror_behind == 7
    assert mirror.tended > 0
    assert go(store, home, Pretend(store)).mirror_behind is None


def test_a_search_adds_runs_until_it_has_none(home, store):
    ask(store, wanted(labels=("none",)))
    more = [wanted(seeds=2, labels=("none",))[-1:], wanted(seeds=3, labels=("none",))[-1:]]

    class Search:
        watches = False

        def advance(self):
            return store.extend_study("tiny", more.pop(0)).new if more else 0

    outcome = go(store, home, Pretend(store), search=Search())
    assert outcome.complete == 4 and not more


class Stubborn:
    """An executor whose jobs go on until they are killed."""

    def __init__(self):
        self.cancelled = []
        self.killed = False

    def submit(self, run_ids, slot):
        return Handle(1, tuple(run_ids), slot)

    def poll(self, handle):
        return -signal.SIGKILL if self.killed else None

    def cancel(self, handle, *, now=False):
        self.cancelled.append(now)
        self.killed = self.killed or now
        if not now:
            os.kill(os.getpid(), signal.SIGINT)


def test_a_second_ctrl_c_kills(home, store):
    ask(store, wanted())
    executor = Stubborn()
    timer = threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT])
    timer.start()
    outcome = run_study(
        store, "tiny", home=home, slots=("cpu:0",), executor=executor, progress=NoProgress(), grace_seconds=60
    )
    assert outcome.exit_code == ExitCode.INTERRUPTED and executor.cancelled == [False, True]


def test_jobs_that_do_not_stop_in_time_are_killed(home, store):
    ask(store, wanted())
    executor = Stubborn()
    executor.cancel = lambda handle, now=False: setattr(executor, "killed", now)
    threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGTERM]).start()
    outcome = run_study(
        store, "tiny", home=home, slots=("cpu:0",), executor=executor, progress=NoProgress(), grace_seconds=0.2
    )
    assert outcome.exit_code == ExitCode.STOPPED and executor.killed


class Broken(Heard):
    """A display that fails once a job is there."""

    def show(self, snapshot):
        raise RuntimeError("no terminal")


def test_an_error_in_the_runner_leaves_no_job_behind(home, store):
    ask(store, wanted())
    executor = Stubborn()
    executor.cancel = lambda handle, now=False: setattr(executor, "killed", True)
    with pytest.raises(RuntimeError, match="no terminal"):
        run_study(store, "tiny", home=home, slots=("cpu:0",), executor=executor, progress=Broken())
    assert executor.killed


def test_a_signal_reaches_the_runner_of_a_job_in_its_own_process(home, store):
    ids = ask(store, wanted())

    def stopped(run_ids, slot):
        with stop_on_signals() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.requested
        return ExitCode.STOPPED

    outcome = go(store, home, stopped)
    assert outcome.exit_code == ExitCode.INTERRUPTED and outcome.unfinished == len(ids)


def test_checkpoints_of_complete_runs_are_swept(home, store):
    ids = ask(store, wanted())
    go(store, home, Pretend(store))
    left = home.checkpoints(ids["kd0"], 1)
    foreign = home.root / "checkpoints" / "mine"
    for folder in (left, foreign):
        folder.mkdir(parents=True)
    go(store, home, Pretend(store))
    assert not left.exists() and foreign.exists()


def test_a_run_that_another_runner_took_first_is_not_counted_as_ours(home, store):
    ids = ask(store, wanted(labels=("none",)))
    job = Pretend(store)

    def second(run_ids, slot):
        if list(run_ids) == [ids["none0"]]:
            job(run_ids, slot)  # the other runner's job, which claims it just before ours
            return ExitCode.LEASE_LOST
        return job(run_ids, slot)

    outcome = go(store, home, second)
    assert (outcome.exit_code, outcome.complete, outcome.trained) == (ExitCode.DONE, 2, 1)


def test_only_the_poisonous_member_of_a_dying_cohort_fails(home, store):
    ids = ask(store, wanted(labels=("none", "kd", "dkd")))
    poison, jobs = ids["kd0"], []

    def dying(run_ids, slot):
        jobs.append(tuple(run_ids))
        if poison not in run_ids:
            return Pretend(store)(run_ids, slot)
        store.claim(run_ids, dead_owner(), slot=slot)
        return -signal.SIGKILL

    heard = Heard()
    outcome = go(store, home, dying, heard, slots=("cpu:0",))
    assert [failed.run_id for failed in outcome.failed] == [poison] and outcome.complete == 3
    cohort = (ids["none0"], poison, ids["dkd0"])
    assert jobs == [(ids["teacher0"],), cohort, *((one,) for one in (cohort[0], poison, poison, poison, cohort[2]))]
    assert [store.run(run_id).attempts for run_id in cohort] == [1, 3, 1]
    assert any("and 2 beside it: their job was killed by SIGKILL" in text for text in heard.said)


def test_a_cohort_that_finds_one_of_its_runs_taken_is_planned_anew_and_not_given_up(home, store):
    ids = ask(store, wanted())
    jobs, first = [], [ids["none0"], ids["kd0"]]

    def taken(run_ids, slot):
        jobs.append(list(run_ids))
        return ExitCode.LEASE_LOST if jobs.count(first) in range(1, 5) else Pretend(store)(run_ids, slot)

    outcome = go(store, home, taken, slots=("cpu:0",))
    assert (outcome.exit_code, outcome.complete, jobs.count(first)) == (ExitCode.DONE, 3, 5)
