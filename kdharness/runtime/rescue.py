"""Runs whose owner is dead or silent go back to the queue."""

from collections.abc import Mapping, Sequence

from kdharness.results.owner import Owner, is_alive, is_child
from kdharness.results.records import QueueRow, Reaped
from kdharness.results.store import Store
from kdharness.runtime.deaths import Deaths, how_ended
from kdharness.runtime.jobs import Jobs
from kdharness.runtime.news import name_of
from kdharness.runtime.progress import Progress


class Rescue:
    """Frees what the dead hold, and says so; a run that has died `attempts` times without progress is failed."""

    def __init__(self, store: Store, study: str, jobs: Jobs, progress: Progress, attempts: int) -> None:
        self._store = store
        self._study = study
        self._jobs = jobs
        self._deaths = Deaths(jobs)
        self._progress = progress
        self._attempts = attempts

    def free(self, queue: list[QueueRow], ended: Mapping[str, int]) -> list[QueueRow]:
        """The queue thereafter; `ended` are the exit codes of our own jobs' runs."""
        ours = [handle.pid for handle in self._jobs.by_slot.values()]  # a death among them is not collected yet

        def lives(owner: Owner) -> bool:
            return is_alive(owner) or any(is_child(owner, pid) for pid in ours)

        running = [row for row in queue if row.state == "running"]
        if not any(row.lease_expired or (row.owner is not None and not lives(row.owner)) for row in running):
            return queue
        how = self._deaths.words(ended)
        reaped = self._store.reap(lives, self._attempts, blame=not self._jobs.killed, how=how)
        self._jobs.end({one.run_id: one.owner for one in reaped if one.cause == "expired"})
        queue = self._store.queue(self._study)
        rows = {row.run_id: row for row in queue}
        jobs: dict[Owner, list[Reaped]] = {}
        for one in reaped:
            if one.run_id in rows:  # not another study's
                jobs.setdefault(one.owner, []).append(one)
        for members in jobs.values():
            self._say(members, rows[members[0].run_id], how)
        return queue

    def _say(self, members: Sequence[Reaped], row: QueueRow, how: Mapping[str, str]) -> None:
        """What became of one job; `row` is its first run's."""
        one, beside = members[0], len(members) - 1
        died = how.get(one.run_id, how_ended(None)) if one.cause == "dead" else "fell silent"
        goes_on = f"resuming after epoch {row.epoch}" if row.epoch else "starting over"
        what = f"; {goes_on} (attempt {one.attempts + 1})" if one.state == "waiting" else ""
        if beside and not self._jobs.killed:
            what += ", each in a job of its own until it shows which one it was"
        others = f" and {beside} beside it" if beside else ""
        self._progress.say(f"{name_of(row)}{others}: {'their' if beside else 'its'} job {died}{what}", bad=True)
