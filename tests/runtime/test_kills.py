"""Real processes, really killed: every run ends once, with the bits of an undisturbed one, and nobody is left over."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from tiny_study import ask, wanted

from kdharness.core.errors import ExitCode
from kdharness.runtime.job import run_job

RUNNER = """
import sys
from rich.console import Console
from kdharness.core.home import Home
from kdharness.results.store import Store
from kdharness.runtime.executors import SubprocessExecutor
from kdharness.runtime.progress import progress_for
from kdharness.runtime.scheduler import run_study
home = Home.at(sys.argv[1])
outcome = run_study(
    Store(home), "tiny", home=home, slots=sys.argv[2:], executor=SubprocessExecutor(home),
    progress=progress_for(Console()),
)
sys.exit(outcome.exit_code)
"""
PATIENCE = 240


def start_runner(home, *slots):
    command = [sys.executable, "-c", RUNNER, str(home.root), *(slots or ("cpu:0", "cpu:1"))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def jobs_of(home):
    """Pids of living jobs of this home."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if b"job" in words and str(home.root).encode() in words:
                    found.append(int(entry.name))
    return found


def wait_for(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def training(store, ids):
    return [row for row in store.queue("tiny") if row.state == "running" and row.epoch > 0 and row.run_id in ids]


def test_killed_jobs_go_on_and_two_runners_share_the_study(home, store, undisturbed):
    ids = ask(store, wanted(labels=("kd",)))
    runners = [start_runner(home), start_runner(home)]
    dice = random.Random(5)
    for name in ("teacher0", "kd0"):
        wait_for(lambda run_id=ids[name]: training(store, [run_id]), f"{name} trains")
        time.sleep(dice.uniform(0, 0.05))
        for row in training(store, [ids[name]]):
            with suppress(ProcessLookupError):
                os.kill(row.owner.pid, signal.SIGKILL)
    said = [runner.communicate(timeout=PATIENCE)[0] for runner in runners]
    assert [runner.returncode for runner in runners] == [0, 0]
    runs = {name: store.run(run_id) for name, run_id in ids.items()}
    assert {name: run.weights_sha256 for name, run in runs.items()}.items() <= undisturbed.items()
    for run in runs.values():
        outcomes = [attempt.outcome for attempt in run.history]
        assert outcomes[-1] == "complete" and set(outcomes[:-1]) <= {"lost"}
    assert sum(run.attempts > 1 for run in runs.values()) >= 1
    assert "was killed by SIGKILL" in "".join(said) or "its job died" in "".join(said)
    assert jobs_of(home) == []


def test_stopped_and_killed_runners_leave_no_process_and_a_study_that_goes_on(home, store, undisturbed):
    ids = ask(store, wanted(labels=("none",)))
    stopped = start_runner(home)
    wait_for(lambda: training(store, ids.values()), "a job trains")
    stopped.send_signal(signal.SIGTERM)
    stopped.communicate(timeout=PATIENCE)
    assert stopped.returncode == ExitCode.STOPPED
    assert jobs_of(home) == []
    assert all(row.state in ("waiting", "complete") and row.owner is None for row in store.queue("tiny"))
    assert all(store.run(run_id).attempts <= 1 for run_id in ids.values())

    killed = start_runner(home)
    wait_for(lambda: jobs_of(home), "a job starts")
    time.sleep(random.uniform(0, 2))
    killed.kill()
    killed.communicate()
    wait_for(lambda: not jobs_of(home), "jobs notice the death of their runner")

    last = start_runner(home)
    last.communicate(timeout=PATIENCE)
    assert last.returncode == ExitCode.DONE
    assert {name: store.run(run_id).weights_sha256 for name, run_id in ids.items()}.items() <= undisturbed.items()
    assert jobs_of(home) == []


def test_a_killed_cohort_counts_for_nobody_and_goes_on_one_by_one_and_then_together(home, store, undisturbed):
    ids = ask(store, wanted())
    assert run_job(home, [ids["teacher0"]], slot="cpu:0") == ExitCode.DONE
    students = [ids["none0"], ids["kd0"]]
    runner = start_runner(home, "cpu:0")
    wait_for(lambda: len(training(store, students)) == 2, "both train")
    (pid,) = {row.owner.pid for row in training(store, students)}
    os.kill(pid, signal.SIGKILL)
    said, _ = runner.communicate(timeout=PATIENCE)
    assert runner.returncode == ExitCode.DONE and "and 1 beside it: their job was killed by SIGKILL" in said
    tried, last = set(), set()
    for run_id in students:
        run = store.run(run_id)
        lost, trial, *rest = run.history
        assert (lost.outcome, lost.counted, run.attempts) == ("lost", False, 1)
        tried.add(trial.owner)
        if trial.outcome != "complete":  # there were epochs left
            assert (trial.outcome, trial.reason, len(rest)) == ("released", "made progress alone", 1)
            last.add(rest[0].owner)
    assert len(tried) == 2 and len(last) <= 1
    assert {name: store.run(run_id).weights_sha256 for name, run_id in ids.items()} == undisturbed
