import sys
import time

import pytest
from tiny_study import ask, wanted

from kdharness.core.errors import ExitCode
from kdharness.core.records import Numerics
from kdharness.results.owner import Owner
from kdharness.results.records import Checkpoint
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
