import os
import signal
import sqlite3
import sys
import threading
import time

import pytest
from tiny_study import ask, wanted

from kdharness.core.errors import EnvironmentRefused, ExitCode
from kdharness.core.records import Numerics
from kdharness.results.owner import Owner
from kdharness.results.records import Checkpoint
from kdharness.runtime import mirror as mirror_module
from kdharness.runtime.feeding import drain
from kdharness.runtime.mirror import MirrorProcess, run_mirror
from kdharness.tracking.tracker import TrackerError

NUMERICS = Numerics(device_kind="cpu", threads=1, layout="contiguous", torch="2", torch_cuda=None, numpy="2")


class Book:
    """A tracker in memory that keeps the law of every verb, and can refuse."""

    def __init__(self):
        self.runs = {}
        self.described = {}
        self.started = 0
        self.refuses = lambda run: False
        self.saw = []

    def start(self, run):
        self._let(run)
        self.started += 1
        name = run.study.name + "|" + run.identity
        self.runs.setdefault(name, {"epochs": {}, "metrics": {}, "state": None})
        return name

    def log(self, external_id, run):
        self._let(run)
        if external_id not in self.runs:
            raise TrackerError(f"no run {external_id}")
        for epoch in run.epochs:
            if epoch.epoch > run.logged_epoch:
                self.runs[external_id]["epochs"][epoch.epoch] = dict(epoch.values)
        self.runs[external_id]["state"] = run.state
        return max((epoch.epoch for epoch in run.epochs), default=0)

    def finish(self, external_id, run):
        for epoch in run.epochs:
            self.runs[external_id]["epochs"][epoch.epoch] = dict(epoch.values)
        self.runs[external_id]["metrics"] = dict(run.metrics)

    def describe(self, study, markdown, *, finished):
        self.described[study.name] = markdown, finished

    def _let(self, run):
        self.saw.append(run)
        if self.refuses(run):
            raise TrackerError("refused")


def train(store, run_id, epochs=2, *, end=True):
    (lease,) = store.claim([run_id], Owner.current(), slot="cpu:0")
    store.start(lease, numerics=NUMERICS, device="cpu", commit=None, versions={})
    for epoch in range(1, epochs + 1):
        store.commit_epoch(
            lease, epoch, epoch, {"train_loss": 1 / epoch}, Checkpoint(f"{run_id}.{epoch}", "0", epoch, epoch, 1)
        )
    if end:
        sealed = {"test_top1": [(epoch, 90.0 + epoch) for epoch in range(1, epochs + 1)]}
        store.complete(lease, {"test_top1_last": 92.0}, sealed, "0" * 64, None, None)
    return lease


def of(book, run_id):
    return next(run for name, run in book.runs.items() if run_id in name)


def test_store_and_tracker_become_equal(home, store):
    ids = ask(store, wanted())
    train(store, ids["teacher0"])
    train(store, ids["none0"])
    book = Book()
    assert drain(store, book) == 2 and store.outbox_size() == 0
    seen = of(book, ids["none0"])
    assert seen["metrics"] == {"test_top1_last": 92.0} and seen["state"] == "complete"
    assert seen["epochs"][2] == {"train_loss": 0.5, "test_top1": 92.0}
    assert book.described["tiny"][1] is False
    assert drain(store, book) == 0 and book.started == 2
    train(store, ids["kd0"])
    drain(store, book)
    assert book.described["tiny"][1] is True and "kd" in book.described["tiny"][0]


def test_a_running_run_is_followed_without_its_test_values(home, store):
    ids = ask(store, wanted())
    train(store, ids["none0"], end=False)
    book = Book()
    drain(store, book)
    seen = of(book, ids["none0"])
    assert seen["state"] == "running" and sorted(seen["epochs"]) == [1, 2]
    assert all("test" not in name for run in book.saw for epoch in run.epochs for name in epoch.values)
    assert all(not run.metrics for run in book.saw)


def test_a_study_that_reuses_a_run_is_told_of_it_too(home, store):
    ids = ask(store, wanted(labels=("none",)))
    train(store, ids["none0"])
    ask(store, wanted(labels=("none",)), "again")
    book = Book()
    drain(store, book)
    assert {run.study.name: run.reused_from for run in book.saw if run.run_id == ids["none0"]} == {
        "tiny": None,
        "again": "tiny",
    }


def test_an_unreachable_tracker_loses_nothing(home, store):
    ids = ask(store, wanted())
    train(store, ids["none0"])
    train(store, ids["teacher0"])
    behind = store.outbox_size()
    book = Book()
    book.refuses = lambda run: True
    with pytest.raises(TrackerError):
        drain(store, book)
    assert store.outbox_size() == behind
    book.refuses = lambda run: False
    drain(store, book)
    assert store.outbox_size() == 0 and len(book.runs) == 2


def test_one_refused_record_does_not_hold_up_the_others(home, store):
    ids = ask(store, wanted(seeds=3))
    for name in ("none0", "none1", "none2", "teacher0"):
        train(store, ids[name])
    book = Book()
    book.refuses = lambda run: run.run_id == ids["none0"]
    with pytest.raises(TrackerError):
        drain(store, book)
    assert [row.run_id for row in store.outbox()] == [ids["none0"]] and len(book.runs) == 3


def test_an_emptied_tracker_is_told_all_of_a_run_again(home, store):
    ids = ask(store, wanted())
    lease = train(store, ids["none0"], end=False)
    book = Book()
    drain(store, book)
    book.runs.clear()
    store.commit_epoch(lease, 3, 3, {"train_loss": 0.1}, None)
    drain(store, book)
    assert sorted(of(book, ids["none0"])["epochs"]) == [1, 2, 3]


def test_one_mirror_at_a_time(home, store):
    other = Owner.current()
    assert store.take_mirror_lease(other)
    opened = []
    assert run_mirror(home, opened.append) == ExitCode.DONE and opened == []


def test_nothing_to_tell_starts_nothing(home, store):
    mirror = MirrorProcess(home, store, ("/does/not/exist",))
    mirror.tend()
    assert mirror.finish() == 0


def test_a_hanging_mirror_costs_the_wait_and_is_not_left_behind(home, store):
    ids = ask(store, wanted())
    train(store, ids["none0"])
    hang = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    mirror = MirrorProcess(home, store, (sys.executable, "-c", hang), finish_seconds=0.5)
    mirror.tend()
    while "up" not in (home.root / "mirror.log").read_text():
        time.sleep(0.01)
    began = time.monotonic()
    assert mirror.finish() == 1
    assert time.monotonic() - began < 5
    assert mirror._process.poll() is not None


@pytest.mark.parametrize("how", ["mirror", "sync"])
def test_who_tells_for_long_keeps_its_turn_and_ends_when_another_has_it(home, store, monkeypatch, how):
    """Two that tell the same run would create it twice: the lease is renewed from record to record."""
    monkeypatch.setattr(mirror_module, "_RENEW_SECONDS", 0.0)
    ids = ask(store, wanted(seeds=3))
    for name in ("none0", "none1", "none2"):
        train(store, ids[name])
    book, until = Book(), []

    def see(run):
        lease = store.query("SELECT lease_until FROM process_leases")[1]
        if lease not in until:
            until.append(lease)
        if len(until) == 2:  # as if this one had slept
            connection = sqlite3.connect(home.results)
            connection.execute("UPDATE process_leases SET owner_nonce = 'another'")
            connection.commit()
            connection.close()
        return False

    book.refuses = see
    monkeypatch.setattr(mirror_module, "open_mlflow", lambda home, server: book)
    if how == "mirror":
        late = threading.Timer(5.0, os.kill, (os.getpid(), signal.SIGTERM))
        late.start()
        assert run_mirror(home, lambda home: book) == ExitCode.DONE
        late.cancel()
    else:
        with pytest.raises(EnvironmentRefused, match="another process tells MLflow now, after 2 records"):
            mirror_module.sync_mirror(home)
    assert len(until) == 2 and len(book.runs) == 2 and store.outbox_size() == 1


HANGS = "import time; time.sleep(60)"


def test_a_tracker_that_has_long_been_silent_is_not_waited_for(home, store, monkeypatch):
    monkeypatch.setattr(mirror_module, "SILENT_SECONDS", 0.2)
    monkeypatch.setattr(mirror_module, "_LISTEN_SECONDS", 0.0)
    ids = ask(store, wanted())
    train(store, ids["none0"])
    mirror = MirrorProcess(home, store, (sys.executable, "-c", HANGS), finish_seconds=5.0)
    began = time.monotonic()
    while time.monotonic() < began + 0.3:
        mirror.tend()
        time.sleep(0.02)
    began = time.monotonic()
    assert mirror.finish() == 1
    assert time.monotonic() - began < 2.0
    assert mirror._process.poll() is not None


def test_a_tracker_that_is_only_slow_is_waited_for(home, store, monkeypatch):
    """It takes each record within the time after which it would be called silent, and all of them in more."""
    monkeypatch.setattr(mirror_module, "SILENT_SECONDS", 0.5)
    monkeypatch.setattr(mirror_module, "_LISTEN_SECONDS", 0.0)
    ids = ask(store, wanted(seeds=3))
    for name in ("none0", "none1", "none2"):
        train(store, ids[name])

    def tell():
        for row in store.outbox():
            time.sleep(0.2)
            store.mirror_save(row.study_run_id, external_id=row.run_id, logged_epoch=2, finished=True)
            store.outbox_done([row.id])

    mirror = MirrorProcess(home, store, (sys.executable, "-c", HANGS), finish_seconds=5.0)
    teller = threading.Thread(target=tell)
    teller.start()
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        mirror.tend()
        time.sleep(0.02)
    assert mirror.finish() == 0
    teller.join()


def test_the_mirror_is_told_of_the_users_server(home, store):
    ids = ask(store, wanted())
    train(store, ids["none0"])
    mirror = MirrorProcess(home, store, (sys.executable, "-c", "import sys; print(sys.argv[1:])"), server="http://x:1")
    mirror.tend()
    mirror._process.wait(10)
    assert (home.root / "mirror.log").read_text() == f"['mirror', '--server', 'http://x:1', '--home', '{home.root}']\n"


def test_a_mirror_that_dies_again_and_again_is_started_ever_more_seldom(home, store, monkeypatch):
    monkeypatch.setattr(mirror_module, "_RESTART_SECONDS", 0.1)
    monkeypatch.setattr(mirror_module, "_LISTEN_SECONDS", 60.0)
    ids = ask(store, wanted())
    train(store, ids["none0"])
    mirror = MirrorProcess(home, store, ("/bin/false",))
    pauses = []
    for _ in range(3):
        now = time.monotonic()
        mirror._start_at = 0.0
        mirror.tend()
        mirror._process.wait(10)
        pauses.append(round(mirror._start_at - now, 1))
    assert pauses == [0.1, 0.2, 0.4]
    began = time.monotonic()
    monkeypatch.setattr(mirror, "_finish_seconds", 0.3)
    assert mirror.finish() == 1 and time.monotonic() - began < 2.0
