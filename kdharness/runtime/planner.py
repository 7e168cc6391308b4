"""What to start next: a pure function from the queue and the free slots to instructions."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from kdharness.results.records import QueueRow

ENDED_BADLY = frozenset({"failed", "diverged", "cancelled", "pruned"})
"""States in which a run will never have a student to teach another."""
MOST_MEMBERS = 16
"""Of a cohort. The teacher's forward is then a sixteenth of itself for each; more would save little (resnet32x4 ->
resnet8x4: 2.7 of the 3.0 times that a teacher for nothing would bring) and put more at risk of one process."""


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
    slots: int | None = None,
    parts: Mapping[str, float] | None = None,
    warm: AbstractSet[str] = frozenset(),
    ours: AbstractSet[str] = frozenset(),
    given_up: AbstractSet[str] = frozenset(),
    stopping: bool = False,
) -> Plan:
    """Fill the free slots breadth first: runs that others need, then seed by seed, each in the queue's order.

    Beside the first run of a job train those of the later ones that share its batches and its teacher's answers, at
    most an even share of what can start, so that of the `slots` (default: the free ones) none is left idle.
    `parts`: by student what part of a job's memory one takes, where it is more than a `MOST_MEMBERS`-th.
    `warm` are runs that look up what their teacher says: those may be of other seeds, with batches of their own.
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
    urgent = [row for row in ready if row.purpose == "teacher" or row.run_id in needed]
    others = [row for row in ready if row.purpose != "teacher" and row.run_id not in needed]
    cohorts = _cohorts((urgent, others), slots or len(free_slots), parts or {}, warm)
    elsewhere = tuple(row.run_id for row in runs if state[row.run_id] == "running" and row.run_id not in ours)
    start = () if stopping else tuple(Start(cohort, slot) for slot, cohort in zip(free_slots, cohorts, strict=False))
    return Plan(start, blocked, elsewhere, done=not ours and not elsewhere and not ready)


def _cohorts(
    classes: Iterable[Sequence[QueueRow]], slots: int, parts: Mapping[str, float], warm: AbstractSet[str]
) -> Iterator[tuple[str, ...]]:
    """The rows as jobs, greedily, one class after the other; each is at most an even share of what is left.

    That is guided self-scheduling (Polychronopoulos and Kuck 1987): the shares become smaller towards the end, so that
    the slots end together though nobody knows how long a run takes. What has to be tried alone goes first within its
    seed: after its trial it may go on beside the others.
    """
    for rows in classes:
        left = sorted(rows, key=lambda row: (row.seed, not row.alone))  # stable
        while left:
            cohort = _cohort(left, -(-len(left) // slots), parts, warm)
            yield cohort
            taken = set(cohort)
            left = [row for row in left if row.run_id not in taken]
            slots = max(1, slots - 1)  # that one has its slot


def _cohort(rows: Sequence[QueueRow], most: int, parts: Mapping[str, float], warm: AbstractSet[str]) -> tuple[str, ...]:
    """The first row, and those after it that fit beside it.

    A run that may have brought a job down fits beside nobody, one without a teacher beside any teacher's. Those that
    resume must have finished equally many epochs: one far behind would have the others wait.
    """
    first = rows[0]
    members, room = [first.run_id], 1.0 - _part(first, parts)
    if first.alone or first.common is None:
        return (first.run_id,)
    same, answers = (first.epoch, first.common.batches), first.common.answers
    for row in rows[1:]:
        if len(members) == most:
            break
        if row.alone or row.common is None or (row.epoch, row.common.batches) != same:
            continue
        if row.seed != first.seed and row.run_id not in warm:
            continue
        other_teacher = answers and row.common.answers and row.common.answers != answers
        if not other_teacher and _part(row, parts) <= room:
            members.append(row.run_id)
            room -= _part(row, parts)
            answers = answers or row.common.answers
    return tuple(members)


def _part(row: QueueRow, parts: Mapping[str, float]) -> float:
    """Of a job's memory; twice as much after every death beside others, which may have been for want of it."""
    return float(2**row.deaths) * max(1 / MOST_MEMBERS, parts.get(row.student, 0.0))


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
