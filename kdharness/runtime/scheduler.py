"""The loop behind `kdharness run`: rescue, plan, submit, look, until nothing of the study is left to do."""

import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol

from kdharness.core.errors import ExitCode, Unavailable
from kdharness.core.home import Home
from kdharness.core.records import State
from kdharness.results.owner import Owner, is_alive
from kdharness.results.records import DEVICE_ERROR, UNAVAILABLE, QueueRow, Reaped
from kdharness.results.store import Store
from kdharness.runtime import devices, patience
from kdharness.runtime.executors import Executor, Handle
from kdharness.runtime.notify import Notifier
from kdharness.runtime.outlook import Outlook
from kdharness.runtime.packing import Kind, Packing
from kdharness.runtime.planner import Plan, plan
from kdharness.runtime.progress import Progress
from kdharness.runtime.signals import Stop, stop_on_signals
from kdharness.runtime.slots import device_of
from kdharness.runtime.sweeping import sweep

TICK_SECONDS = 0.1
LOOK_SECONDS = 1.0
"""How often the database is asked what other processes did; a job of ours that ends is noticed at the next tick."""
GRACE_SECONDS = 30.0
"""What a job may take to finish its step and save before it is killed."""
MAX_ATTEMPTS = 3
"""Attempts of a run without progress."""
_WAIT_SECONDS = 5.0
Warm = Callable[[Sequence[QueueRow]], AbstractSet[str]]
LOW_DISK_BYTES = 512 << 20
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


@dataclass(frozen=True)
class FailedRun:
    """A run that ended badly, and where to read why."""

    run_id: str
    label: str
    pair: str
    seed: int
    state: State
    message: str
    log: Path


@dataclass(frozen=True)
class RunOutcome:
    """What a call of `run_study` came to."""

    exit_code: ExitCode
    total: int
    complete: int
    trained: int
    """Runs that jobs of this call finished."""
    failed: tuple[FailedRun, ...]
    blocked: Mapping[str, str]
    """Run that could not start -> the run it needs that ended badly."""
    unfinished: int
    """Runs that wait or run on, where it was stopped early."""
    seconds: float
    mirror_behind: int | None
    """Records the tracker has not been told; None where there is no tracker."""


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
    runner = _Runner(store, study, home, slots, executor, progress, search, mirror, parts, fail_fast, grace_seconds)
    notifier = Notifier(notify, study, lambda text: progress.say(text, bad=True))
    runner.notifier = notifier
    runner.packing = packing
    runner.warm = warm
    runner.device_works = device_works
    if until is not None:
        runner.stop_at(until)
    with stop_on_signals() as stop, ExitStack() as stack:
        stack.callback(notifier.finish)
        stack.callback(runner.abandon)  # whatever goes wrong here, no job stays behind
        with progress:
            runner.loop(stop)
        outcome = runner.outcome(stop)
        if outcome.exit_code in (ExitCode.DONE, ExitCode.SOME_FAILED):
            text = f"{study}: {outcome.complete} of {outcome.total} runs complete, {len(outcome.failed)} failed"
            facts = {"complete": outcome.complete, "total": outcome.total, "failed": len(outcome.failed)}
            notifier.tell("done", text, exit_code=int(outcome.exit_code), **facts)
        return outcome


class _Runner:
    """The state of one `run_study`."""

    def __init__(
        self,
        store: Store,
        study: str,
        home: Home,
        slots: Sequence[str],
        executor: Executor,
        progress: Progress,
        search: Search | None,
        mirror: Mirror | None,
        parts: Mapping[str, float] | None,
        fail_fast: bool,
        grace_seconds: float,
    ) -> None:
        self._store = store
        self._study = study
        self._home = home
        self._slots = tuple(slots)
        self._executor = executor
        self._progress = progress
        self._search = search
        self._mirror = mirror
        self._parts = parts
        self._fail_fast = fail_fast
        self._grace = grace_seconds
        self.notifier = Notifier((), study, lambda _: None)
        self.packing: Packing | None = None
        self.warm: Warm | None = None
        self.device_works: Callable[[str], bool] = devices.works
        self._ended_on: dict[str, str] = {}  # run -> the slot of its last job
        self._memory_kills = devices.memory_kills()
        self._peaks: dict[str, float] = {}  # by slot: the most memory that its job has had, MiB
        self._until: tuple[float, str] | None = None  # when to begin to stop, and how that is said
        self._kinds: dict[str, tuple[Kind, int]] = {}  # by slot: the job's kind, and its epochs when it began
        self._disk_is_low = False
        self._jobs: dict[str, Handle] = {}  # by slot
        self._outlook = Outlook(store, len(self._slots))
        self._queue: list[QueueRow] = []
        self._plan = Plan((), {}, (), done=False)
        self._submitted: dict[str, int] = {}  # run -> its fence when its last job was submitted
        self._brought: set[str] = set()  # runs that a job of ours brought to their end; it may find one taken instead
        self._strikes: Counter[str] = Counter()
        self._states: dict[str, State] = {}
        self._failing = False
        self._killed = False
        self._look_at = 0.0
        self._drain_until: float | None = None
        self._ended: dict[str, int] = {}  # runs of our jobs that have ended since the last look -> its exit code
        self._waits: dict[str, str | None] = {}  # run -> what it waits for, as it was last said
        self._waiting_since: float | None = None
        self._time_is_up = False
        self._no_device = False
        self._given_up = ""  # what was waited for in vain

    def stop_at(self, moment: datetime) -> None:
        """Begin to stop so early that jobs which use all the time they are given have ended by then."""
        left = (moment - datetime.now(UTC)).total_seconds()
        self._until = time.monotonic() + left - self._grace, f"it is soon {moment:%H:%M}"

    def loop(self, stop: Stop) -> None:
        """Go on until the study is done, or stopped and no job is left."""
        while True:
            ended = self._collect()
            self._ended |= ended
            if self._until is not None and time.monotonic() >= self._until[0] and not self._time_is_up:
                self._time_is_up = True
                self._look_at = 0.0
            stopping = stop.requested or self._failing or bool(self._given_up) or self._time_is_up
            if ended or time.monotonic() >= self._look_at:
                self._look_patiently(stopping)
                if not self._jobs and (stopping or self._plan.done):
                    return
            if stopping:
                self._drain(stop)
            time.sleep(TICK_SECONDS)

    def abandon(self) -> None:
        """Let the jobs save and stop, for as long as they are given; then end them."""
        for handle in self._jobs.values():
            self._executor.cancel(handle)
        until = time.monotonic() + self._grace
        while any(self._executor.poll(handle) is None for handle in self._jobs.values()) and time.monotonic() < until:
            time.sleep(TICK_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End every job at once."""
        for handle in self._jobs.values():
            self._executor.cancel(handle, now=True)

    def outcome(self, stop: Stop) -> RunOutcome:
        behind = self._mirror.finish(wait=not stop.requested) if self._mirror is not None else None
        failed = tuple(self._failure(row) for row in self._queue if self._state(row) in ("failed", "diverged"))
        unfinished = sum(self._state(row) in ("waiting", "running") for row in self._queue) - len(self._plan.blocked)
        if self._no_device and unfinished:
            code = ExitCode.ENVIRONMENT_REFUSED
        elif (self._given_up or self._time_is_up) and unfinished and not stop.requested:
            code = ExitCode.STOPPED
        elif stop.requested and unfinished:
            code = ExitCode.INTERRUPTED if stop.by == signal.SIGINT.name else ExitCode.STOPPED
        else:
            code = ExitCode.SOME_FAILED if failed or self._plan.blocked else ExitCode.DONE
        return RunOutcome(
            exit_code=code,
            total=len(self._queue),
            complete=sum(row.state == "complete" for row in self._queue),
            trained=sum(row.state == "complete" and row.run_id in self._brought for row in self._queue),
            failed=failed,
            blocked=self._plan.blocked,
            unfinished=unfinished,
            seconds=self._outlook.elapsed_seconds,
            mirror_behind=behind,
        )

    def _look_patiently(self, stopping: bool) -> None:
        """Look; where disk or database do not allow it, later, and after a time no more."""
        try:
            self._look(self._ended, stopping)
        except Unavailable as error:
            now = time.monotonic()
            if self._waiting_since is None:
                self._waiting_since = now
                self._progress.say(f"waiting: {' '.join(str(error).split())}", bad=True)
            if now - self._waiting_since > patience.PATIENCE_SECONDS or stopping:
                self._give_up(error.what)
            self._look_at = now + _WAIT_SECONDS
        else:
            self._ended = {}
            if self._waiting_since is not None:
                self._waiting_since = None
                self._progress.say("goes on")

    def _give_up(self, what: str) -> None:
        if not self._given_up:
            self._given_up = what
            self._progress.say(f"waited in vain: {what}", bad=True)

    def _collect(self) -> dict[str, int]:
        """Runs of our jobs that have ended since the last look -> the job's exit code."""
        ended = {}
        for slot, handle in list(self._jobs.items()):
            self._peaks[slot] = devices.peak_mib(handle.pid) or self._peaks.get(slot, 0.0)
            code = self._executor.poll(handle)
            if code is not None:
                del self._jobs[slot]
                self._ended_on.update(dict.fromkeys(handle.run_ids, slot))
                ended.update(dict.fromkeys(handle.run_ids, code))
                if code in (ExitCode.DONE, ExitCode.SOME_FAILED):
                    self._brought.update(handle.run_ids)
        return ended

    def _look(self, ended: Mapping[str, int], stopping: bool) -> None:
        """Read the queue, free what the dead hold, plan, submit."""
        began = time.monotonic()
        self._queue = self._store.queue(self._study)
        if any(row.state == "running" and (row.lease_expired or _is_dead(row)) for row in self._queue):
            self._rescue(ended)
        self._strike(ended)
        self._tell_waiting(ended)
        self._watch_disk()
        self._quarantine(ended)
        stopping = stopping or bool(self._given_up)
        has_news = self._announce() or (self._search is not None and self._search.watches)
        if has_news and not stopping and self._advance():
            self._queue = self._store.queue(self._study)
        ours = {run_id for handle in self._jobs.values() for run_id in handle.run_ids}
        free = [slot for slot in self._slots if slot not in self._jobs]
        self._measure()
        given_up = {run_id for run_id, strikes in self._strikes.items() if strikes >= MAX_ATTEMPTS}
        self._plan = plan(
            self._queue,
            free,
            slots=len(self._slots) if self.packing is None else len({device_of(slot) for slot in self._slots}),
            parts=self._parts,
            warm=self.warm(self._queue) if free and self.warm is not None else frozenset(),
            ours=ours,
            given_up=given_up,
            stopping=stopping or self._failing,
        )
        fences = {row.run_id: row.fence for row in self._queue}
        rows = {row.run_id: row for row in self._queue}
        full: set[str] = set()
        for start in self._plan.start:
            first = rows[start.run_ids[0]]
            kind = kind_of([rows[run_id] for run_id in start.run_ids])
            device = device_of(start.slot)
            if device in full or not self._fits(device, kind):
                full.add(device)  # those behind it in the queue must not keep it waiting
                continue
            self._kinds[start.slot] = kind, first.epoch
            self._jobs[start.slot] = self._executor.submit(start.run_ids, start.slot)
            self._submitted.update((run_id, fences[run_id]) for run_id in start.run_ids)
        self._progress.show(self._outlook.snapshot(self._queue, self._plan, ours))
        if self._mirror is not None:
            self._mirror.tend()
        now = time.monotonic()
        self._look_at = now + max(LOOK_SECONDS, _LOOK_SHARE * (now - began))

    def _quarantine(self, ended: Mapping[str, int]) -> None:
        """Use no device any more on which a job failed and that does not answer a fresh process either."""
        failed = {
            device_of(self._ended_on[row.run_id]): row.message
            for row in self._queue
            if row.run_id in ended and row.state in ("waiting", "failed") and row.reason == DEVICE_ERROR
        }
        for device, message in failed.items():
            if device not in {device_of(slot) for slot in self._slots} or self.device_works(device):
                continue
            self._slots = tuple(slot for slot in self._slots if device_of(slot) != device)
            self._progress.say(f"{device} does not answer any more ({message}): no job is started on it", bad=True)
            if not self._slots:
                self._no_device = True
                self._give_up("no device is left")

    def _measure(self) -> None:
        """Let the packing see what runs on each device."""
        if self.packing is None:
            return
        rows = {row.run_id: row for row in self._queue}
        jobs: dict[str, list[tuple[Kind, bool]]] = {device_of(slot): [] for slot in self._slots}
        for slot, handle in self._jobs.items():
            kind, began = self._kinds[slot]
            row = rows.get(handle.run_ids[0])
            jobs[device_of(slot)].append((kind, row is not None and row.state == "running" and row.epoch > began))
        for device, on_it in jobs.items():
            self.packing.observe(device, on_it)

    def _fits(self, device: str, kind: Kind) -> bool:
        if self.packing is None:
            return True
        beside = [self._kinds[other][0] for other in self._jobs if device_of(other) == device]
        return self.packing.fits(device, kind, beside)

    def _rescue(self, ended: Mapping[str, int]) -> None:
        """Give runs of dead owners back to the queue, and read it anew."""
        told = {run_id: self._how_died(run_id, code) for run_id, code in ended.items()}
        self._memory_kills = devices.memory_kills()
        reaped = self._store.reap(is_alive, MAX_ATTEMPTS, blame=not self._killed, how=told)
        silent = {(one.run_id, one.owner.pid) for one in reaped if one.cause == "expired"}
        for handle in self._jobs.values():
            if any((run_id, handle.pid) in silent for run_id in handle.run_ids):
                self._executor.cancel(handle, now=True)  # it stands still as a whole, or it would have renewed them
        self._queue = self._store.queue(self._study)
        rows = {row.run_id: row for row in self._queue}
        jobs: dict[Owner, list[Reaped]] = {}
        for one in reaped:
            if one.run_id in rows:  # not another study's
                jobs.setdefault(one.owner, []).append(one)
        for one, *beside in jobs.values():
            row = rows[one.run_id]
            how = told.get(one.run_id, _how_ended(None)) if one.cause == "dead" else "fell silent"
            goes_on = f"resuming after epoch {row.epoch}" if row.epoch else "starting over"
            what = f"; {goes_on} (attempt {one.attempts + 1})" if one.state == "waiting" else ""
            if beside and not self._killed:
                what += ", each in a job of its own until it shows which one it was"
            others = f" and {len(beside)} beside it" if beside else ""
            self._progress.say(f"{_name(row)}{others}: {'their' if beside else 'its'} job {how}{what}", bad=True)

    def _how_died(self, run_id: str, code: int) -> str:
        if code == -signal.SIGKILL and not self._killed:
            peak = self._peaks.get(self._ended_on.get(run_id, ""), 0.0)
            why = "maybe for its memory"
            if devices.memory_kills() > self._memory_kills:
                why = "out of memory, says the kernel"
            return f"was killed by SIGKILL, {why}" + (f" (it had up to {peak:,.0f} MiB)" if peak else "")
        return _how_ended(code)

    def _strike(self, ended: Mapping[str, int]) -> None:
        """Count jobs that ended before they claimed their runs: no attempt stands in the store for them.

        Not those that found one of their runs taken: then none is theirs, and the others are planned anew.
        """
        for row in self._queue:
            code = ended.get(row.run_id)
            if code is None:
                continue
            never_began = (
                row.state == "waiting"
                and row.fence == self._submitted[row.run_id]
                and code not in (ExitCode.STOPPED, ExitCode.LEASE_LOST)
                and not self._killed
            )
            self._strikes[row.run_id] = self._strikes[row.run_id] + 1 if never_began else 0
            if self._strikes[row.run_id] == MAX_ATTEMPTS:
                self._progress.say(
                    f"{_name(row)}: given up, its job {_how_ended(code)} before it began; "
                    f"see {self._home.log(row.run_id)}",
                    bad=True,
                )
                self._failing = self._failing or self._fail_fast

    def _watch_disk(self) -> None:
        """Say and tell once when it is low; its jobs wait by themselves when it is full."""
        try:
            free = shutil.disk_usage(self._home.root).free
        except OSError:
            return
        if free < LOW_DISK_BYTES and not self._disk_is_low:
            text = f"disk low: {free / 2**20:.0f} MiB free in {self._home.root}"
            self._progress.say(f"{text}; `kdharness gc` names what is not needed", bad=True)
            self.notifier.tell("disk low", text, free_bytes=free, path=str(self._home.root))
        self._disk_is_low = free < 2 * LOW_DISK_BYTES if self._disk_is_low else free < LOW_DISK_BYTES

    def _tell_waiting(self, ended: Mapping[str, int]) -> None:
        """Say which runs wait for their disk or database, once; give up when one has waited in vain."""
        for row in self._queue:
            message = row.message if row.reason == UNAVAILABLE else None
            if row.state == "running" and bool(message) != bool(self._waits.get(row.run_id)):
                self._waits[row.run_id] = message
                self._progress.say(
                    f"{_name(row)}: {f'waiting: {message}' if message else 'goes on'}", bad=bool(message)
                )
            elif row.state == "waiting" and message and row.run_id in ended:
                self._give_up(message)

    def _announce(self) -> bool:
        """Say what ended since the last look; whether anything did, runs that were never seen to wait included."""
        changed = not self._states
        ended = sum(row.state not in ("waiting", "running") for row in self._queue)
        bad: dict[Literal["failed", "diverged"], list[QueueRow]] = {"failed": [], "diverged": []}
        for row in self._queue:
            before = self._states.get(row.run_id)
            self._states[row.run_id] = row.state
            if before == row.state or row.state in ("waiting", "running"):
                continue
            changed = True
            if before is None:  # it had ended when it was asked for, or between two looks
                continue
            if row.state == "complete":
                self._progress.say(f"{_name(row)}: complete ({ended}/{len(self._queue)})")
            elif row.state == "failed" or row.state == "diverged":
                bad[row.state].append(row)
                log = self._home.log(row.run_id)
                self._progress.say(f"{_name(row)}: {row.state}: {row.message or row.reason}; see {log}", bad=True)
                self._failing = self._failing or self._fail_fast
        for state, rows in bad.items():
            if rows:
                text = "; ".join(f"{_name(row)}: {row.message or row.reason}" for row in rows[:5])
                self.notifier.tell(state, f"{state}: {text}", runs=[row.run_id for row in rows[:100]])
        return changed

    def _advance(self) -> bool:
        """Whether the search added runs."""
        return self._search is not None and self._search.advance() > 0

    def _drain(self, stop: Stop) -> None:
        """Ask the jobs to save and stop; kill them at the second wish or when their time is over."""
        now = time.monotonic()
        if self._drain_until is None:
            self._drain_until = now + self._grace
            if self._jobs:
                why = stop.by or ("a run failed" if self._failing else "")
                why = why or (self._until[1] if self._time_is_up and self._until else "it waited in vain")
                again = "; Ctrl-C again stops now" if stop.by == signal.SIGINT.name else ""
                self._progress.say(f"{why}: the jobs finish their step and save{again}")
            for handle in self._jobs.values():
                self._executor.cancel(handle)
        elif not self._killed and (stop.count > 1 or now > self._drain_until):
            self._killed = True
            self.kill()

    def _state(self, row: QueueRow) -> State:
        return "failed" if self._strikes[row.run_id] >= MAX_ATTEMPTS and row.state == "waiting" else row.state

    def _failure(self, row: QueueRow) -> FailedRun:
        message = row.message or row.reason or "its job ends before it begins"
        return FailedRun(
            row.run_id, row.label, row.pair, row.seed, self._state(row), message, self._home.log(row.run_id)
        )


def kind_of(rows: Sequence[QueueRow]) -> Kind:
    """What says how much memory a job of these runs takes."""
    common = rows[0].common
    return (*sorted(row.student for row in rows), common.batches if common else rows[0].run_id, rows[0].pair)


def _is_dead(row: QueueRow) -> bool:
    return row.owner is not None and not is_alive(row.owner)


def _name(row: QueueRow) -> str:
    return f"{row.label} {row.pair} seed {row.seed}"


def _how_ended(code: int | None) -> str:
    """A job's exit code in words; None for a job of another process."""
    if code is None:
        return "died"
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"was killed by {name}"
