"""The rows of the tidy frame as plain records, and which of them and which number a table is about."""

import difflib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import compress
from typing import TYPE_CHECKING, Any, NamedTuple

from kdharness.core.analyses import is_analysis_metric
from kdharness.core.errors import BadInput
from kdharness.core.records import Purpose, State, TableSpec
from kdharness.reporting.budgets import searched_label

if TYPE_CHECKING:
    import pandas as pd

IDENTITY = (
    "study", "run_id", "setting_key", "numerics_key", "seed", "purpose", "dataset", "student", "teacher", "pair",
    "label", "group", "row", "axes", "against", "ours", "distiller", "state", "attempts", "weights_sha256",
    "teacher_sha256", "device", "started", "finished", "mixed_numerics", "teacher_run_id", "constants", "recipe",
    "epochs", "unpublished", "excluded", "departs", "sources",
)  # fmt: skip
"""The frame's columns that are not metrics: one row per (study, run, label, pair)."""

TEACHER_METRIC = "test_top1_last"
"""What the head of a pair says of its teacher, whatever the cells show."""

BEST_VAL_REASON = (
    "best-val picks the epoch of the highest validation accuracy, and a table of test accuracies shows final runs: "
    "they train on all of train and have no validation images"
)


class Run(NamedTuple):
    """One row of the frame. A tuple, because a large study has 100,000 of them."""

    study: str
    run_id: str
    setting_key: str
    numerics_key: str | None
    mixed_numerics: bool
    seed: int
    purpose: Purpose
    state: State
    dataset: str
    student: str
    teacher: str | None
    pair: str
    label: str
    group: str | None
    row: int
    axes: Mapping[str, Any]
    against: str | None
    ours: bool
    distiller: str
    teacher_sha256: str | None
    teacher_run_id: str | None
    constants: Mapping[str, Any]
    recipe: Mapping[str, Any]
    unpublished: str | None
    """The preset whose paper prints a result for the pair but released no constants for it."""
    sources: tuple[str, ...]
    """Where its method's constants came from."""
    excluded: str | None
    """Why no mean takes it."""
    departs: str | None
    """In what its teaching is not its distiller's alone: assistants, a control teacher, matched gradients."""
    value: float | None
    """The table's metric; None until the run is complete, and for an excluded one (but in the head of a teacher, who
    taught all the same)."""

    @property
    def standing(self) -> str:
        """Its state, or that it is excluded."""
        return "excluded" if self.excluded else self.state


Columns = Mapping[str, Sequence[Any]]
"""The frame's columns as lists of Python objects, with None for what is missing (NaN in a metric)."""


def columns_of(frame: "pd.DataFrame | Columns") -> Columns:
    """The columns of a frame; those that a frame lacks are all None."""
    if isinstance(frame, Mapping):
        return frame
    missing = {name: [None] * len(frame) for name in IDENTITY if name not in frame.columns}
    columns = missing | {str(name): _plain(frame, name) for name in frame.columns}
    for name in ("axes", "constants", "recipe"):
        columns[name] = [value or {} for value in columns[name]]
    columns["sources"] = [value or () for value in columns["sources"]]
    for name in ("mixed_numerics", "ours"):
        columns[name] = list(map(bool, columns[name]))
    return columns


def read(
    frame: "pd.DataFrame | Columns", metric: str, purpose: Purpose | None = None, *, keep_excluded: bool = False
) -> list[Run]:
    """The rows (of one purpose) with the value of one metric, in the frame's order; excluded runs have no value."""
    columns = dict(columns_of(frame))
    columns["value"] = columns.get(metric) or [None] * len(columns["run_id"])
    asked = [purpose in (None, one) for one in columns["purpose"]]
    if not all(asked):
        columns = {name: list(compress(columns[name], asked)) for name in Run._fields}
    columns["value"] = [
        _finite(value) if state == "complete" and (keep_excluded or not excluded) else None
        for value, state, excluded in zip(columns["value"], columns["state"], columns["excluded"], strict=True)
    ]
    return list(map(Run._make, zip(*(columns[name] for name in Run._fields), strict=True)))


def is_row(name: str, labels: Collection[str]) -> bool:
    """Whether a row of the study is called so, or will be once its search has chosen."""
    return name in labels or searched_label(name) in labels


def require_rows(names: Sequence[str], labels: Iterable[str]) -> None:
    """Raise BadInput for a name that no row has, with the nearest ones."""
    known = {label.casefold(): label for label in labels}
    for name in names:
        if not is_row(name, known.values()):
            whole = name.partition(" (")[0]
            if is_row(whole, known.values()):
                raise BadInput(
                    f"no row is called {name!r}", remedy=f"Rows stand with all values of their axes: {whole}"
                )
            near = difflib.get_close_matches(name.casefold(), known, n=3)
            found = ", ".join(known[one] for one in near or known)
            raise BadInput(f"no row is called {name!r}", remedy=f"{'Near it' if near else 'Rows'}: {found}")


def purpose_of(spec: TableSpec) -> Purpose:
    """Which runs the table is about. Raises BadInput for best-val over final runs, and for metrics of both kinds."""
    searching = {metric.startswith("val_") for metric in spec.measures}
    if len(searching) > 1:
        raise BadInput("a table is over final runs or over a search's: not over val_* and other metrics at once")
    if spec.select == "best-val" and searching == {False}:
        raise BadInput(
            BEST_VAL_REASON,
            where=f"metric {', '.join(spec.metrics)}, select best-val",
            remedy="Use select: last (the headline), select: best (marked as selected on test), or a val_* metric.",
        )
    return "search" if searching == {True} else "final"


def column_of(metric: str, spec: TableSpec, columns: Columns, *, besides: bool = False) -> str:
    """The column that the table shows for `metric`. Raises BadInput for one that no finished run has.

    But `besides` others an analysis that was not made yet is a column without numbers.
    """
    known = [name for name in columns if name not in IDENTITY]
    if metric.endswith(("_last", "_best")) and metric in known:
        return metric
    column = f"{metric}_{'last' if spec.select == 'last' else 'best'}"
    if column in known:
        return column
    if metric in known:
        return metric
    if besides and is_analysis_metric(metric):
        return metric
    finished = (purpose_of(spec), "complete") in zip(columns["purpose"], columns["state"], strict=True)
    if not finished and metric.partition("_")[0] in ("test", "val", "train"):
        return column  # nothing is finished yet: a table without numbers is the right answer
    names = sorted({name.removesuffix("_last").removesuffix("_best") for name in known})
    near = [f"test_{metric}"] if f"test_{metric}" in names else difflib.get_close_matches(metric, names, n=1)
    raise BadInput(
        f"no finished run has the metric {metric!r} (select {spec.select})",
        remedy=f"Did you mean {near[0]!r}?" if near else "Metrics here: " + (", ".join(names) or "none yet"),
    )


def _plain(frame: "pd.DataFrame", name: str) -> list[Any]:
    """A column as Python objects, with None for every kind of missing value."""
    missing = frame[name].isna()
    if not missing.any():
        return frame[name].tolist()
    column = frame[name].astype(object)
    return column.where(~missing, None).tolist()


def _finite(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
