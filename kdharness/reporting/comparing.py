"""Differences between rows: to the baseline with its test, and to the row that each names."""

from collections.abc import Sequence

from kdharness.core.errors import BadInput
from kdharness.reporting import statistics
from kdharness.reporting.cells import Cells, Group, Groups, Key
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
    bases = {
        key: at[baseline, group.place.rest]
        for key, group in groups.items()
        if baseline not in (None, group.place.entry) and (baseline, group.place.rest) in at and not group.plain
    }
    p_values = {
        key: p_value(cells[key], base, paired=paired)
        for key, base in bases.items()
        if cells[key].runs != base.runs  # which are not told from themselves
    }
    # rows that show the same runs are one comparison, however often it stands in the table
    tested = {(cells[key].runs, bases[key].runs, cells[key].metric): p for key, p in p_values.items() if p is not None}
    once = dict(zip(tested, statistics.benjamini_hochberg(list(tested.values())), strict=True))
    adjusted = {key: once.get((cells[key].runs, base.runs, cells[key].metric)) for key, base in bases.items()}
    compared: Cells = {}
    for key, group in groups.items():
        here, base = cells[key], bases.get(key)
        if group.plain:
            compared[key] = here
            continue
        other = _against(group.place.entry, group.runs[0].against, entries)
        compared[key] = here._replace(
            delta=_delta(here, base, baseline, group),
            p_value=p_values.get(key),
            q_value=adjusted.get(key),
            stars=_stars(adjusted.get(key), here, base),
            effect=statistics.hedges_g(here.values, base.values) if base else None,
            against=_delta(here, at.get((other, group.place.rest)), other, group) if other else None,
        )
    return compared


def _stars(q_value: float | None, cell: Cell, base: Cell | None) -> str:
    """`**` below 0.01 and `*` below 0.05, where there are runs enough on both sides."""
    if q_value is None or base is None or min(cell.n, base.n) < ENOUGH:
        return ""
    return "**" if q_value < 0.01 else "*" if q_value < 0.05 else ""


def p_value(cell: Cell, other: Cell, *, paired: bool) -> float | None:
    """Welch's t test, or the paired one over the seeds that both have."""
    if not paired:
        return statistics.welch(cell.values, other.values)
    ours, theirs = (dict(zip(each.seeds, each.values, strict=True)) for each in (cell, other))
    common = [seed for seed in ours if seed in theirs]
    return statistics.paired([ours[seed] for seed in common], [theirs[seed] for seed in common])


def _against(entry: Entry, label: str | None, entries: Sequence[Entry]) -> Entry | None:
    """The entry called `label`; of several the one at the same axis values."""
    if label is None:
        return None
    fits = [other for other in entries if other.label == label and other != entry]
    same = [other for other in fits if other.axes == entry.axes]
    return fits[0] if len(fits) == 1 else same[0] if len(same) == 1 else None


def _delta(cell: Cell, base: Cell | None, to: Entry | None, group: Group) -> Delta | None:
    if base is None or to is None or cell.mean is None or base.mean is None:
        return None
    value, same_seeds = cell.mean - base.mean, set(cell.seeds) == set(base.seeds)
    if abs(value) < EQUAL:
        return Delta(0.0, cell.decimals, entry_name(to), None, same_seeds)
    improves = (value < 0) == group.lower_is_better if group.has_direction else None
    return Delta(value, cell.decimals, entry_name(to), improves, same_seeds)


def contests(cells: Cells, groups: Groups) -> list[list[Key]]:
    """The complete cells that stand at one place of different entries: what is ranked against each other."""
    found: dict[tuple[str, ...], list[Key]] = {}
    for key, cell in cells.items():
        if cell.complete and cell.mean is not None:
            found.setdefault(groups[key].place.rest, []).append(key)
    return list(found.values())
