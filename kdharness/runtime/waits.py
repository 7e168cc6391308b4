"""What a runner says of waiting, its own and its jobs': once when it begins, once when it is over."""

import time
from collections.abc import Mapping, Sequence

from kdharness.core.errors import Unavailable
from kdharness.results.records import UNAVAILABLE, QueueRow
from kdharness.runtime import patience
from kdharness.runtime.ending import Ending
from kdharness.runtime.news import name_of
from kdharness.runtime.progress import Progress


class Waits:
    """Gives up when a disk or a database was waited for in vain."""

    def __init__(self, progress: Progress, ending: Ending) -> None:
        self._progress = progress
        self._ending = ending
        self._since: float | None = None
        self._jobs: dict[str, str | None] = {}  # run -> what it waits for, as it was last said

    def failed(self, error: Unavailable, *, stopping: bool) -> None:
        """The runner could not look at its study: it may try again, unless it is stopping or has long been patient."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
            self._progress.say(f"waiting: {' '.join(str(error).split())}", bad=True)
        if now - self._since > patience.PATIENCE_SECONDS or stopping:
            self._ending.give_up(error.what)

    def passed(self) -> None:
        """It could."""
        if self._since is not None:
            self._since = None
            self._progress.say("goes on")

    def look(self, queue: Sequence[QueueRow], ended: Mapping[str, int]) -> None:
        """Say which runs wait; give up when one of those whose jobs have ended has waited in vain."""
        for row in queue:
            message = row.message if row.reason == UNAVAILABLE else None
            if row.state == "running" and bool(message) != bool(self._jobs.get(row.run_id)):
                self._jobs[row.run_id] = message
                what = f"waiting: {message}" if message else "goes on"
                self._progress.say(f"{name_of(row)}: {what}", bad=bool(message))
            elif row.state == "waiting" and message and row.run_id in ended:
                self._ending.give_up(message)
