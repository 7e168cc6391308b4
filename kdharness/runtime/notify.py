"""Telling the user's own command what happened; it may fail or hang, and changes nothing."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

Event = Literal["done", "failed", "diverged", "disk low"]

TIMEOUT_SECONDS = 30.0
FINISH_SECONDS = 5.0
"""What a study's end waits for the last ones."""
LONGEST_TEXT = 2000
"""What is told fits into a pipe and a variable."""
_MOST = 4
"""Commands at a time; what happens meanwhile is not told."""


class Notifier:
    """Starts the command as a process of its own for each event: an argument list, never a shell.

    It reads one JSON object on stdin; `KDHARNESS_EVENT`, `KDHARNESS_STUDY` and `KDHARNESS_TEXT` are in its environment.
    """

    def __init__(self, command: Sequence[str], study: str, say: Callable[[str], None]) -> None:
        self._command = tuple(command)
        self._study = study
        self._say = say
        self._running: list[tuple[subprocess.Popen[bytes], float]] = []
        self._complained = False

    def tell(self, event: Event, text: str, **facts: Any) -> None:
        """Start the command, if there is one, and return at once."""
        self._tend()
        if not self._command or len(self._running) >= _MOST:
            return
        told = {"event": event, "study": self._study, "text": text[:LONGEST_TEXT], **facts}
        try:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=os.environ | _environment(told),
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            self._complain(f"cannot be started: {error}")
            return
        assert process.stdin is not None
        with suppress(OSError):  # it ended without reading
            os.set_blocking(process.stdin.fileno(), False)  # nor can one that never reads hold us up
            os.write(process.stdin.fileno(), json.dumps(told, ensure_ascii=False).encode())
        with suppress(OSError):
            process.stdin.close()
        self._running.append((process, time.monotonic() + TIMEOUT_SECONDS))

    def finish(self) -> None:
        """Wait a little for those that still run, and end them."""
        until = time.monotonic() + FINISH_SECONDS
        while self._running and time.monotonic() < until:
            self._tend()
            time.sleep(0.02)
        self._running = [(process, 0.0) for process, _ in self._running]
        self._tend()

    def _tend(self) -> None:
        """Reap those that have ended, end those that took too long."""
        left = []
        for process, until in self._running:
            code = process.poll()
            if code is None and time.monotonic() < until:
                left.append((process, until))
            elif code is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                self._complain("took too long and was ended")
            elif code:
                self._complain(f"ended with exit code {code}")
        self._running = left

    def _complain(self, how: str) -> None:
        if not self._complained:  # once: it may be the same for every event
            self._complained = True
            self._say(f"notify: {self._command[0]} {how}")


def _environment(told: Mapping[str, Any]) -> dict[str, str]:
    """The facts as variables; a NUL cannot stand in one."""
    return {f"KDHARNESS_{name.upper()}": str(told[name]).replace("\0", "") for name in ("event", "study", "text")}
