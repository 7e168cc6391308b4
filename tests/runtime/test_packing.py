"""Jobs beside each other on a GPU, as a meter that is made up sees them: never over nine tenths of its memory."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from test_run_loop import Heard, Pretend, go
from tiny_study import ask, wanted

from kdharness.core.errors import BadInput, ExitCode
from kdharness.runtime import scheduler
from kdharness.runtime.executors import Handle
from kdharness.runtime.packing import NvidiaMeter, Packing, kind_of
from kdharness.runtime.until import parse_until

A, B = ("resnet8", "batches"), ("resnet110", "batches")


class Fake:
    """A device of 1,000 MiB on which others use 100, and each job what its kind takes."""

    def __init__(self, needs, total=1000.0):
        self.needs, self.total, self.jobs, self.broken = needs, total, [], False

    def read(self, device):
        return None if self.broken else (100.0 + sum(self.needs[kind] for kind in self.jobs), self.total)


def test_a_kind_is_measured_alone_before_another_job_joins_it():
    meter = Fake({A: 250.0, B: 400.0})
    packing = Packing(meter)
    packing.observe("cuda:0", [])
    assert packing.fits("cuda:0", A, [])
    meter.jobs = [A]
    packing.observe("cuda:0", [(A, False)])
    assert not packing.fits("cuda:0", A, [A]), "not before its first epoch is over"
    packing.observe("cuda:0", [(A, True)])
    assert packing.needs == {A: 250.0}
    assert packing.fits("cuda:0", A, [A]) and not packing.fits("cuda:0", B, [A])
    meter.jobs = [A, A]
    assert packing.fits("cuda:0", A, [A, A]), "100 + 3 x 250 are under 900"
    meter.jobs = [A, A, A]
    assert not packing.fits("cuda:0", A, [A, A, A])
    meter.broken = True
    assert packing.fits("cuda:0", A, []) and not packing.fits("cuda:0", A, [A])


def test_what_others_take_meanwhile_is_left_to_them():
    meter = Fake({A: 250.0})
    packing = Packing(meter)
    packing.observe("cuda:0", [])
    meter.jobs = [A]
    packing.observe("cuda:0", [(A, True)])
    meter.jobs = [A, A, A]  # two of them are somebody else's
    assert not packing.fits("cuda:0", A, [A])


@pytest.mark.parametrize("seed", range(20))
def test_no_order_of_events_goes_over_nine_tenths(seed):
    draw = random.Random(seed)
    meter = Fake({A: draw.uniform(50, 600), B: draw.uniform(50, 600)})
    packing = Packing(meter)
    most = 0
    for _ in range(200):
        packing.observe("cuda:0", [(kind, draw.random() < 0.5) for kind in meter.jobs])
        if meter.jobs and draw.random() < 0.3:
            meter.jobs.pop(draw.randrange(len(meter.jobs)))
        kind = draw.choice([A, B])
        if packing.fits("cuda:0", kind, meter.jobs):
            meter.jobs.append(kind)
            most = max(most, len(meter.jobs))
            assert len(meter.jobs) == 1 or meter.read("cuda:0")[0] <= 900
    if max(meter.needs.values()) < 300:
        assert most > 1


class Slow:
    """An executor whose jobs train for some looks, then complete."""

    def __init__(self, store, meter, kinds):
        self.store, self.meter, self.kinds = store, meter, kinds
        self.pretend, self.jobs, self.most = Pretend(store), {}, 0

    def submit(self, run_ids, slot):
        handle = Handle(len(self.jobs) + 1, tuple(run_ids), slot)
        leases = self.store.claim(run_ids, self.owner(), slot=slot)
        self.jobs[handle.number] = [4, leases]
        self.meter.jobs.append(A)
        self.most = max(self.most, len(self.meter.jobs))
        return handle

    def owner(self):
        from kdharness.results.owner import Owner

        return Owner.current()

    def poll(self, handle):
        job = self.jobs[handle.number]
        job[0] -= 1
        if job[0] == 3:
            for lease in job[1]:
                self.store.commit_epoch(lease, 1, 1, {}, None)
        if job[0] == 0:
            for lease in job[1]:
                self.pretend.complete(lease)
            self.meter.jobs.pop()
        return None if job[0] > 0 else ExitCode.DONE

    def cancel(self, handle, *, now=False):
        for lease in self.jobs[handle.number][1]:
            self.store.release(lease, reason="cancelled")
        self.jobs[handle.number][0] = 1


def test_the_runner_starts_as_many_as_fit(home, store, monkeypatch):
    monkeypatch.setattr(scheduler, "TICK_SECONDS", 0.001)
    monkeypatch.setattr(scheduler, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(scheduler, "_LOOK_SHARE", 0)
    ask(store, wanted(seeds=8, labels=("none",)))
    meter = Fake({A: 250.0})
    executor = Slow(store, meter, {})
    slots = ("cuda:0", *(f"cuda:0#{number}" for number in range(2, 9)))
    outcome = go(store, home, None, slots=slots, executor=executor, packing=Packing(meter))
    assert outcome.exit_code == ExitCode.DONE and outcome.complete == 9
    assert executor.most == 3, "100 + 3 x 250 are under 900, a fourth is not"


def test_a_run_that_has_to_end_by_a_time_is_stopped_before_it(home, store, monkeypatch):
    monkeypatch.setattr(scheduler, "TICK_SECONDS", 0.001)
    monkeypatch.setattr(scheduler, "LOOK_SECONDS", 0.01)
    ask(store, wanted(seeds=2))
    heard = Heard()
    moment = datetime.now(UTC) + timedelta(seconds=2)
    executor = Slow(store, Fake({A: 1.0}), {})
    executor.poll = lambda handle: None if executor.jobs[handle.number][0] > 1 else ExitCode.STOPPED  # never ends
    outcome = go(store, home, None, heard, executor=executor, slots=("cuda:0",), until=moment, grace_seconds=1.5)
    assert outcome.exit_code == ExitCode.STOPPED and outcome.unfinished == 5
    assert datetime.now(UTC) < moment, "it begins to stop so early that there is time to save"
    assert any("it is soon" in text and "finish their step and save" in text for text in heard.said)
    done = go(store, home, Pretend(store), until=datetime.now(UTC) + timedelta(hours=1))
    assert done.exit_code == ExitCode.DONE


def test_times_are_said_in_several_ways():
    now = datetime(2026, 11, 21, 18, 0, tzinfo=UTC)
    for text, expected in {
        "18:30": now + timedelta(minutes=30),
        "6:00": now + timedelta(hours=12),
        "8h": now + timedelta(hours=8),
        "90 min": now + timedelta(minutes=90),
        "2026-11-22T06:00": now + timedelta(hours=12),
        "2026-11-22 06:00+01:00": now + timedelta(hours=11),
    }.items():
        assert parse_until(text, now) == expected, text
    for text in ("", "soon", "25:00", "8", "2026-11-21 17:59", "-3h"):
        with pytest.raises(BadInput, match="--until"):
            parse_until(text, now)


def test_equal_jobs_are_of_one_kind(home, store):
    ask(store, wanted(seeds=2))
    queue = {(row.label, row.seed): row for row in store.queue("tiny")}
    assert kind_of([queue["kd", 0]]) == kind_of([queue["kd", 1]])
    assert kind_of([queue["kd", 0]]) != kind_of([queue["teacher", 0]])
    assert kind_of([queue["kd", 0], queue["none", 0]]) != kind_of([queue["kd", 0]])


def test_the_memory_of_a_gpu_is_asked_of_nvidia_smi(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\n[ "$2" = GPU-7 ] && echo "1234, 81559"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-3,GPU-7")
    assert NvidiaMeter().read("cuda:1") == (1234.0, 81559.0)
    assert NvidiaMeter().read("cuda:0") is None, "a program that fails says nothing"
    assert NvidiaMeter().read("cuda:5") is None
