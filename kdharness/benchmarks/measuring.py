"""How the benchmarks measure: two sides take turns in one process, and every round gives one ratio.

Other programs on the machine slow both sides of a round alike, so that a ratio means something where a time does not.
The first figure is the CPU time of the process, which waiting for a core does not move; wall time stands beside it. On
a GPU the first figure is the time between two CUDA events.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter, process_time

import numpy as np

CPU, WALL, DEVICE = "CPU time", "wall time", "GPU time"


@dataclass(frozen=True)
class Reading:
    """Seconds, each from a beginning of its own."""

    cpu: float
    wall: float
    device: float | None = None
    """None without a GPU."""

    def __sub__(self, earlier: "Reading") -> "Reading":
        device = None if self.device is None or earlier.device is None else self.device - earlier.device
        return Reading(self.cpu - earlier.cpu, self.wall - earlier.wall, device)

    @property
    def by_clock(self) -> dict[str, float]:
        """Seconds by the clock's name, that of the first figure first."""
        found = {CPU: self.cpu, WALL: self.wall}
        return found if self.device is None else {DEVICE: self.device} | found


class Clock:
    """Reads all clocks; a GPU is waited for first."""

    def __init__(self, device: str = "cpu") -> None:
        self._first = None
        if device.startswith("cuda"):
            import torch

            self._first = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # torch leaves it untyped
            self._first.record()

    def now(self) -> Reading:
        """Now."""
        if self._first is None:
            return Reading(process_time(), perf_counter())
        import torch

        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        event.record()
        event.synchronize()
        return Reading(process_time(), perf_counter(), self._first.elapsed_time(event) / 1000)

    def time(self, work: Callable[[], object]) -> Reading:
        """What the work takes."""
        began = self.now()
        work()
        return self.now() - began


@dataclass(frozen=True)
class Figure:
    """One quantity, measured several times: a cell of a table."""

    table: str
    row: str
    column: str
    unit: str
    """`x` for ratios."""
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The ends of the interquartile range (linear interpolation)."""
        low, high = np.quantile(self.values, (0.25, 0.75))
        return float(low), float(high)

    @property
    def key(self) -> tuple[str, str, str]:
        """What stays the same from one report to the next."""
        return self.table, self.row, self.column


def alternate(sides: Mapping[str, Callable[[], object]], rounds: int, clock: Clock) -> dict[str, list[Reading]]:
    """Every side once in each round, in turn; one round before the first is not counted."""
    readings: dict[str, list[Reading]] = {name: [] for name in sides}
    for round_number in range(rounds + 1):
        for name, work in sides.items():
            taken = clock.time(work)
            if round_number:
                readings[name].append(taken)
    return readings


def times(
    row: str, column: str, readings: Sequence[Reading], *, times: float = 1.0, unit: str = "ms", part: str = ""
) -> list[Figure]:
    """A figure for each clock: its readings multiplied by `times`, in `unit`; in tables of their own with `part`."""
    scale = {"s": 1.0, "ms": 1e3, "us": 1e6}[unit] * times
    values = {clock: tuple(one.by_clock[clock] * scale for one in readings) for clock in readings[0].by_clock}
    return [Figure(_table(part, clock), row, column, unit, values[clock]) for clock in values]


def ratios(
    row: str, column: str, slow: Sequence[Reading], fast: Sequence[Reading], *, times: float = 1.0, part: str = ""
) -> list[Figure]:
    """For each clock round by round `times` the slow side's time over the fast side's."""
    values = {
        clock: tuple(times * one.by_clock[clock] / other.by_clock[clock] for one, other in zip(slow, fast, strict=True))
        for clock in slow[0].by_clock
    }
    return [Figure(_table(part, clock), row, column, "x", values[clock]) for clock in values]


def _table(part: str, clock: str) -> str:
    return f"{part}: {clock}" if part else clock
