"""A metric over one axis of a study: temperature, a loss weight, the batch size, the teacher; a line for each row."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from kdharness.reporting import names
from kdharness.reporting.figures.drawing import Drawing, counted, keyed, look, of_figures, panels, styled
from kdharness.reporting.placing import NOTHING
from kdharness.reporting.table import Cell, Table

WIDE_RANGE = 8
"""Numbers that span so many times the smallest are drawn on a logarithmic axis."""


@styled
def line(table: Table, *, axis: str) -> Drawing:
    """The table's rows over its columns; a panel for each of the table's.

    Numbers are joined, with a band of one sample deviation; names (teachers, methods) stand beside each other with
    bars. What has no value on the axis is a level line.
    """
    blocks = {head.panel: head.panel_printed for head in table.rows}
    figure, axes = panels(len(blocks), across=3, size=(2.9, 2.3))
    looks = {name: look(number) for number, name in enumerate(dict.fromkeys(head.printed for head in table.rows))}
    for one, block in zip(axes, blocks, strict=True):
        _draw(one, table, [index for index, head in enumerate(table.rows) if head.panel == block], axis, looks)
        one.set_title(blocks[block] if len(blocks) > 1 else "")
    axes[0].set_ylabel(names.metric(table.metric))
    keyed(figure, axes)
    cells = list(table.cells.values())
    caption = (
        f"{table.title}. Mean and sample standard deviation (band or bar); "
        f"each point: {counted([cell.n for cell in cells])}. " + " ".join(of_figures(table.caption))
    )
    return Drawing(f"line-{axis.rpartition('.')[2]}", figure, caption)


def _draw(axes: Axes, table: Table, rows: Sequence[int], axis: str, looks: Mapping[str, dict[str, Any]]) -> None:
    placed = [(number, head) for number, head in enumerate(table.columns) if head.name != NOTHING]
    values = [number_of(head.name) for _, head in placed]
    numeric = bool(values) and None not in values
    places = [value if numeric and value is not None else float(at) for at, value in enumerate(values)]
    for order, row in enumerate(rows):
        cells = {at: table.cells.get((row, column)) for at, (column, _) in zip(places, placed, strict=True)}
        points = {at: cell for at, cell in cells.items() if cell is not None and cell.mean is not None}
        name = table.rows[row].printed
        if points:
            _series(axes, points, name, looks[name], order, len(rows), numeric)
        for (at, column), cell in table.cells.items():
            if at == row and table.columns[column].name == NOTHING and cell.mean is not None:
                axes.axhline(cell.mean, label=name, **{**looks[name], "marker": None}, linewidth=0.8)
    axes.set_xlabel(names.axis(axis))
    printed = [head.printed.partition("=")[2] or head.printed for _, head in placed]
    if numeric and min(places) > 0 and max(places) / min(places) >= WIDE_RANGE:
        axes.set_xscale("log", base=2)
    axes.set_xticks(places, printed, rotation=0 if numeric or max(map(len, printed), default=0) <= 10 else 20)
    if not numeric:
        axes.set_xlim(-0.5, len(placed) - 0.5)


def _series(
    axes: Axes, points: dict[float, Cell], name: str, style: dict[str, Any], order: int, of: int, numeric: bool
) -> None:
    ats = list(points)
    means = [cell.mean or 0.0 for cell in points.values()]
    stds = [cell.std or 0.0 for cell in points.values()]
    if numeric:
        (drawn,) = axes.plot(ats, means, label=name, **style)
        if any(stds):
            low, high = ([mean + sign * std for mean, std in zip(means, stds, strict=True)] for sign in (-1, 1))
            axes.fill_between(ats, low, high, color=drawn.get_color(), alpha=0.15, linewidth=0)
        return
    beside = [at + 0.6 * ((order + 0.5) / of - 0.5) for at in ats]
    axes.errorbar(beside, means, yerr=stds, label=name, capsize=2, **{**style, "linestyle": "none"})


def number_of(name: str) -> float | None:
    """The value of `temperature=2`; None where it is no number."""
    try:
        value = float(name.partition("=")[2])
    except ValueError:
        return None
    return value if math.isfinite(value) else None
