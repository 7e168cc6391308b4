"""Printed numbers in a table of ours: beside our cells, compared in words, or in place of cells that no run fills."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from kdharness.core.errors import BadInput
from kdharness.core.records import Fill, TableSpec
from kdharness.reporting import names
from kdharness.reporting.cells import Cells, Group, Groups
from kdharness.reporting.footnotes import Marks
from kdharness.reporting.methods import printed_method
from kdharness.reporting.published.comparison import standard_errors, verdict_of
from kdharness.reporting.published.matching import differences_of, is_pair, method_of, model_of, printed_for, when_of
from kdharness.reporting.published.values import Printed, Registry
from kdharness.reporting.table import Beside, Cell, Filled, Head, Table

BUDGET = "‡"
"""The mark of a printed value of another training budget than the table's."""

FROM_PRINT = "From print"
"""The group of rows that no run of ours fills."""


@dataclass(frozen=True)
class PrintedTables:
    """The printed numbers that one table asks for."""

    registry: Registry | None
    beside: tuple[Printed, ...] = ()
    """Of the table that is printed beside ours."""
    fills: tuple[tuple[Fill, tuple[Printed, ...]], ...] = ()

    @classmethod
    def of(cls, spec: TableSpec, registry: Registry | None) -> "PrintedTables":
        """Raises BadInput for a table that is not in the registry."""
        if registry is None:
            if spec.published or spec.fill:
                raise BadInput("printed numbers were asked for, but none were given to the table")
            return cls(None)
        beside = tuple(map(registry.settled, registry.table(spec.published))) if spec.published else ()
        return cls(registry, beside, tuple((fill, registry.table(fill.table)) for fill in spec.fill))

    @cached_property
    def by_method(self) -> Mapping[str, Sequence[Printed]]:
        """What is printed beside ours, by the name that print has for the method."""
        found: dict[str, list[Printed]] = {}
        for one in self.beside:
            found.setdefault(one.method, []).append(one)
        return found


def set_beside(cells: Cells, groups: Groups, printed: PrintedTables, marks: Marks) -> Cells:
    """The cells with what was printed for them."""
    if printed.registry is None or not printed.beside:
        return cells
    told = dict(cells)
    for key, group in groups.items():
        found = printed_for(group.runs[0], group.metric, printed.by_method)
        if found is not None:
            told[key] = cells[key]._replace(beside=_beside(cells[key], group, found, printed.registry, marks))
    return told


def _beside(cell: Cell, group: Group, printed: Printed, registry: Registry, marks: Marks) -> Beside:
    selection, when = registry.selection(printed), when_of(group.metric)[1]
    departures = differences_of(printed, group.runs[0])
    notes = [marks.of(f"{printed.place}: {note.text}") for note in registry.notes(printed)]
    reason = ""
    if cell.mean is None:
        reason = "unfinished"
    elif not registry.is_usable(printed):
        reason = "contradicted"
    elif selection != when:
        reason = "epoch not stated" if selection == "unknown" else f"{selection} epoch"
    elif departures:
        reason = "trained otherwise"
        notes.append(marks.of(f"trained otherwise: {'; '.join(departures)}"))
    elif cell.std is None:
        reason = "one run"
    score = standard_errors(cell.values, printed) if not reason else None
    verdict = verdict_of(score, cell.n)
    return Beside(
        text=printed.text,
        value=printed.value,
        source=printed.source,
        table=printed.table,
        selection=selection,
        difference=None if cell.mean is None else cell.mean - printed.value,
        score=score,
        verdict=verdict,
        reason=reason or ("" if verdict else "no spread"),
        notes=tuple(dict.fromkeys(notes)),
    )


def filled_in(table: Table, groups: Groups, printed: PrintedTables, marks: Marks, spec: TableSpec) -> Table:
    """The table with the accuracies of the paper's teachers in its heads, and printed values where no run exists."""
    registry = printed.registry
    if registry is None:
        return table
    columns = _column_groups(table, groups)
    table = replace(table, columns=_with_printed_teachers(table, columns, printed))
    if not printed.fills:
        return table
    if (spec.rows, spec.columns) != ("distiller", "pair") or spec.within or any(head.panel for head in table.rows):
        raise BadInput(
            "`fill` is for a table with distillers in rows, pairs in columns, one panel and one value a cell"
        )
    filling = _Filling(registry, columns, marks, spec.matched_budget)
    rows = list(table.rows)
    at = _row_methods(table, groups, printed)
    filled: dict[tuple[int, int], Filled] = {}
    for fill, values in printed.fills:
        methods = dict.fromkeys(one.method for one in values if one.method != "teacher")
        unknown = [name for name in fill.rows if name not in methods]
        if unknown:
            raise BadInput(f"{fill.table} has no row {unknown[0]!r}", remedy="Its rows: " + ", ".join(methods))
        for method in fill.rows or methods:
            for column in columns:
                one = filling.value(method, column, values)
                if one is None or (at.get(method, -1), column) in table.cells:
                    continue
                if method not in at:
                    at[method] = len(rows)
                    printed_name = printed_method(method)
                    rows.append(Head(f"{printed_name} (printed)", printed_name, group=FROM_PRINT))
                filled.setdefault((at[method], column), one)
    return replace(table, rows=tuple(rows), filled=filled, footnotes=())


@dataclass
class _Filling:
    """Finds printed values for the columns of one table, and letters for where they come from."""

    registry: Registry
    columns: Mapping[int, Group]
    marks: Marks
    matched_budget: bool

    def value(self, method: str, column: int, values: tuple[Printed, ...]) -> Filled | None:
        """None where nothing is printed, several numbers are, or one that cannot be used or is not wanted."""
        group = self.columns[column]
        what, when = when_of(group.metric)
        found = [
            one
            for one in values
            if one.method == method and one.metric in (what, f"{what}_{when}") and is_pair(one, group.runs[0])
        ]
        if len(found) != 1 or not self.registry.is_usable(found[0]):
            return None
        (one,) = found
        epochs, ours = one.setting.get("epochs"), group.runs[0].recipe.get("epochs")
        other_budget = isinstance(epochs, int) and isinstance(ours, int) and epochs != ours
        if other_budget and self.matched_budget:
            return None
        notes = [self.marks.of(f"{one.place}: {note.text}") for note in self.registry.notes(one)]
        if other_budget:
            text = f"printed with another training budget than this table's {ours} epochs"
            notes.insert(0, self.marks.named(BUDGET, text))
        return Filled(one.text, one.value, one.std, one.n, one.place, self._letter(one, values), tuple(notes))

    def _letter(self, one: Printed, values: tuple[Printed, ...]) -> str:
        selection = self.registry.selection(one)
        source = self.registry.sources[one.source]
        copied = "" if selection == source.selection else ", values copied from an earlier paper"
        students = {model_of(group.runs[0].teacher) for group in self.columns.values()}
        teachers = {
            f"{names.model(value.teacher)} {value.text}"
            for value in values
            if value.method == "teacher" and value.metric == "top1" and value.teacher in students
        }
        budgets = sorted({str(value.setting["epochs"]) for value in values if "epochs" in value.setting})
        parts = [
            f"printed in {source.paper}, {one.table}{copied}",
            "epoch not stated" if selection == "unknown" else f"{selection} epoch",
            f"teachers {', '.join(sorted(teachers))}" if teachers else "teachers not stated",
            f"{' or '.join(budgets)} epochs" if budgets else "training budget not stated",
        ]
        return self.marks.letter("; ".join(parts))


def _column_groups(table: Table, groups: Groups) -> dict[int, Group]:
    """A group of each column whose runs learnt by the recipe that most of the column's did."""
    at = {head.name: index for index, head in enumerate(table.columns)}
    found: dict[int, list[Group]] = {}
    for group in groups.values():
        found.setdefault(at[group.place.column.name], []).append(group)
    usual = {index: Counter(map(_epochs, each)).most_common(1)[0][0] for index, each in found.items()}
    return {index: next(one for one in each if _epochs(one) == usual[index]) for index, each in found.items()}


def _epochs(group: Group) -> Any:
    return group.runs[0].recipe.get("epochs")


def _row_methods(table: Table, groups: Groups, printed: PrintedTables) -> dict[str, int]:
    """The table's rows by the name that print has for their method."""
    at = {(head.panel, head.name): index for index, head in enumerate(table.rows)}
    known = sorted({one.method for _, values in printed.fills for one in values})
    found: dict[str, int] = {}
    for (panel, row, _), group in groups.items():
        method = method_of(group.runs[0], known)
        if method is not None and not group.runs[0].axes:
            found.setdefault(method, at[panel, row])
    return found


def _with_printed_teachers(table: Table, columns: Mapping[int, Group], printed: PrintedTables) -> tuple[Head, ...]:
    heads = list(table.columns)
    for index, group in columns.items():
        teacher, run = heads[index].teacher, group.runs[0]
        values = {
            one.value
            for one in printed.beside
            if one.method == "teacher"
            and one.metric == "top1"
            and (one.dataset, one.teacher) == (run.dataset, model_of(run.teacher))
        }
        if teacher is not None and len(values) == 1:
            heads[index] = replace(heads[index], teacher=replace(teacher, printed=values.pop()))
    return tuple(heads)
