"""Who is best: marks in the cells, mean ranks over pairs, and the tests behind both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kdharness.core.records import TableSpec
from kdharness.reporting import statistics
from kdharness.reporting.cells import Cells, Groups, Key
from kdharness.reporting.comparing import EQUAL, contests, p_value
from kdharness.reporting.placing import Entry
from kdharness.reporting.table import Mark


def rank(cells: Cells, groups: Groups, spec: TableSpec, *, paired: bool) -> Cells:
    """The cells with the best and the second of each place marked, among complete cells, on unrounded means.

    With `bold: indistinguishable` everything is marked best that a test does not tell from the best.
    """
    marked = dict(cells)
    level: dict[Key, float] = {}
    for keys in contests(cells, groups):
        scores = _scores(keys, cells, groups)
        levels = sorted(scores.values(), reverse=True)
        best = max(levels, default=0.0)
        second = next((level for level in levels if level < best - EQUAL), None)
        if second is None:
            continue  # one cell, or all the same: nothing to choose
        for key, score in scores.items():
            mark: Mark | None = "best" if score >= best - EQUAL else "second" if score >= second - EQUAL else None
            if mark is not None:
                marked[key] = cells[key]._replace(mark=mark)
        if spec.bold == "best":
            continue
        winner = max(scores, key=lambda key: scores[key])
        for key in keys:
            p = p_value(cells[key], cells[winner], paired=paired) if key != winner else None
            level |= {key: p} if p is not None else {}
    adjusted = statistics.benjamini_hochberg(list(level.values()))
    for key, q_value in zip(level, adjusted, strict=True):
        if q_value >= 0.05:
            marked[key] = marked[key]._replace(mark="best")
    return marked


@dataclass(frozen=True)
class Ranks:
    """Mean ranks of entries over the places that all of them have, rank 1 being the best."""

    mean: Mapping[Entry, float]
    places: int
    p_value: float | None
    """Of Friedman's test that all entries are alike; None below three entries or two places."""
    critical: float | None
    """Nemenyi's: mean ranks further apart differ at 0.05."""


def mean_ranks(cells: Cells, groups: Groups) -> Ranks | None:
    """Over the places at which every entry has a complete cell; None where there is none, or one entry only.

    Entries that show the same runs everywhere are one.
    """
    shown: dict[Entry, list[tuple[str, ...]]] = {}
    for key, cell in cells.items():
        shown.setdefault(groups[key].place.entry, []).append(cell.wanted_runs)
    first: dict[frozenset[tuple[str, ...]], Entry] = {}
    stands_for = {entry: first.setdefault(frozenset(runs), entry) for entry, runs in shown.items()}
    entries = list(first.values())
    found = [scores for keys in contests(cells, groups) if len(scores := _by_entry(keys, cells, groups)) == len(shown)]
    if len(entries) < 2 or not found:
        return None
    table = [_ranks([scores[entry] for entry in entries]) for scores in found]
    mean = {entry: statistics.mean([ranks[index] for ranks in table]) or 0.0 for index, entry in enumerate(entries)}
    every = {entry: mean[other] for entry, other in stands_for.items()}
    return Ranks(every, len(found), statistics.friedman(table), statistics.nemenyi(len(entries), len(found)))


def _by_entry(keys: Sequence[Key], cells: Cells, groups: Groups) -> dict[Entry, float]:
    return {groups[key].place.entry: score for key, score in _scores(keys, cells, groups).items()}


def _scores(keys: Sequence[Key], cells: Cells, groups: Groups) -> dict[Key, float]:
    """Means, signed so that larger is better; without those of a metric that has no better end."""
    return {
        key: (cells[key].mean or 0.0) * (-1 if groups[key].lower_is_better else 1)
        for key in keys
        if groups[key].has_direction
    }


def _ranks(scores: Sequence[float]) -> list[float]:
    """1 for the largest; equal scores share the mean of their ranks."""
    above = [sum(other > score + EQUAL for other in scores) for score in scores]
    level = [sum(abs(other - score) <= EQUAL for other in scores) for score in scores]
    return [1 + more + (same - 1) / 2 for more, same in zip(above, level, strict=True)]
