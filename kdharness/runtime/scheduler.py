"""The loop behind `kdharness run`: rescue, plan, submit, look, until nothing of the study is left to do."""

import time
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from datetime import datetime
from typing import Protocol

from kdharness.core.errors import ExitCode, Unavailable
from kdharness.core.home import Home
from kdharness.core.records import State
from kdharness.results.records import QueueRow
from kdharness.results.store import Store
from kdharness.runtime import devices
from kdharness.runtime.ending import Ending
from kdharness.runtime.executors import Executor
from kdharness.runtime.jobs import GRACE_SECONDS, Jobs
from kdharness.runtime.low_disk import LowDisk
from kdharness.runtime.news import News
from kdharness.runtime.notify import Notifier
from kdharness.runtime.outcome import FailedRun, RunOutcome
from kdharness.runtime.outlook import Outlook
from kdharness.runtime.packing import Occupancy, Packing
from kdharness.runtime.planner import Plan, plan
from kdharness.runtime.progress import Progress
from kdharness.runtime.quarantine import Quarantine
from kdharness.runtime.rescue import Rescue
from kdharness.runtime.signals import stop_on_signals
from kdharness.runtime.slots import device_of
from kdharness.runtime.strikes import Strikes
from kdharness.runtime.sweeping import sweep
from kdharness.runtime.waits import Waits

TICK_SECONDS = 0.1
LOOK_SECONDS = 1.0
"""How often the database is asked what other processes did; a job of ours that ends is noticed at the next tick."""
MAX_ATTEMPTS = 3
"""Attempts of a run without progress."""
_WAIT_SECONDS = 5.0
Warm = Callable[[Sequence[QueueRow]], AbstractSet[str]]
_LOOK_SHARE = 20  # with very many runs, looking takes at most a twentieth of the time


class Search(Protocol):
    """Asks for more runs as earlier ones finish."""

    @property
    def watches(self) -> bool:
        """Whether it looks at runs while they go on, not only when some have ended."""
        ...

    def advance(self) -> int:
        """Add to the study the runs that can be chosen now; how many."""
        ...


class Mirror(Protocol):
    """Tells a tracker what is in the store, in a process of its own."""

    def tend(self) -> None:
        """See to it that someone does while there is something to tell; called about once a second."""
        ...

    def finish(self, *, wait: bool) -> int:
        """Wait a little for the rest, or not; how many records it is still behind."""
        ...


def run_study(
    store: Store,
    study: str,
    *,
    home: Home,
    slots: Sequence[str],
    executor: Executor,
    progress: Progress,
    search: Search | None = None,
    mirror: Mirror | None = None,
    parts: Mapping[str, float] | None = None,
    warm: Warm | None = None,
    fail_fast: bool = False,
    grace_seconds: float = GRACE_SECONDS,
    notify: Sequence[str] = (),
    until: datetime | None = None,
    packing: Packing | None = None,
    device_works: Callable[[str], bool] = devices.works,
) -> RunOutcome:
    """Bring every run of the study to an end, and wait for those that another runner has.

    `parts`: by student what part of a job's memory one takes, where it is large. `notify`: the user's own command,
    told when all is done, when runs fail or diverge, and when the disk is low. `until`: jobs are let save so early that
    they have ended by then. `packing`: which of the slots may be used at once. `warm`: which runs of a queue look up
    what their teacher says. `device_works` is asked of a device on which a job failed.

    Exit codes: DONE; SOME_FAILED (a run failed or diverged, or could not start because of one); INTERRUPTED after
    Ctrl-C and STOPPED after another signal, both resumable. The first signal lets jobs save, the second kills them.
    Must be called from the main thread.
    """
    sweep(home, store)
    notifier = Notifier(notify, study, lambda text: progress.say(text, bad=True))
    jobs = Jobs(executor, grace_seconds)
    with stop_on_signals() as stop, ExitStack() as stack:
        stack.callback(notifier.finish)
        stack.callback(jobs.abandon)  # whatever goes wrong here, no job stays behind
        ending = Ending(stop, progress, fail_fast=fail_fast, until=until, grace_seconds=grace_seconds)
        runner = _Runner(
            store,
            study,
            home,
            slots,
            jobs,
            ending,
            progress,
            notifier,
            search=search,
            mirror=mirror,
            parts=parts,
            warm=warm,
            packing=packing,
            device_works=device_works,
        )
        with progress:
            runner.loop()
        outcome = runner.outcome()
        if outcome.exit_code in (ExitCode.DONE, ExitCode.SOME_FAILED):
            text = f"{study}: {outcome.complete} of {outcome.total} runs complete, {len(outcome.failed)} failed"
            facts = {"complete": outcome.complete, "total": outcome.total, "failed": len(outcome.failed)}
            notifier.tell("done", text, exit_code=int(outcome.exit_code), **facts)
        return outcome


class _Runner:
    """The state of one `run_study`: what is asked, what goes on, and who is told."""

    def __init__(
        self,
        store: Store,
        study: str,
        home: Home,
        slots: Sequence[str],
        jobs: Jobs,
        ending: Ending,
        progress: Progress,
        notifier: Notifier,
        *,
        search: Search | None = None,
        mirror: Mirror | None = None,
        parts: Mapping[str, float] | None = None,
        warm: Warm | None = None,
        packing: Packing | None = None,
        device_works: Callable[[str], bool] = devices.works,
    ) -> None:
        self._store = store
        self._study = study
        self._home = home
        self._slots = tuple(slots)
        self._jobs = jobs
        self._ending = ending
        self._progress = progress
        self._search = search
        self._mirror = mirror
        self._parts = parts
        self._warm = warm
        self._occupancy = Occupancy(packing)
        self._outlook = Outlook(store, len(self._slots))
        self._strikes = Strikes(MAX_ATTEMPTS)
        self._rescue = Rescue(store, study, jobs, progress, MAX_ATTEMPTS)
        self._news = News(home, progress, notifier, ending)
        self._quarantine = Quarantine(device_works, jobs, progress, ending)
        self._waits = Waits(progress, ending)
        self._disk = LowDisk(home.root, progress, notifier)
        self._queue: list[QueueRow] = []
        self._plan = Plan((), {}, (), done=False)
        self._ended: dict[str, int] = {}  # runs of our jobs that have ended since the last look -> its exit code
        self._look_at = 0.0

    def loop(self) -> None:
        """Go on until the study is done, or stopped and no job is left."""
        while True:
            ended = self._jobs.collect()
            self._ended |= ended
            time_comes = self._ending.time_comes()
            stopping = self._ending.wanted
            if ended or time_comes or time.monotonic() >= self._look_at:
                self._look_patiently(stopping)
                if not self._jobs.by_slot and (stopping or self._plan.done):
                    return
            if stopping:
                if self._jobs.by_slot and not self._jobs.draining:
                    self._ending.say_why()
                self._jobs.drain(at_once=self._ending.stop.count > 1)
            time.sleep(TICK_SECONDS)

    def outcome(self) -> RunOutcome:
        """How it stands after the loop."""
        behind = self._mirror.finish(wait=not self._ending.stop.requested) if self._mirror is not None else None
        failed = tuple(self._failure(row) for row in self._queue if self._state(row) in ("failed", "diverged"))
        blocked = self._plan.blocked
        unfinished = sum(self._state(row) in ("waiting", "running") for row in self._queue) - len(blocked)
        return RunOutcome(
            exit_code=self._ending.exit_code(unfinished=unfinished, bad=bool(failed or blocked)),
            total=sum(row.state != "pruned" for row in self._queue),
            complete=sum(row.state == "complete" for row in self._queue),
            trained=sum(row.state == "complete" and row.run_id in self._jobs.brought for row in self._queue),
            failed=failed,
            blocked=blocked,
            unfinished=unfinished,
            seconds=self._outlook.elapsed_seconds,
            mirror_behind=behind,
        )

    def _look_patiently(self, stopping: bool) -> None:
        """Look; where disk or database do not allow it, later, and after a time no more."""
        try:
            self._look()
        except Unavailable as error:
            self._waits.failed(error, stopping=stopping)
            self._look_at = time.monotonic() + _WAIT_SECONDS
        else:
            self._ended = {}
            self._waits.passed()

    def _look(self) -> None:
        """Read the queue, free what the dead hold, tell, plan, submit."""
        began = time.monotonic()
        self._queue = self._store.queue(self._study)
        self._queue = self._rescue.free(self._queue, self._ended)
        for row in self._strikes.count(self._queue, self._ended, killed=self._jobs.killed):
            self._news.tell_given_up(row, self._ended[row.run_id])
        self._waits.look(self._queue, self._ended)
        self._disk.look()
        self._slots = self._quarantine.leave(self._slots, self._queue, self._ended)
        stopping = self._ending.wanted  # a run that is only now seen to fail does not keep the search from going on
        has_news = self._news.tell(self._queue) or (self._search is not None and self._search.watches)
        if has_news and not stopping and self._search is not None and self._search.advance() > 0:
            self._queue = self._store.queue(self._study)
        self._start()
        self._progress.show(self._outlook.snapshot(self._queue, self._plan, self._jobs.run_ids))
        if self._mirror is not None:
            self._mirror.tend()
        now = time.monotonic()
        self._look_at = now + max(LOOK_SECONDS, _LOOK_SHARE * (now - began))

    def _start(self) -> None:
        """Fill the free slots."""
        free = [slot for slot in self._slots if slot not in self._jobs.by_slot]
        self._occupancy.observe(self._slots, self._jobs.by_slot, self._queue)
        self._plan = plan(
            self._queue,
            free,
            slots=self._occupancy.shares(self._slots),
            parts=self._parts,
            warm=self._warm(self._queue) if free and self._warm is not None else frozenset(),
            ours=self._jobs.run_ids,
            given_up=self._strikes.given_up,
            stopping=self._ending.wanted,
        )
        rows = {row.run_id: row for row in self._queue}
        full: set[str] = set()
        for start in self._plan.start:
            runs = [rows[run_id] for run_id in start.run_ids]
            device = device_of(start.slot)
            if device in full or not self._occupancy.take(start.slot, runs, self._jobs.by_slot):
                full.add(device)  # those behind it in the queue must not keep it waiting
                continue
            self._jobs.start(start.run_ids, start.slot)
            self._strikes.submitted(runs)

    def _state(self, row: QueueRow) -> State:
        return "failed" if row.run_id in self._strikes.given_up and row.state == "waiting" else row.state

    def _failure(self, row: QueueRow) -> FailedRun:
        message = row.message or row.reason or "its job ends before it begins"
        log = self._home.log(row.run_id)
        return FailedRun(row.run_id, row.label, row.pair, row.seed, self._state(row), message, log)
