"""A device that fails is used no more and costs no run an attempt; a run that breaks devices fails."""

import signal

import pytest
import torch
from test_run_loop import Heard, Pretend, go
from tiny_study import ask, wanted

from kdharness.core.errors import ExitCode
from kdharness.results.owner import Owner
from kdharness.runtime import devices, scheduler
from kdharness.runtime.executors import Handle, InProcessExecutor
from kdharness.runtime.job import run_job

BROKEN = "AcceleratorError: CUDA error: an illegal memory access was encountered"


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(scheduler, "TICK_SECONDS", 0.001)
    monkeypatch.setattr(scheduler, "LOOK_SECONDS", 0.01)


def breaking(store, broken):
    """Jobs that find their device broken, or complete their runs."""
    pretend = Pretend(store)

    def job(run_ids, slot):
        if slot not in broken:
            return pretend(run_ids, slot)
        for lease in store.claim(run_ids, Owner.current(), slot=slot) or ():
            store.release(lease, reason="device error", alone=True, message=BROKEN)
        return ExitCode.STOPPED

    return InProcessExecutor(job)


def test_a_broken_device_is_quarantined_and_its_runs_go_on_elsewhere(home, store):
    ids = ask(store, wanted(seeds=3))
    asked, heard = [], Heard()

    def works(device):
        asked.append(device)
        return False

    slots = ("cuda:0", "cuda:1", "cuda:1#2")
    executor = breaking(store, {"cuda:1", "cuda:1#2"})
    outcome = go(store, home, None, heard, slots=slots, executor=executor, device_works=works)
    assert (outcome.exit_code, outcome.complete) == (ExitCode.DONE, 7) and asked == ["cuda:1"]
    assert all(store.run(run_id).attempts == 1 for run_id in ids.values()), "what the device did counts for no run"
    assert [text for text in heard.said if "cuda:1 does not answer any more" in text and "illegal memory" in text]


def test_without_a_device_the_environment_is_refused(home, store):
    ask(store, wanted())
    executor = breaking(store, {"cuda:0"})
    outcome = go(store, home, None, slots=("cuda:0",), executor=executor, device_works=lambda _: False)
    assert outcome.exit_code == ExitCode.ENVIRONMENT_REFUSED and outcome.unfinished == 3
    again = go(store, home, Pretend(store), slots=("cuda:0",))
    assert again.exit_code == ExitCode.DONE


def test_a_run_that_breaks_a_sound_device_twice_has_failed(home, store, monkeypatch):
    from kdharness.distillers.registry import DISTILLERS

    ids = ask(store, wanted(labels=("none",)))

    def raising(*_):
        raise torch.AcceleratorError("device-side assert triggered")

    monkeypatch.setattr(DISTILLERS.get("none"), "losses", raising)
    assert run_job(home, [ids["none0"]], slot="cpu:0") == ExitCode.STOPPED
    run = store.run(ids["none0"])
    assert (run.state, run.reason, run.attempts) == ("waiting", "device error", 0) and "assert" in run.message
    assert run_job(home, [ids["none0"]], slot="cpu:1") == ExitCode.STOPPED, "another place: it may be the device"
    assert run_job(home, [ids["none0"]], slot="cpu:0") == ExitCode.SOME_FAILED
    assert (store.run(ids["none0"]).state, store.run(ids["none0"]).reason) == ("failed", "device error")


def test_out_of_memory_alone_is_not_tried_again_unless_asked(home, store, monkeypatch):
    from kdharness.distillers.registry import DISTILLERS

    ids = ask(store, wanted(labels=("none",)))
    method = DISTILLERS.get("none")
    losses = method.losses

    def raising(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(method, "losses", raising)
    outcome = go(store, home, lambda run_ids, slot: run_job(home, run_ids, slot=slot), slots=("cpu:0",))
    assert outcome.exit_code == ExitCode.SOME_FAILED and len(store.run(ids["none0"]).history) == 1
    assert store.run(ids["none0"]).reason == "oom" and "2.00 GiB" in store.run(ids["none0"]).message
    monkeypatch.setattr(method, "losses", losses)
    assert store.retry("tiny", [ids["none0"]]) == 1
    assert run_job(home, [ids["none0"]], slot="cpu:0") == ExitCode.DONE


class Killed:
    """An executor whose jobs are killed at once."""

    def __init__(self, store):
        self.store = store

    def submit(self, run_ids, slot):
        alive = Owner.current()
        dead = Owner(alive.host, alive.boot_id, alive.pid, alive.pid_start - 1, slot)
        self.store.claim(run_ids, dead, slot=slot)
        return Handle(1, tuple(run_ids), slot, alive.pid)

    def poll(self, handle):
        return -signal.SIGKILL

    def cancel(self, handle, *, now=False):
        """It has ended."""


def test_the_kernel_s_word_and_the_peak_are_told_of_a_job_that_was_killed(home, store, monkeypatch):
    ask(store, wanted(labels=("none",)))
    kills = iter([0, 1, *[1] * 99])
    monkeypatch.setattr(devices, "memory_kills", lambda: next(kills))
    heard = Heard()
    assert go(store, home, None, heard, slots=("cpu:0",), executor=Killed(store)).exit_code == ExitCode.SOME_FAILED
    died = [text for text in heard.said if "SIGKILL" in text]
    assert "out of memory, says the kernel (it had up to" in died[0] and "MiB)" in died[0]
    assert "maybe for its memory" in died[1]


def test_what_the_kernel_says(tmp_path):
    (tmp_path / "vmstat").write_text("pgfault 7\noom_kill 3\n")
    assert devices.memory_kills(tmp_path / "vmstat") == 3 and devices.memory_kills(tmp_path / "none") == 0
    (tmp_path / "12").mkdir()
    (tmp_path / "12" / "status").write_text("Name:\tx\nVmHWM:\t   2048 kB\n")
    assert devices.peak_mib(12, tmp_path) == 2.0 and devices.peak_mib(13, tmp_path) == 0.0
    assert devices.works("cpu") and devices.peak_mib(None) > 1
