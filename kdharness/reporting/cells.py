"""Runs become cells: each of one setting, one purpose, one teacher's weights and one metric."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from kdharness.reporting import names, statistics
from kdharness.reporting.placing import Layout, Place, at_variant, variants
from kdharness.reporting.runs import Run
from kdharness.reporting.table import Cell

Key = tuple[str, str, str]
"""Panel, row and column by name."""


class Group(NamedTuple):
    """The runs of one cell, by seed."""

    place: Place
    metric: str
    runs: tuple[Run, ...]
    plain: bool = False
    """A cost: compared with nothing."""

    @property
    def has_direction(self) -> bool:
        return not self.plain and names.has_direction(self.metric)

    @property
    def lower_is_better(self) -> bool:
        return names.lower_is_better(self.metric)


Groups = dict[Key, Group]
Cells = dict[Key, Cell]


def alike(runs: Iterable[Run]) -> list[list[Run]]:
    """The seeds of each setting under one label of a study, for one pair: what shares a place.

    Without the second appearance of a run that several studies ask for at the same place.
    """
    found: dict[tuple[str, str, str, str], list[Run]] = defaultdict(list)
    for run in runs:
        found[run.study, run.label, run.pair, run.setting_key].append(run)
    seen: dict[tuple[Any, ...], set[str]] = defaultdict(set)
    several = len({study for study, *_ in found}) > 1
    for (_, *same), seeds in found.items() if several else ():
        shown = seen[(*same, *seeds[0].axes.items())]
        seeds[:] = [run for run in seeds if run.run_id not in shown]
        shown.update(run.run_id for run in seeds)
    return [seeds for seeds in found.values() if seeds]


def split(runs: Sequence[Sequence[Run]], layout: Layout, metric: str, *, plain: bool = False) -> Groups:
    """Alike runs by panel, row and column; where several settings would meet, each gets a row of its own."""
    together: dict[Key, dict[str, list[Run]]] = defaultdict(lambda: defaultdict(list))
    places: dict[tuple[str, str, str, str], Place] = {}
    for seeds in runs:
        first = seeds[0]
        place = layout.place(first, metric)
        places[first.study, first.label, first.pair, first.setting_key] = place
        together[place.panel.name, place.row.name, place.column.name][first.setting_key] += seeds
    groups: Groups = {}
    for settings in together.values():
        buckets = [bucket for those in settings.values() for bucket in _by_weights(those, layout.spec.strict_numerics)]
        texts = variants(buckets) if len(buckets) > 1 else [""]
        for bucket, text in zip(buckets, texts, strict=True):
            place = places[bucket[0].study, bucket[0].label, bucket[0].pair, bucket[0].setting_key]
            place = at_variant(place, layout, bucket[0], text, metric)
            key = place.panel.name, place.row.name, place.column.name
            groups[key] = Group(place, metric, tuple(sorted(bucket, key=attrgetter("seed"))), plain)
    return groups


def _by_weights(runs: Sequence[Run], by_numerics: bool) -> list[list[Run]]:
    """One setting's runs by the weights they were fed (and by numerics); those without yet join the largest group."""
    if not by_numerics and len({run.teacher_sha256 for run in runs} - {None}) < 2:
        return [list(runs)]
    groups: dict[tuple[str, str], list[Run]] = defaultdict(list)
    waiting: list[Run] = []
    for run in runs:
        split_by = (run.numerics_key or "") if by_numerics else ""
        known = run.state == "complete" if by_numerics else run.teacher_sha256 is not None
        if known:
            groups[run.teacher_sha256 or "", split_by].append(run)
        else:
            waiting.append(run)
    for run in waiting:  # where it will belong by all that is known of it
        fits = [key for key in groups if run.teacher_sha256 is None or key[0] == run.teacher_sha256]
        groups[max(fits, key=lambda key: len(groups[key])) if fits else (run.teacher_sha256 or "", "")].append(run)
    return list(groups.values())


def cell(group: Group) -> Cell:
    """The numbers of a group's finished runs."""
    finished = [(run.value, run) for run in group.runs if run.value is not None]
    values = tuple(value for value, _ in finished)
    return Cell(
        row=group.place.row.name,
        column=group.place.column.name,
        panel=group.place.panel.name,
        setting_key=group.runs[0].setting_key,
        values=values,
        seeds=tuple(run.seed for _, run in finished),
        runs=tuple(run.run_id for _, run in finished),
        wanted_runs=tuple(run.run_id for run in group.runs),
        mean=statistics.mean(values),
        std=statistics.std(values),
        interval=statistics.interval(values),
        metric=group.metric,
        plain=group.plain,
        decimals=names.decimals(group.metric),
        states=dict(Counter([run.standing for run in group.runs])),
    )
