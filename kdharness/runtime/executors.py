"""How a job is started, watched and stopped: as the command `kdharness job RUN_ID...`, never a pickled closure."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from kdharness.core.errors import EnvironmentRefused, ExitCode, Unavailable
from kdharness.core.home import Home
from kdharness.runtime import parent
from kdharness.runtime.options import JOB_DEFAULTS, JobOptions
from kdharness.training.files import make_directory

KEEP_FREED_MEMORY = ":".join(
    f"glibc.malloc.{name}={value}"
    for name, value in (("mmap_threshold", 2**30), ("trim_threshold", 2**40), ("top_pad", 2**26), ("hugetlb", 1))
)
"""A step frees and allocates the same megabytes again; the C library would give them back to the system and have each
page zeroed anew, an eighth of a CPU step. It reads this from GLIBC_TUNABLES when the process starts."""


@dataclass(frozen=True)
class Handle:
    """A submitted job: its number within the executor, its runs and slot, and its process if it has one of its own."""

    number: int
    run_ids: tuple[str, ...]
    slot: str
    pid: int | None = None


class Executor(Protocol):
    """Runs jobs. One thread uses it."""

    def submit(self, run_ids: Sequence[str], slot: str) -> Handle:
        """Start a job for the runs and return at once. Raises Unavailable or EnvironmentRefused
        where the process cannot be made."""
        ...

    def poll(self, handle: Handle) -> int | None:
        """None while it goes on; then, as often as asked, its exit code, or -N where signal N ended it."""
        ...

    def cancel(self, handle: Handle, *, now: bool = False) -> None:
        """Ask it to leave a resumable state and stop; with `now` end it at once. A job that has ended is left alone."""
        ...


class SubprocessExecutor:
    """Each job a process in a session of its own, so that a terminal's Ctrl-C reaches only the runner.

    Its stdout and stderr are appended to the log of its first run.
    """

    def __init__(
        self,
        home: Home,
        command: Sequence[str] = (sys.executable, "-P", "-m", "kdharness"),
        options: JobOptions = JOB_DEFAULTS,
    ) -> None:
        self._home = home
        self._options = options
        self._command = tuple(command)
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._submitted = 0

    def submit(self, run_ids: Sequence[str], slot: str) -> Handle:
        log = self._home.log(run_ids[0])
        job = ("job", "--home", str(self._home.root), "--slot", slot, *self._options.arguments())
        arguments = (*self._command, *job, *run_ids)
        try:
            make_directory(log.parent)
            with log.open("ab") as output:
                process = subprocess.Popen(
                    arguments,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=job_environment(slot, self._options.threads),
                    start_new_session=True,
                )
        except OSError as error:
            kind = EnvironmentRefused if error.errno in (errno.EMFILE, errno.ENFILE) else Unavailable
            what = f"a job cannot be started: {error.strerror or error}"
            remedy = "ulimit -n 1024 allows more open files" if kind is EnvironmentRefused else "free disk or memory"
            raise kind(what, where=str(log), remedy=remedy) from error
        self._submitted += 1
        self._processes[self._submitted] = process
        return Handle(self._submitted, tuple(run_ids), slot, process.pid)

    def poll(self, handle: Handle) -> int | None:
        return self._processes[handle.number].poll()

    def cancel(self, handle: Handle, *, now: bool = False) -> None:
        process = self._processes[handle.number]
        if process.poll() is not None:
            return
        if now:
            with suppress(ProcessLookupError):  # it ended by itself between the two lines
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        else:
            process.terminate()


class InProcessExecutor:
    """Each job a call in this process, finished when `submit` returns: for tests and a debugger."""

    def __init__(self, job: Callable[[Sequence[str], str], ExitCode]) -> None:
        self._job = job
        self._results: dict[int, int] = {}

    def submit(self, run_ids: Sequence[str], slot: str) -> Handle:
        handle = Handle(len(self._results) + 1, tuple(run_ids), slot)
        self._results[handle.number] = int(self._job(handle.run_ids, slot))
        return handle

    def poll(self, handle: Handle) -> int | None:
        return self._results[handle.number]

    def cancel(self, handle: Handle, *, now: bool = False) -> None:
        """Nothing to do: it has ended."""


def job_environment(slot: str, threads: int) -> Mapping[str, str]:
    """The job's environment: whose child it is, and on a CPU slot how many threads every numeric library may have.

    The libraries read the variable when they are loaded; a library that started two threads and was told later
    would have kept the second one spinning.
    """
    environment = dict(os.environ)
    environment[parent.ENVIRONMENT] = str(os.getpid())
    environment["PYTHONUNBUFFERED"] = "1"
    environment.setdefault("GLIBC_TUNABLES", KEEP_FREED_MEMORY)
    environment["PYTHONFAULTHANDLER"] = "1"  # a crash in native code leaves its Python stack in the log
    if slot.startswith("cpu"):
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            environment[name] = str(threads)
    return environment
