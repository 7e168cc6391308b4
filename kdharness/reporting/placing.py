"""Where a run stands in a table: its row, its column, its panel, and what it may be compared with."""

from collections.abc import Hashable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from kdharness.core.errors import BadInput
from kdharness.core.records import TableSpec
from kdharness.reporting import names
from kdharness.reporting.runs import Run
from kdharness.reporting.table import Within

Order = tuple[Hashable, ...]

SIDES = ("distiller", "pair", "student", "teacher", "group", "metric")
"""What `rows` and `columns` may name besides an entry's `each` axis."""

NOTHING = "–"
"""The coordinate of a run that has none on this side: an entry without the axis, without a group."""


class Side(NamedTuple):
    """A coordinate of a cell: what it is called and where it is sorted."""

    name: str
    printed: str
    order: Any
    """Sorts among the coordinates of its kind; starts with the kind, so that kinds never meet in a comparison."""


class Entry(NamedTuple):
    """The coordinate that methods are compared along: one entry of the study with its unplaced axes."""

    label: str
    axes: tuple[tuple[str, Any], ...] = ()
    variant: str = ""
    """Tells settings apart that would otherwise share a cell."""


class Place(NamedTuple):
    """A cell's coordinates."""

    panel: Side
    row: Side
    column: Side
    entry: Entry
    rest: tuple[str, ...]
    """All coordinates but the entry: cells with an equal rest are ranked and subtracted."""


class Layout:
    """Places the runs of one table as `spec` says.

    An `each` axis that the table does not place makes extra rows of its entry; a recipe axis, and whichever of
    distiller and pair is not placed, makes panels; several metrics that are not placed divide the columns. Raises
    BadInput for a side that is neither a side nor an axis.
    """

    def __init__(self, spec: TableSpec, runs: Sequence[Run], metrics: Sequence[str]) -> None:
        self.spec = spec
        self.several_metrics = len(spec.metrics) > 1
        self.metric_order = {metric: order for order, metric in enumerate(metrics)}
        self.several_datasets = len({run.dataset for run in runs}) > 1
        axes = {axis for run in runs for axis in run.axes}
        labelled = {f"{run.label}.{axis}": axis for run in runs for axis in run.axes}
        for side, placed in (("rows", spec.rows), ("columns", spec.columns)):
            if placed not in SIDES and placed not in axes and placed not in labelled:
                known = ", ".join([*SIDES, *sorted(labelled)])
                whole = placed.rpartition(".")[0]
                only = (
                    f" Axes are those of rows that it shows: `--row {whole!r}` adds one." if whole and spec.only else ""
                )
                raise BadInput(f"a table cannot have {side}: {placed!r}", remedy=f"It can have: {known}.{only}")
        if spec.rows == spec.columns:
            raise BadInput(f"a table cannot have {spec.rows!r} in its rows and in its columns")
        self.placed = {labelled.get(side, side) for side in (spec.rows, spec.columns)} - set(SIDES)
        self.text_order: dict[tuple[str, str], int] = {}
        for run in runs:
            for axis, value in run.axes.items():
                self.text_order.setdefault((axis, str(value)), len(self.text_order))
        studies = list(dict.fromkeys(run.study for run in runs))
        self.entry_order: dict[str, tuple[int, int]] = {}
        self.pair_order: dict[str, int] = {}
        for run in runs:
            here = (studies.index(run.study), run.row)
            self.entry_order[run.label] = min(here, self.entry_order.get(run.label, here))
            self.pair_order.setdefault(self._pair(run.dataset, run.pair), len(self.pair_order))
        self.pair_side, self.entry_side = cache(self._pair_side), cache(self._entry_side)  # many runs share them

    def place(self, run: Run, metric: str, variant: str = "") -> Place:
        """The coordinates of `run` in the table's part for `metric`."""
        free = {axis: value for axis, value in run.axes.items() if axis not in self.placed}
        recipe = {axis: value for axis, value in free.items() if is_recipe_axis(axis)}
        own = tuple((axis, value) for axis, value in free.items() if axis not in recipe)
        entry = Entry(run.label, own, variant)
        sides = (self.spec.rows, self.spec.columns)
        row, column = (self._side(side, run, entry, metric) for side in sides)
        if self.several_metrics and "metric" not in sides:
            column = column._replace(name=f"{column.name}, {metric}", order=(*column.order, self.metric_order[metric]))
        panels = [self._side(axis, run, entry, metric) for axis in recipe]
        panels += [self._side(side, run, entry, metric) for side in self._unplaced_pair(sides)]
        placed = [coordinate.name for side, coordinate in zip(sides, (row, column), strict=True) if side != "distiller"]
        rest = (*placed, *(side.name for side in panels), metric)
        if "distiller" not in sides:
            panels.append(self._side("distiller", run, entry, metric))
        panel = Side(
            ", ".join(side.name for side in panels),
            ", ".join(side.printed for side in panels),
            tuple(side.order for side in panels),
        )
        return Place(panel, row, column, entry, rest)

    def _unplaced_pair(self, sides: tuple[str, str]) -> list[str]:
        """What of the pair stands neither in the rows nor in the columns; the set too where there are several."""
        if "pair" in sides:
            return []
        left = [side for side in ("teacher", "student") if side not in sides]
        whole = ["pair"] if len(left) == 2 else left
        return ["dataset", *whole] if self.several_datasets and len(left) < 2 else whole

    def _side(self, side: str, run: Run, entry: Entry, metric: str) -> Side:
        if side == "metric":
            return Side(metric, names.short_metric(metric), (side, self.metric_order[metric]))
        if side == "pair":
            return self.pair_side(run.dataset, run.pair)
        if side == "distiller":
            return self.entry_side(entry, run.ours)
        if side in ("student", "teacher", "group", "dataset"):
            name = getattr(run, side) or NOTHING
            printed = names.pair(name) if side in ("student", "teacher") else name
            place = (
                self.entry_order[run.label]
                if side == "group"
                else (self.pair_order[self._pair(run.dataset, run.pair)],)
            )
            return Side(name, printed, (side, *place))
        for axis, value in run.axes.items():
            if side in (axis, f"{run.label}.{axis}"):
                printed = assign(names.axis(axis), value)
                return Side(assign(axis, value), printed, (side, *self._order(axis, value)))
        return Side(NOTHING, NOTHING, (side, 2, 0.0))

    def _pair_side(self, dataset: str, pair: str) -> Side:
        name = self._pair(dataset, pair)
        prefix = f"{dataset}: " if self.several_datasets else ""
        return Side(name, prefix + names.pair(pair), ("pair", self.pair_order[name]))

    def _entry_side(self, entry: Entry, ours: bool) -> Side:
        values = tuple(self._order(axis, value) for axis, value in entry.axes)
        order = (self.entry_order[entry.label], entry.label, values)
        name = entry_name(entry)
        printed = name + (" (ours)" if ours and "(ours)" not in name else "")
        return Side(name, printed, ("distiller", *order, entry.variant))

    def _order(self, axis: str, value: Any) -> tuple[int, float]:
        """Sorts numbers by size, then texts as the study has them; what has no value stands after them."""
        if isinstance(value, int | float) and not isinstance(value, bool):
            return (0, float(value))
        return (1, float(self.text_order[axis, str(value)]))

    def _pair(self, dataset: str, pair: str) -> str:
        return f"{dataset}: {pair}" if self.several_datasets else pair


def within_of(spec: TableSpec) -> Within | None:
    """What varies inside a cell. Raises BadInput where that is neither the metric nor what the columns are."""
    if spec.within is None:
        return None
    if spec.within not in ("metric", spec.columns):
        raise BadInput(f"one cell holds several of `metric` or of `{spec.columns}`, not of {spec.within!r}")
    return "columns" if spec.within == spec.columns else "metric"


def is_recipe_axis(axis: str) -> bool:
    """Whether an `each` axis varies the recipe instead of the method."""
    return axis.startswith("recipe.")


def entry_name(entry: Entry) -> str:
    """`KD`, `KD (temperature=2)`, `KD (temperature=2) [kd_weight=0.5]`."""
    axes = ", ".join(assign(axis, value) for axis, value in entry.axes)
    return entry.label + (f" ({axes})" if axes else "") + (f" [{entry.variant}]" if entry.variant else "")


def variants(buckets: Sequence[Sequence[Run]]) -> list[str]:
    """What tells the settings of one cell apart, one text per bucket of runs of one setting and one teacher."""
    facts = [_facts(bucket) for bucket in buckets]
    keys = list(dict.fromkeys(key for fact in facts for key in fact))
    differing = [key for key in keys if len({repr(fact.get(key)) for fact in facts}) > 1]
    texts = [", ".join(assign(key, fact[key]) for key in differing if key in fact) for fact in facts]
    if len(set(texts)) == len(texts) and all(texts):
        return texts
    return [
        f"setting {bucket[0].setting_key[:12]}{', ' + text if text else ''}"
        for bucket, text in zip(buckets, texts, strict=True)
    ]


def assign(name: str, value: Any) -> str:
    """`temperature=2`: the shortest text of a value."""
    return f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"


def at_variant(place: Place, layout: Layout, run: Run, variant: str, metric: str) -> Place:
    """The same place in a row (or column) of its own for one of several settings."""
    if not variant:
        return place
    if "distiller" in (layout.spec.rows, layout.spec.columns):
        return layout.place(run, metric, variant)
    row = place.row._replace(name=f"{place.row.name} [{variant}]", printed=f"{place.row.printed} [{variant}]")
    return place._replace(row=row, rest=(*place.rest, variant))


def _facts(bucket: Sequence[Run]) -> Mapping[str, Any]:
    run = bucket[0]
    facts: dict[str, Any] = {"distiller": run.distiller, "student": run.student, "teacher": run.teacher}
    facts |= dict(run.constants) | {f"recipe.{key}": value for key, value in run.recipe.items()}
    weights = next((other.teacher_sha256 for other in bucket if other.teacher_sha256), None)
    facts["teacher run"] = run.teacher_run_id
    facts["teacher weights"] = weights[:12] if weights else None
    facts["numerics"] = next((other.numerics_key[:12] for other in bucket if other.numerics_key), None)
    return facts
