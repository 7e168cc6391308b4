"""How far a study is and how long it will take: read from the store, for the eyes of a person."""

import time
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from kdharness.results.records import QueueRow
from kdharness.results.store import Store
from kdharness.runtime.news import method_of
from kdharness.runtime.planner import Plan
from kdharness.runtime.progress import RunLine, Snapshot

_START_SECONDS = 3.0
"""A process, its imports and its first batch."""


@dataclass(frozen=True)
class _Speed:
    loss: float | None = None
    accuracy: float | None = None
    images: float | None = None
    """Trained on in an epoch."""
    epoch_seconds: float | None = None


class Outlook:
    """Turns queue rows into snapshots; remembers how long an epoch of each method and pair took."""

    def __init__(self, store: Store, slots: int) -> None:
        self._store = store
        self._slots = slots
        self._started = time.monotonic()
        self._epoch_seconds: dict[tuple[str, str], float] = {}

    @property
    def elapsed_seconds(self) -> float:
        return time.monotonic() - self._started

    def snapshot(self, queue: Sequence[QueueRow], plan: Plan, ours: AbstractSet[str]) -> Snapshot:
        """The study now, with a line for each of our jobs."""
        jobs: dict[str, list[QueueRow]] = {}
        for row in queue:
            if row.run_id in ours and row.state == "running":
                jobs.setdefault(row.slot or "", []).append(row)
        lines = [self._line(slot, rows) for slot, rows in jobs.items()]
        live = [row for row in queue if row.state in ("waiting", "running") and row.run_id not in plan.blocked]
        counted = [*(row for row in queue if row.state == "complete"), *live]
        epochs = sum(row.epochs for row in counted)
        done = sum(row.epochs if row.state == "complete" else row.epoch for row in counted)
        return Snapshot(
            total=len(queue),
            complete=sum(row.state == "complete" for row in queue),
            failed=sum(row.state in ("failed", "diverged") for row in queue),
            blocked=len(plan.blocked),
            fraction=done / epochs if epochs else 1.0,
            elapsed_seconds=self.elapsed_seconds,
            eta_seconds=eta(live, self._epoch_seconds, self._slots),
            running=tuple(sorted(lines, key=lambda line: line.slot)),
        )

    def _line(self, slot: str, rows: Sequence[QueueRow]) -> RunLine:
        speeds = {row.run_id: self._speed(row) for row in rows if row.epoch}
        for row in rows:
            if row.run_id in speeds and (seconds := speeds[row.run_id].epoch_seconds) is not None:
                self._epoch_seconds[row.label, row.pair] = seconds
        shown = min(rows, key=lambda row: row.epoch)
        speed = speeds.get(shown.run_id, _Speed())
        timed = [(one.images, one.epoch_seconds) for one in speeds.values() if one.images and one.epoch_seconds]
        return RunLine(
            slot=slot,
            run_id=shown.run_id,
            label=method_of(shown),
            pair=shown.pair,
            seed=shown.seed,
            epoch=shown.epoch,
            epochs=shown.epochs,
            loss=speed.loss,
            accuracy=speed.accuracy,
            images_per_second=sum(images for images, _ in timed) / sum(each for _, each in timed) if timed else None,
            beside=len(rows) - 1,
        )

    def _speed(self, row: QueueRow) -> _Speed:
        """What the run's last epoch measured on its training images."""
        metrics = {
            metric.name: metric.value
            for metric in self._store.epoch_metrics(row.run_id)
            if metric.epoch == row.epoch and metric.name.startswith("train_")
        }
        seconds = metrics.get("train_seconds")
        images = None
        if seconds:
            run = self._store.run(row.run_id)
            images = run.step / max(run.epoch, 1) * run.setting.recipe.batch_size
        return _Speed(metrics.get("train_loss"), metrics.get("train_top1"), images, seconds)


def eta(live: Sequence[QueueRow], epoch_seconds: dict[tuple[str, str], float], slots: int) -> float | None:
    """Seconds until the unfinished runs `live` are done on `slots`; None while no epoch has been timed.

    A method and pair that has not been timed is taken for the mean of those that have.
    """
    if not live:
        return 0.0
    if not epoch_seconds:
        return None
    mean = sum(epoch_seconds.values()) / len(epoch_seconds)
    each = [
        (row.epochs - row.epoch) * epoch_seconds.get((row.label, row.pair), mean)
        + (_START_SECONDS if row.state == "waiting" else 0.0)
        for row in live
    ]
    return max(sum(each) / min(slots, len(each)), max(each))
