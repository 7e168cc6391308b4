"""How a job died, in words: by its exit code, the kernel's count of processes ended for memory, and its own peak."""

import signal
from collections.abc import Mapping

from kdharness.runtime import devices
from kdharness.runtime.jobs import Jobs


def how_ended(code: int | None) -> str:
    """A job's exit code in words; None for a job of another process."""
    if code is None:
        return "died"
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"was killed by {name}"


class Deaths:
    """Knows which kills the kernel had counted before."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._kills = devices.memory_kills()

    def words(self, ended: Mapping[str, int]) -> dict[str, str]:
        """Of each run how its job ended, given the exit codes."""
        kills = devices.memory_kills()
        by_kernel, self._kills = kills > self._kills, kills
        return {run_id: self._words(run_id, code, by_kernel) for run_id, code in ended.items()}

    def _words(self, run_id: str, code: int, by_kernel: bool) -> str:
        if code != -signal.SIGKILL or self._jobs.killed:
            return how_ended(code)
        peak = self._jobs.peaks.get(self._jobs.last_slot.get(run_id, ""), 0.0)
        why = "out of memory, says the kernel" if by_kernel else "maybe for its memory"
        return f"{how_ended(code)}, {why}" + (f" (it had up to {peak:,.0f} MiB)" if peak else "")
