"""Jobs of several runs as the planner makes them: the numbers of runs alone, and who pays when such a job dies."""

import sys

import pytest
import torch
from tiny_study import PAIR, ask, setting, wanted

from kdharness.core.errors import ExitCode
from kdharness.core.records import WantedRun
from kdharness.runtime.executors import InProcessExecutor, SubprocessExecutor
from kdharness.runtime.job import run_job
from kdharness.runtime.progress import NoProgress
from kdharness.runtime.scheduler import run_study

POISONED = """
import os, signal, sys
from kdharness.core.home import Home
from kdharness.results.owner import Owner
from kdharness.results.records import Checkpoint
from kdharness.results.store import Store
poison, _, _, home, _, slot, *run_ids = sys.argv[1:]
store = Store(Home.at(home))
for lease in store.claim(run_ids, Owner.current(), slot=slot):
    if lease.run_id == poison:
        os.kill(os.getpid(), signal.SIGKILL)
    path = f"checkpoints/{lease.run_id}/{lease.fence}/1.pt"
    store.commit_epoch(lease, 1, 6, {}, Checkpoint(path, "a" * 64, 1, 6, 1))
    store.complete(lease, {"test_top1_last": 1.0}, {}, "0" * 64, None, None)
"""


def go(home, store, executor, **options):
    slots = ("cpu:0",)
    return run_study(store, "tiny", home=home, slots=slots, executor=executor, progress=NoProgress(), **options)


def trained(store, ids):
    return {name: store.run(run_id).weights_sha256 for name, run_id in ids.items()}


def test_jobs_of_the_planner_train_to_the_numbers_of_runs_alone(home, store, undisturbed):
    ids, jobs = ask(store, wanted()), []

    def job(run_ids, slot):
        jobs.append(tuple(run_ids))
        return run_job(home, run_ids, slot=slot)

    assert go(home, store, InProcessExecutor(job)).exit_code == ExitCode.DONE
    assert jobs == [(ids["teacher0"],), (ids["none0"], ids["kd0"])]
    assert trained(store, ids) == undisturbed
    log = home.log(ids["kd0"]).read_text()
    assert "2 runs side by side" in log and log.rstrip().endswith("complete")


def test_a_process_that_kills_itself_for_one_run_costs_the_others_no_attempt(home, store):
    lone = [setting("none", lr=0.05 + 0.01 * number) for number in range(3)]
    runs = [WantedRun(one, 0, "final", f"r{number}", PAIR, "resnet8", None) for number, one in enumerate(lone)]
    ids = [run.run_id for run in runs]
    ask(store, runs)
    command = (sys.executable, "-c", POISONED, ids[1])
    outcome = go(home, store, SubprocessExecutor(home, command))
    assert (outcome.exit_code, [failed.run_id for failed in outcome.failed]) == (ExitCode.SOME_FAILED, [ids[1]])
    histories = [store.run(run_id).history for run_id in ids]
    assert [(one.outcome, one.counted) for one in histories[2]] == [("lost", False), ("complete", True)]
    assert [(one.outcome, one.counted) for one in histories[1]] == [("lost", False), *[("lost", True)] * 3]
    assert [store.run(run_id).attempts for run_id in ids] == [1, 3, 1]


@pytest.mark.parametrize("error", [MemoryError("no room"), torch.AcceleratorError("device-side assert")], ids=str)
def test_what_a_neighbour_may_have_caused_is_tried_alone_before_it_fails(home, store, monkeypatch, error):
    from kdharness.distillers.registry import DISTILLERS

    ids = ask(store, wanted())
    assert run_job(home, [ids["teacher0"]], slot="cpu:0") == ExitCode.DONE
    method = DISTILLERS.get("kd")

    def raising(*_):
        raise error

    monkeypatch.setattr(method, "losses", raising)
    assert run_job(home, [ids["none0"], ids["kd0"]], slot="cpu:0") == ExitCode.STOPPED
    (row,) = [row for row in store.queue("tiny") if row.run_id == ids["kd0"]]
    assert (row.state, row.attempts, row.alone) == ("waiting", 0, True)
    assert store.run(ids["none0"]).state == "complete"
    assert run_job(home, [ids["kd0"]], slot="cpu:0") == ExitCode.SOME_FAILED
    assert store.run(ids["kd0"]).state == "failed"
