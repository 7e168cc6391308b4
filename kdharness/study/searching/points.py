"""The points of a search as they stand in the results, whole generations or parts of one."""

from collections.abc import Mapping
from typing import Protocol

from kdharness.results.search_records import Draw, DrawRun
from kdharness.study.searching.course import Point, Result, Training
from kdharness.study.searching.record import SearchRecord

ENDED = frozenset({"complete", "failed", "diverged", "cancelled"})
"""A run that was pruned has not: what one draw gave up, another may want whole."""


class DrawStore(Protocol):
    """What is read of the results."""

    def draws(self, study: str, label: str) -> list[Draw]: ...

    def draw_runs(self, study: str, label: str) -> list[DrawRun]: ...


def read_points(
    store: DrawStore, study: str, name: str, record: SearchRecord
) -> tuple[list[Point], dict[Training, list[str]]]:
    """The stored draws that all search pairs have, in number order; by training its runs that stand still, pruned."""
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
    still: dict[Training, list[str]] = {}
    while len(of := draws.get(len(points), {})) == len(record.pairs):
        draw = of[record.pairs[0]]
        results = {at: _result(runs, record) for at, runs in trainings[draw.number].items()}
        if draw.pruned_epoch is not None:  # whatever its run came to for others
            results[0, first] = Result(True)
        for (rung, seed), runs in trainings[draw.number].items():
            if not results[rung, seed].ended:
                pruned = [run.run_id for run in runs.values() if run.state == "pruned"]
                still[draw.number, rung, seed] = pruned
        points.append(
            Point(
                draw.number,
                draw.generation,
                dict(draw.params),
                results,
                tuple(one.run_id for one in of.values()),
                None if draw.cost is None else sum(one.cost or 0.0 for one in of.values()),
                draw.pruned_epoch,
            )
        )
    return points, still


def _result(runs: Mapping[str, Draw | DrawRun], record: SearchRecord) -> Result:
    """The mean over the pairs; without one where a pair ended without the metric."""
    if len(runs) < len(record.pairs) or any(run.state not in ENDED for run in runs.values()):
        return Result(False)
    values = [run.metrics.get(record.maximize) for run in runs.values() if run.state == "complete"]
    numbers = [value for value in values if value is not None and value == value]
    return Result(True, sum(numbers) / len(numbers) if len(numbers) == len(runs) else None)
