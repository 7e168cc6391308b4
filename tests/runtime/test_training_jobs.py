"""Real jobs on a real database: what is committed, what is resumed, what is refused."""

import gc
import os
import signal
from dataclasses import replace

import pytest
from tiny_study import ask, wanted

from kdharness.core.errors import ExitCode
from kdharness.results.owner import Owner
from kdharness.results.records import Checkpoint
from kdharness.results.store import Store
from kdharness.runtime.inputs import resume_point
from kdharness.runtime.job import run_job
from kdharness.runtime.leases import Heartbeat
from kdharness.runtime.sink import JobSink
from kdharness.training import checkpoint
from kdharness.training.course import Course


def after_epoch(monkeypatch, number, act):
    """Call `act(store, lease)` between two steps, right after the job's `number`-th point of progress is committed."""
    commits = []
    commit, tell = Store.commit_epoch, JobSink.epoch_end

    def counted(self, lease, *rest):
        superseded = commit(self, lease, *rest)
        commits.append(lease)
        return superseded

    def told(self, run_id, end):
        before = len(commits)
        tell(self, run_id, end)
        self.settle()
        if before < number == len(commits):
            act(self._store, commits[-1])

    monkeypatch.setattr(Store, "commit_epoch", counted)
    monkeypatch.setattr(JobSink, "epoch_end", told)
    return commits


def files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_job_leaves_weights_metrics_and_a_log_and_no_checkpoint(home, store, monkeypatch):
    ids = ask(store, wanted(labels=("none",)))
    kept = []
    original = Store.complete

    def complete(*arguments):
        kept.extend(files(home.root / "checkpoints"))
        original(*arguments)

    monkeypatch.setattr(Store, "complete", complete)
    assert run_job(home, [ids["none0"]], slot="cpu:1") == ExitCode.DONE
    run = store.run(ids["none0"])
    assert (run.state, run.epoch, run.attempts) == ("complete", 3, 1)
    assert set(run.metrics) >= {"test_top1_last", "test_top1_best", "train_loss_last"}
    assert {metric.name for metric in store.epoch_metrics(run.run_id)} >= {"test_top1", "train_loss", "train_top1"}
    (attempt,) = run.history
    assert attempt.slot == "cpu:1" and attempt.device.startswith("cpu (") and attempt.numerics["threads"] == 1
    assert set(attempt.versions) >= {"kdharness", "python", "torch", "numpy"}
    assert len(kept) == 2 and files(home.root / "checkpoints") == []
    assert files(home.artifacts(run.run_id)) == ["log.txt", "student.safetensors"]
    log = home.log(run.run_id).read_text()
    assert "attempt 1 ·" in log.splitlines()[0] and log.rstrip().endswith("complete")


def test_training_is_searched_for_cycles_as_usual(home, store):
    ids = ask(store, wanted(labels=("none",)))
    usual = gc.get_threshold()
    gc.set_threshold(10 * usual[0])  # as a command has it
    try:
        assert run_job(home, [ids["none0"]], slot="cpu:1") == ExitCode.DONE
        assert gc.get_threshold() == usual
    finally:
        gc.set_threshold(*usual)


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_stopped_job_goes_on_to_the_same_weights(home, store, monkeypatch, undisturbed, epochs):
    ids = ask(store, wanted())
    teacher = ids["teacher0"]
    commits = after_epoch(monkeypatch, epochs, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    assert run_job(home, [teacher], slot="cpu:0") == ExitCode.STOPPED
    run = store.run(teacher)
    assert (run.state, run.epoch, run.attempts, run.owner) == ("waiting", epochs, 0, None)
    assert [attempt.reason for attempt in run.history] == ["SIGTERM"]
    assert len(files(home.root / "checkpoints")) == epochs
    assert run_job(home, [teacher], slot="cpu:0") == ExitCode.DONE
    assert store.run(teacher).weights_sha256 == undisturbed["teacher0"]
    assert len(commits) == 3  # no epoch was trained twice
    assert f"resuming after epoch {epochs}" in home.log(teacher).read_text()
    assert files(home.root / "checkpoints") == []


@pytest.mark.parametrize("damaged", [1, 2])
def test_a_damaged_checkpoint_is_noticed(home, store, monkeypatch, undisturbed, damaged):
    ids = ask(store, wanted(labels=("none",)))
    run_id = ids["none0"]
    after_epoch(monkeypatch, 2, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    run_job(home, [run_id], slot="cpu:0")
    for point in store.checkpoints(run_id)[:damaged]:
        path = home.root / point.path
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    assert run_job(home, [run_id], slot="cpu:0") == ExitCode.DONE
    assert store.run(run_id).weights_sha256 == undisturbed["none0"]
    log = home.log(run_id).read_text()
    assert "checkpoint of epoch 2 cannot be used" in log
    assert ("resuming after epoch 1" in log) == (damaged == 1)
    assert ("starting over" in log) == (damaged == 2)


def test_runs_side_by_side_are_as_alone(home, store, undisturbed):
    ids = ask(store, wanted())
    assert run_job(home, [ids["none0"], ids["teacher0"]], slot="cpu:0") == ExitCode.DONE
    assert run_job(home, [ids["kd0"]], slot="cpu:0") == ExitCode.DONE
    assert {name: store.run(run_id).weights_sha256 for name, run_id in ids.items()} == undisturbed
    assert store.run(ids["kd0"]).teacher_sha256 == undisturbed["teacher0"]
    assert store.run(ids["none0"]).teacher_sha256 is None


def test_a_job_that_lost_its_run_writes_nothing_more(home, store, monkeypatch):
    ids = ask(store, wanted(labels=("none",)))
    run_id = ids["none0"]
    seen = {}

    def take_away(_, lease):
        store.reap(lambda owner: False)
        (successor,) = store.claim([run_id], Owner.current(), slot="cpu:1")
        assert successor.fence == lease.fence + 1
        seen["files"] = files(home.root)

    commits = after_epoch(monkeypatch, 1, take_away)
    assert run_job(home, [run_id], slot="cpu:0") == ExitCode.LEASE_LOST
    assert len(commits) == 1
    run = store.run(run_id)
    assert (run.state, run.epoch) == ("running", 1)
    assert not home.weights(run_id).exists() and seen["files"] == files(home.root)
    assert "lease lost" in home.log(run_id).read_text()


def test_runs_that_someone_else_has_are_left_to_him(home, store):
    ids = ask(store, wanted(labels=("none",)))
    store.claim([ids["none0"]], Owner.current(), slot="cpu:0")
    assert run_job(home, [ids["teacher0"], ids["none0"]], slot="cpu:0") == ExitCode.LEASE_LOST
    assert store.run(ids["teacher0"]).state == "waiting"


def test_a_diverged_run_ends_as_that_and_the_others_go_on(home, store):
    calm = ask(store, wanted(labels=("none",)), "calm")
    wild = ask(store, wanted(labels=("none",), lr=1e20), "wild")
    assert run_job(home, [wild["none0"], calm["none0"]], slot="cpu:0") == ExitCode.SOME_FAILED
    run = store.run(wild["none0"])
    assert (run.state, run.reason) == ("diverged", "nan") and "Traceback" not in home.log(run.run_id).read_text()
    assert store.run(calm["none0"]).state == "complete"


def test_wrong_teacher_weights_fail_the_student_before_it_trains(home, store):
    ids = ask(store, wanted())
    run_job(home, [ids["teacher0"], ids["none0"]], slot="cpu:0")
    home.weights(ids["teacher0"]).write_bytes(home.weights(ids["none0"]).read_bytes())
    assert run_job(home, [ids["kd0"]], slot="cpu:0") == ExitCode.SOME_FAILED
    run = store.run(ids["kd0"])
    assert run.state == "failed" and "are damaged" in run.message and run.epoch == 0


def test_images_that_changed_since_the_plan_are_refused(home, store):
    runs = wanted(labels=("none",))[1:]
    runs[0] = replace(runs[0], setting=runs[0].setting.model_copy(update={"fingerprint": "0" * 64}))
    run_id = ask(store, runs)["none0"]
    assert run_job(home, [run_id], slot="cpu:0") == ExitCode.SOME_FAILED
    run = store.run(run_id)
    assert (run.state, run.epoch) == ("failed", 0) and "planned for fingerprint 000000000000, here is" in run.message


def test_an_error_in_a_method_is_told_with_its_traceback_in_the_log(home, store, monkeypatch):
    from kdharness.distillers.registry import DISTILLERS

    ids = ask(store, wanted(labels=("none",)))
    method = DISTILLERS.get("none")

    def failing(self, student, teacher, batch):
        raise ValueError("no\x1b[2J such\nthing")

    monkeypatch.setattr(method, "losses", failing)
    assert run_job(home, [ids["none0"]], slot="cpu:0") == ExitCode.SOME_FAILED
    run = store.run(ids["none0"])
    assert (run.state, run.reason, run.message) == ("failed", "error", r"ValueError: no\x1b[2J such thing")
    assert "Traceback" in home.log(ids["none0"]).read_text()


def test_the_checkpoints_of_two_runs_exchanged_are_used_by_neither(home, store):
    """Each is whole and of the right shape; the hash in the database is another's."""
    ids = ask(store, wanted(seeds=2, labels=("none",)))
    for number in (0, 1):
        (lease,) = store.claim([ids[f"none{number}"]], Owner.current(), slot="cpu:0")
        path = home.checkpoints(lease.run_id, lease.fence) / "1.pt"
        sha256 = checkpoint.write(path, {"number": number})
        saved = Checkpoint(str(path.relative_to(home.root)), sha256, 1, 1, path.stat().st_size)
        store.commit_epoch(lease, 1, 1, {}, saved)
    first, second = (home.checkpoints(ids[name], 1) / "1.pt" for name in ("none0", "none1"))
    assert [resume_point(home, store, ids[name])["number"] for name in ("none0", "none1")] == [0, 1]
    first.rename(home.root / "aside")
    second.rename(first)
    (home.root / "aside").rename(second)
    assert [resume_point(home, store, ids[name]) for name in ("none0", "none1")] == [None, None]


def test_a_cancelled_run_stops_within_its_epoch_and_goes_on_after_a_retry(home, store, monkeypatch, undisturbed):
    ids = ask(store, wanted(labels=("none",)))
    run_id = ids["none0"]
    steps, passed = [], Course.passed

    def step(self, seconds):
        steps.append(self.cursor.step)
        return passed(self, seconds)

    def cancel(opened, lease):
        assert opened.cancel("tiny", [run_id]) == 1
        monkeypatch.setattr(Heartbeat, "lost", lambda self, one: one == run_id)  # what its next beat finds

    monkeypatch.setattr(Course, "passed", step)
    after_epoch(monkeypatch, 1, cancel)
    assert run_job(home, [run_id], slot="cpu:0") == ExitCode.LEASE_LOST
    run = store.run(run_id)
    assert (run.state, run.epoch, [one.epoch for one in store.checkpoints(run_id)]) == ("cancelled", 1, [1])
    assert len(steps) < 12, "it did not train its second epoch to the end"
    monkeypatch.undo()
    assert store.retry("tiny") == 1
    assert run_job(home, [run_id], slot="cpu:0") == ExitCode.DONE
    assert store.run(run_id).weights_sha256 == undisturbed["none0"]
