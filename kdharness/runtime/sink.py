"""What a job does with what training tells it: files first and durable, then the row that makes them count.

Checkpoints are written by a thread of their own while training goes on with the next step.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch

from kdharness.core.errors import KdHarnessError, LeaseLost, Unavailable
from kdharness.core.home import Home
from kdharness.core.printable import printable
from kdharness.core.records import State
from kdharness.results.records import DEVICE_ERROR, UNAVAILABLE, Checkpoint, Lease
from kdharness.results.store import Store
from kdharness.runtime.leases import Heartbeat
from kdharness.runtime.options import CHECKPOINT_SECONDS
from kdharness.runtime.patience import patiently
from kdharness.runtime.predictions import pack
from kdharness.runtime.runlog import note
from kdharness.runtime.signals import Stop
from kdharness.runtime.watchdog import Watchdog
from kdharness.runtime.writer import Writer
from kdharness.training import checkpoint, weights
from kdharness.training.files import put_in_place, write_beside
from kdharness.training.members import Diverged, EpochEnd, Finished

T = TypeVar("T")


class Ending(Enum):
    """How a run's time in this job ended."""

    COMPLETE = "complete"
    FAILED = "failed"
    LOST = "lost"
    RELEASED = "released"


class JobSink:
    """Training's Sink. After a run's lease is lost nothing is written for it any more: every call raises LeaseLost.

    What hinders a checkpoint from being written (a full disk) is raised by the next call for any run.
    """

    def __init__(
        self,
        home: Home,
        store: Store,
        leases: Sequence[Lease],
        heartbeat: Heartbeat,
        watchdog: Watchdog,
        stop: Stop,
        writer: Writer,
        *,
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
    ) -> None:
        self._home = home
        self._store = store
        self._leases = {lease.run_id: lease for lease in leases}
        self._heartbeat = heartbeat
        self._watchdog = watchdog
        self._stop = stop
        self._writer = writer
        self._checkpoint_seconds = checkpoint_seconds
        self._saved_at = dict.fromkeys(self._leases, time.monotonic())
        self._saved_step: dict[str, int] = {}
        self._waits: dict[str, str | None] = {}
        self._cleared = False
        self.endings: dict[str, Ending] = {}
        self.teacher_sha256: dict[str, str | None] = {}
        """Per run the hash of the teacher weights it is fed, set before training."""

    def epoch_end(self, run_id: str, end: EpochEnd) -> None:
        lease = self._settled_lease(run_id)
        if not end.metrics and self._saved_step.get(run_id) == end.step:
            return  # told to stop right after this point was saved
        self._writer.do(lambda: self._save(lease, end))
        self._saved_at[run_id] = time.monotonic()
        self._saved_step[run_id] = end.step

    def _save(self, lease: Lease, end: EpochEnd) -> None:
        """In the writer's thread. A lost lease is noted: the next call for the run raises it."""
        path = self._home.checkpoints(lease.run_id, lease.fence) / f"{end.step:09d}.pt"
        sha256 = self._patiently(lease, lambda: checkpoint.write(path, end.state))
        saved = Checkpoint(
            path=str(path.relative_to(self._home.root)),
            sha256=sha256,
            epoch=end.epoch,
            step=end.step,
            bytes=path.stat().st_size,
        )
        with suppress(LeaseLost), self._noticing_loss(lease.run_id, path):
            step = (end.epoch, end.step, end.metrics, saved)
            for old in self._patiently(lease, lambda: self._store.commit_epoch(lease, *step)):
                (self._home.root / old.path).unlink(missing_ok=True)
            self._cleared = lease.trial

    def finished(self, run_id: str, result: Finished) -> None:
        lease, path = self._settled_lease(run_id), self._home.weights(run_id)
        predictions = None if result.predictions is None else pack(*result.predictions)
        hashes = (result.weights_sha256, self.teacher_sha256[run_id])
        packed = weights.pack_weights(result.weights)
        beside = self._patiently(lease, lambda: write_beside(path, packed))

        def complete() -> None:
            # the file gets its name under the lease: a paused job does not replace its successor's
            publish = partial(put_in_place, beside, path)
            self._store.complete(lease, result.metrics, result.sealed, *hashes, predictions, publish)

        try:
            with self._noticing_loss(run_id):
                self._patiently(lease, complete)
        finally:
            beside.unlink(missing_ok=True)
        self._end(run_id, Ending.COMPLETE)
        shutil.rmtree(self._home.checkpoints(run_id, lease.fence).parent, ignore_errors=True)
        note(run_id, "complete")

    def failed(self, run_id: str, error: Exception) -> None:
        self._writer.wait()  # whatever became of that, this error is the run's
        lease = self._lease(run_id)
        if isinstance(error, Unavailable):
            self._give_back(lease, error)
            return
        state, reason = classify(error)
        if (len(self._leases) > 1 and reason == "oom") or (reason == DEVICE_ERROR and self._may_be_the_device_s(lease)):
            self._put_aside(lease, reason, error)
            return
        expected = isinstance(error, Diverged | KdHarnessError)
        note(run_id, f"{state} ({reason}): {error}", error=None if expected else error)
        with self._noticing_loss(run_id):
            self._patiently(lease, lambda: self._store.end(lease, state, reason=reason, message=describe(error)))
        self._end(run_id, Ending.FAILED)

    def _give_back(self, lease: Lease, error: Unavailable) -> None:
        """It has not passed: the run goes on from its last checkpoint some other time."""
        note(lease.run_id, f"given back, resumable: {describe(error)}")
        with suppress(Unavailable), self._noticing_loss(lease.run_id):  # else our death gives it back
            self._store.release(lease, reason=UNAVAILABLE, message=describe(error))
        self._end(lease.run_id, Ending.RELEASED)

    def _patiently(self, lease: Lease, work: Callable[[], T]) -> T:
        """What `work` returns, once the disk and the database allow it; the run's row says what it waits for."""

        def waiting(error: Unavailable | None) -> None:
            self._watchdog.step()  # what waits does not hang
            message = None if error is None else describe(error)
            if message == self._waits.get(lease.run_id):
                return
            if bool(message) != bool(self._waits.get(lease.run_id)):  # how much is free changes all the time
                note(lease.run_id, f"waiting: {message}" if message else "goes on")
            self._waits[lease.run_id] = message
            with suppress(Unavailable, LeaseLost):  # the work itself finds out whose run it is
                self._store.tell(lease, reason=message and UNAVAILABLE, message=message)

        return patiently(work, waiting=waiting, stop=lambda: self._stop.requested)

    def _may_be_the_device_s(self, lease: Lease) -> bool:
        """A neighbour's fault or the device's, unless the run had a job of its own on this slot that ended so too."""
        history = self._store.run(lease.run_id).history
        slot = history[-1].slot
        return len(self._leases) > 1 or not any(
            one.reason == DEVICE_ERROR and one.slot == slot and one.number < lease.fence for one in history
        )

    def _put_aside(self, lease: Lease, reason: str, error: Exception) -> None:
        """What may be a neighbour's fault, or the device's, is found out in a job of its own."""
        message = describe(error) if reason == DEVICE_ERROR else None  # the runner looks at the device then
        with self._noticing_loss(lease.run_id):
            self._store.release(lease, reason=reason, alone=True, message=message)
        self._end(lease.run_id, Ending.RELEASED)
        note(lease.run_id, f"put aside ({reason}): it goes on in a job of its own", error=error)

    def release(self, run_id: str, *, reason: str) -> None:
        """Back to waiting: the next attempt goes on from the last checkpoint."""
        lease = self._settled_lease(run_id)
        with self._noticing_loss(run_id):
            self._store.release(lease, reason=reason)
        self._end(run_id, Ending.RELEASED)
        note(run_id, f"stopped ({reason}), resumable")

    def settle(self) -> None:
        """Wait until all that was handed over is durable, or raise why it is not."""
        self._writer.settle()

    def stop_requested(self) -> bool:
        self._writer.look()
        self._watchdog.step()
        return self.leaving is not None or all(self._gone(run_id) for run_id in self._leases)

    def checkpoint_due(self, run_id: str) -> bool:
        if self._gone(run_id):
            return True  # a lost or cancelled run is not trained to the end of its epoch: saving drops it
        return time.monotonic() - self._saved_at[run_id] >= self._checkpoint_seconds

    @property
    def leaving(self) -> str | None:
        """Why what is unfinished goes back to the queue: a wish to stop, or a run tried alone that is no suspect now.

        That one may go on beside others; in a job of its own it would have the teacher to itself to the end.
        """
        if self._stop.requested:
            return self._stop.by
        return "made progress alone" if self._cleared else None

    @property
    def unfinished(self) -> tuple[str, ...]:
        """Runs of the job that have not ended in any way."""
        return tuple(run_id for run_id in self._leases if not self._gone(run_id))

    def _gone(self, run_id: str) -> bool:
        if run_id not in self.endings and self._heartbeat.lost(run_id):
            self.lose(run_id)
        return run_id in self.endings

    def _settled_lease(self, run_id: str) -> Lease:
        """The run's lease, with all that was handed over durable. Raises LeaseLost, and why it could not be written."""
        self._writer.settle()
        return self._lease(run_id)

    def _lease(self, run_id: str) -> Lease:
        """The run's lease. Raises LeaseLost once it is known to be lost."""
        if self._gone(run_id):
            raise LeaseLost(f"run {run_id} has another owner now", where=run_id)
        return self._leases[run_id]

    @contextmanager
    def _noticing_loss(self, run_id: str, orphan: Path | None = None) -> Iterator[None]:
        """A LeaseLost passes through and is remembered; the file that no row will ever name is removed."""
        try:
            yield
        except LeaseLost:
            if orphan is not None:
                orphan.unlink(missing_ok=True)
            self.lose(run_id)
            raise

    def lose(self, run_id: str) -> None:
        """Another attempt owns the run: nothing more is written for it."""
        self._end(run_id, Ending.LOST)
        note(run_id, "lease lost: the run was cancelled or another attempt owns it; this one writes nothing more")

    def _end(self, run_id: str, ending: Ending) -> None:
        self.endings[run_id] = ending
        self._heartbeat.forget(run_id)


def classify(error: BaseException) -> tuple[State, str]:
    """The state a run ends in by this error, and the reason its attempt is given."""
    if isinstance(error, Diverged):
        return "diverged", "nan"
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return "failed", "oom"
    if isinstance(error, torch.AcceleratorError):
        return "failed", DEVICE_ERROR
    return "failed", "error"


def describe(error: BaseException) -> str:
    """One line on what went wrong, for `status` and the end of `run`; the traceback is in the run's log."""
    text = printable(" ".join(str(error).split()))
    if isinstance(error, Diverged | KdHarnessError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
