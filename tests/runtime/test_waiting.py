"""A disk that is full or a database that is locked stops nobody for good: what waits goes on, or is given back."""

import errno
import os
import shutil
import signal
import sqlite3
import threading

import pytest
from test_run_loop import Heard, Pretend, go
from tiny_study import ask, wanted

from kdharness.core.errors import EnvironmentRefused, ExitCode, Unavailable
from kdharness.results import database
from kdharness.results.store import Store
from kdharness.runtime import patience
from kdharness.runtime.job import run_job
from kdharness.runtime.patience import patiently
from kdharness.training.files import write_durably


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    for name in ("_PAUSE_SECONDS", "_LONGEST_PAUSE_SECONDS"):
        monkeypatch.setattr(patience, name, 0.02)
    monkeypatch.setattr("kdharness.runtime.scheduler.TICK_SECONDS", 0.001)
    monkeypatch.setattr("kdharness.runtime.scheduler.LOOK_SECONDS", 0.01)
    monkeypatch.setattr("kdharness.runtime.scheduler._WAIT_SECONDS", 0.02)


def full_disk(monkeypatch, is_full, code=errno.ENOSPC):
    """fsync fails as on a full disk while `is_full(path)`; how often it did."""
    failures = []
    original = os.fsync

    def fsync(file):
        path = os.readlink(f"/proc/self/fd/{file}")
        if is_full(path):
            failures.append(path)
            raise OSError(code, os.strerror(code))
        original(file)

    monkeypatch.setattr(os, "fsync", fsync)
    return failures


def test_work_is_tried_until_it_can_be_done_and_no_longer():
    told, left = [], [3]

    def work():
        left[0] -= 1
        if left[0] > 0:
            raise Unavailable("full")
        return "done"

    assert patiently(work, waiting=told.append, stop=lambda: False) == "done"
    assert [str(one) if one else None for one in told] == ["full", "full", None]
    for stop, seconds in ((lambda: True, 60), (lambda: False, 0.0)):
        left[0] = 99
        with pytest.raises(Unavailable):
            patiently(work, waiting=lambda _: None, stop=stop, seconds=seconds)
    with pytest.raises(ZeroDivisionError):
        patiently(lambda: 1 // 0, waiting=lambda _: None, stop=lambda: False)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_checkpoint_that_finds_no_room_is_written_later_with_the_same_bits(
    home, store, monkeypatch, undisturbed, code
):
    ids = ask(store, wanted(labels=("none",)))
    run_id = ids["none0"]
    seen = []

    def is_full(path):
        if not path.endswith(".tmp") or "000000012.pt" not in path or len(seen) >= 3:
            return False
        run = store.run(run_id)
        seen.append((run.state, run.epoch, run.reason, run.message, [one.step for one in store.checkpoints(run_id)]))
        return True

    failures = full_disk(monkeypatch, is_full, code)
    assert run_job(home, [run_id], slot="cpu:0") == ExitCode.DONE
    assert len(failures) == 3 and store.run(run_id).weights_sha256 == undisturbed["none0"]
    assert seen[0] == ("running", 1, None, None, [6]), "the checkpoint before it is still the current one"
    state, epoch, reason, message, kept = seen[-1]
    assert (state, epoch, reason, kept) == ("running", 1, "unavailable", [6])
    if code == errno.ENOSPC:
        assert "MiB needed" in message and "MiB free" in message and str(home.root) in message
    assert store.run(run_id).message is None and store.run(run_id).attempts == 1
    log = home.log(run_id).read_text()
    assert log.count("waiting: ") == 1 and "goes on" in log


@pytest.mark.parametrize("how", ["patience ends", "told to stop"])
def test_a_disk_that_stays_full_gives_the_run_back(home, store, monkeypatch, undisturbed, how):
    ids = ask(store, wanted(labels=("none",)))
    run_id = ids["none0"]
    full = [True]

    def is_full(path):
        if "000000012.pt" not in path or not full[0]:
            return False
        if how == "told to stop":
            os.kill(os.getpid(), signal.SIGTERM)
        return True

    full_disk(monkeypatch, is_full)
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.1 if how == "patience ends" else 60)
    assert run_job(home, [run_id], slot="cpu:0") == ExitCode.STOPPED
    run = store.run(run_id)
    assert (run.state, run.epoch, run.attempts, run.reason) == ("waiting", 1, 0, "unavailable")
    assert "disk is full" in run.message and [one.step for one in store.checkpoints(run_id)] == [6]
    assert not list(home.root.rglob("*.tmp"))
    full[0] = False
    assert run_job(home, [run_id], slot="cpu:0") == ExitCode.DONE
    assert store.run(run_id).weights_sha256 == undisturbed["none0"]


def test_a_locked_database_is_waited_for(home, store, monkeypatch, undisturbed):
    ids = ask(store, wanted(labels=("none",)))
    run_id = ids["none0"]
    monkeypatch.setattr(database, "WAIT_SECONDS", 0.05)
    foreign = sqlite3.connect(home.results, isolation_level=None, check_same_thread=False)
    original, locked = Store.complete, []

    def complete(self, *arguments):
        if not locked:
            locked.append(foreign.execute("BEGIN EXCLUSIVE"))
            threading.Timer(0.4, foreign.execute, ["ROLLBACK"]).start()
        original(self, *arguments)

    monkeypatch.setattr(Store, "complete", complete)
    assert run_job(home, [run_id], slot="cpu:0") == ExitCode.DONE
    foreign.close()
    assert store.run(run_id).weights_sha256 == undisturbed["none0"]
    assert "waiting: " in home.log(run_id).read_text()


def test_a_runner_waits_too_and_stops_resumably_when_it_is_in_vain(home, store, monkeypatch):
    ids = ask(store, wanted())
    original, failures = Store.queue, [2]

    def queue(self, study=None):
        failures[0] -= 1
        if failures[0] >= 0:
            raise Unavailable("the disk is full")
        return original(self, study)

    monkeypatch.setattr(Store, "queue", queue)
    heard = Heard()
    assert go(store, home, Pretend(store), heard).exit_code == ExitCode.DONE
    assert [text for text in heard.said if "waiting" in text or "goes on" in text] == [
        "waiting: the disk is full", "goes on",
    ]  # fmt: skip
    store.retry("tiny", list(ids.values()))
    ask(store, wanted(seeds=2))
    failures[0] = 0
    tell = Pretend(store)

    def give_back(lease):
        store.release(lease, reason="unavailable", message="the disk is full: 9 MiB needed")

    tell.fate.update(dict.fromkeys(ask(store, wanted(seeds=2)).values(), give_back))
    heard = Heard()
    outcome = go(store, home, tell, heard, slots=("cpu:0",))
    assert outcome.exit_code == ExitCode.STOPPED and outcome.unfinished
    assert any("waited in vain: the disk is full: 9 MiB needed" in text for text in heard.said)


def test_a_home_that_vanished_takes_no_commit(home, store):
    ids = ask(store, wanted())
    store.note_run(ids["none0"], "before")
    home.root.rename(home.root.with_name("elsewhere"))
    with pytest.raises(Unavailable, match="lock of the results database"):
        store.note_run(ids["none0"], "during")
    home.root.mkdir()
    with pytest.raises(Unavailable, match="is gone"):
        store.note_run(ids["none0"], "during")
    shutil.copy(home.root.with_name("elsewhere") / "results.db", home.root)
    with pytest.raises(EnvironmentRefused, match="replaced"):
        store.note_run(ids["none0"], "during")
    shutil.rmtree(home.root)
    home.root.with_name("elsewhere").rename(home.root)
    store.note_run(ids["none0"], "after")
    assert [note.text for note in store.run(ids["none0"]).marks.notes] == ["before", "after"]


@pytest.mark.parametrize(
    ("code", "kind"), [(errno.EMFILE, EnvironmentRefused), (errno.EROFS, Unavailable), (errno.ENOSPC, Unavailable)]
)
def test_what_a_file_that_cannot_be_written_means(tmp_path, monkeypatch, code, kind):
    (tmp_path / "a").write_bytes(b"old")
    full_disk(monkeypatch, lambda path: path.endswith(".tmp"), code)
    with pytest.raises(EnvironmentRefused) as error:
        write_durably(tmp_path / "a", b"new")
    assert type(error.value) is kind and error.value.remedy
    assert (tmp_path / "a").read_bytes() == b"old" and os.listdir(tmp_path) == ["a"]
