"""Why a study's loop ends before everything is done, and the exit code that it comes to."""

import signal
import time
from datetime import UTC, datetime

from kdharness.core.errors import ExitCode
from kdharness.runtime.progress import Progress
from kdharness.runtime.signals import Stop


class Ending:
    """Gathers the reasons to start nothing more: a signal, a failed run, a time, something waited for in vain."""

    def __init__(
        self,
        stop: Stop,
        progress: Progress,
        *,
        fail_fast: bool = False,
        until: datetime | None = None,
        grace_seconds: float = 0.0,
    ) -> None:
        """`until`: it begins so early that jobs which use all of `grace_seconds` have ended by then."""
        self.stop = stop
        self._progress = progress
        self._fail_fast = fail_fast
        self._until = until
        left = (until - datetime.now(UTC)).total_seconds() if until is not None else float("inf")
        self._begin_at = time.monotonic() + left - grace_seconds
        self._time_is_up = False
        self._a_run_failed = False
        self._given_up = ""  # what was waited for in vain
        self._refused = False

    @property
    def wanted(self) -> bool:
        """Whether nothing more is to be started."""
        return self.stop.requested or self._a_run_failed or bool(self._given_up) or self._time_is_up

    def time_comes(self) -> bool:
        """Whether the time is up, the first time that it is."""
        comes = not self._time_is_up and time.monotonic() >= self._begin_at
        self._time_is_up = self._time_is_up or comes
        return comes

    def run_failed(self) -> None:
        """One ended badly."""
        self._a_run_failed = self._a_run_failed or self._fail_fast

    def give_up(self, what: str, *, refused: bool = False) -> None:
        """Say once what was waited for in vain; `refused`: here it would never come."""
        self._refused = self._refused or refused
        if not self._given_up:
            self._given_up = what
            self._progress.say(f"waited in vain: {what}", bad=True)

    def say_why(self) -> None:
        """Say that the jobs stop, and why."""
        why = self.stop.by or ("a run failed" if self._a_run_failed else "")
        why = why or (f"it is soon {self._until:%H:%M}" if self._time_is_up else "it waited in vain")
        again = "; Ctrl-C again stops now" if self.stop.by == signal.SIGINT.name else ""
        self._progress.say(f"{why}: the jobs finish their step and save{again}")

    def exit_code(self, *, unfinished: int, bad: bool) -> ExitCode:
        """Given how many runs wait or run on, and whether any failed or was blocked."""
        if self._refused and unfinished:
            return ExitCode.ENVIRONMENT_REFUSED
        if self.stop.requested and unfinished:
            return ExitCode.INTERRUPTED if self.stop.by == signal.SIGINT.name else ExitCode.STOPPED
        if (self._given_up or self._time_is_up) and unfinished:
            return ExitCode.STOPPED
        return ExitCode.SOME_FAILED if bad else ExitCode.DONE
