"""The gate before every write to the database: one process at a time, in turn.

SQLite's own waiting is unfair: saturated by 32 processes one of them waited 15 s, behind this gate 0.4 s.
"""

import fcntl
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kdharness.core.errors import Unavailable

log = logging.getLogger(__name__)

FIRST_NOTICE_SECONDS, NOTICE_SECONDS = 2.0, 10.0
"""Who waits for the database is told so soon, and then every so often, what for."""


@contextmanager
def gate(path: Path, timeout: float) -> Iterator[int]:
    """The open file `path`, with an exclusive `flock` on it and the holder's pid in its first line.

    Who waits is told who holds it. Raises Unavailable after `timeout` seconds, naming the holder, and where the file
    cannot be opened.
    """
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unavailable(
            f"the lock of the results database cannot be opened: {error.strerror}",
            where=str(path),
            remedy="make the directory writable, or put it back",
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if not _wait(file, timeout, path):  # the waiting thread owns the file now and closes it when its turn comes
            raise Unavailable(
                f"the write lock has been held by process {_holder(path)} for {timeout:g} s",
                where=str(path),
                remedy="see what that process does, then run again: everything committed so far is kept",
            ) from None
    try:
        os.pwrite(file, f"{os.getpid():<20}\n".encode(), 0)
        yield file
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)  # a child forked meanwhile may hold the same open file: closing is not enough
        os.close(file)


def tell_waiting(why: str) -> None:
    """Say on the process's log, or standard error, what the results database is waited for."""
    log.warning("waiting for the results database: %s", why)


def _wait(file: int, timeout: float, path: Path) -> bool:
    """True when the lock is ours; False after `timeout`, then the file is closed by the thread that still waits."""
    # A blocking flock queues in order, polling does not; but it knows no timeout, hence the thread.
    decided = threading.Lock()
    locked = threading.Event()
    given_up = False

    def wait() -> None:
        fcntl.flock(file, fcntl.LOCK_EX)
        with decided:
            if given_up:
                os.close(file)
            else:
                locked.set()

    threading.Thread(target=wait, name="gate", daemon=True).start()
    try:
        for seconds in parts_of(timeout):
            if locked.wait(seconds):
                break
            tell_waiting(f"its write lock is held by process {_holder(path)}")
    finally:
        with decided:
            given_up = not locked.is_set()
    return not given_up


def parts_of(timeout: float) -> Iterator[float]:
    """A wait cut into the pieces after which it is told of."""
    piece = FIRST_NOTICE_SECONDS
    while timeout > 0:
        yield min(piece, timeout)
        timeout -= piece
        piece = NOTICE_SECONDS


def _holder(path: Path) -> str:
    """Its pid, and whether it is stopped (SIGSTOP, Ctrl-Z, a debugger)."""
    try:
        pid = path.read_text().partition("\n")[0].strip()
        state = (Path("/proc") / pid / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "unknown"
    return f"{pid} (stopped)" if state in "tT" else pid


def lock_holders(path: Path, locks: Path = Path("/proc/locks"), proc: Path = Path("/proc")) -> list[str]:
    """Who holds a lock on the file, as `123 (sqlite3)`; empty where the kernel does not say."""
    try:
        inode = path.stat().st_ino
        lines = locks.read_text().splitlines()
    except OSError:
        return []
    holders = {}
    for line in lines:  # 1: POSIX  ADVISORY  WRITE 123 08:01:456 0 EOF
        fields = line.split()
        if len(fields) >= 6 and fields[1] != "->" and fields[5].rpartition(":")[2] == str(inode):
            holders[fields[4]] = ""
    holders.pop(str(os.getpid()), None)
    for pid in holders:
        try:
            holders[pid] = f" ({(proc / pid / 'comm').read_text().strip()})"
        except OSError:
            continue
    return [pid + name for pid, name in holders.items()]
