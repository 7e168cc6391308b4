"""Watches the runs of a search that prunes prefixes: their values at the rungs, and the end of those it gives up."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, Protocol

from kdharness.results.records import EpochMetric
from kdharness.study.searching.asked import Identity
from kdharness.study.searching.course import Point, Result
from kdharness.study.searching.prefix import Judged, judge
from kdharness.study.searching.record import SearchRecord
from kdharness.study.searching.schedule import scaled


class WatchStore(Protocol):
    """What it needs of the results."""

    def epoch_metrics(self, run_id: str) -> list[EpochMetric]: ...

    def prune_draw(self, study: str, label: str, number: int, epoch: int) -> None: ...

    def prune(self, study: str, run_ids: Sequence[str], message: str) -> int: ...


class Watch:
    """Of one search. `epochs(number, params)` is the length of a draw's schedule."""

    def __init__(
        self,
        record: SearchRecord,
        study: str,
        identity: Identity,
        store: WatchStore,
        epochs: Callable[[int, Mapping[str, Any]], int],
    ) -> None:
        self._record, self._study, self._identity, self._store, self._epochs = record, study, identity, store, epochs
        self._rungs: dict[int, list[int]] = {}
        self._finished: dict[str, dict[int, float]] = {}
        """Values by epoch of runs that have passed the last rung."""
        self._judged: tuple[Any, dict[int, Judged]] = (None, {})

    def judged(self, points: Sequence[Point]) -> list[Point]:
        """The points with what their pruner says of them."""
        values = {point.number: self._at_rungs(point) for point in points}
        news = (values, [point.results for point in points])
        if news != self._judged[0]:  # looked at every second, mostly without any
            self._judged = (news, judge(self._record, self._identity.brackets, points, values))
        found: list[Point] = []
        for point in points:
            one, known = self._judged[1][point.number], point
            if one.rung is not None:
                given_up = {(0, self._record.seeds[0]): Result(True)}
                known = replace(point, results=given_up, pruned_epoch=self._rungs[point.number][one.rung])
            found.append(replace(known, seen=one.seen))
        return found

    def give_up(self, points: Sequence[Point], judged: Sequence[Point]) -> None:
        """End the runs of those that were judged and found wanting."""
        for before, known in zip(points, judged, strict=True):
            if known.pruned_epoch is not None and before.pruned_epoch is None:
                self._give_up(known, known.pruned_epoch, judged)

    def _at_rungs(self, point: Point) -> list[float]:
        """The values at the rungs that its runs on all pairs have reached."""
        if point.number not in self._rungs:
            epochs = self._epochs(point.number, point.params)
            self._rungs[point.number] = [scaled(epochs, Fraction(text)) for text in self._record.rungs[:-1]]
        rungs = self._rungs[point.number]
        runs = [self._values(run_id, rungs[-1]) for run_id in point.run_ids]
        found = []
        for epoch in rungs:
            if not all(epoch in values for values in runs):
                break
            found.append(sum(values[epoch] for values in runs) / len(runs))
        return found

    def _values(self, run_id: str, last: int) -> dict[int, float]:
        """By epoch."""
        if run_id in self._finished:
            return self._finished[run_id]
        metric = self._record.maximize.removesuffix("_last")
        values = {one.epoch: one.value for one in self._store.epoch_metrics(run_id) if one.name == metric}
        if last in values:
            self._finished[run_id] = values
        return values

    def _give_up(self, point: Point, epoch: int, points: Sequence[Point]) -> None:
        """End its runs, but those that another draw of the search goes on with."""
        kept = {run_id for other in points if other.pruned_epoch is None for run_id in other.run_ids}
        ended = [run_id for run_id in dict.fromkeys(point.run_ids) if run_id not in kept]
        self._store.prune(self._study, ended, f"pruned by its search after epoch {epoch}")
        for place in self._record.places.values():
            self._store.prune_draw(self._study, self._identity.name + place, point.number, epoch)
