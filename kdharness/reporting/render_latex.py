"""A table as LaTeX with booktabs, its notes with threeparttable, its colours with xcolor."""

from collections.abc import Sequence
from functools import cached_property
from itertools import chain

from kdharness.reporting import text
from kdharness.reporting.latex import escape, slug
from kdharness.reporting.latex_fitting import (
    COLUMN,
    ONE_COLUMN,
    TWO_COLUMNS,
    Body,
    Lines,
    Page,
    measured,
    pages,
    parts,
    size,
)
from kdharness.reporting.latex_width import SIZES, Natural, Size, natural
from kdharness.reporting.table import Cell, Filled, Table


def render(table: Table, label: str = "") -> str:
    """A `table` environment, `table*` where it is wider than a column of two: head, body and notes.

    Its first line names the packages that it needs. Without a label it has one made of its title. What is too wide for
    a page stands in parts below each other, and where they are too tall for one in several floats of one number. Where
    pages of one column and of two need other parts or another size, the file has both and the document's width decides.
    """
    written, label = Written(table), label or f"tab:{slug(table.title)}"
    narrow, wide = (_floats(written, label, page) for page in (ONE_COLUMN, TWO_COLUMNS))
    condition = rf"\ifdim\textwidth<{TWO_COLUMNS.across:g}pt"
    both = wide if narrow == wide else [condition, *narrow, r"\else", *wide, r"\fi"]
    return "\n".join([packages(table), *both, ""])


def _floats(written: "Written", label: str, page: Page) -> Lines:
    """The floats for pages of one kind."""
    table = written.table
    bodies = parts(table, written.whole, written.part, page.across)
    notes, (kind, chosen) = _notes(table), _set(bodies, page)
    floats = pages(bodies, len(notes), chosen.leading, page.down)
    caption = rf"{escape(table.title)}. {escape(' '.join(table.caption))}"
    lines: Lines = []
    for number, on_page in enumerate(floats):
        named = [rf"\caption{{{caption}}}", rf"\label{{{label}}}"]
        again = [r"\addtocounter{table}{-1}", rf"\caption{{{escape(table.title)} (continued).}}"]
        below = notes if on_page is floats[-1] or not notes else _NOTES_BELOW
        lines += _float(kind, chosen, again if number else named, on_page, below)
    return lines


_NOTES_BELOW = [r"\begin{tablenotes}\footnotesize", r"\item Notes: below the last part.", r"\end{tablenotes}"]


def _set(bodies: Sequence[Body], page: Page) -> tuple[str, Size]:
    """The environment and the size that a table's bodies have in common."""
    kind = "table" if all(body.across(SIZES[0]) <= COLUMN for body in bodies) else "table*"
    return kind, size(bodies, page.across)


def _float(kind: str, chosen: Size, caption: Lines, bodies: Sequence[Body], notes: Lines) -> Lines:
    """One float with some of the table's bodies."""
    first, *others = bodies
    return [
        rf"\begin{{{kind}}}[t]",
        r"\centering",
        r"\setlength{\belowcaptionskip}{4pt}",
        *caption,
        *([chosen.command] if chosen.command else []),
        r"\begin{threeparttable}",
        *first.lines,
        *(line for body in others for line in (r"\par\medskip", *body.lines)),
        *notes,
        r"\end{threeparttable}",
        rf"\end{{{kind}}}",
    ]


def tabular(table: Table) -> str:
    """The bare `tabular`, whole, for a float of one's own."""
    return "\n".join([packages(table), *Written(table).whole.lines, ""])


def listing(lines: Sequence[Sequence[str]], caption: str, label: str) -> str:
    """Lines of text as a `table` of their own, the first one its head."""
    written = [" & ".join(map(escape, line)) + r" \\" for line in lines]
    spec = "l" + "r" * (len(lines[0]) - 1)
    body = [rf"\begin{{tabular}}{{@{{}}{spec}@{{}}}}", r"\toprule", written[0], r"\midrule", *written[1:]]
    whole = Body([*body, r"\bottomrule", r"\end{tabular}"])
    named = [rf"\caption{{{escape(caption)}}}", rf"\label{{{label}}}"]
    return "\n".join([_PACKAGES.format(""), *_float(*_set([whole], ONE_COLUMN), named, [whole], []), ""])


_PACKAGES = r"% \usepackage{{booktabs,threeparttable{}}}"


def packages(table: Table) -> str:
    """A comment: what the table needs in the preamble."""
    coloured = table.delta_rows or bool(table.filled)
    return _PACKAGES.format(",xcolor" if coloured else "")


class Written:
    """A table's cells as LaTeX, written and measured once however often it is cut."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self._lines, self._blocks = list(text.lines(table)), text.blocks(table)
        rows = [line for line in self._lines if line.row is not None]
        names = [[_name(table, line)] for line in rows]
        ranks = [["" if line.delta else text.rank(table, line.row or 0)] for line in rows]
        self._cells = [names, *([_cells(table, line, block) for line in rows] for block in self._blocks), ranks]
        """Of the names, of each block and of the ranks, row by row."""
        self._texts = [[" & ".join(row) for row in rows] for rows in self._cells]

    @cached_property
    def whole(self) -> Body:
        """All columns."""
        return self.part(0, len(self._blocks))

    def part(self, first: int, last: int) -> Body:
        """The tabular of some neighbouring columns; mean ranks stand in the one with the last."""
        blocks, rank = self._blocks[first:last], bool(self.table.ranks) and last == len(self._blocks)
        columns = sum(map(_width, blocks)) + rank
        head = [
            rf"\begin{{tabular}}{{@{{}}l{'r' * columns}@{{}}}}",
            r"\toprule",
            *_head(self.table, blocks, rank=rank),
            r"\midrule",
        ]
        shown = [0, *range(first + 1, last + 1), *([len(self._texts) - 1] if rank else [])]
        rows = iter(zip(*(self._texts[at] for at in shown), strict=True))
        body: Lines = []
        for line in self._lines:
            heading = _heading(line, 1 + columns, above=bool(body))
            body += heading if line.row is None else [" & ".join(next(rows)) + r" \\"]
        known = measured([*head, *(line for line in body if line.startswith(r"\multicolumn"))])
        for at, widths in enumerate(chain.from_iterable(self._widths[at] for at in shown)):
            known.columns[at] |= widths
        return Body([*head, *body, r"\bottomrule", r"\end{tabular}"], known)

    @cached_property
    def _widths(self) -> list[list[set[Natural]]]:
        """Of each block its columns' cells."""
        return [[set(map(natural, column)) for column in zip(*rows, strict=True)] for rows in self._cells]


def _beside_heads(block: text.Block) -> list[str]:
    """What stands beside the values: both differences share a column."""
    heads = [r"$\Delta$"] if {"Δ", "vs"} & set(block.extras) else []
    return [*heads, "printed"] if "printed" in block.extras else heads


def _width(block: text.Block) -> int:
    return 1 + len(_beside_heads(block))


def _head(table: Table, blocks: Sequence[text.Block], *, rank: bool) -> Lines:
    over, rules, begin = list[tuple[int, tuple[str, ...]]](), [], 2
    for alike in _alike(blocks):
        columns = sum(map(_width, alike))
        over.append((columns, (escape(alike[0].printed), *(rf"\scriptsize {escape(one)}" for one in alike[0].under))))
        rules.append(rf"\cmidrule(lr){{{begin}-{begin + columns - 1}}}")
        begin += columns
    lines = []
    for at in range(max((len(said) for _, said in over), default=0)):
        spans = [_span(said[at] if at < len(said) else "", columns) for columns, said in over]
        lines.append(" & ".join(["", *spans, *([""] if rank else [])]) + r" \\")
    lines.append("".join(rules))
    heads = [escape(text.corner(table))]
    for block in blocks:
        heads += [escape(block.metric), *_beside_heads(block)]
    lines.append(" & ".join([*heads, *(["rank"] if rank else [])]) + r" \\")
    return lines


def _alike(blocks: Sequence[text.Block]) -> list[list[text.Block]]:
    """The neighbours that share a printed name: one pair under several metrics."""
    runs: list[list[text.Block]] = []
    for block in blocks:
        if runs and block.said and runs[-1][0].printed == block.printed:
            runs[-1].append(block)
        else:
            runs.append([block])
    return runs


def _heading(line: text.Line, columns: int, *, above: bool) -> Lines:
    """A panel's or a group's, apart from what is above."""
    style = r"\bfseries" if line.panel else r"\itshape"
    said = [rf"\multicolumn{{{columns}}}{{@{{}}l}}{{{style} {escape(line.text)}}} \\"] if line.text else []
    return [*([r"\addlinespace"] if above else []), *said]


def _name(table: Table, line: text.Line) -> str:
    """What stands before a row's cells."""
    if line.delta:
        return r"\quad$\Delta$"
    head = table.rows[line.row or 0]
    about = text.under(head)
    cite = rf"~\cite{{{head.cite}}}" if table.cite and head.cite else ""
    return escape(head.printed) + cite + (escape(f" ({about})") if about else "")


def _cells(table: Table, line: text.Line, block: text.Block) -> list[str]:
    """The value and what stands beside it."""
    width = _width(block)
    if len(block.columns) > 1:
        return _shared([] if line.delta else text.shared(table, line.row or 0, block), block)
    position = (line.row or 0, block.columns[0])
    cell = table.cells.get(position)
    if line.delta:
        return [_coloured(cell) if cell else "", *[""] * (width - 1)]
    if position in table.filled:
        return [_filled(table.filled[position]), *[""] * (width - 1)]
    if cell is None:
        return [""] * width
    beside = [_differences(cell, table)] if {"Δ", "vs"} & set(block.extras) else []
    beside += [_printed(cell)] if "printed" in block.extras else []
    return [_value(cell, table), *beside]


def _shared(cells: Sequence[Cell | None], block: text.Block) -> list[str]:
    """`4.02 / 2.31 / 2.51 (5)`, and what was printed so."""
    values = " / ".join(_marked(cell) if cell else escape(text.EMPTY) for cell in cells)
    count = text.shared_count(cells)
    behind = rf"{{\scriptsize\,({count}){_marks(text.shared_notes(cells))}}}" if count else ""
    return [values + behind, *(rf"{{\scriptsize {escape(text.shared_print(cells))}}}" for _ in block.extras)]


def _value(cell: Cell, table: Table) -> str:
    width = text.half_width(cell, table)
    spread = rf"{{\scriptsize$\,\pm\,${width}}}" if width else ""
    count = rf"{{\scriptsize\,({text.count(cell)}){_marks(cell.notes)}}}" if text.needs_count(cell) else ""
    return rf"{_marked(cell)}{spread}{count}"


def _marked(cell: Cell) -> str:
    mean = escape(text.EMPTY) if cell.mean is None else text.mean(cell)
    return {"best": rf"\textbf{{{mean}}}", "second": rf"\underline{{{mean}}}", None: mean}[cell.mark]


def _filled(value: Filled) -> str:
    return rf"\textcolor{{gray}}{{{escape(text.filled(value))}{_marks((value.letter, *value.notes))}}}"


def _coloured(cell: Cell) -> str:
    if cell.against is None:
        return ""
    colour = {"large": "red", "small": "blue", "": "black"}[text.tone(cell.against)]
    return rf"\textcolor{{{colour}}}{{${text.delta(cell.against)}$}}"


def _printed(cell: Cell) -> str:
    return rf"{{\scriptsize {escape(text.beside(cell.beside))}{_marks(cell.beside.notes)}}}" if cell.beside else ""


def _marks(notes: Sequence[str]) -> str:
    """Superscripts that take their place: threeparttable's own have no width and would stand in the next column."""
    return rf"\textsuperscript{{{','.join(map(_mark, notes))}}}" if notes else ""


def _mark(note: str) -> str:
    return {"†": r"$\dagger$", "‡": r"$\ddagger$", "§": r"\S{}", "*": r"$\ast$"}.get(note, note)


def _differences(cell: Cell, table: Table) -> str:
    """`+2.17** (+0.63 KD)`: to the baseline, and to the row that this one names."""
    stars = "".join(r"{*}" for _ in cell.stars)
    parts = [f"${text.delta(cell.delta)}${stars}"] if cell.delta and table.has_delta else []
    if cell.against and table.has_against:
        parts.append(f"(${text.delta(cell.against)}$ {escape(cell.against.to)})")
    return rf"{{\scriptsize {' '.join(parts)}}}" if parts else ""


def _span(value: str, width: int) -> str:
    return rf"\multicolumn{{{width}}}{{c}}{{{value}}}"


def _notes(table: Table) -> list[str]:
    notes = [rf"\item[{_mark(note.mark)}] {escape(note.text)}" for note in table.footnotes]
    notes += [rf"\item {escape(table.missing)}."] if table.missing else []
    return [r"\begin{tablenotes}\footnotesize", *notes, r"\end{tablenotes}"] if notes else []
