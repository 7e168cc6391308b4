"""Waiting for what passes by itself: a full disk, a locked database, a home that is not there for a while."""

import time
from collections.abc import Callable
from typing import TypeVar

from kdharness.core.errors import Unavailable

T = TypeVar("T")

PATIENCE_SECONDS = 600.0
"""Then the run is given back and the process ends, resumable."""
_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 10.0
_TICK_SECONDS = 0.1


def patiently(
    work: Callable[[], T],
    *,
    waiting: Callable[[Unavailable | None], None],
    stop: Callable[[], bool],
    seconds: float | None = None,
) -> T:
    """What `work` returns, tried again as long as it raises Unavailable; the last such error after `seconds` (default:
    `PATIENCE_SECONDS`), or as soon as `stop` says so.

    `waiting` is told the error each time, and None when it has passed.
    """
    began = time.monotonic()
    patience = PATIENCE_SECONDS if seconds is None else seconds
    pause, waited = _PAUSE_SECONDS, False
    while True:
        try:
            result = work()
        except Unavailable as error:
            if stop() or time.monotonic() - began > patience:
                raise
            waiting(error)
            waited = True
            until = time.monotonic() + pause
            while time.monotonic() < until and not stop():
                time.sleep(min(_TICK_SECONDS, pause))
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        else:
            if waited:
                waiting(None)
            return result
