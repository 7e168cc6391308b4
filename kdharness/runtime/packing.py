"""How many jobs fit beside each other on a GPU: measured on the first job of each kind, never over nine tenths."""

import logging
import os
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from kdharness.results.records import QueueRow
from kdharness.runtime.slots import device_of

log = logging.getLogger(__name__)

SHARE = 0.9
"""Of a device's memory; the rest is for what a job takes in an instant (an evaluation, a larger last batch)."""
Kind = tuple[str, ...]
"""What jobs of equal memory have in common: the students and the batches."""


class Meter(Protocol):
    """Reads a device's memory."""

    def read(self, device: str) -> tuple[float, float] | None:
        """MiB in use by anybody, and MiB in all; None where it cannot be known."""
        ...


class NvidiaMeter:
    """Asks nvidia-smi, because a CUDA context of our own would take half a GiB of every device."""

    _EVERY_SECONDS = 5.0
    _TIMEOUT_SECONDS = 10.0

    def __init__(self) -> None:
        self._read: dict[str, tuple[float, tuple[float, float] | None]] = {}

    def read(self, device: str) -> tuple[float, float] | None:
        """See Meter.read; the last answer is good for some seconds."""
        at, answer = self._read.get(device, (-self._EVERY_SECONDS, None))
        if time.monotonic() - at >= self._EVERY_SECONDS:
            answer = self._ask(device)
            self._read[device] = time.monotonic(), answer
        return answer

    def _ask(self, device: str) -> tuple[float, float] | None:
        try:
            number = int(device.partition(":")[2])
            visible = os.environ.get("CUDA_VISIBLE_DEVICES")
            name = visible.split(",")[number].strip() if visible else str(number)
            command = (
                "nvidia-smi",
                "-i",
                name,
                "--query-gpu=memory.used,memory.total",
                "--format=csv,noheader,nounits",
            )
            done = subprocess.run(command, capture_output=True, text=True, timeout=self._TIMEOUT_SECONDS, check=True)
            used, total = done.stdout.strip().split(",")
            return float(used), float(total)
        except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
            log.warning("the memory of %s cannot be read: %s", device, error)
            return None


class Packing:
    """Decides whether a job may start beside others; a device whose memory cannot be read takes one at a time."""

    def __init__(self, meter: Meter, share: float = SHARE) -> None:
        self._meter = meter
        self._share = share
        self._others: dict[str, float] = {}  # device -> MiB that others used when nothing of ours ran there
        self._needs: dict[Kind, float] = {}  # kind -> the most MiB that a job of it was seen to take

    def observe(self, device: str, jobs: Sequence[tuple[Kind, bool]]) -> None:
        """Learn from what runs on the device now: of each job its kind, and whether it has finished an epoch here.

        A job that is alone there takes what is used beyond what others used before.
        """
        read = self._meter.read(device)
        if read is None:
            return
        if not jobs:
            self._others[device] = read[0]
        elif len(jobs) == 1 and jobs[0][1]:
            taken = max(0.0, read[0] - self._others.get(device, 0.0))
            self._needs[jobs[0][0]] = max(taken, self._needs.get(jobs[0][0], 0.0))

    def fits(self, device: str, kind: Kind, jobs: Sequence[Kind]) -> bool:
        """Whether a job of `kind` may start on the device beside `jobs`: alone always, else when all are measured and
        neither their sum nor what is in use now leaves it too little."""
        if not jobs:
            return True
        read = self._meter.read(device)
        if read is None or any(one not in self._needs for one in (kind, *jobs)):
            return False
        used, total = read
        summed = self._others.get(device, 0.0) + sum(self._needs[one] for one in jobs)
        return max(used, summed) + self._needs[kind] <= self._share * total

    @property
    def needs(self) -> Mapping[Kind, float]:
        """What was measured, MiB."""
        return self._needs


class Occupancy:
    """Which kind of job has each slot; without a packing every slot may be used at once."""

    def __init__(self, packing: Packing | None) -> None:
        self._packing = packing
        self._held: dict[str, tuple[Kind, QueueRow]] = {}  # by slot: the last job's kind, and its first run as it began

    def shares(self, slots: Sequence[str]) -> int:
        """Among how many jobs the runs are shared out evenly."""
        return len(slots) if self._packing is None else len({device_of(slot) for slot in slots})

    def observe(self, slots: Sequence[str], taken: Collection[str], queue: Sequence[QueueRow]) -> None:
        """Let the packing see what runs in the taken slots of each device."""
        if self._packing is None:
            return
        rows = {row.run_id: row for row in queue}
        jobs: dict[str, list[tuple[Kind, bool]]] = {device_of(slot): [] for slot in slots}
        for slot in taken:
            kind, first = self._held[slot]
            now = rows.get(first.run_id)
            moved = now is not None and now.state == "running" and now.epoch > first.epoch
            jobs[device_of(slot)].append((kind, moved))
        for device, on_it in jobs.items():
            self._packing.observe(device, on_it)

    def take(self, slot: str, runs: Sequence[QueueRow], taken: Collection[str]) -> bool:
        """Whether a job of these runs may start there now beside the taken slots; then the slot is its."""
        kind, device = kind_of(runs), device_of(slot)
        beside = [self._held[other][0] for other in taken if device_of(other) == device]
        if self._packing is not None and not self._packing.fits(device, kind, beside):
            return False
        self._held[slot] = kind, runs[0]
        return True


def kind_of(rows: Sequence[QueueRow]) -> Kind:
    """What says how much memory a job of these runs takes."""
    common = rows[0].common
    return (*sorted(row.student for row in rows), common.batches if common else rows[0].run_id, rows[0].pair)
