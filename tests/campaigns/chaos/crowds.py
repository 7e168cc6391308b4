"""Many at once, locks held for long, and clocks that jump."""

import functools
import os
import random
import signal
import sqlite3
import struct
import time
from collections.abc import Callable
from pathlib import Path

import forking
from forking import EPOCHS, STUDY, exit_code, fork, new_study, runner_process, start_runner
from kills import RUNNERS, audit
from outcome import Outcome

from kdharness.core.errors import EnvironmentRefused
from kdharness.results import database as database_module
from kdharness.results.database import Database
from kdharness.results.owner import Owner
from kdharness.results.records import Checkpoint
from kdharness.results.store import Store
from kdharness.runtime.options import JobOptions

P99_SECONDS, MOST_SECONDS = 0.25, 2.0
_DAY = 86_400


def together(count: int, work: Callable[[int], int], errors: Path) -> list[int | None]:
    """The exit codes of that many forks, which begin at the same moment."""
    ready, go = os.pipe()

    def begin(number: int) -> int:
        os.close(go)
        os.read(ready, 1)
        return work(number)

    pids = [fork(lambda number=number: begin(number), errors) for number in range(count)]
    os.close(ready)
    time.sleep(0.5)  # until the last one waits
    os.close(go)
    return [exit_code(pid) for pid in pids]


def runners_at_once(root: Path, count: int) -> Outcome:
    """All of them on one study, a slot each."""
    home, ids = new_study(root, seeds=count)
    forking.be_quick(look_seconds=0.2)
    began = time.monotonic()
    codes = together(
        count, lambda number: runner_process(home, (f"cpu:{number}",), JobOptions()), home.root / "errors.txt"
    )
    found = audit(home, {run_id: forking.light_hash(run_id) for run_id in ids.values()}, {})
    wrong = found.wrong + sum(code != 0 for code in codes)
    note = f"{len(ids)} runs in {time.monotonic() - began:.0f} s"
    return Outcome("runners started at one moment (14, 15)", count, found.lost, found.duplicated, wrong, note=note)


def writers(root: Path, count: int, seconds: float) -> Outcome:
    """Each claims runs and commits an epoch a second, as jobs do; how long their writes take."""
    home, ids = new_study(root, seeds=max(20, int(count * seconds / (EPOCHS + 1))))
    times = root / "times"
    times.mkdir()

    def work(number: int) -> int:
        dice = random.Random(number)
        mine = [run_id for at, run_id in enumerate(ids.values()) if at % count == number]
        took = []

        def timed(write, *arguments, **more):
            began = time.monotonic()
            answer = write(*arguments, **more)
            took.append(time.monotonic() - began)
            time.sleep(dice.uniform(0.5, 1.5))
            return answer

        store, owner = Store(home), Owner.current()
        until = time.monotonic() + seconds
        time.sleep(dice.uniform(0, 1))
        for run_id in mine:
            if time.monotonic() > until:
                break
            for lease in timed(store.claim, [run_id], owner, slot=f"cpu:{number}") or ():
                for epoch in range(1, EPOCHS + 1):
                    saved = Checkpoint(f"{run_id}.{epoch}", "0" * 64, epoch, epoch, 1)
                    timed(store.commit_epoch, lease, epoch, epoch, {"train_loss": 1.0}, saved)
                timed(store.complete, lease, {"test_top1_last": 1.0}, {}, "0" * 64, None, None)
        (times / str(number)).write_bytes(struct.pack(f"{len(took)}d", *took))
        return 0

    codes = together(count, work, home.root / "errors.txt")
    waits = sorted(one for file in times.iterdir() for (one,) in struct.iter_unpack("d", file.read_bytes()))
    errors = sum(code != 0 for code in codes)
    p99 = waits[int(0.99 * len(waits))]
    note = f"{count} processes, {seconds:.0f} s, p50 {waits[len(waits) // 2] * 1e3:.0f} ms, p99 {p99 * 1e3:.0f} ms"
    slow = (p99 > P99_SECONDS) + (waits[-1] > MOST_SECONDS)
    return Outcome("writes to one database at a realistic rate (15)", len(waits), errors, 0, slow, waits[-1], note)


def locks_held(root: Path, times: int, seconds: float = 2.0) -> Outcome:
    """A foreign program locks the database again and again while a study runs."""
    home, ids = new_study(root, seeds=10)
    runners = [start_runner(home, each, JobOptions()) for each in RUNNERS]
    for _ in range(times):
        foreign = sqlite3.connect(home.results, isolation_level=None, timeout=30)
        foreign.execute("BEGIN EXCLUSIVE")
        time.sleep(seconds)
        foreign.execute("ROLLBACK")
        foreign.close()
        time.sleep(0.2)
    codes = [exit_code(pid) for pid in runners]
    found = audit(home, {run_id: forking.light_hash(run_id) for run_id in ids.values()}, {})
    wrong = found.wrong + sum(code != 0 for code in codes)
    return Outcome("a foreign lock on the database (36)", times, found.lost, found.duplicated, wrong)


def gate_holders_stopped(root: Path, times: int) -> Outcome:
    """A process is stopped inside a write; the others say who it is, and go on when it does."""
    home, ids = new_study(root, seeds=1)
    database_module.WAIT_SECONDS = 0.2
    wrong = 0
    try:
        for _ in range(times):
            holder = fork(lambda: _stop_inside_a_write(home.results), home.root / "errors.txt")
            os.waitpid(holder, os.WUNTRACED)
            store = Store(home)
            try:
                store.claim([ids["none0"]], Owner.current(), slot="cpu:0")
                wrong += 1
            except EnvironmentRefused as error:
                wrong += f"process {holder} (stopped)" not in error.what
            os.kill(holder, signal.SIGCONT)
            wrong += exit_code(holder) != 0
            (lease,) = store.claim([ids["none0"]], Owner.current(), slot="cpu:0") or [None]
            store.release(lease, reason="campaign")
            wrong += len(store.texts(STUDY)) != 1
            store.close()
    finally:
        database_module.WAIT_SECONDS = 60.0
    return Outcome("stopped inside a write (17)", times, wrong=wrong)


def _stop_inside_a_write(path: Path) -> int:
    with Database(path).write() as connection:
        connection.exec_driver_sql("UPDATE runs SET epoch = epoch")
        os.kill(os.getpid(), signal.SIGSTOP)
    return 0


def clock_jumps(root: Path, studies: int) -> Outcome:
    """Every look at the wall clock is up to a day off, forwards or backwards."""
    total = Outcome("", 0)
    jumps = 0
    for number in range(studies):
        home, ids = new_study(root / f"{number}", seeds=5)
        runners = [
            fork(functools.partial(_unsteady, runner_process, home, each, JobOptions()), home.root / "errors.txt")
            for each in RUNNERS
        ]
        codes = [exit_code(pid) for pid in runners]
        found = audit(home, {run_id: forking.light_hash(run_id) for run_id in ids.values()}, {})
        store = Store(home)
        attempts = [one for run_id in ids.values() for one in store.run(run_id).history]
        store.close()
        jumps += len(attempts)
        lost_leases = sum(one.outcome == "lost" for one in attempts)
        wrong = found.wrong + lost_leases + sum(code != 0 for code in codes)
        total = Outcome("", jumps, total.lost + found.lost, total.duplicated + found.duplicated, total.wrong + wrong)
    return Outcome("the wall clock jumps by a day (18)", jumps, total.lost, total.duplicated, total.wrong)


def _unsteady(work: Callable[..., int], *arguments: object) -> int:
    now = time.time
    time.time = lambda: now() + random.choice((-_DAY, 0, _DAY))
    time.time_ns = lambda: int(time.time() * 1e9)
    return work(*arguments)
