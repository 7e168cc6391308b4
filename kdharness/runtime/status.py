"""Where studies stand: runs by state, the jobs that live, and what ended badly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kdharness.core.home import Home
from kdharness.core.records import State
from kdharness.results.owner import Owner, is_alive
from kdharness.results.records import QueueRow
from kdharness.results.store import Store


@dataclass(frozen=True)
class JobStatus:
    """A living process, and the runs it trains side by side."""

    pid: int
    slot: str | None
    run_ids: tuple[str, ...]
    epoch: int
    """Finished epochs of the run that is least far."""
    epochs: int


@dataclass(frozen=True)
class EndedBadly:
    """A failed or diverged run, why, and where to read more."""

    run_id: str
    label: str
    pair: str
    seed: int
    state: State
    message: str
    log: str


@dataclass(frozen=True)
class StudyStatus:
    """How far a study is."""

    study: str
    changed: str
    """When its file was last saved here: ISO 8601, UTC."""
    runs: Mapping[State, int]
    jobs: tuple[JobStatus, ...]
    failed: tuple[EndedBadly, ...]
    excluded: tuple[str, ...] = ()
    """Runs that no mean takes."""
    notes: tuple[str, ...] = ()
    """What people wrote on the study, oldest first."""


def study_status(store: Store, home: Home, study: str | None = None) -> list[StudyStatus]:
    """One study, or all by name. Raises BadInput for an unknown one."""
    found = []
    for row in [store.study(study)] if study is not None else store.studies():
        queue = store.queue(row.name)
        failed = tuple(_ended_badly(run, home) for run in queue if run.state in ("failed", "diverged"))
        excluded = tuple(run.run_id for run in queue if run.excluded)
        notes = tuple(f"{note.at:%Y-%m-%d %H:%M}  {note.text}" for note in store.study_notes(row.name))
        jobs = tuple(jobs_of(queue))
        found.append(StudyStatus(row.name, row.changed.isoformat(), row.states, jobs, failed, excluded, notes))
    return found


def jobs_of(queue: Sequence[QueueRow]) -> list[JobStatus]:
    """Those that train runs of the queue now, whoever started them."""
    jobs: dict[Owner, list[QueueRow]] = {}
    for run in queue:
        if run.state == "running" and run.owner is not None:
            jobs.setdefault(run.owner, []).append(run)
    return [
        JobStatus(
            pid=owner.pid,
            slot=runs[0].slot,
            run_ids=tuple(run.run_id for run in runs),
            epoch=min(run.epoch for run in runs),
            epochs=max(run.epochs for run in runs),
        )
        for owner, runs in jobs.items()
        if is_alive(owner)
    ]


def _ended_badly(run: QueueRow, home: Home) -> EndedBadly:
    message = run.message or run.reason or ""
    return EndedBadly(run.run_id, run.label, run.pair, run.seed, run.state, message, str(home.log(run.run_id)))
