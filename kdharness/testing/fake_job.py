"""A job that trains nothing: `python -m kdharness.testing.fake_job job ... RUN_ID` does what the run id says.

`exit-N` ends with that code; `wait` goes on until SIGTERM, then ends as a stopped job does; `stubborn` ignores SIGTERM.
"""

import signal
import sys
import time
from collections.abc import Sequence

from kdharness.core.errors import ExitCode

_LONG_SECONDS = 60.0


def fake_job(run_ids: Sequence[str], slot: str) -> ExitCode:
    """The exit code that the first run id asks for."""
    verb, _, code = run_ids[0].partition("-")
    if verb == "exit":
        return ExitCode(int(code))
    asked = []
    signal.signal(signal.SIGTERM, (lambda *_: asked.append(True)) if verb == "wait" else signal.SIG_IGN)
    sys.stdout.write(f"{verb} on {slot}\n")
    sys.stdout.flush()
    until = time.monotonic() + _LONG_SECONDS
    while not asked and time.monotonic() < until:
        time.sleep(0.01)
    return ExitCode.STOPPED


if __name__ == "__main__":
    # kdharness job --home HOME --slot SLOT RUN_ID...
    sys.exit(fake_job(sys.argv[6:], sys.argv[5]))
