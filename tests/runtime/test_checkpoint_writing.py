"""Checkpoints are written beside training: in order, one at a time, and nothing of what goes wrong is lost."""

import os
import signal
import threading

import pytest
from tiny_study import ask, wanted

from kdharness.core.errors import ExitCode
from kdharness.results.owner import Owner
from kdharness.results.store import Store
from kdharness.runtime.job import run_job
from kdharness.runtime.writer import Writer
from kdharness.training import checkpoint
from kdharness.training.course import Course


def test_one_thing_at_a_time_and_every_error_told_once():
    began, go, done = threading.Event(), threading.Event(), []

    def first():
        began.set()
        go.wait(10)
        done.append("first")
        raise OSError("full")

    with Writer() as writer:
        writer.do(first)
        began.wait(10)
        writer.look()  # does not wait
        assert done == []
        go.set()
        writer.wait()
        with pytest.raises(OSError, match="full"):
            writer.do(lambda: done.append("never"))
        writer.look()
        writer.do(lambda: done.append("second"))
    assert done == ["first", "second"]  # left with nothing undone


def test_training_goes_on_while_a_durable_file_gets_its_row(home, store, monkeypatch, undisturbed):
    ids = ask(store, wanted(labels=("none",)))
    events, stepped = [], threading.Event()
    write, commit, passed = checkpoint.write, Store.commit_epoch, Course.passed

    def slow(path, state):
        assert threading.current_thread() is not threading.main_thread()
        if not events:
            assert stepped.wait(60), "no step is taken beside the writing"
        sha256 = write(path, state)
        events.append(path.name)
        return sha256

    def committed(self, lease, epoch, step, metrics, saved):
        assert (home.root / saved.path).exists()
        events.append(step)
        return commit(self, lease, epoch, step, metrics, saved)

    def step(self, seconds):
        if self.cursor.epoch > 1:
            stepped.set()
        return passed(self, seconds)

    monkeypatch.setattr(checkpoint, "write", slow)
    monkeypatch.setattr(Store, "commit_epoch", committed)
    monkeypatch.setattr(Course, "passed", step)
    assert run_job(home, [ids["none0"]], slot="cpu:0") == ExitCode.DONE
    assert events == ["000000006.pt", 6, "000000012.pt", 12, "000000018.pt", 18]
    assert store.run(ids["none0"]).weights_sha256 == undisturbed["none0"]


@pytest.mark.parametrize("how", ["taken", "told to stop"])
def test_what_happens_while_a_checkpoint_is_being_written(home, store, monkeypatch, how):
    """A run that another attempt has taken gets no row and leaves no file; one told to stop keeps its progress."""
    ids = ask(store, wanted(labels=("none",)))
    run_id, write = ids["none0"], checkpoint.write
    files = []

    def disturbed(path, state):
        if not files and how == "taken":
            store.reap(lambda owner: False)
            store.claim([run_id], Owner.current(), slot="cpu:1")
        elif not files:
            os.kill(os.getpid(), signal.SIGTERM)
        files.append(path)
        return write(path, state)

    monkeypatch.setattr(checkpoint, "write", disturbed)
    code = run_job(home, [run_id], slot="cpu:0")
    run = store.run(run_id)
    if how == "taken":
        assert (code, run.state, run.epoch, store.checkpoints(run_id)) == (ExitCode.LEASE_LOST, "running", 0, [])
        assert len(files) == 1 and not files[0].exists()
    else:
        assert (code, run.state, run.epoch, run.step >= 6) == (ExitCode.STOPPED, "waiting", 1, True)
        assert all(path.exists() for path in files) and len(store.checkpoints(run_id)) == len(files)
