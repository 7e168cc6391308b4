"""No run is ever given to two owners, and an owner who lost his lease writes nothing."""

import multiprocessing
import os
import subprocess
import sys
import threading
import time

import pytest
from sample_study import NUMERICS, claim_all, claim_one, complete, finish, open_store, save, wanted

from kdharness.core.errors import BadInput, LeaseLost
from kdharness.results import owner as owner_module
from kdharness.results.owner import Owner, is_alive, is_child
from kdharness.results.records import Checkpoint, Lease


def dead(_owner):
    return False


def alive(_owner):
    return True


def checkpoint(number, **more):
    return Checkpoint(f"checkpoints/{number}.pt", "a" * 64, more.get("epoch", number), number * 10, 100)


def test_eight_processes_claim_each_run_once(tmp_path):
    store = open_store(tmp_path)
    save(store, wanted([float(t) for t in range(10)], range(4), teacher=False))
    run_ids = [row.run_id for row in store.queue("mini")]
    store.close()
    context = multiprocessing.get_context("forkserver")  # imports once for all eight
    context.set_forkserver_preload(["sample_study"])
    with context.Pool(8) as pool:
        got = pool.starmap(claim_all, [(tmp_path, run_ids, seed) for seed in range(8)], chunksize=1)
    claims = [claim for one in got for claim in one]
    assert sorted(claims) == sorted((run_id, 1) for run_id in run_ids)
    assert sum(bool(one) for one in got) > 1, "only one process ever got anything: nothing was contended"
    store = open_store(tmp_path)
    assert all(row.state == "running" and row.attempts == 1 for row in store.queue("mini"))
    store.close()


def test_a_claim_reads_inside_its_write_transaction(store):
    """The driver's own habit, BEGIN only before the first write, lets two threads read the same waiting run."""
    save(store, wanted(seeds=(0,), teacher=False))
    (row,) = store.queue()
    database = store._database
    inside = threading.Event()
    got = []

    def other():
        inside.wait()
        got.append(store.claim([row.run_id], Owner.current(), slot="cpu:1"))

    thread = threading.Thread(target=other)
    thread.start()
    with database.write() as connection:
        state = connection.exec_driver_sql("SELECT state FROM runs").scalar()
        inside.set()
        time.sleep(0.2)
        assert state == "waiting"
        assert not got
        connection.exec_driver_sql("UPDATE runs SET state = 'cancelled'")
    thread.join()
    assert got == [None]


def test_a_claim_is_all_or_none(store):
    save(store, wanted(seeds=(0, 1, 2), teacher=False))
    first, second, third = (row.run_id for row in store.queue())
    assert store.claim([first], Owner.current(), slot="cpu:0") == [Lease(first, 1, 1)]
    assert store.claim([second, first], Owner.current(), slot="cpu:0") is None
    assert [row.state for row in store.queue()] == ["running", "waiting", "waiting"]
    assert [lease.run_id for lease in store.claim([third, second], Owner.current(), slot="cpu:0")] == [third, second]
    assert store.claim(["nobody-0"], Owner.current(), slot="cpu:0") is None


def test_a_student_waits_for_its_teacher(store):
    save(store, wanted(seeds=(0,)))
    teacher, student = store.queue()
    assert student.needs == (teacher.run_id,)
    assert store.claim([student.run_id], Owner.current(), slot="cpu:0") is None
    finish(store, teacher.run_id)
    assert store.claim([student.run_id], Owner.current(), slot="cpu:0") is not None


def test_a_writer_whose_lease_was_reaped_writes_nothing(store):
    save(store, wanted(seeds=(0,), teacher=False))
    (row,) = store.queue()
    old = claim_one(store, row.run_id)
    assert [one.state for one in store.reap(dead)] == ["waiting"]
    new = claim_one(store, row.run_id)
    assert (new.fence, new.attempt) == (2, 2)
    writes = [
        lambda lease: store.start(lease, numerics=NUMERICS, device="cpu", commit=None, versions={}),
        lambda lease: store.commit_epoch(lease, 1, 10, {"train_loss": 1.0}, checkpoint(1)),
        lambda lease: store.heartbeat([lease]),
        lambda lease: store.release(lease, reason="signal"),
        lambda lease: store.end(lease, "failed", reason="error", message="late"),
        lambda lease: complete(store, lease, weights="6" * 64),
    ]
    for write in writes:
        with pytest.raises(LeaseLost, match=row.run_id):
            write(old)
    assert store.checkpoints(row.run_id) == []
    assert store.epoch_metrics(row.run_id) == []
    assert [one.outcome for one in store.run(row.run_id).history] == ["lost", None]
    complete(store, new)
    assert store.run(row.run_id).weights_sha256 == "5" * 64


def test_a_run_completes_once(store):
    save(store, wanted(seeds=(0,), teacher=False))
    (row,) = store.queue()
    lease = finish(store, row.run_id)
    with pytest.raises(LeaseLost):
        complete(store, lease, top1=1.0, weights="6" * 64)
    run = store.run(row.run_id)
    assert (run.state, run.metrics, run.weights_sha256) == ("complete", {"test_top1_last": 90.0}, "5" * 64)
    assert store.claim([row.run_id], Owner.current(), slot="cpu:0") is None


def test_a_heartbeat_names_the_lost_and_renews_the_others(store):
    save(store, wanted(seeds=(0, 1), teacher=False))
    first, second = (row.run_id for row in store.queue())
    leases = store.claim([first, second], Owner.current(), slot="cpu:0", lease_seconds=0.0)
    assert all(row.lease_expired for row in store.queue())
    store.cancel("mini", [first])
    with pytest.raises(LeaseLost) as error:
        store.heartbeat(leases)
    assert error.value.run_ids == (first,)
    assert not store.run(second).lease_expired
    assert store.reap(alive) == []


def test_an_expired_lease_is_reaped_although_its_owner_lives(store):
    save(store, wanted(seeds=(0, 1), teacher=False))
    first, second = (row.run_id for row in store.queue())
    claim_one(store, first, lease_seconds=0.0)
    claim_one(store, second)
    (reaped,) = store.reap(alive)
    assert (reaped.run_id, reaped.cause, reaped.state, reaped.attempts) == (first, "expired", "waiting", 1)
    assert store.run(second).state == "running"


def test_the_lease_of_another_boot_has_expired(store, monkeypatch):
    save(store, wanted(seeds=(0,), teacher=False))
    (row,) = store.queue()
    claim_one(store, row.run_id, Owner("elsewhere", "another boot", 1, 1, "n"), lease_seconds=1e9)
    assert store.queue()[0].lease_expired
    assert [one.cause for one in store.reap(alive)] == ["expired"]


def test_a_heartbeat_that_comes_before_the_reaper_wins(store):
    save(store, wanted(seeds=(0,), teacher=False))
    (row,) = store.queue()
    lease = claim_one(store, row.run_id, lease_seconds=0.0)

    def slow(_owner):  # asked after the rows were read
        store.heartbeat([lease])
        return True

    assert store.reap(slow) == []
    assert store.run(row.run_id).state == "running"


def test_three_attempts_without_a_checkpoint_fail_the_run(store):
    save(store, wanted(seeds=(0,), teacher=False))
    (row,) = store.queue()
    states = []
    for _ in range(3):
        claim_one(store, row.run_id)
        states += [one.state for one in store.reap(dead)]
    assert states == ["waiting", "waiting", "failed"]
    run = store.run(row.run_id)
    assert (run.attempts, run.reason) == (3, "no progress")
    assert "3 attempts" in run.message
    assert store.retry("mini") == 1
    claim_one(store, row.run_id)
    assert [one.state for one in store.reap(dead)] == ["waiting"], "a retry starts the count anew"


def test_an_attempt_with_a_checkpoint_is_progress(store):
    save(store, wanted(seeds=(0,), teacher=False))
    (row,) = store.queue()
    for number in range(1, 6):
        lease = claim_one(store, row.run_id)
        store.commit_epoch(lease, number, number * 10, {}, checkpoint(number))
        assert [one.state for one in store.reap(dead)] == ["waiting"]
    assert store.run(row.run_id).attempts == 5


def test_a_released_attempt_does_not_count(store):
    save(store, wanted(seeds=(0,), teacher=False))
    (row,) = store.queue()
    store.release(claim_one(store, row.run_id), reason="signal")
    run = store.run(row.run_id)
    assert (run.state, run.attempts, run.history[0].outcome, run.history[0].counted) == (
        "waiting",
        0,
        "released",
        False,
    )
    assert claim_one(store, row.run_id) == Lease(row.run_id, 2, 1)


def test_ends_retry_and_cancel(store):
    save(store, wanted(seeds=(0, 1, 2, 3), teacher=False))
    ids = [row.run_id for row in store.queue()]
    store.end(claim_one(store, ids[0]), "failed", reason="oom", message="out of memory")
    store.end(claim_one(store, ids[1]), "diverged", reason="nan", message="loss is NaN in epoch 2")
    running = claim_one(store, ids[2])
    assert store.cancel("mini") == 2
    with pytest.raises(LeaseLost):
        store.commit_epoch(running, 1, 10, {}, None)
    assert [row.state for row in store.queue()] == ["failed", "diverged", "cancelled", "cancelled"]
    assert store.run(ids[0]).history[0].reason == "oom"
    assert store.retry("mini") == 3, "a diverged run would diverge again"
    assert store.retry("mini", [ids[1]]) == 1
    assert {row.state for row in store.queue()} == {"waiting"}
    with pytest.raises(BadInput, match="nobody-7"):
        store.retry("mini", ["nobody-7"])
    with pytest.raises(ValueError, match="complete"):
        store.end(claim_one(store, ids[0]), "complete", reason="", message="")


def test_pruned_runs_wait_again_and_nobody_who_teaches_is_pruned(store):
    save(store, wanted(seeds=(0, 1)))
    teacher, *ids = [row.run_id for row in store.queue()]
    assert store.prune("mini", [teacher, *ids], "below the median") == 2, "others wait for the teacher"
    assert [row.state for row in store.queue()] == ["waiting", "pruned", "pruned"]
    assert store.wake("mini", [teacher, ids[0]]) == 1
    assert [row.state for row in store.queue()] == ["waiting", "waiting", "pruned"]
    assert store.run(ids[0]).message is None
    store.cancel("mini", [ids[0]])
    assert store.wake("mini", ids[:1]) == 0, "what a person ended stays so"
    assert store.prune("mini", [teacher], "nobody is left to be taught") == 1


def test_an_owner_is_its_process_and_no_other():
    me = Owner.current()
    assert is_alive(me)
    assert not is_alive(Owner(me.host, me.boot_id, me.pid, me.pid_start + 1, me.nonce)), "a reused pid"
    assert not is_alive(Owner(me.host, "another boot", me.pid, me.pid_start, me.nonce))
    assert is_alive(Owner("another container", me.boot_id, 999999, 1, "n")), "its pids cannot be judged from here"
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    start = owner_module._start_of(child.pid)
    other = Owner(me.host, me.boot_id, child.pid, start, "n")
    assert is_alive(other)
    strangers = [
        Owner("another", me.boot_id, child.pid, start, "n"),
        Owner(me.host, "another boot", child.pid, start, "n"),
        Owner(me.host, me.boot_id, child.pid, start - 1, "n"),
    ]
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(other), "a zombie"
    assert is_child(other, child.pid) and not is_child(other, None) and not is_child(other, me.pid)
    assert not any(is_child(one, child.pid) for one in strangers), "the same pid, but not its process"
    child.communicate()
    assert not is_alive(other) and not is_child(other, child.pid)
