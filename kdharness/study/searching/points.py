"""The points of a search as they stand in the results, whole generations or parts of one."""

from collections.abc import Mapping
from typing import Protocol

from kdharness.core.records import State
from kdharness.results.records import Draw, DrawRun
from kdharness.study.searching.course import Point, Result
from kdharness.study.searching.record import SearchRecord

ENDED = frozenset({"complete", "failed", "diverged", "cancelled", "pruned"})


class DrawStore(Protocol):
    """What is read of the results."""

    def draws(self, study: str, label: str) -> list[Draw]: ...

    def draw_runs(self, study: str, label: str) -> list[DrawRun]: ...


def read_points(
    store: DrawStore, study: str, name: str, record: SearchRecord
) -> tuple[list[Point], dict[int, dict[str, State]]]:
    """The stored draws that all search pairs have, in number order; by number the states of their first runs."""
    first = record.seeds[0]
    draws: dict[int, dict[str, Draw]] = {}
    trainings: dict[int, dict[tuple[int, int], dict[str, Draw | DrawRun]]] = {}
    for pair, place in record.places.items():
        for draw in store.draws(study, name + place):
            draws.setdefault(draw.number, {})[pair] = draw
            trainings.setdefault(draw.number, {}).setdefault((0, first), {})[pair] = draw
        for run in store.draw_runs(study, name + place):
            trainings.setdefault(run.number, {}).setdefault((run.rung, run.seed), {})[pair] = run
    points: list[Point] = []
    states: dict[int, dict[str, State]] = {}
    while len(of := draws.get(len(points), {})) == len(record.pairs):
        draw = of[record.pairs[0]]
        states[draw.number] = {one.run_id: one.state for one in of.values()}
        points.append(
            Point(
                draw.number,
                draw.generation,
                dict(draw.params),
                {at: _result(runs, record) for at, runs in trainings[draw.number].items()},
                tuple(one.run_id for one in of.values()),
                None if draw.cost is None else sum(one.cost or 0.0 for one in of.values()),
                draw.pruned_epoch,
            )
        )
    return points, states


def _result(runs: Mapping[str, Draw | DrawRun], record: SearchRecord) -> Result:
    """The mean over the pairs; without one where a pair ended without the metric."""
    if len(runs) < len(record.pairs) or any(run.state not in ENDED for run in runs.values()):
        return Result(False)
    values = [run.metrics.get(record.maximize) for run in runs.values() if run.state == "complete"]
    numbers = [value for value in values if value is not None and value == value]
    return Result(True, sum(numbers) / len(numbers) if len(numbers) == len(runs) else None)
