"""A long life: nothing of a job that has ended stays in its runner."""

import os
import sys
import time
from pathlib import Path

from forking import children, new_study
from outcome import Outcome

from kdharness.core.home import Home
from kdharness.runtime.executors import SubprocessExecutor


def many_jobs(root: Path, count: int) -> Outcome:
    """Processes that end at once, from one executor: no zombie, no file left open."""
    home, _ = new_study(root / "home", seeds=1)
    executor = SubprocessExecutor(Home(home.root), (sys.executable, "-S", "-c", ""))
    before = _open_files()
    for number in range(count):
        handle = executor.submit([f"run{number % 10}"], "cpu:0")
        while executor.poll(handle) is None:
            time.sleep(0.001)
    wrong = len(children(os.getpid())) + (_open_files() != before)
    return Outcome("zombies and open files after many jobs (23)", count, wrong=wrong)


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
