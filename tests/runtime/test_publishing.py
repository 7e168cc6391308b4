"""A finished student's file gets its name within the transaction that completes its run, and so under its lease."""

import os
import threading
from contextlib import nullcontext

import pytest
import torch
from tiny_study import ask, wanted

from kdharness.core.errors import LeaseLost, Unavailable
from kdharness.results.owner import Owner
from kdharness.results.store import Store
from kdharness.runtime import patience, sink
from kdharness.runtime.leases import Heartbeat
from kdharness.runtime.signals import Stop
from kdharness.runtime.sink import Ending, JobSink
from kdharness.runtime.watchdog import Watchdog
from kdharness.runtime.writer import Writer
from kdharness.training.members import Finished
from kdharness.training.weights import load_weights, weights_sha256


@pytest.fixture
def run_id(store):
    return ask(store, wanted(labels=("none",)))["none0"]


def claimed(home, store, run_id):
    """A job's sink for the run."""
    (lease,) = store.claim([run_id], Owner.current(), slot="cpu:0")
    heartbeat, watchdog = Heartbeat(store, [lease]), Watchdog(lambda seconds: None)
    made = JobSink(home, store, [lease], heartbeat, watchdog, Stop(), Writer())
    made.teacher_sha256[run_id] = None
    return made


def finished(value):
    weights = {"w": torch.full((4,), float(value))}
    return Finished({"test_top1_last": 1.0}, {}, weights, weights_sha256(weights), None)


def kept(home, run_id):
    return sorted(path.name for path in home.artifacts(run_id).iterdir() if path.name != "log.txt")


def test_a_job_that_stood_still_does_not_replace_its_successors_weights(home, store, monkeypatch, run_id):
    """Stopped between its last sign of life and the rename; meanwhile another attempt takes the run and ends it."""
    paused, theirs = claimed(home, store, run_id), finished(2)
    fsync, waits, another = os.fsync, [True], os.getpid() + 1

    def stand_still(file):
        fsync(file)
        if waits and "student" in os.readlink(f"/proc/self/fd/{file}"):
            waits.clear()
            store.reap(lambda owner: False)
            successor = claimed(home, store, run_id)
            with monkeypatch.context() as process:
                process.setattr(os, "getpid", lambda: another)
                successor.finished(run_id, theirs)

    monkeypatch.setattr(os, "fsync", stand_still)
    with pytest.raises(LeaseLost):
        paused.finished(run_id, finished(1))
    run = store.run(run_id)
    assert not waits and (run.state, run.weights_sha256) == ("complete", theirs.weights_sha256)
    assert weights_sha256(load_weights(home.weights(run_id))) == theirs.weights_sha256
    assert paused.endings == {run_id: Ending.LOST} and kept(home, run_id) == ["student.safetensors"]


def test_while_the_file_gets_its_name_nobody_else_can_take_the_run(home, store, monkeypatch, run_id):
    taken, rename = [], sink.put_in_place
    other = threading.Thread(target=lambda: taken.extend(store.reap(lambda owner: False)))

    def slowly(beside, path):
        other.start()
        other.join(0.1)
        assert other.is_alive()
        rename(beside, path)

    monkeypatch.setattr(sink, "put_in_place", slowly)
    claimed(home, store, run_id).finished(run_id, finished(1))
    other.join()
    assert taken == [] and store.run(run_id).state == "complete"
    assert kept(home, run_id) == ["student.safetensors"]


@pytest.mark.parametrize("again", [True, False], ids=["tried again", "died"])
def test_a_name_without_a_row_is_nothing(home, store, monkeypatch, run_id, again):
    """The commit after the rename fails, and is tried again; or the process has died, and another attempt comes."""
    monkeypatch.setattr(patience, "_PAUSE_SECONDS", 0.01)
    complete, fails, mine = Store.complete, [True], finished(1)

    def broken(self, *arguments):
        *rest, publish = arguments

        def fail_after():
            publish()
            if fails:
                fails.clear()
                raise Unavailable("the disk is full") if again else KeyboardInterrupt

        complete(self, *rest, fail_after)
        assert not fails

    monkeypatch.setattr(Store, "complete", broken)
    with nullcontext() if again else pytest.raises(KeyboardInterrupt):
        claimed(home, store, run_id).finished(run_id, mine)
    if not again:
        assert store.run(run_id).state == "running" and kept(home, run_id) == ["student.safetensors"]
        store.reap(lambda owner: False)
        mine = finished(2)
        claimed(home, store, run_id).finished(run_id, mine)
    assert store.run(run_id).weights_sha256 == mine.weights_sha256
    assert weights_sha256(load_weights(home.weights(run_id))) == mine.weights_sha256
    assert kept(home, run_id) == ["student.safetensors"]


def test_a_commit_whose_answer_was_lost_stands(home, store, monkeypatch, run_id):
    """It is tried again, and refused: by then nobody has a lease of the run. Its file and its result stay."""
    monkeypatch.setattr(patience, "_PAUSE_SECONDS", 0.01)
    complete, lost = Store.complete, [True]

    def answer_lost(self, *arguments):
        complete(self, *arguments)
        if lost:
            lost.clear()
            raise Unavailable("disk I/O error")

    monkeypatch.setattr(Store, "complete", answer_lost)
    job, mine = claimed(home, store, run_id), finished(1)
    with pytest.raises(LeaseLost):
        job.finished(run_id, mine)
    run = store.run(run_id)
    assert (run.state, run.weights_sha256, len(run.history)) == ("complete", mine.weights_sha256, 1)
    assert weights_sha256(load_weights(home.weights(run_id))) == mine.weights_sha256
    assert kept(home, run_id) == ["student.safetensors"]
