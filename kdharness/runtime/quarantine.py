"""Devices that no longer answer are used no more."""

from collections.abc import Callable, Mapping, Sequence

from kdharness.results.records import DEVICE_ERROR, QueueRow
from kdharness.runtime.ending import Ending
from kdharness.runtime.jobs import Jobs
from kdharness.runtime.progress import Progress
from kdharness.runtime.slots import device_of


class Quarantine:
    """Asks a device on which a job failed whether it `works`, and gives up when none is left."""

    def __init__(self, works: Callable[[str], bool], jobs: Jobs, progress: Progress, ending: Ending) -> None:
        self._works = works
        self._jobs = jobs
        self._progress = progress
        self._ending = ending

    def leave(self, slots: Sequence[str], queue: Sequence[QueueRow], ended: Mapping[str, int]) -> tuple[str, ...]:
        """The slots that can still be used, given the runs whose jobs have ended."""
        failed = {
            device_of(self._jobs.last_slot[row.run_id]): row.message
            for row in queue
            if row.run_id in ended and row.state in ("waiting", "failed") and row.reason == DEVICE_ERROR
        }
        for device, message in failed.items():
            if device not in {device_of(slot) for slot in slots} or self._works(device):
                continue
            slots = [slot for slot in slots if device_of(slot) != device]
            self._progress.say(f"{device} does not answer any more ({message}): no job is started on it", bad=True)
        if not slots:
            self._ending.give_up("no device is left", refused=True)
        return tuple(slots)
