"""A job that stands still is ended and tried again: a hung loader or a deadlock says nothing by itself."""

import faulthandler
import os
import threading
import time
from collections.abc import Callable

from kdharness.core.errors import ExitCode
from kdharness.runtime import parent

HANG_SECONDS = 600.0
"""Without a step, or five times the longest pause so far (an evaluation, a table of a teacher's answers)."""
_PAUSES = 5
_BUSY = 6  # a process that computes may be slow: an evaluation on a CPU is no hang
_IDLE_SHARE = 0.02  # of a processor: what waiting threads and heartbeats take is far less


class Watchdog:
    """A thread that calls `on_hang` where `step` was not called for too long.

    Time counts only while this process runs: one that was stopped from outside has not hung.
    """

    def __init__(self, on_hang: Callable[[float], None], *, seconds: float = HANG_SECONDS) -> None:
        """`on_hang` is given for how long nothing happened."""
        self._on_hang = on_hang
        self._seconds = seconds
        self._steps = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> "Watchdog":
        if parent.ENVIRONMENT in os.environ:  # one that was started by hand may stand in a debugger
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def step(self) -> None:
        """Something happened."""
        self._steps += 1

    def _watch(self) -> None:
        poll = self._seconds / 20
        seen, still, longest, spent = self._steps, 0.0, 0.0, time.process_time()
        while not self._ended.wait(poll):
            if self._steps != seen:
                seen, still, longest, spent = self._steps, 0.0, max(longest, still), time.process_time()
                continue
            still += poll
            works = time.process_time() - spent > _IDLE_SHARE * still
            if still > max(self._seconds, _PAUSES * longest) * (_BUSY if works else 1):
                self._on_hang(still)
                return


def end_hung() -> None:
    """Write the stacks of all threads to stderr and end the process: no exception reaches a thread that hangs."""
    faulthandler.dump_traceback(all_threads=True)
    os._exit(ExitCode.INTERNAL)
