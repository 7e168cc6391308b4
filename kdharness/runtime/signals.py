"""A wish to stop, from Ctrl-C or a scheduler's signal: handlers only count, the loops look."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from kdharness.core.errors import ExitCode

_STOPPING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
)


_HARD_EXIT_AFTER = 3


class Stop:
    """How often and by what this process was asked to stop."""

    def __init__(self) -> None:
        self.count = 0
        self.by = ""

    def request(self, by: str) -> None:
        """Count one more wish. Safe in a signal handler and from another thread."""
        self.by = self.by or by
        self.count += 1

    @property
    def requested(self) -> bool:
        return self.count > 0


_active: list[Stop] = []


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Inside, SIGINT, SIGTERM, SIGHUP (a closed terminal) and SIGUSR1/2 (batch systems) count in the Stop.

    A wish reaches every Stop around it too (a job within the runner's process). A third SIGINT ends the process where
    it stands. The handlers before are restored after. Raises ValueError outside the main thread, as Python does.
    """
    stop = Stop()
    interrupts = 0

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal interrupts
        interrupts += number == signal.SIGINT
        if interrupts >= _HARD_EXIT_AFTER:
            os._exit(ExitCode.INTERRUPTED)
        for each in _active:
            each.request(signal.Signals(number).name)

    _active.append(stop)
    before = {number: signal.signal(number, handle) for number in _STOPPING}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _active.remove(stop)
