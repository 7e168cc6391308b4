"""The mirror: one process that tells a tracker what the store holds. It may lag or fail; nothing waits for it long."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from kdharness.core.errors import EnvironmentRefused, ExitCode
from kdharness.core.home import Home
from kdharness.results.owner import Owner
from kdharness.results.store import Store
from kdharness.runtime import parent
from kdharness.runtime.feeding import drain
from kdharness.runtime.parent import ParentWatch
from kdharness.runtime.signals import Stop, stop_on_signals
from kdharness.tracking.mlflow import open_mlflow
from kdharness.tracking.tracker import Tracker, TrackerError

log = logging.getLogger(__name__)

FINISH_SECONDS = 10.0
"""What `run` waits for the mirror at its end."""
_POLL_SECONDS = 1.0
_RESTART_SECONDS = 10.0
_KILL_SECONDS = 2.0
_BACK_OFF_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)
_NICENESS = 10  # training goes first
_RENEW_SECONDS = 15.0
_ORPHAN_SECONDS = 5.0


class MirrorProcess:
    """A runner's `kdharness mirror`: started while there is something to tell, waited for shortly, not left behind."""

    def __init__(
        self,
        home: Home,
        store: Store,
        command: Sequence[str] = (sys.executable, "-P", "-m", "kdharness"),
        *,
        finish_seconds: float = FINISH_SECONDS,
    ) -> None:
        self._home = home
        self._store = store
        self._command = tuple(command)
        self._finish_seconds = finish_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._start_at = 0.0

    def tend(self) -> None:
        """Start it where the outbox holds something and ours is not there (another runner's may be: it then ends)."""
        if self._process is not None and self._process.poll() is None:
            return
        now = time.monotonic()
        if now < self._start_at or not self._store.outbox_size():
            return
        self._start_at = now + _RESTART_SECONDS
        with (self._home.root / "mirror.log").open("ab") as output:
            self._process = subprocess.Popen(
                (*self._command, "mirror", "--home", str(self._home.root)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, parent.ENVIRONMENT: str(os.getpid())},
                start_new_session=True,
            )

    def finish(self, *, wait: bool = True) -> int:
        """Records still behind after at most `finish_seconds`, or now; the process has ended."""
        deadline = time.monotonic() + (self._finish_seconds if wait else 0.0)
        while (behind := self._store.outbox_size()) and time.monotonic() < deadline:
            self.tend()
            time.sleep(0.1)
        self._end()
        return behind

    def _end(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(_KILL_SECONDS)
        except subprocess.TimeoutExpired:  # it hangs in a call to a server that does not answer
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def run_mirror(home: Home, open_tracker: Callable[[Home], Tracker] = open_mlflow) -> ExitCode:
    """Feed the tracker until the runner that started us is gone or asks us to stop; one mirror at a time per home."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    with (
        stop_on_signals() as stop,
        ParentWatch(lambda: stop.request("parent's death"), exit_code=ExitCode.STOPPED, grace_seconds=_ORPHAN_SECONDS),
    ):
        store = Store(home)
        owner = Owner.current()
        if not store.take_mirror_lease(owner):
            return ExitCode.DONE
        os.nice(_NICENESS)
        try:
            _feed(store, owner, lambda: open_tracker(home), stop)
        finally:
            store.release_mirror_lease(owner)
    return ExitCode.DONE


def sync_mirror(home: Home, open_tracker: Callable[[Home], Tracker] = open_mlflow, *, everything: bool = False) -> int:
    """Tell the tracker all that it does not know yet, here and now; how many records.

    `everything` compares each run anew, for a tracker that lost some; a home without `mlflow.db` is told everything.

    Raises TrackerError where it cannot be reached, EnvironmentRefused while another mirror is at work.
    """
    store = Store(home)
    owner = Owner.current()
    if not store.take_mirror_lease(owner):
        raise EnvironmentRefused(
            "another process is telling MLflow right now", where=str(home.root), remedy="Try again in a minute."
        )
    try:
        if everything or not home.mlflow.exists():
            store.outbox_all()
        return drain(store, open_tracker(home))
    finally:
        store.release_mirror_lease(owner)


def _feed(store: Store, owner: Owner, open_tracker: Callable[[], Tracker], stop: Stop) -> None:
    tracker = None
    failures = 0
    renew_at = time.monotonic() + _RENEW_SECONDS
    while not stop.requested:
        if time.monotonic() >= renew_at:
            renew_at = time.monotonic() + _RENEW_SECONDS
            if not store.take_mirror_lease(owner):  # we slept too long, another mirror is at work
                return
        try:
            tracker = tracker or open_tracker()
            drain(store, tracker, lambda: stop.requested)
        except TrackerError as error:
            pause = _BACK_OFF_SECONDS[min(failures, len(_BACK_OFF_SECONDS) - 1)]
            failures += 1
            log.warning("%s; again in %.0f s", " ".join(str(error).split()), pause)
        else:
            failures = 0
            pause = _POLL_SECONDS
        until = time.monotonic() + pause
        while not stop.requested and time.monotonic() < until:
            time.sleep(0.1)
