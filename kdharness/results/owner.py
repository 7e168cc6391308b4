"""Who holds a lease: one process of one boot of one machine; and whether it still lives.

Lease times are on CLOCK_BOOTTIME, so that jumps of the wall clock neither lose a lease nor keep it for ever.
"""

import os
import secrets
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from kdharness.core.errors import EnvironmentRefused

_PROC = Path("/proc")
_FIRST_PID_NAMESPACE = "pid:[4026531836]"


@dataclass(frozen=True)
class Owner:
    """A process that cannot be mistaken for another: pids are reused, so the start time and a nonce stand beside it."""

    host: str
    boot_id: str
    pid: int
    pid_start: int
    """Clock ticks after boot, from /proc."""
    nonce: str

    @classmethod
    def current(cls) -> "Owner":
        """The calling process, with a fresh nonce. Raises EnvironmentRefused where there is no Linux /proc."""
        pid = os.getpid()
        start = _start_of(pid)
        if start is None:
            raise EnvironmentRefused("/proc does not show this process", remedy="kdharness needs Linux with /proc")
        return cls(_host(), boot_id(), pid, start, secrets.token_hex(8))


def is_alive(owner: Owner) -> bool:
    """False if the owner has surely ended: another boot, or its pid is gone, reused or a zombie.

    True also means "cannot tell" (another container of this boot); then only the lease's end decides.
    """
    if owner.boot_id != boot_id():
        return False
    if owner.host != _host():
        return True
    return _start_of(owner.pid) == owner.pid_start


def is_child(owner: Owner, pid: int | None) -> bool:
    """Whether it is that child of this process, whose end nobody may have collected yet."""
    if pid is None or (owner.boot_id, owner.host, owner.pid) != (boot_id(), _host(), pid):
        return False
    return _start_of(pid, ended="X") == owner.pid_start


def boottime() -> float:
    """Seconds since this boot, sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """The identity of this boot of this machine. Raises EnvironmentRefused where there is no Linux /proc."""
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError as error:
        raise EnvironmentRefused(
            f"this machine's boot id cannot be read: {error}", remedy="kdharness needs Linux with /proc"
        ) from error


def _host() -> str:
    """The machine's name; in a container with the pid namespace, because pids of two namespaces do not compare."""
    namespace = str((_PROC / "self/ns/pid").readlink())
    return socket.gethostname() + ("" if namespace == _FIRST_PID_NAMESPACE else f"/{namespace}")


def _start_of(pid: int, ended: str = "ZX") -> int | None:
    """When the process started, in clock ticks after boot; None if it has ended (a zombie has, if it counts)."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name in parentheses may itself hold spaces and parentheses
    return None if fields[0] in ended else int(fields[19])
