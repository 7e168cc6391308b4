"""Ctrl-C typed at a terminal: once lets the jobs save, twice stops now, and neither leaves a process or a traceback.

A terminal sends SIGINT to everybody in its foreground group; jobs are in sessions of their own and hear nothing of it.
"""

import fcntl
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
from tiny_study import ask, wanted

from kdharness.core.errors import ExitCode

RUNNER = """
import sys
from rich.console import Console
from kdharness.core.home import Home
from kdharness.results.store import Store
from kdharness.runtime.executors import SubprocessExecutor
from kdharness.runtime.progress import progress_for
from kdharness.runtime.scheduler import run_study
home = Home.at(sys.argv[1])
executor = SubprocessExecutor(home, (sys.executable, "-c", sys.argv[2]))
sys.exit(run_study(
    Store(home), "tiny", home=home, slots=("cpu:0",), executor=executor, progress=progress_for(Console())
).exit_code)
"""
JOB = """
import signal, sys, time
from kdharness.core.home import Home
from kdharness.results.owner import Owner
from kdharness.results.records import Checkpoint
from kdharness.results.store import Store
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
store, run_id = Store(Home.at(sys.argv[3])), sys.argv[-1]
(lease,) = store.claim([run_id], Owner.current(), slot="cpu:0")
while not (asked and SAVES):
    time.sleep(0.01)
store.commit_epoch(lease, 1, 10, {}, Checkpoint("1.pt", "0" * 64, 1, 10, 1))
store.release(lease, reason="SIGTERM")
sys.exit(75)
"""
"""What a job does without training: goes on until SIGTERM; then saves, or (SAVES is False) never comes to it."""


class Terminal:
    """A program in a terminal of its own."""

    def __init__(self, *command):
        self._ours, its = pty.openpty()

        def take_the_terminal():
            fcntl.ioctl(its, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            command, stdin=its, stdout=its, stderr=its, start_new_session=True, preexec_fn=take_the_terminal
        )
        os.close(its)
        self.said = ""

    def type(self, text):
        os.write(self._ours, text.encode())

    def read_until(self, condition, seconds=60):
        """Read on until `condition()`."""
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, self.said
            if select.select([self._ours], [], [], 0.05)[0]:
                with suppress(OSError):  # nobody has it open any more
                    self.said += os.read(self._ours, 4096).decode(errors="replace")

    def end(self):
        """What the program ended with."""
        self.read_until(lambda: self.process.poll() is not None)
        with suppress(OSError):
            while select.select([self._ours], [], [], 0)[0]:
                self.said += os.read(self._ours, 4096).decode(errors="replace")
        return self.process.returncode

    def close(self):
        """End it, whatever it does."""
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_once_saves_and_twice_stops_now(home, store, times):
    run_id = ask(store, wanted(labels=("none",))[1:])["none0"]
    job = JOB.replace("SAVES", str(times == 1))
    with closing(Terminal(sys.executable, "-c", RUNNER, str(home.root), job)) as terminal:
        interrupt(terminal, store, run_id, times)
    run = store.run(run_id)
    saved = [(one.epoch, one.step) for one in store.checkpoints(run_id)]
    assert (run.state, run.attempts, saved) == ("waiting", 0, [(1, 10)] if times == 1 else [])


def interrupt(terminal, store, run_id, times):
    terminal.read_until(lambda: store.run(run_id).state == "running")
    owner = store.run(run_id).owner
    terminal.type("\x03")
    if times == 2:
        terminal.read_until(lambda: "save" in terminal.said)
        assert terminal.process.poll() is None and lives(owner.pid), "it waits for its jobs"
        terminal.type("\x03")
    began = time.monotonic()
    assert terminal.end() == ExitCode.INTERRUPTED
    assert time.monotonic() - began < 20, "well before the grace is over"
    said = " ".join(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.said).split())
    assert "the jobs finish their step and save; Ctrl-C again stops now" in said and "Traceback" not in said
    assert not lives(owner.pid)
