"""No orphans: a process that notices the death of the one that started it."""

import os
import threading
from collections.abc import Callable

ENVIRONMENT = "KDHARNESS_PARENT"
"""Set by whoever starts a job or the mirror: the pid it must live under. Not set: started by hand, nothing to watch."""


def parent_is_alive() -> bool:
    """Whether the process that started this one as its helper still is our parent; True where nobody did."""
    expected = os.environ.get(ENVIRONMENT)
    return expected is None or os.getppid() == int(expected)


class ParentWatch:
    """A thread that calls `on_death` once when the parent is gone, and ends the process if it is still here later.

    A pid that differs from the announced one is seen also where the parent died before this process looked.
    """

    def __init__(
        self, on_death: Callable[[], None], *, exit_code: int, grace_seconds: float = 30.0, poll_seconds: float = 0.5
    ) -> None:
        self._on_death = on_death
        self._exit_code = exit_code
        self._grace = grace_seconds
        self._poll = poll_seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="parent-watch", daemon=True)

    def __enter__(self) -> "ParentWatch":
        if ENVIRONMENT in os.environ:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        while parent_is_alive():
            if self._ended.wait(self._poll):
                return
        self._on_death()
        if not self._ended.wait(self._grace):
            os._exit(self._exit_code)  # the training hangs in native code: nothing gentler reaches it
