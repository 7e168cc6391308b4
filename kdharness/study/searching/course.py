"""The course of a search as a pure function: from what is known of its points to what is trained next, or who won.

Draws come first, in generations. Where there are rungs, the best of them go on to longer schedules. The best of the
whole schedule are finalists: they are trained again with more seeds, losers are given up on the way, and the winner is
chosen by the repeats alone, in which the luck that made them finalists has no part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kdharness.study.searching.choosing import LEAST_PAIRS, best, losers, winner
from kdharness.study.searching.record import SearchRecord
from kdharness.study.searching.space import distance

Training = tuple[int, int, int]
"""The number of a draw, its rung and its seed."""


@dataclass(frozen=True)
class Result:
    """What a training came to: the mean over the search's pairs."""

    ended: bool
    value: float | None = None
    """None while it goes on, and where one of the pairs ended without the metric."""


@dataclass(frozen=True)
class Point:
    """A draw, and what came of it."""

    number: int
    generation: int
    params: Mapping[str, Any]
    results: Mapping[tuple[int, int], Result]
    """By rung and seed."""
    run_ids: tuple[str, ...] = ()
    """Of its first training, one for each pair."""
    cost: float | None = None
    pruned_epoch: int | None = None
    seen: Mapping[int, float] = field(default_factory=dict)
    """The values at the rungs that a pruner has seen, by step."""


@dataclass(frozen=True)
class Dropped:
    """A draw that was given up before its end: in sight, and in no mean."""

    number: int
    why: str
    n: int
    """Trainings that it was judged by."""


@dataclass(frozen=True)
class Stand:
    """Where a search stands."""

    needed: tuple[Training, ...]
    """Everything that its points are trained for so far, finished or not."""
    is_open: bool = False
    """Some of it has not ended: nothing is compared before."""
    wants_draws: bool = False
    finalists: tuple[int, ...] = ()
    repeats: Mapping[int, tuple[float, ...]] | None = None
    """Of the finalists that were not dropped, by the seeds of the repeat."""
    dropped: tuple[Dropped, ...] = ()
    winner: int | None = None

    @property
    def is_done(self) -> bool:
        return not self.is_open and not self.wants_draws


def stand(record: SearchRecord, points: Sequence[Point]) -> Stand:
    """Where the search stands whose first points these are, in number order."""
    return _Course(record, points[: record.draws]).follow()


class _Course:
    def __init__(self, record: SearchRecord, points: Sequence[Point]) -> None:
        self.record = record
        self.points = {point.number: point for point in points}
        self.needed: list[Training] = []
        self.dropped: list[Dropped] = []

    def follow(self) -> Stand:
        record, first = self.record, self.record.seeds[0]
        alive = list(self.points)
        if not self._have(alive, 0, [first]):
            return self._so_far(is_open=True)
        if len(alive) < record.draws:
            return self._so_far(wants_draws=True)
        alive = self._with_value(alive, 0, [first])
        for rung, keep in enumerate(record.trained_at[1:], 1):
            alive = self._climb(alive, rung, keep)
            if not self._have(alive, rung, [first]):
                return self._so_far(is_open=True)
            alive = self._with_value(alive, rung, [first])
        last = len(record.fractions) - 1
        reached = {number: self._value(number, last, first) for number in alive}
        if len(record.seeds) == 1:
            found = best(reached, 1)
            return self._so_far(finalists=tuple(found), winner=found[0] if found else None)
        return self._repeat(best(reached, record.keep), last)

    def _climb(self, alive: Sequence[int], rung: int, keep: int) -> list[int]:
        seed = self.record.seeds[0]
        going = best({number: self._value(number, rung - 1, seed) for number in alive}, keep)
        why = f"not among the best {keep} at {self.record.rungs[rung - 1]} of the schedule"
        self.dropped += [Dropped(number, why, rung) for number in alive if number not in going]
        return going

    def _repeat(self, finalists: list[int], rung: int) -> Stand:
        """Rounds of one seed each; the first together, as no loser can be known before."""
        seeds, alive = self.record.seeds[1:], finalists
        for rounds in range(min(LEAST_PAIRS, len(seeds)), len(seeds) + 1):
            if not self._have(alive, rung, seeds[:rounds]):
                return self._so_far(is_open=True, finalists=tuple(finalists))
            alive = self._with_value(alive, rung, seeds[:rounds])
            if rounds < len(seeds):
                lost = losers(self._repeats(alive, rung, seeds[:rounds]))
                why = "its seeds are worse than the leader's (Wilcoxon)"
                self.dropped += [Dropped(number, why, rounds) for number in lost]
                alive = [number for number in alive if number not in lost]
        repeats = self._repeats(alive, rung, seeds)
        far = {
            number: distance(self.record.ranges, self.points[number].params, self.record.paper) for number in repeats
        }
        chosen = winner(repeats, far) if repeats else None
        return self._so_far(finalists=tuple(finalists), repeats=repeats, winner=chosen)

    def _have(self, numbers: Sequence[int], rung: int, seeds: Sequence[int]) -> bool:
        """Ask for the trainings; whether all of them have ended."""
        asked = [(number, rung, seed) for seed in seeds for number in numbers]
        self.needed += [one for one in asked if one not in self.needed]
        return all(self._result(*one).ended for one in asked)

    def _with_value(self, numbers: Sequence[int], rung: int, seeds: Sequence[int]) -> list[int]:
        """Those with a value at every seed; the others are dropped."""
        kept = []
        for number in numbers:
            point, values = self.points[number], [self._result(number, rung, seed).value for seed in seeds]
            if rung == 0 and point.pruned_epoch is not None:
                self.dropped.append(Dropped(number, f"pruned after epoch {point.pruned_epoch}", 1))
            elif None in values:
                self.dropped.append(Dropped(number, f"no {self.record.maximize}", rung + len(seeds)))
            else:
                kept.append(number)
        return kept

    def _repeats(self, numbers: Sequence[int], rung: int, seeds: Sequence[int]) -> dict[int, tuple[float, ...]]:
        return {number: tuple(self._value(number, rung, seed) for seed in seeds) for number in numbers}

    def _result(self, number: int, rung: int, seed: int) -> Result:
        return self.points[number].results.get((rung, seed), Result(False))

    def _value(self, number: int, rung: int, seed: int) -> float:
        value = self._result(number, rung, seed).value
        assert value is not None  # `_with_value` has let it through
        return value

    def _so_far(self, **known: Any) -> Stand:
        return Stand(tuple(self.needed), dropped=tuple(self.dropped), **known)
