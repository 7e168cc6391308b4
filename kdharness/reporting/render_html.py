"""Tables as one self-contained page: sortable columns, the runs behind every cell, nothing fetched from outside."""

from collections.abc import Mapping, Sequence
from html import escape

from kdharness.reporting import text
from kdharness.reporting.html_page import PAGE
from kdharness.reporting.table import Cell, Delta, Filled, Head, Table

HINT = "A click on a head sorts by it; a cell shows its runs when it is pointed at or focused."
MLFLOW = "A run’s id leads to its page in MLflow while <code>kdharness ui</code> runs on this machine."

STRIP = (92, 10)
"""Width and height in pixels of the strip that shows where each run of a cell lies."""


Links = Mapping[str, str]
"""Run -> its page in MLflow."""


def render(tables: Sequence[Table], links: Links | None = None) -> str:
    """A whole HTML document."""
    title = tables[0].title if tables else "kdharness"
    hint = HINT + (f" {MLFLOW}" if links else "")
    body = "\n".join(_table(table, links or {}) for table in tables)
    return PAGE.replace("@TITLE@", escape(title)).replace("@HINT@", hint).replace("@BODY@", body)


def _table(table: Table, links: Links) -> str:
    notes = "".join(f"<p>{escape(note)}</p>" for note in text.notes(table))
    blocks = text.blocks(table)
    return (
        f'<section><h2>{escape(table.title)}</h2><div class="scroll" tabindex="0" role="region" '
        f'aria-label="{escape(table.title)}"><table>{_head(table, blocks)}{_body(table, blocks, links)}</table></div>'
        f'<div class="notes">{notes}</div></section>'
    )


def _head(table: Table, blocks: Sequence[text.Block]) -> str:
    heads = [f'<th scope="col"><button type="button">{escape(text.corner(table))}</button></th>']
    for block in blocks:
        about = ", ".join(filter(None, (block.said, *block.under)))
        under = f'<span class="teacher">{escape(about)}</span>' if about else ""
        tip = f' title="teacher run: {escape(", ".join(block.tip))}"' if block.tip else ""
        heads.append(
            f'<th scope="col" class="num"{tip}><button type="button">{escape(block.printed)}</button>{under}</th>'
        )
        heads += [_plain_head(name) for name in _beside_heads(table, block)]
    heads += [_plain_head("rank")] if table.ranks else []
    return f"<thead><tr>{''.join(heads)}</tr></thead>"


def _plain_head(name: str) -> str:
    return f'<th scope="col" class="num"><button type="button">{escape(name)}</button></th>'


def _beside_heads(table: Table, block: text.Block) -> list[str]:
    """What stands beside the values: both differences share a column."""
    heads = [f"Δ {table.baseline or ''}"] if {"Δ", "vs"} & set(block.extras) else []
    return [*heads, "printed"] if "printed" in block.extras else heads


def _body(table: Table, blocks: Sequence[text.Block], links: Links) -> str:
    whole = 1 + sum(1 + len(_beside_heads(table, block)) for block in blocks) + bool(table.ranks)
    ranges = _ranges(table)
    parts = ["<tbody>"]
    for line in text.lines(table):
        if line.row is None:
            kind = "panel" if line.panel else "group"
            heading = f'<tr class="{kind}"><th colspan="{whole}" scope="rowgroup">{escape(line.text)}</th></tr>'
            parts.append(f"</tbody><tbody>{heading}</tbody><tbody>" if line.panel else heading)
            continue
        row = _delta_row(table, line.row, blocks) if line.delta else _row(table, line.row, blocks, ranges, links)
        parts.append(row)
    return "".join([*parts, "</tbody>"]).replace("<tbody></tbody>", "")


def _row(
    table: Table,
    row: int,
    blocks: Sequence[text.Block],
    ranges: Mapping[int, tuple[float, float]],
    links: Links,
) -> str:
    head = table.rows[row]
    about = f' <span class="teacher">{escape(text.under(head))}</span>' if text.under(head) else ""
    cells = [f'<th scope="row" data-v="{escape(head.printed)}">{escape(head.printed)}{about}</th>']
    for block in blocks:
        empty = ["<td></td>"] * len(_beside_heads(table, block))
        if len(block.columns) > 1:
            cells += _shared(text.shared(table, row, block), table, head, block, links)
            continue
        column = block.columns[0]
        cell = table.cells.get((row, column))
        if (row, column) in table.filled:
            cells += [_filled(table.filled[row, column]), *empty]
        elif cell is None:
            cells += ["<td></td>", *empty]
        else:
            cells.append(_cell(cell, table, head, ranges[column], links))
            cells += [_differences(cell, table)] if {"Δ", "vs"} & set(block.extras) else []
            cells += [_printed(cell)] if "printed" in block.extras else []
    rank = text.rank(table, row)
    cells += [f'<td class="num" data-v="{rank}">{rank}</td>'] if table.ranks else []
    return f'<tr class="{"ours" if head.ours else ""}">{"".join(cells)}</tr>'


def _shared(cells: Sequence[Cell | None], table: Table, head: Head, block: text.Block, links: Links) -> list[str]:
    """Several values in one cell, sorted by the first; the runs of each behind it."""
    count = text.shared_count(cells)
    behind = f' <span class="n">({count}{_marks(text.shared_notes(cells))})</span>' if count else ""
    values = " / ".join(_marked(cell) if cell else text.EMPTY for cell in cells)
    first = next((cell.mean for cell in cells if cell and cell.mean is not None), "")
    names = [table.columns[at] for at in block.columns]
    parts = [
        _facts(cell, table, links, text.value_head(table, name) if table.within == "metric" else name.printed)
        for cell, name in zip(cells, names, strict=False)  # no cells where all are missing
        if cell
    ]
    tip = _tip(head, "".join(parts)) if parts else ""
    kind = 'class="num value" tabindex="0"' if parts else 'class="num"'
    printed = f'<td class="num printed">{escape(text.shared_print(cells))}</td>'
    return [f'<td {kind} data-v="{first}">{values}{behind}{tip}</td>', *(printed for _ in block.extras)]


def _delta_row(table: Table, row: int, blocks: Sequence[text.Block]) -> str:
    """The differences to the row that this one names, in the colours of Logit Standardization."""
    cells = ['<th scope="row" class="delta">Δ</th>']
    for block in blocks:
        cell = table.cells.get((row, block.columns[0])) if len(block.columns) == 1 else None
        difference = cell.against if cell else None
        cells.append(f'<td class="num {text.tone(difference)}">{text.delta(difference)}</td>')
        cells += ["<td></td>"] * len(_beside_heads(table, block))
    return f'<tr class="delta">{"".join(cells)}{"<td></td>" if table.ranks else ""}</tr>'


def _differences(cell: Cell, table: Table) -> str:
    """The difference to the baseline, and under it the one to the row that this one names."""
    lines = []
    if cell.delta and table.has_delta:
        lines.append(f"<span{_tone(cell.delta)}>{text.delta(cell.delta, cell.stars)}</span>")
    if cell.against and table.has_against:
        number = f"<span{_tone(cell.against)}>{text.delta(cell.against)}</span>"
        lines.append(f'<span class="to">{number} vs {escape(cell.against.to)}</span>')
    order = cell.delta.value if cell.delta else ""
    return f'<td class="num" data-v="{order}">{"<br>".join(lines)}</td>'


def _printed(cell: Cell) -> str:
    if cell.beside is None:
        return "<td></td>"
    notes = _marks(cell.beside.notes)
    where = escape(f"{cell.beside.source} {cell.beside.table}, {cell.beside.selection} epoch")
    shown = escape(text.beside(cell.beside))
    return f'<td class="num printed" data-v="{cell.beside.value}" title="{where}">{shown}{notes}</td>'


def _filled(value: Filled) -> str:
    notes = _marks((value.letter, *value.notes))
    where = escape(value.source)
    return f'<td class="num filled" data-v="{value.value}" title="{where}">{escape(text.filled(value))}{notes}</td>'


def _marks(notes: Sequence[str]) -> str:
    return f"<sup>{escape(' '.join(notes))}</sup>" if notes else ""


def _tone(difference: Delta) -> str:
    return {True: ' class="up"', False: ' class="down"', None: ""}[difference.improves]


def _cell(cell: Cell, table: Table, head: Head, span: tuple[float, float], links: Links) -> str:
    width = text.spread(cell, table)
    spread = f' <span class="pm">{width}</span>' if width else ""
    order = "" if cell.mean is None else cell.mean
    count = f' <span class="n">({text.count(cell)}{_marks(cell.notes)})</span>' if text.needs_count(cell) else ""
    return (
        f'<td class="num value" tabindex="0" data-v="{order}">{_marked(cell)}{spread}{count}'
        f"{'' if cell.plain else _strip(cell, span)}{_tip(head, _facts(cell, table, links))}</td>"
    )


def _marked(cell: Cell) -> str:
    tag = {"best": "b", "second": "u", None: "span"}[cell.mark]
    return f"<{tag}>{text.mean(cell)}</{tag}>"


def _tip(head: Head, facts: str) -> str:
    """What stands behind the cell, shown on hover and focus."""
    return f'<div class="tip" role="tooltip"><strong>{escape(head.printed)}</strong>{facts}</div>'


def _facts(cell: Cell, table: Table, links: Links, part: str = "") -> str:
    facts = [("runs finished", f"{cell.n} of {cell.wanted}")]
    others = {state: count for state, count in cell.states.items() if state != "complete"}
    facts += [(state, str(count)) for state, count in sorted(others.items())]
    if cell.interval:
        low, high = (text.number(bound, cell.decimals) for bound in cell.interval)
        facts.append(("95 % interval (Student's t)", f"{low} to {high}"))
    if cell.p_value is not None:
        facts.append((f"p against {table.baseline}", f"{cell.p_value:.3g}"))
    if cell.q_value is not None:
        facts.append(("adjusted over the table", f"{cell.q_value:.3g}"))
    if cell.effect is not None:
        facts.append(("Hedges' g", f"{cell.effect:+.2f}"))
    if cell.beside is not None and cell.beside.score is not None:
        facts.append(("ours - print, in standard errors", f"{cell.beside.score:+.2f}"))
    facts.append(("setting", cell.setting_key[:12]))
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    each = "".join(
        f"<tr><td>seed {seed}</td><td>{text.number(value, cell.decimals)}</td><td>{_run(run, links)}</td></tr>"
        for seed, value, run in zip(cell.seeds, cell.values, cell.runs, strict=True)
    )
    return f"{f'<em>{escape(part)}</em>' if part else ''}<dl>{listed}</dl><table>{each}</table>"


def _run(run: str, links: Links) -> str:
    """Its id; with its page in MLflow behind it, where it has one."""
    name = f"<code>{escape(run)}</code>"
    if run not in links:
        return name
    return f'<a href="{escape(links[run])}" target="_blank" rel="noopener noreferrer">{name}</a>'


def _ranges(table: Table) -> dict[int, tuple[float, float]]:
    """Smallest and largest value of any run, by column; columns of several metrics have no common scale."""
    values: dict[int, list[float]] = {}
    metrics: dict[int, set[str]] = {}
    for (_, column), cell in table.cells.items():
        values.setdefault(column, []).extend(cell.values)
        metrics.setdefault(column, set()).add(cell.metric)
    return {
        column: (min(each), max(each)) if each and len(metrics[column]) == 1 else (0.0, 0.0)
        for column, each in values.items()
    }


def _strip(cell: Cell, span: tuple[float, float]) -> str:
    """A dot for each run and a tick for the mean, on the column's common scale."""
    low, high = span
    if cell.mean is None or high <= low:
        return ""
    width, height = STRIP

    def x(value: float) -> str:
        return f"{4 + (width - 8) * (value - low) / (high - low):.1f}"

    dots = "".join(f'<circle cx="{x(value)}" cy="{height / 2}" r="2.2"/>' for value in cell.values)
    middle = x(cell.mean)
    tick = f'<line x1="{middle}" x2="{middle}" y1="0.5" y2="{height - 0.5}"/>'
    rail = f'<line class="rail" x1="2" x2="{width - 2}" y1="{height / 2}" y2="{height / 2}"/>'
    return f'<svg class="strip" width="{width}" height="{height}" aria-hidden="true">{rail}{dots}{tick}</svg>'
