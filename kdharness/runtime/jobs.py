"""The jobs that a runner has started: which slot each has, what it brought to its end, and how all are stopped."""

import time
from collections.abc import Mapping, Sequence

from kdharness.core.errors import ExitCode
from kdharness.results.owner import Owner, is_child
from kdharness.runtime import devices
from kdharness.runtime.executors import Executor, Handle

GRACE_SECONDS = 30.0
"""What a job may take to finish its step and save before it is killed."""
_TICK_SECONDS = 0.1


class Jobs:
    """Those that have not been seen to end, and what is remembered of those that have."""

    def __init__(self, executor: Executor, grace_seconds: float = GRACE_SECONDS) -> None:
        self._executor = executor
        self._grace = grace_seconds
        self._kill_at: float | None = None
        self.by_slot: dict[str, Handle] = {}
        self.last_slot: dict[str, str] = {}
        """Run -> the slot of its last job that has ended."""
        self.peaks: dict[str, float] = {}
        """By slot: the most memory that its job has had, MiB."""
        self.brought: set[str] = set()
        """Runs that a job of ours brought to their end; it may find one taken instead."""
        self.killed = False
        """Whether they were all ended at once."""

    @property
    def run_ids(self) -> set[str]:
        """The runs of those that go on."""
        return {run_id for handle in self.by_slot.values() for run_id in handle.run_ids}

    def start(self, run_ids: Sequence[str], slot: str) -> None:
        """Start a job. Raises as Executor.submit."""
        self.by_slot[slot] = self._executor.submit(run_ids, slot)

    def collect(self) -> dict[str, int]:
        """Runs of the jobs that have ended since it was last asked -> the job's exit code."""
        ended = {}
        for slot, handle in list(self.by_slot.items()):
            self.peaks[slot] = devices.peak_mib(handle.pid) or self.peaks.get(slot, 0.0)
            code = self._executor.poll(handle)
            if code is not None:
                del self.by_slot[slot]
                self.last_slot.update(dict.fromkeys(handle.run_ids, slot))
                ended.update(dict.fromkeys(handle.run_ids, code))
                if code in (ExitCode.DONE, ExitCode.SOME_FAILED):
                    self.brought.update(handle.run_ids)
        return ended

    @property
    def draining(self) -> bool:
        """Whether they have been asked to stop."""
        return self._kill_at is not None

    def drain(self, *, at_once: bool) -> None:
        """Ask them to save and stop; when asked again kill them, if `at_once` or when their time is over."""
        now = time.monotonic()
        if self._kill_at is None:
            self._kill_at = now + self._grace
            self._cancel()
        elif not self.killed and (at_once or now > self._kill_at):
            self._kill()

    def abandon(self) -> None:
        """Let them save and stop, for as long as they are given; then end them."""
        self._cancel()
        until = time.monotonic() + self._grace
        while any(self._executor.poll(one) is None for one in self.by_slot.values()) and time.monotonic() < until:
            time.sleep(_TICK_SECONDS)
        self._kill()

    def end(self, silent: Mapping[str, Owner]) -> None:
        """End at once every job that has one of these: a run, and the process that no longer renews its lease."""
        for handle in self.by_slot.values():
            if any(is_child(silent[run_id], handle.pid) for run_id in handle.run_ids if run_id in silent):
                self._executor.cancel(handle, now=True)  # it stands still as a whole, or it would have renewed them

    def _cancel(self) -> None:
        for handle in self.by_slot.values():
            self._executor.cancel(handle)

    def _kill(self) -> None:
        self.killed = True
        for handle in self.by_slot.values():
            self._executor.cancel(handle, now=True)
