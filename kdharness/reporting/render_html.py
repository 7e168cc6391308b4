"""Tables as one self-contained page: sortable columns, the runs behind every cell, nothing fetched from outside."""

from collections.abc import Sequence
from html import escape

from kdharness.reporting import text
from kdharness.reporting.html_page import PAGE
from kdharness.reporting.table import Cell, Delta, Head, Table

STRIP = (92, 10)
"""Width and height in pixels of the strip that shows where each run of a cell lies."""


def render(tables: Sequence[Table]) -> str:
    """A whole HTML document."""
    title = tables[0].title if tables else "kdharness"
    return PAGE.replace("@TITLE@", escape(title)).replace("@BODY@", "\n".join(map(_table, tables)))


def _table(table: Table) -> str:
    notes = "".join(f"<p>{escape(note)}</p>" for note in text.notes(table))
    return (
        f'<section><h2>{escape(table.title)}</h2><div class="scroll"><table>{_head(table)}{_body(table)}</table></div>'
        f'<div class="notes">{notes}</div></section>'
    )


def _head(table: Table) -> str:
    heads = [f'<th scope="col"><button type="button">{escape(text.corner(table))}</button></th>']
    for column in table.columns:
        about = text.teacher(column)
        under = f'<span class="teacher">{escape(about)}</span>' if about else ""
        tip = f' title="teacher run: {escape(", ".join(column.teacher.runs))}"' if column.teacher else ""
        heads.append(
            f'<th scope="col" class="num"{tip}><button type="button">{escape(column.printed)}</button>{under}</th>'
        )
        if _has_differences(table):
            heads.append(
                f'<th scope="col" class="num"><button type="button">Δ {escape(table.baseline or "")}</button></th>'
            )
    return f"<thead><tr>{''.join(heads)}</tr></thead>"


def _body(table: Table) -> str:
    whole = 1 + len(table.columns) * (1 + _has_differences(table))
    ranges = [_range(table, column) for column in range(len(table.columns))]
    parts = ["<tbody>"]
    for line in text.lines(table):
        if line.row is None:
            kind = "panel" if line.panel else "group"
            heading = f'<tr class="{kind}"><th colspan="{whole}" scope="rowgroup">{escape(line.text)}</th></tr>'
            parts.append(f"</tbody><tbody>{heading}</tbody><tbody>" if line.panel else heading)
            continue
        parts.append(_row(table, line.row, ranges))
    return "".join([*parts, "</tbody>"]).replace("<tbody></tbody>", "")


def _row(table: Table, row: int, ranges: Sequence[tuple[float, float]]) -> str:
    head = table.rows[row]
    about = f' <span class="teacher">{escape(text.teacher(head))}</span>' if head.teacher else ""
    cells = [f'<th scope="row" data-v="{escape(head.printed)}">{escape(head.printed)}{about}</th>']
    for column in range(len(table.columns)):
        cell = table.cells.get((row, column))
        if cell is None:
            cells.append("<td></td>" * (1 + _has_differences(table)))
            continue
        cells.append(_cell(cell, table, head, ranges[column]))
        if _has_differences(table):
            cells.append(_differences(cell, table))
    return f'<tr class="{"ours" if head.ours else ""}">{"".join(cells)}</tr>'


def _has_differences(table: Table) -> bool:
    return table.has_delta or table.has_against


def _differences(cell: Cell, table: Table) -> str:
    """The difference to the baseline, and under it the one to the row that this one names."""
    lines = [f"<span{_tone(cell.delta)}>{text.delta(cell.delta, table)}</span>"] if cell.delta else []
    if cell.against and table.has_against:
        number = f"<span{_tone(cell.against)}>{text.delta(cell.against, table)}</span>"
        lines.append(f'<span class="to">{number} vs {escape(cell.against.to)}</span>')
    order = cell.delta.value if cell.delta else ""
    return f'<td class="num" data-v="{order}">{"<br>".join(lines)}</td>'


def _tone(difference: Delta) -> str:
    return {True: ' class="up"', False: ' class="down"', None: ""}[difference.improves]


def _cell(cell: Cell, table: Table, head: Head, span: tuple[float, float]) -> str:
    tag = {"best": "b", "second": "u", None: "span"}[cell.mark]
    value = f"<{tag}>{text.mean(cell, table)}</{tag}>"
    spread = f' <span class="pm">{text.spread(cell, table)}</span>' if cell.std is not None else ""
    notes = f"<sup>{escape(''.join(cell.notes))}</sup>" if cell.notes else ""
    order = "" if cell.mean is None else cell.mean
    count = f'<span class="n">({text.count(cell)}{notes})</span>'
    return (
        f'<td class="num value" tabindex="0" data-v="{order}">{value}{spread} {count}'
        f"{_strip(cell, span)}{_tip(cell, table, head)}</td>"
    )


def _tip(cell: Cell, table: Table, head: Head) -> str:
    """What stands behind the cell, shown on hover and focus."""
    facts = [("runs finished", f"{cell.n} of {cell.wanted}")]
    others = {state: count for state, count in cell.states.items() if state != "complete"}
    facts += [(state, str(count)) for state, count in sorted(others.items())]
    if cell.interval:
        low, high = (text.number(bound, table) for bound in cell.interval)
        facts.append(("95 % interval (Student's t)", f"{low} to {high}"))
    if cell.p_value is not None:
        facts.append((f"Welch's p against {table.baseline}", f"{cell.p_value:.3g}"))
    facts.append(("setting", cell.setting_key[:12]))
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    each = "".join(
        f"<tr><td>seed {seed}</td><td>{text.number(value, table)}</td><td><code>{escape(run)}</code></td></tr>"
        for seed, value, run in zip(cell.seeds, cell.values, cell.runs, strict=True)
    )
    return (
        f'<div class="tip" role="tooltip"><strong>{escape(head.printed)}</strong><dl>{listed}</dl>'
        f"<table>{each}</table></div>"
    )


def _range(table: Table, column: int) -> tuple[float, float]:
    """Smallest and largest value of any run in a column."""
    values = [value for (_, at), cell in table.cells.items() if at == column for value in cell.values]
    return (min(values), max(values)) if values else (0.0, 0.0)


def _strip(cell: Cell, span: tuple[float, float]) -> str:
    """A dot for each run and a tick for the mean, on the column's common scale."""
    low, high = span
    if cell.mean is None or high <= low:
        return ""
    width, height = STRIP

    def x(value: float) -> float:
        return round(4 + (width - 8) * (value - low) / (high - low), 1)

    dots = "".join(f'<circle cx="{x(value)}" cy="{height / 2}" r="2.2"/>' for value in cell.values)
    tick = f'<line x1="{x(cell.mean)}" x2="{x(cell.mean)}" y1="0.5" y2="{height - 0.5}"/>'
    rail = f'<line class="rail" x1="2" x2="{width - 2}" y1="{height / 2}" y2="{height / 2}"/>'
    return f'<svg class="strip" width="{width}" height="{height}" aria-hidden="true">{rail}{dots}{tick}</svg>'
