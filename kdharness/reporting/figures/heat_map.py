"""A metric over two axes of a study: every combination a field of a map."""

import numpy
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from kdharness.reporting import names, text
from kdharness.reporting.figures.drawing import Drawing, bare, counted, of_figures, panels, styled
from kdharness.reporting.table import Table

DARK = 0.55
"""Part of the scale below which the map is dark: numbers are white there."""


@styled
def heat_map(table: Table, *, across: str, down: str) -> Drawing:
    """The means of the table's cells, rows and columns as they are; the best of a map in bold; a map for each panel."""
    blocks = {head.panel: head.panel_printed for head in table.rows}
    most = max(sum(head.panel == block for head in table.rows) for block in blocks)
    figure, axes = panels(len(blocks), across=3, size=(0.6 * len(table.columns) + 1.4, 0.4 * most + 1.1))
    known = [cell.mean for cell in table.cells.values() if cell.mean is not None]
    scale = (min(known), max(known)) if known else (0.0, 1.0)
    for one, block in zip(axes, blocks, strict=True):
        drawn = _draw(one, table, [row for row, head in enumerate(table.rows) if head.panel == block], scale)
        one.set_xlabel(names.axis(across))
        one.set_ylabel(names.axis(down))
        one.set_title(blocks[block])
    figure.colorbar(drawn, ax=axes, label=names.metric(table.metric), pad=0.02)
    caption = (
        f"{table.title}. Means; each field: {counted([cell.n for cell in table.cells.values()])}; best of a map in "
        "bold. " + " ".join(of_figures(table.caption))
    )
    return Drawing(f"heat-map-{across.rpartition('.')[2]}-{down.rpartition('.')[2]}", figure, caption)


def _draw(axes: Axes, table: Table, rows: list[int], scale: tuple[float, float]) -> AxesImage:
    columns = range(len(table.columns))
    cells = {(y, x): table.cells[row, x] for y, row in enumerate(rows) for x in columns if (row, x) in table.cells}
    means = {at: cell.mean for at, cell in cells.items() if cell.mean is not None}
    values = numpy.full((len(rows), len(columns)), numpy.nan)
    best = (min if names.lower_is_better(table.metric) else max)(means.values(), default=None)
    best = best if names.has_direction(table.metric) else None
    for (y, x), mean in means.items():
        values[y, x] = mean
        dark = mean - scale[0] < DARK * (scale[1] - scale[0])
        axes.text(
            x, y, text.number(mean, cells[y, x].decimals), ha="center", va="center", fontsize=7,
            fontweight="bold" if mean == best else "normal", color="white" if dark else "black",
        )  # fmt: skip
    drawn = axes.imshow(values, vmin=scale[0], vmax=scale[1], aspect="auto")
    bare(axes)
    axes.set_xticks(columns, [_value(head.printed) for head in table.columns])
    axes.set_yticks(range(len(rows)), [_value(table.rows[row].printed) for row in rows])
    return drawn


def _value(printed: str) -> str:
    """`2` of `temperature=2`."""
    return printed.partition("=")[2] or printed
