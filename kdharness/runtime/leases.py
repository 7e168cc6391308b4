"""The thread that keeps a job's leases alive. The store gives every thread a connection of its own."""

import logging
import threading
import time
from collections.abc import Sequence

from kdharness.core.errors import LeaseLost
from kdharness.results.records import Lease
from kdharness.results.store import Store

log = logging.getLogger(__name__)

LEASE_SECONDS = 60.0
BEAT_SECONDS = 10.0
_RETRY_SECONDS = 1.0
_COMPLAIN_SECONDS = 60.0
"""A disk that is full has no room for a line each second."""


class Heartbeat:
    """Renews leases every `beat_seconds` while the with-block lasts; remembers which were lost.

    Training may block the main thread for long (a large step, a slow disk): the thread beats on. A database that
    cannot be reached is tried again at the next second, until the lease has run out by itself; the fence refuses
    late writes in any case.
    """

    def __init__(
        self,
        store: Store,
        leases: Sequence[Lease],
        *,
        beat_seconds: float = BEAT_SECONDS,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._store = store
        self._held = {lease.run_id: lease for lease in leases}
        self._beat = beat_seconds
        self._lease = lease_seconds
        self._lock = threading.Lock()
        self._lost: set[str] = set()
        self._complain_at = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> "Heartbeat":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def forget(self, run_id: str) -> None:
        """The run has ended: its lease needs no more beats."""
        with self._lock:
            self._held.pop(run_id, None)

    def lost(self, run_id: str) -> bool:
        """Whether a beat found that another attempt owns the run."""
        with self._lock:
            return run_id in self._lost

    def _run(self) -> None:
        wait = self._beat
        while not self._ended.wait(wait):
            wait = self._beat
            with self._lock:
                held = list(self._held.values())
            if held:
                wait = self._renew(held)

    def _renew(self, held: Sequence[Lease]) -> float:
        """Seconds until the next beat should come."""
        started = time.monotonic()
        try:
            self._store.heartbeat(held, lease_seconds=self._lease)
        except LeaseLost as error:
            with self._lock:
                for run_id in error.run_ids:
                    if self._held.pop(run_id, None) is not None:  # not one that ended while we asked
                        self._lost.add(run_id)
        except Exception as error:  # noqa: BLE001  whatever it is, a dead thread would lose every lease of the job
            if started >= self._complain_at:
                self._complain_at = started + _COMPLAIN_SECONDS
                log.warning("heartbeat failed, trying again: %s", error)
            return _RETRY_SECONDS
        return max(0.1, self._beat - (time.monotonic() - started))
