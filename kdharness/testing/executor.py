"""Laws that every executor keeps."""

import signal
import time
from collections.abc import Callable

from kdharness.core.errors import ExitCode
from kdharness.core.home import Home
from kdharness.runtime.executors import Executor, Handle

_PATIENCE_SECONDS = 20.0


def check_executor(make: Callable[[Home], Executor], home: Home, *, asynchronous: bool = True) -> None:
    """Raise AssertionError where the executor breaks a law.

    `make` gives an executor whose jobs are `kdharness.testing.fake_job` instead of real ones. An executor that has
    finished a job when `submit` returns is checked with `asynchronous=False`.
    """
    executor = make(home)
    handles = {code: executor.submit((f"exit-{code.value}",), "cpu:0") for code in ExitCode}
    assert len({handle.number for handle in handles.values()}) == len(handles), "two jobs have one number"
    for code, handle in handles.items():
        assert handle.run_ids == (f"exit-{code.value}",) and handle.slot == "cpu:0", "a handle names its runs and slot"
        assert _end(executor, handle) == code, f"exit code {code.value} is not passed on"
        assert executor.poll(handle) == code, "the exit code can be asked for again"
        executor.cancel(handle)
        executor.cancel(handle, now=True)
        assert executor.poll(handle) == code, "cancelling a job that has ended changes nothing"
    if asynchronous:
        _check_stopping(executor, home)


def _check_stopping(executor: Executor, home: Home) -> None:
    polite, stubborn = executor.submit(("wait",), "cpu:0"), executor.submit(("stubborn",), "cpu:1")
    assert executor.poll(polite) is None and executor.poll(stubborn) is None, "submit returns while the jobs go on"
    _until(lambda: all(_started(home, handle) for handle in (polite, stubborn)), "output reaches the run's log")
    executor.cancel(polite)
    assert _end(executor, polite) == ExitCode.STOPPED, "cancel lets a job end as it wants to"
    executor.cancel(stubborn)
    time.sleep(0.1)
    assert executor.poll(stubborn) is None, "cancel does not kill"
    executor.cancel(stubborn, now=True)
    assert _end(executor, stubborn) == -signal.SIGKILL, "cancel(now=True) kills, and poll says by which signal"


def _started(home: Home, handle: Handle) -> bool:
    log = home.log(handle.run_ids[0])
    return log.exists() and f"on {handle.slot}" in log.read_text()


def _end(executor: Executor, handle: Handle) -> int:
    _until(lambda: executor.poll(handle) is not None, f"the job of {handle.run_ids} ends")
    code = executor.poll(handle)
    assert code is not None, "a job that has ended stays ended"
    return code


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited {_PATIENCE_SECONDS:.0f} s in vain: {what}"
        time.sleep(0.01)
