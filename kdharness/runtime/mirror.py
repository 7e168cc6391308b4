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
SILENT_SECONDS = 30.0
"""A tracker that has taken nothing for so long is not waited for: `kdharness sync` tells it later."""
_LISTEN_SECONDS = 5.0
_POLL_SECONDS = 1.0
_RESTART_SECONDS, _LONGEST_RESTART_SECONDS = 10.0, 300.0
_KILL_SECONDS = 2.0
_KILL_SILENT_SECONDS = 0.3
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
        server: str | None = None,
        finish_seconds: float = FINISH_SECONDS,
    ) -> None:
        """`server`: the address of the MLflow server that is told instead of the home's own store."""
        self._home = home
        self._store = store
        self._command = (*command, "mirror", *(("--server", server) if server else ()))
        self._finish_seconds = finish_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._start_at = 0.0
        self._pause = _RESTART_SECONDS
        self._told: int | None = None
        self._heard_at = time.monotonic()
        self._listen_at = 0.0

    def tend(self) -> None:
        """Start it where the outbox holds something and ours is not there (another runner's may be: it then ends)."""
        if time.monotonic() >= self._listen_at:
            self._listen_at = time.monotonic() + _LISTEN_SECONDS
            self._listen()
        if self._process is not None and self._process.poll() is None:
            return
        now = time.monotonic()
        if now < self._start_at or not self._store.outbox_size():
            return
        self._start_at = now + self._pause
        self._pause = min(2 * self._pause, _LONGEST_RESTART_SECONDS)  # it costs a second of a processor
        with (self._home.root / "mirror.log").open("ab") as output:
            self._process = subprocess.Popen(
                (*self._command, "--home", str(self._home.root)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, parent.ENVIRONMENT: str(os.getpid())},
                start_new_session=True,
            )

    def finish(self, *, wait: bool = True) -> int:
        """Records still behind after at most `finish_seconds`, or now; the process has ended.

        A tracker that has long been silent is not waited for.
        """
        behind = self._listen()
        silent = time.monotonic() - self._heard_at > SILENT_SECONDS
        deadline = time.monotonic() + (self._finish_seconds if wait and not silent else 0.0)
        self._start_at = 0.0
        while behind and time.monotonic() < deadline:
            self.tend()
            time.sleep(0.1)
            behind = self._store.outbox_size()
        self._end(_KILL_SILENT_SECONDS if silent else _KILL_SECONDS)
        return behind

    def _listen(self) -> int:
        """Records behind; notes when the tracker, whoever tells it, took one or had none to take."""
        behind, told = self._store.outbox_size(), self._store.last_mirrored()
        if not behind or told != self._told:
            self._told, self._heard_at = told, time.monotonic()
        return behind

    def _end(self, seconds: float) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(seconds)
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
            _feed(store, _Turn(store, owner), lambda: open_tracker(home), stop)
        finally:
            store.release_mirror_lease(owner)
    return ExitCode.DONE


def sync_mirror(home: Home, server: str | None = None, *, everything: bool = False) -> int:
    """Tell MLflow, the server or the home's own store, all that it does not know yet, here and now; how many records.

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
        if everything or (server is None and not home.mlflow.exists()):
            store.outbox_all()
        turn = _Turn(store, owner)
        told = drain(store, open_mlflow(home, server), turn.is_over)
        if turn.over:
            raise EnvironmentRefused(
                f"another process tells MLflow now, after {told} records", where=str(home.root), remedy="Run it again."
            )
        return told
    finally:
        store.release_mirror_lease(owner)


class _Turn:
    """This process's turn at telling the tracker, which it has to renew: two that tell the same run create it twice."""

    def __init__(self, store: Store, owner: Owner) -> None:
        self._store = store
        self._owner = owner
        self._renew_at = time.monotonic() + _RENEW_SECONDS
        self.over = False

    def is_over(self) -> bool:
        """Renew where it is time to; True once another process has it, because this one slept too long."""
        if not self.over and time.monotonic() >= self._renew_at:
            self._renew_at = time.monotonic() + _RENEW_SECONDS
            self.over = not self._store.take_mirror_lease(self._owner)
        return self.over


def _feed(store: Store, turn: _Turn, open_tracker: Callable[[], Tracker], stop: Stop) -> None:
    tracker = None
    failures = 0
    while not stop.requested and not turn.is_over():
        try:
            tracker = tracker or open_tracker()
            drain(store, tracker, lambda: stop.requested or turn.is_over())
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
