"""From the tidy frame to a table: the steps in order."""

from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from kdharness.core.errors import BadInput
from kdharness.core.records import Smoke, TableSpec
from kdharness.reporting import footnotes, statistics, wording
from kdharness.reporting.cells import Groups, alike, cell, split
from kdharness.reporting.comparing import baseline_of, compare
from kdharness.reporting.heads import alone_accuracies, heads
from kdharness.reporting.ledger import Tried
from kdharness.reporting.placing import Layout, entry_name, within_of
from kdharness.reporting.published.standing import PrintedTables, filled_in, set_beside
from kdharness.reporting.ranking import mean_ranks, rank
from kdharness.reporting.runs import TEACHER_METRIC, Columns, column_of, columns_of, purpose_of, read, require_rows
from kdharness.reporting.smoke import as_printed, sentence
from kdharness.reporting.table import Table

if TYPE_CHECKING:
    import pandas as pd

    from kdharness.reporting.published.values import Registry


def build_table(
    frame: "pd.DataFrame | Columns",
    spec: TableSpec,
    *,
    registry: "Registry | None" = None,
    paired: bool = False,
    tried: Tried | None = None,
    smoke: Smoke | None = None,
) -> Table:
    """The table that `spec` asks of the frame (or its columns) of one or several studies, finished or not.

    A cell holds the runs of one setting taught by one teacher's weights; where several would meet, the row is split
    by what differs. `paired` tests by seed. Printed values need the registry, a word on picks by test what was `tried`.
    `smoke` says what runs stand for that are of a shrunk study. Raises BadInput for a metric, side, row, baseline or
    printed table that is not there, and for best-val over final runs.
    """
    purpose = purpose_of(spec)
    columns_read = columns_of(frame)
    first, *others = spec.metrics
    metrics = [column_of(first, spec, columns_read)]
    metrics += [column_of(metric, spec, columns_read, besides=True) for metric in others]
    costs = metrics[len(spec.measures) :]
    taught = read(columns_read, TEACHER_METRIC, "teacher", keep_excluded=True)
    teachers = {run.run_id: run for run in taught}
    if spec.only:
        of_rows = zip(columns_read["label"], columns_read["purpose"], strict=True)
        require_rows(spec.only, (label for label, whose in of_rows if whose != "teacher"))
    known = {metric: alike(read(columns_read, metric, purpose)) for metric in metrics}
    runs = {
        metric: [one for one in each if one[0].label in spec.only or not spec.only] for metric, each in known.items()
    }
    shown = [run for seeds in runs[metrics[0]] for run in seeds]
    if not shown:
        raise BadInput(f"no {purpose} runs to show", where=", ".join(sorted(set(columns_read["study"]))))
    layout = Layout(spec, [seeds[0] for seeds in runs[metrics[0]]], metrics)
    groups: Groups = {}
    for metric in metrics:
        groups |= split(runs[metric], layout, metric, plain=metric in costs)
    alone = alone_accuracies(chain.from_iterable(known[metrics[0]])) if metrics[0] == TEACHER_METRIC else {}
    rows = heads(groups, "rows", spec, teachers, alone)
    columns = heads(groups, "columns", spec, teachers, alone)
    row_at = {(head.panel, head.name): index for index, head in enumerate(rows)}
    column_at = {head.name: index for index, head in enumerate(columns)}
    at = {key: (row_at[key[0], key[1]], column_at[key[2]]) for key in groups}
    groups = {key: groups[key] for key in sorted(at, key=at.__getitem__)}  # as they are read, so that marks are too
    baseline = baseline_of(spec.baseline, groups)
    cells = compare({key: cell(group) for key, group in groups.items()}, groups, baseline, paired=paired)
    cells = rank(cells, groups, spec, paired=paired)
    printed = PrintedTables.of(spec, registry)
    marks = footnotes.Marks()
    in_print = as_printed(groups, smoke) if smoke is not None else groups
    cells = set_beside(cells, in_print, printed, marks)
    cells, lost = footnotes.footnotes(cells, groups, teachers, marks)
    ranks = mean_ranks(cells, groups) if spec.average else None
    by_row = {
        at[key][0]: (ranks.mean[group.place.entry], ranks.places)
        for key, group in groups.items()
        if ranks is not None and spec.rows == "distiller"
    }
    table = Table(
        title=spec.title or wording.title(shown, metrics[: len(spec.measures)], spec),
        metric=metrics[0],
        metrics=tuple(metrics),
        select=spec.select,
        dataset=", ".join(sorted({run.dataset for run in shown})),
        rows=tuple(rows),
        columns=tuple(columns),
        cells={at[key]: cell for key, cell in cells.items()},
        baseline=entry_name(baseline) if baseline else None,
        published=spec.published,
        ranks=by_row,
        delta_rows=spec.delta == "rows",
        pm=spec.pm,
        cite=spec.cite,
        within=within_of(spec),
        missing="" if statistics.available() else statistics.MISSING,
    )
    table = filled_in(table, in_print, printed, marks, spec)
    table = replace(
        table, footnotes=(*lost, *marks.footnotes(), *footnotes.general_notes(table, groups, teachers, smoke))
    )
    said = wording.caption(table, shown, spec, teachers=teachers, ranks=ranks, paired=paired, tried=tried or {})
    return replace(table, caption=(*said, *([sentence(smoke)] if smoke is not None else [])))
