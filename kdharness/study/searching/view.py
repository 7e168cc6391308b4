"""A study's searches as a person looks at them, read from the results alone: no study file, no images, no plug-in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdharness.core.errors import BadInput
from kdharness.results.search_records import SearchRow
from kdharness.results.store import Store
from kdharness.study.searching.choosing import front
from kdharness.study.searching.course import Dropped, Point, stand
from kdharness.study.searching.expected import expected_best
from kdharness.study.searching.importance import importance
from kdharness.study.searching.points import read_points
from kdharness.study.searching.record import SearchRecord


@dataclass(frozen=True)
class Shown:
    """One draw."""

    number: int
    params: Mapping[str, Any]
    value: float | None
    """Of its first training, on the shortest schedule."""
    whole: float | None
    """On the whole schedule."""
    cost: float | None
    repeats: tuple[float, ...]


@dataclass(frozen=True)
class SearchView:
    """One search: what was asked, what came of it, and what it says of the constants."""

    name: str
    record: SearchRecord
    draws: tuple[Shown, ...]
    finished: int
    """Draws whose first training has ended."""
    winner: int | None
    dropped: tuple[Dropped, ...]
    importance: Mapping[str, float]
    """By constant, summing to 1; empty where there are too few values."""
    front: tuple[int, ...]
    """Draws that nobody beats in accuracy without a costlier student, by rising cost."""
    expected: tuple[float, ...]
    """Expected best value of the first training for budgets of 1, 2, ... draws."""

    @property
    def row(self) -> str:
        """Its label, and the point of its axes."""
        axes = ", ".join(f"{name}={value}" for name, value in self.record.axes.items())
        return f"{self.record.label}{f' ({axes})' if axes else ''}"

    @property
    def title(self) -> str:
        return f"{self.row}, {', '.join(self.record.pairs)}"

    @property
    def best(self) -> tuple[Shown, ...]:
        """The draws by their value on the whole schedule, those without one by their first, after them."""
        ended = [one for one in self.draws if one.value is not None]
        return tuple(sorted(ended, key=lambda one: (one.whole is None, -(one.whole or one.value or 0.0), one.number)))

    def slices(self, bins: int = 4) -> dict[str, list[tuple[str, int, float, float]]]:
        """By constant: part of its range, draws in it, their mean value and their best; choices one by one."""
        return {name: _slice(self, name, bins) for name in self.record.ranges}


def search_views(store: Store, study: str, label: str | None = None) -> list[SearchView]:
    """Those that the study's file asks for. Raises BadInput for an unknown study or row, and where there is none."""
    searches = [one for one in store.searches(study) if one.asked]
    if not searches:
        raise BadInput(f"the study {study!r} has no search", remedy="`kdharness run` draws what a range leaves open")
    labels = list(dict.fromkeys(str(one.spec["label"]) for one in searches))
    if label is not None and label not in labels:
        raise BadInput(f"no row {label!r} is searched", remedy="Rows: " + ", ".join(labels))
    return [_view(store, study, one) for one in searches if label in (None, one.spec["label"])]


def _view(store: Store, study: str, row: SearchRow) -> SearchView:
    record = SearchRecord.model_validate(row.spec)
    points, _ = read_points(store, study, row.name, record)
    points = points[: record.draws]
    now = stand(record, points)
    first = record.seeds[0]
    values = {point.number: value for point in points if (value := _value(point, 0, first)) is not None}
    costs = {point.number: (values[point.number], point.cost or 0.0) for point in points if point.number in values}
    return SearchView(
        name=row.name,
        record=record,
        draws=tuple(_shown(record, point) for point in points),
        finished=sum(point.results[0, first].ended for point in points),
        winner=now.winner,
        dropped=now.dropped,
        importance=importance(record, [point for point in points if point.number in values]),
        front=tuple(front(costs)),
        expected=tuple(expected_best([values[number] for number in sorted(values)])),
    )


def _value(point: Point, rung: int, seed: int) -> float | None:
    result = point.results.get((rung, seed))
    return result.value if result is not None else None


def _shown(record: SearchRecord, point: Point) -> Shown:
    last, (first, *more) = len(record.fractions) - 1, record.seeds
    repeats = [_value(point, last, seed) for seed in more]
    return Shown(
        point.number,
        point.params,
        _value(point, 0, first),
        _value(point, last, first),
        point.cost,
        tuple(value for value in repeats if value is not None),
    )


def _slice(view: SearchView, name: str, bins: int) -> list[tuple[str, int, float, float]]:
    """Equal parts of the values that were drawn, in their order."""
    drawn = [(one.params[name], one.value) for one in view.draws if one.value is not None and name in one.params]
    found: list[tuple[str, Sequence[float]]] = []
    if any(isinstance(value, str | bool | None) for value, _ in drawn):
        for choice in dict.fromkeys(value for value, _ in drawn):
            found.append((str(choice), [score for value, score in drawn if value == choice]))
    else:
        drawn.sort()
        size = max(1, -(-len(drawn) // bins))
        for start in range(0, len(drawn), size):
            part = drawn[start : start + size]
            ends = dict.fromkeys((f"{part[0][0]:.4g}", f"{part[-1][0]:.4g}"))
            found.append((" to ".join(ends), [score for _, score in part]))
    return [(text, len(scores), sum(scores) / len(scores), max(scores)) for text, scores in found]
