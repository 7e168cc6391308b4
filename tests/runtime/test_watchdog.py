"""Jobs that stand still: noticed from inside where Python still runs, and by their runner where it does not."""

import os
import subprocess
import sys
import time

import pytest
from tiny_study import ask, wanted

from kdharness.core.errors import ExitCode
from kdharness.results.owner import Owner, _start_of, is_alive
from kdharness.results.store import Store
from kdharness.runtime import parent, scheduler
from kdharness.runtime.executors import Handle, SubprocessExecutor
from kdharness.runtime.progress import NoProgress
from kdharness.runtime.scheduler import run_study
from kdharness.runtime.watchdog import Watchdog

HANGING = """
import os, sys, threading
from kdharness.core.home import Home
from kdharness.runtime import job, watchdog
os.environ.setdefault("KDHARNESS_PARENT", str(os.getppid()))
watchdog.Watchdog.__init__.__kwdefaults__["seconds"] = 0.5
def stuck(members, dataset, execution, sink):
    sink.stop_requested()
    threading.Event().wait()
import kdharness.training.cohort
kdharness.training.cohort.train_cohort = stuck
sys.exit(job.run_job(Home.at(sys.argv[3]), sys.argv[6:], slot="cpu:0"))
"""


def test_a_job_that_hangs_leaves_its_stacks_and_ends(home, store):
    ids = ask(store, wanted(labels=("none",))[1:])
    executor = SubprocessExecutor(home, (sys.executable, "-c", HANGING))
    handle = executor.submit([ids["none0"]], "cpu:0")
    until = time.monotonic() + 60
    while executor.poll(handle) is None:
        assert time.monotonic() < until
        time.sleep(0.02)
    assert executor.poll(handle) == ExitCode.INTERNAL
    log = home.log(ids["none0"]).read_text()
    assert "it hangs and is ended" in log and ", line 9 in stuck" in log
    assert [one.cause for one in store.reap(is_alive)] == ["dead"], "it is tried again"


@pytest.fixture
def hung(monkeypatch):
    """For how long each watchdog of the test said that nothing happened."""
    monkeypatch.setenv(parent.ENVIRONMENT, str(os.getppid()))
    return []


def test_steps_and_work_are_signs_of_life(hung):
    with Watchdog(hung.append, seconds=0.2) as watchdog:
        for _ in range(10):
            time.sleep(0.05)
            watchdog.step()
        until = time.process_time() + 0.4
        while time.process_time() < until:  # an evaluation takes no step
            pass
    assert hung == []
    until = time.monotonic() + 10
    with Watchdog(hung.append, seconds=0.2):
        while not hung and time.monotonic() < until:
            time.sleep(0.05)
    assert len(hung) == 1 and 0.2 < hung[0] < 1.3  # threads that others left may take time as work does: then six times


def test_what_was_started_by_hand_is_not_watched(hung, monkeypatch):
    monkeypatch.delenv(parent.ENVIRONMENT)
    with Watchdog(hung.append, seconds=0.05):
        time.sleep(0.2)
    assert hung == []


class Silent:
    """An executor whose first job claims its run and then neither beats nor ends, as one that was stopped."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.killed: list[int] = []
        self.jobs: list[subprocess.Popen[str]] = []

    def submit(self, run_ids, slot):
        job = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        self.jobs.append(job)
        me = Owner.current()
        owner = Owner(me.host, me.boot_id, job.pid, _start_of(job.pid), "n")
        leases = self.store.claim(run_ids, owner, slot=slot, lease_seconds=0.1 if len(self.jobs) == 1 else 60)
        if len(self.jobs) > 1:
            for lease in leases:
                self.store.complete(lease, {"test_top1_last": 1.0}, {}, "0" * 64, None, None)
            job.kill()
        return Handle(len(self.jobs), tuple(run_ids), slot, job.pid)

    def poll(self, handle):
        code = self.jobs[handle.number - 1].poll()
        return 0 if code is not None and handle.number > 1 else code

    def cancel(self, handle, *, now=False):
        self.killed.append(handle.number)
        self.jobs[handle.number - 1].kill()
        self.jobs[handle.number - 1].wait()


def test_a_job_that_lost_its_lease_by_silence_is_ended_by_its_runner(home, store, monkeypatch):
    monkeypatch.setattr(scheduler, "LOOK_SECONDS", 0.05)
    ask(store, wanted(labels=("none",))[1:])
    executor = Silent(store)
    outcome = run_study(store, "tiny", home=home, slots=("cpu:0",), executor=executor, progress=NoProgress())
    assert outcome.exit_code == ExitCode.DONE and executor.killed == [1]
