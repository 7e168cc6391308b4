"""The tables of a study: sides, metrics, baselines and printed tables that are there."""

import re

from kdharness.core.analyses import ANALYSES, is_analysis_metric
from kdharness.core.errors import BadInput
from kdharness.reporting.runs import is_row
from kdharness.study.document import Path as Place
from kdharness.study.findings import Findings
from kdharness.study.spec import HOLE, StudySpec, TablePart

TEST_METRICS = ("test_top1", "test_top5", "test_loss", "train_top1", "train_loss", "train_seconds")
ANALYSIS_METRICS = tuple(f"test_{name}" for names in ANALYSES.values() for name in names)
"""The commonest of them, for suggestions."""
PLACES = ("distiller", "pair", "student", "teacher", "group", "metric")
"""What a table's rows and columns may be, besides the name of an axis."""


def check_tables(spec: StudySpec, labels: list[str] | None, axes: set[str], found: Findings) -> None:
    """Says what of `tables` cannot be meant; `labels` are None where some row could not be read."""
    for index, table in enumerate(spec.tables):
        place: Place = ("tables", index)
        for key in ("rows", "columns"):
            name = getattr(table, key)
            if name not in PLACES and name not in axes:
                found.unknown((*place, key), "axis", name, {*PLACES, *axes})
        if table.rows == table.columns:
            found.say((*place, "columns"), f"rows and columns are both `{table.rows}`")
        _metrics(table, place, found)
        if table.within is not None and table.within not in ("metric", table.columns):
            found.say((*place, "within"), f"one cell holds several of `metric` or of `{table.columns}`, the columns")
        if labels is not None:
            _labels(table, place, labels, found)
        _printed(table, place, found)


def _labels(table: TablePart, place: Place, labels: list[str], found: Findings) -> None:
    for index, name in enumerate(table.only):
        whole = name.partition(" (")[0]
        if name != HOLE and not is_row(name, labels) and whole in labels:
            found.say((*place, "only", index), f"`only` takes rows with all values of their axes: write `{whole}`")
        elif name != HOLE and not is_row(name, labels):
            found.unknown((*place, "only", index), "row", name, labels)
    if table.baseline is not None and table.baseline not in labels:
        found.unknown((*place, "baseline"), "row", table.baseline, labels)
    elif table.baseline is not None and table.only and table.baseline not in table.only:
        found.say((*place, "baseline"), f"`only` leaves `{table.baseline}` out")


def _metrics(table: TablePart, place: Place, found: Findings) -> None:
    named = {(*place, "costs", index): metric for index, metric in enumerate(table.costs)}
    for index, metric in enumerate(table.metrics):
        named[(*place, "metric") if isinstance(table.metric, str) else (*place, "metric", index)] = metric
    for here, metric in named.items():
        when = re.search(r"_(last|best|best-val)$", metric)
        if metric.startswith("val_"):
            found.say(here, "validation metrics exist only in a search; a table is over final runs")
        elif when and metric.removesuffix(when[0]) in TEST_METRICS:
            bare = metric.removesuffix(when[0])
            found.say(here, f"`{metric}` is `metric: {bare}` with `select: {when[0][1:]}`")
        elif metric not in TEST_METRICS and not is_analysis_metric(metric):
            found.unknown(here, "metric", metric, (*TEST_METRICS, *ANALYSIS_METRICS))
    if table.select == "best-val":
        found.say((*place, "select"), "`best-val` exists only in a search; a table is over final runs")
    elif table.select == "best" and table.metrics != ["test_top1"]:
        found.say((*place, "select"), "`best` is the best test_top1; other metrics have `last`")


def _printed(table: TablePart, place: Place, found: Findings) -> None:
    """Keys of printed tables by their form alone: a home may have more than the package."""
    keys = {(*place, "published"): table.published} if table.published is not None else {}
    keys |= {(*place, "fill", index, "table"): fill.table for index, fill in enumerate(table.fill)}
    if not keys:
        return
    from kdharness.reporting.published.values import read_registry

    registry = read_registry()
    for where, key in keys.items():
        source = str(key).split(" ", 1)[0]
        if source in registry.sources:
            try:
                registry.table(str(key))
            except BadInput as error:
                found.say(where, f"{error.what}. {error.remedy}")
        elif " " not in str(key):
            found.say(where, f"`{key}` names no table: `SOURCE TABLE`, as `kdharness published list` says them")
    if table.fill and (table.rows, table.columns) != ("distiller", "pair"):
        found.say((*place, "fill"), "`fill` is for a table with distillers in rows and pairs in columns", key=True)
