"""Whether a device still answers, and what the kernel says of processes that it ended for their memory."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

_PROBE = "import sys, torch; torch.ones(64, 64, device=sys.argv[1]).square().sum().item()"
_PROBE_SECONDS = 90.0
_FIRST_TO_GO = "500"
"""Of 1,000: when memory is short the kernel ends a job before its runner, which would have to be started by hand."""


def works(device: str) -> bool:
    """Whether a fresh process can compute on it: an error that stays in a process's own CUDA context does not count."""
    if device == "cpu":
        return True
    command = (sys.executable, "-P", "-c", _PROBE, device)
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PROBE_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def offer_to_the_kernel() -> None:
    """Let this process be the first that is ended when memory is short."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO)


def memory_kills(vmstat: Path = Path("/proc/vmstat")) -> int:
    """How many processes this kernel has ended for memory since it was booted; 0 where it does not say."""
    with suppress(OSError):
        for line in vmstat.read_text().splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill" and count.isdecimal():
                return int(count)
    return 0


def peak_mib(pid: int | None, proc: Path = Path("/proc")) -> float:
    """The most memory that the process has had, MiB; 0 for one that is gone."""
    with suppress(OSError, IndexError, ValueError):
        for line in (proc / str(pid or os.getpid()) / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0
