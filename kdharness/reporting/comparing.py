"""Differences between rows: to the baseline with its test, and to the row that each names."""

from collections.abc import Sequence
from dataclasses import replace

from kdharness.core.errors import BadInput
from kdharness.reporting import statistics
from kdharness.reporting.cells import Cells, Groups, Key
from kdharness.reporting.placing import Entry, entry_name
from kdharness.reporting.table import Cell, Delta

EQUAL = 1e-9
"""Means nearer than this are the same mean: sums of the same counts in another order."""

ENOUGH = 5
"""Runs on each side below which no star is given: with fewer, a difference that shows is a chance find."""


def baseline_of(named: str | None, groups: Groups) -> Entry | None:
    """The entry that differences are measured from: the named one, else the student trained alone.

    Raises BadInput when the name fits no entry or several.
    """
    entries = {group.place.entry: group.runs[0] for group in groups.values()}
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


def compare(cells: Cells, groups: Groups, baseline: Entry | None, *, paired: bool) -> Cells:
    """The cells with their differences to the baseline, tested over the whole table, and to the row that each names."""
    at = {(group.place.entry, group.place.rest): cells[key] for key, group in groups.items()}
    entries = list(dict.fromkeys(group.place.entry for group in groups.values()))
    compared: Cells = {}
    for key, group in groups.items():
        here, base = cells[key], None
        if baseline is not None and group.place.entry != baseline:
            base = at.get((baseline, group.place.rest))
        other = _against(group.place.entry, group.runs[0].against, entries)
        compared[key] = replace(
            here,
            delta=_delta(here, base, baseline, group.lower_is_better),
            p_value=p_value(here, base, paired=paired) if base else None,
            effect=statistics.hedges_g(here.values, base.values) if base else None,
            against=_delta(here, at.get((other, group.place.rest)), other, group.lower_is_better) if other else None,
        )
    return _starred(compared, at, groups, baseline)


def p_value(cell: Cell, other: Cell, *, paired: bool) -> float | None:
    """Welch's t test, or the paired one over the seeds that both have."""
    if not paired:
        return statistics.welch(cell.values, other.values)
    ours, theirs = (dict(zip(each.seeds, each.values, strict=True)) for each in (cell, other))
    common = [seed for seed in ours if seed in theirs]
    return statistics.paired([ours[seed] for seed in common], [theirs[seed] for seed in common])


def _starred(
    cells: Cells, at: dict[tuple[Entry, tuple[str, ...]], Cell], groups: Groups, baseline: Entry | None
) -> Cells:
    """With every p-value adjusted for the number of tests in the table, and stars where there are runs enough."""
    tested = [key for key, cell in cells.items() if cell.p_value is not None]
    adjusted = statistics.benjamini_hochberg([cells[key].p_value or 0.0 for key in tested])
    starred = dict(cells)
    for key, q_value in zip(tested, adjusted, strict=True):
        base = at[baseline, groups[key].place.rest] if baseline else None
        enough = base is not None and min(cells[key].n, base.n) >= ENOUGH
        stars = "**" if q_value < 0.01 else "*" if q_value < 0.05 else ""
        starred[key] = replace(cells[key], q_value=q_value, stars=stars if enough else "")
    return starred


def _against(entry: Entry, label: str | None, entries: Sequence[Entry]) -> Entry | None:
    """The entry called `label`; of several the one at the same axis values."""
    if label is None:
        return None
    fits = [other for other in entries if other.label == label and other != entry]
    same = [other for other in fits if other.axes == entry.axes]
    return fits[0] if len(fits) == 1 else same[0] if len(same) == 1 else None


def _delta(cell: Cell, base: Cell | None, to: Entry | None, lower: bool) -> Delta | None:
    if base is None or to is None or cell.mean is None or base.mean is None:
        return None
    value = cell.mean - base.mean
    if abs(value) < EQUAL:
        return Delta(0.0, cell.decimals, entry_name(to), None)
    return Delta(value, cell.decimals, entry_name(to), (value < 0) == lower)


def contests(cells: Cells, groups: Groups) -> list[list[Key]]:
    """The complete cells that stand at one place of different entries: what is ranked against each other."""
    found: dict[tuple[str, ...], list[Key]] = {}
    for key, cell in cells.items():
        if cell.complete and cell.mean is not None:
            found.setdefault(groups[key].place.rest, []).append(key)
    return list(found.values())
