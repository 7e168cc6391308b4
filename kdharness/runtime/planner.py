"""What to start next: a pure function from the queue and the free slots to instructions."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from kdharness.results.records import QueueRow

ENDED_BADLY = frozenset({"failed", "diverged", "cancelled", "pruned"})
"""States in which a run will never have a student to teach another."""


@dataclass(frozen=True)
class Start:
    """Train these runs side by side in one job on this slot."""

    run_ids: tuple[str, ...]
    slot: str


@dataclass(frozen=True)
class Plan:
    """The instructions, and where the study stands."""

    start: tuple[Start, ...]
    blocked: Mapping[str, str]
    """Waiting run -> the run it needs that ended badly; it stays waiting and can go on once that one is retried."""
    elsewhere: tuple[str, ...]
    """Running, but not by this process: another `kdharness run` on the same database has them."""
    done: bool
    """Nothing runs, here or elsewhere, and nothing that waits can start."""


def plan(
    queue: Sequence[QueueRow],
    free_slots: Sequence[str],
    *,
    ours: AbstractSet[str] = frozenset(),
    given_up: AbstractSet[str] = frozenset(),
    stopping: bool = False,
) -> Plan:
    """Fill the free slots breadth first: runs that others need, then seed by seed, each in the queue's order.

    `ours` are the runs of jobs that this process has submitted and not yet seen end, whatever the store says of them.
    `given_up` are runs whose jobs keep dying before they claim: they count as failed. With `stopping` nothing starts.
    A run starts only when every run it needs is complete. The same input gives the same plan.
    """
    state = {row.run_id: "failed" if row.run_id in given_up else row.state for row in queue}
    blocked = _blocked(queue, state)
    needed = {need for row in queue for need in row.needs}
    runs = {row.run_id: row for row in queue}.values()  # a run that two labels show is one run
    waiting = [row for row in runs if state[row.run_id] == "waiting" and row.run_id not in ours]
    ready = [row for row in waiting if all(state.get(need) == "complete" for need in row.needs)]
    ready.sort(key=lambda row: (row.purpose != "teacher" and row.run_id not in needed, row.seed))  # stable
    elsewhere = tuple(row.run_id for row in runs if state[row.run_id] == "running" and row.run_id not in ours)
    start = () if stopping else tuple(Start((row.run_id,), slot) for row, slot in zip(ready, free_slots, strict=False))
    return Plan(start, blocked, elsewhere, done=not ours and not elsewhere and not ready)


def _blocked(queue: Sequence[QueueRow], state: Mapping[str, str]) -> dict[str, str]:
    """Waiting runs that need, directly or through others, a run that ended badly or that nobody knows."""
    blocked: dict[str, str] = {}
    changed = True
    while changed:
        changed = False
        for row in queue:
            if state[row.run_id] != "waiting" or row.run_id in blocked:
                continue
            for need in row.needs:
                if need in blocked or state.get(need, "failed") in ENDED_BADLY:
                    blocked[row.run_id] = blocked.get(need, need)
                    changed = True
                    break
    return blocked
