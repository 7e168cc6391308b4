"""Which cells, and how many seeds of each, a number of hours is enough for."""

import heapq
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from kdharness.core.records import WantedRun


@dataclass(frozen=True)
class Fitting:
    """One cell of the study."""

    label: str
    pair: str
    seeds: int
    """Finished within the time, those that are finished already included."""
    wanted: int


def fit(
    runs: Sequence[WantedRun],
    seconds: Callable[[WantedRun], float],
    *,
    complete: AbstractSet[str],
    slots: int,
    limit_seconds: float,
) -> list[Fitting]:
    """What is finished within the time when the runs start in the runner's order: teachers, then seed by seed.

    Each goes to the slot that is free first, and not before the runs it needs have ended. The first run on a slot that
    would end too late keeps that slot to the end, as it would.
    """
    once = {run.run_id: run for run in runs}
    order = sorted(once.values(), key=lambda run: (run.purpose != "teacher", run.seed, run.row))
    ends = dict.fromkeys(complete, 0.0)
    free = [0.0] * max(1, slots)
    for run in order:
        if run.run_id in ends:
            continue
        begin = max([heapq.heappop(free), *(ends.get(need.run_id, float("inf")) for need in run.needs)])
        ends[run.run_id] = begin + seconds(run)
        heapq.heappush(free, ends[run.run_id] if begin < float("inf") else limit_seconds)
    cells: dict[tuple[str, str], dict[str, bool]] = {}
    for run in runs:
        if run.purpose != "teacher":
            cells.setdefault((run.label, run.pair), {})[run.run_id] = ends[run.run_id] <= limit_seconds
    return [Fitting(label, pair, sum(fits.values()), len(fits)) for (label, pair), fits in cells.items()]
