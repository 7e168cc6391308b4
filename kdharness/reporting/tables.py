"""From the tidy frame to a table: cells of one setting each, ranks, differences, and what must be said about them."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kdharness.core.errors import BadInput
from kdharness.core.records import TableSpec
from kdharness.reporting import names, statistics, wording
from kdharness.reporting.placing import Entry, Layout, Place, Side, at_variant, entry_name, variants
from kdharness.reporting.runs import TEACHER_METRIC, Run, metric_of, read
from kdharness.reporting.table import Cell, Delta, Head, Mark, Table, TeacherHead

if TYPE_CHECKING:
    import pandas as pd

EQUAL = 1e-9
"""Means nearer than this are the same mean: sums of the same counts in another order."""

Keyed = dict[tuple[str, str, str], tuple[Place, list[Run]]]
Cells = dict[tuple[str, str, str], Cell]


def build_table(frame: "pd.DataFrame", spec: TableSpec) -> Table:
    """The table that `spec` asks of the frame of one or several studies, finished or not.

    A cell holds the runs of one setting taught by one teacher's weights; where several would meet, the row is split
    by what differs. Raises BadInput for a metric, side or baseline that is not there, and for best-val over final runs.
    """
    metric, purpose = metric_of(spec, frame)
    runs = read(frame[frame["purpose"] == purpose], metric)
    taught = read(frame[frame["purpose"] == "teacher"], TEACHER_METRIC, keep_excluded=True)
    teachers = {run.run_id: run for run in taught}
    shown = _distinct(runs)
    if not shown:
        raise BadInput(f"no {purpose} runs to show", where=", ".join(sorted({str(study) for study in frame["study"]})))
    keyed = _split(shown, Layout(spec, shown))
    lower = names.lower_is_better(metric)
    places = {key: place for key, (place, _) in keyed.items()}
    baseline = _baseline(spec.baseline, keyed)
    cells = _compare({key: _cell(place, group) for key, (place, group) in keyed.items()}, keyed, baseline, lower)
    cells = _rank(cells, places, lower)
    cells, footnotes = wording.footnotes(cells, {key: group for key, (_, group) in keyed.items()}, teachers)
    rows = _heads([(place.panel, place.row, group) for place, group in keyed.values()], "rows", spec, teachers)
    columns = _heads(
        [(Side("", "", ()), place.column, group) for place, group in keyed.values()], "columns", spec, teachers
    )
    row_at = {(head.panel, head.name): index for index, head in enumerate(rows)}
    column_at = {head.name: index for index, head in enumerate(columns)}
    table = Table(
        title=spec.title or wording.title(shown, metric, spec),
        metric=metric,
        select=spec.select,
        dataset=", ".join(sorted({run.dataset for run in shown})),
        rows=tuple(rows),
        columns=tuple(columns),
        cells={(row_at[cell.panel, cell.row], column_at[cell.column]): cell for cell in cells.values()},
        baseline=entry_name(baseline) if baseline else None,
        footnotes=footnotes,
        missing="" if statistics.available() else statistics.MISSING,
        lower_is_better=lower,
        decimals=2 if names.is_percent(metric) else 4,
    )
    return replace(table, caption=wording.caption(table, shown, purpose, spec))


def _distinct(runs: Sequence[Run]) -> list[Run]:
    """Without the second appearance of a run that several studies ask for at the same place."""
    seen: dict[tuple[Any, ...], Run] = {}
    for run in runs:
        seen.setdefault((run.run_id, run.label, run.pair, tuple(run.axes.items())), run)
    return list(seen.values())


def _split(runs: Sequence[Run], layout: Layout) -> Keyed:
    """Runs by (panel, row, column), each group of one setting and one teacher's weights."""
    together: dict[tuple[str, str, str], dict[str, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        place = layout.place(run)
        together[place.panel.name, place.row.name, place.column.name][run.setting_key].append(run)
    keyed: Keyed = {}
    for settings in together.values():
        buckets = [bucket for same in settings.values() for bucket in _by_teacher_weights(same)]
        texts = variants(buckets) if len(buckets) > 1 else [""]
        for bucket, text in zip(buckets, texts, strict=True):
            place = at_variant(layout.place(bucket[0]), layout, bucket[0], text)
            keyed[place.panel.name, place.row.name, place.column.name] = (
                place,
                sorted(bucket, key=lambda run: run.seed),
            )
    return keyed


def _by_teacher_weights(runs: Sequence[Run]) -> list[list[Run]]:
    """One setting's runs by the weights they were fed; runs that were fed none yet join the largest group."""
    groups: dict[str, list[Run]] = defaultdict(list)
    unfed: list[Run] = []
    for run in runs:
        (groups[run.teacher_sha256] if run.teacher_sha256 else unfed).append(run)
    if not groups:
        return [unfed]
    largest = max(groups.values(), key=len)
    largest.extend(unfed)
    return list(groups.values())


def _cell(place: Place, runs: Sequence[Run]) -> Cell:
    finished = [(run.value, run) for run in runs if run.value is not None]
    values = tuple(value for value, _ in finished)
    return Cell(
        row=place.row.name,
        column=place.column.name,
        panel=place.panel.name,
        setting_key=runs[0].setting_key,
        values=values,
        seeds=tuple(run.seed for _, run in finished),
        runs=tuple(run.run_id for _, run in finished),
        wanted_runs=tuple(run.run_id for run in runs),
        mean=statistics.mean(values),
        std=statistics.std(values),
        interval=statistics.interval(values),
        states=dict(Counter(run.standing for run in runs)),
    )


def _baseline(named: str | None, keyed: Keyed) -> Entry | None:
    """The entry that differences are measured from: the named one, else the student trained alone.

    Raises BadInput when the name fits no entry or several.
    """
    entries = {place.entry: group[0] for place, group in keyed.values()}
    if named is None:
        alone = [entry for entry, run in entries.items() if run.distiller == "none"]
        return alone[0] if len(alone) == 1 else None
    for fits in (
        [entry for entry in entries if entry_name(entry) == named],
        [entry for entry in entries if entry.label.casefold() == named.casefold()],
        [entry for entry, run in entries.items() if run.distiller.casefold() == named.casefold()],
    ):
        if len(fits) == 1:
            return fits[0]
        if fits:
            raise BadInput(
                f"the baseline {named!r} names several rows", remedy="Name one: " + ", ".join(map(entry_name, fits))
            )
    raise BadInput(f"no row is the baseline {named!r}", remedy="Rows: " + ", ".join(map(entry_name, entries)))


def _compare(cells: Cells, keyed: Keyed, baseline: Entry | None, lower: bool) -> Cells:
    """The cells with their differences to the baseline and to the row that theirs names."""
    at = {(place.entry, place.rest): cells[key] for key, (place, _) in keyed.items()}
    entries = list(dict.fromkeys(place.entry for place, _ in keyed.values()))
    compared: Cells = {}
    for key, (place, group) in keyed.items():
        cell, base = cells[key], None
        if baseline is not None and place.entry != baseline:
            base = at.get((baseline, place.rest))
        other = _against(place.entry, group[0].against, entries)
        compared[key] = replace(
            cell,
            delta=_delta(cell, base, entry_name(baseline) if baseline else "", lower),
            p_value=statistics.welch(cell.values, base.values) if base else None,
            against=_delta(cell, at.get((other, place.rest)), entry_name(other), lower) if other else None,
        )
    return compared


def _against(entry: Entry, label: str | None, entries: Sequence[Entry]) -> Entry | None:
    """The entry called `label`; of several the one at the same axis values."""
    if label is None:
        return None
    fits = [other for other in entries if other.label == label and other != entry]
    same = [other for other in fits if other.axes == entry.axes]
    return fits[0] if len(fits) == 1 else same[0] if len(same) == 1 else None


def _delta(cell: Cell, base: Cell | None, to: str, lower: bool) -> Delta | None:
    if base is None or cell.mean is None or base.mean is None:
        return None
    value = cell.mean - base.mean
    if abs(value) < EQUAL:
        return Delta(0.0, to, None)
    return Delta(value, to, (value < 0) == lower)


def _rank(cells: Cells, places: Mapping[tuple[str, str, str], Place], lower: bool) -> Cells:
    """The cells with the best and the second of each place marked, among complete cells, on unrounded means."""
    contest: dict[tuple[str, ...], list[tuple[str, str, str]]] = defaultdict(list)
    for key, cell in cells.items():
        if cell.complete and cell.mean is not None:
            contest[places[key].rest].append(key)
    marked = dict(cells)
    for keys in contest.values():
        scores = {key: (cells[key].mean or 0.0) * (-1 if lower else 1) for key in keys}
        levels = sorted(scores.values(), reverse=True)
        best = levels[0]
        second = next((level for level in levels if level < best - EQUAL), None)
        if second is None:
            continue  # one cell, or all the same: nothing to choose
        for key, score in scores.items():
            mark: Mark | None = "best" if score >= best - EQUAL else "second" if score >= second - EQUAL else None
            marked[key] = replace(cells[key], mark=mark)
    return marked


def _heads(
    placed: Sequence[tuple[Side, Side, list[Run]]], side: str, spec: TableSpec, teachers: Mapping[str, Run]
) -> list[Head]:
    """The distinct heads of one side in order, each with what all of its runs say."""
    order: dict[tuple[str, str], Any] = {}
    runs: dict[tuple[str, str], list[Run]] = defaultdict(list)
    sides: dict[tuple[str, str], tuple[Side, Side]] = {}
    for panel, coordinate, group in placed:
        key = (panel.name, coordinate.name)
        order[key] = min((panel.order, coordinate.order), order.get(key, (panel.order, coordinate.order)))
        sides[key] = (panel, coordinate)
        runs[key].extend(group)
    what = spec.rows if side == "rows" else spec.columns
    return [
        Head(
            name=sides[key][1].name,
            printed=sides[key][1].printed,
            panel=sides[key][0].name,
            group=runs[key][0].group if what == "distiller" else None,
            ours=what == "distiller" and runs[key][0].ours,
            against=runs[key][0].against if what == "distiller" else None,
            teacher=_teacher(runs[key], teachers) if what in ("pair", "teacher") else None,
        )
        for key in sorted(order, key=lambda key: order[key])
    ]


def _teacher(runs: Sequence[Run], teachers: Mapping[str, Run]) -> TeacherHead | None:
    """The teacher of a pair with its accuracy; without one where the pair's rows had teachers of different settings."""
    name = next((run.teacher for run in runs if run.teacher), None)
    if name is None:
        return None
    ids = sorted({run.teacher_run_id for run in runs if run.teacher_run_id})
    if len(ids) == 1 and "+" in ids[0]:
        members = [(run_id, teachers.get(run_id)) for run_id in ids[0].split(" + ")]
        each = tuple(member.value if member is not None else None for _, member in members)
        imported = any(member is not None and member.distiller == "imported" for _, member in members)
        return TeacherHead(name, None, tuple(run_id for run_id, _ in members), imported, each)
    known = [teachers[run_id] for run_id in ids if run_id in teachers]
    one_setting = len({teacher.setting_key for teacher in known}) == 1
    values = [teacher.value for teacher in known if teacher.value is not None] if one_setting else []
    imported = any(teacher.distiller == "imported" for teacher in known)
    return TeacherHead(name, statistics.mean(values), tuple(ids), imported)
