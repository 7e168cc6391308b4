import os
import signal
import subprocess
import sys
import time

import pytest
from tiny_study import ask, wanted

from kdharness.core.errors import ExitCode, LeaseLost
from kdharness.results.owner import Owner
from kdharness.results.records import Lease
from kdharness.runtime.leases import Heartbeat
from kdharness.runtime.signals import stop_on_signals


def until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_lease_outlives_its_end_while_it_beats_and_a_lost_one_is_noticed(home, store):
    ids = ask(store, wanted())
    runs = [ids["teacher0"], ids["none0"]]
    leases = store.claim(runs, Owner.current(), slot="cpu:0", lease_seconds=0.3)
    with Heartbeat(store, leases, beat_seconds=0.05, lease_seconds=0.3) as heartbeat:
        time.sleep(0.5)
        assert store.reap(lambda owner: True) == []
        assert not any(heartbeat.lost(run_id) for run_id in runs)
        store.cancel("tiny", [ids["none0"]])
        until(lambda: heartbeat.lost(ids["none0"]))
        assert not heartbeat.lost(ids["teacher0"])
    time.sleep(0.4)
    assert [reaped.run_id for reaped in store.reap(lambda owner: True)] == [ids["teacher0"]]


class Flaky:
    """A store whose heartbeats fail the first time, and which has lost the run `b`."""

    def __init__(self):
        self.beats = []

    def heartbeat(self, leases, lease_seconds):
        self.beats.append([lease.run_id for lease in leases])
        if len(self.beats) == 1:
            raise OSError("database is locked")
        if "b" in self.beats[-1]:
            raise LeaseLost("gone", run_ids=("b",))


def test_a_database_that_fails_once_stops_no_heart(monkeypatch):
    monkeypatch.setattr("kdharness.runtime.leases._RETRY_SECONDS", 0.01)
    store = Flaky()
    with Heartbeat(store, [Lease("a", 1, 1), Lease("b", 1, 1), Lease("c", 1, 1)], beat_seconds=0.15) as heartbeat:
        until(lambda: heartbeat.lost("b"))
        heartbeat.forget("c")
        until(lambda: ["a"] in store.beats)
    assert store.beats[:2] == [["a", "b", "c"], ["a", "b", "c"]] and not heartbeat.lost("c")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"])
def test_signals_are_wishes(name):
    with stop_on_signals() as stop:
        assert not stop.requested
        os.kill(os.getpid(), getattr(signal, name))
        assert stop.requested and (stop.count, stop.by) == (1, name)


def test_the_third_ctrl_c_ends_the_process_where_it_stands():
    hanging = """
from kdharness.runtime.signals import stop_on_signals
import time
with stop_on_signals() as stop:
    print("up", flush=True)
    while True:
        time.sleep(0.01)
        print(stop.count, flush=True) if stop.count else None
"""
    with subprocess.Popen([sys.executable, "-c", hanging], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "up\n"
        for count in (1, 2):
            process.send_signal(signal.SIGINT)
            while int(process.stdout.readline()) < count:
                pass
        process.send_signal(signal.SIGINT)
        process.stdout.read()
    assert process.returncode == ExitCode.INTERRUPTED
