"""A table as LaTeX with booktabs, its notes with threeparttable, its colours with xcolor."""

import re
import unicodedata
from collections.abc import Sequence

from kdharness.reporting import text
from kdharness.reporting.table import Cell, Filled, Head, Table

_TEXT = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"{\ttfamily\char34}", "'": r"{'}", "`": r"\textasciigrave{}", "[": "{[}", "]": "{]}",
    "*": "{*}", "±": r"$\pm$", "×": r"$\times$", "→": r"$\rightarrow$", "−": "$-$", "–": "--", "—": "---",
    "†": r"$\dagger$", "‡": r"$\ddagger$", "“": "``", "”": "''", "‘": "`", "’": "'", "…": r"\ldots{}", "≤": r"$\leq$",
    "≥": r"$\geq$", "≠": r"$\neq$", "·": r"$\cdot$", "²": "$^2$", "³": "$^3$", "°": r"$^{\circ}$", "µ": r"$\mu$",
    "\u00a0": "~", "√": r"$\surd$", "§": r"\S{}",
}  # fmt: skip

_ACCENTS = set("\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327")
_LETTERS = set("ßøØæÆœŒłŁåÅ")
"""What pdfLaTeX prints in its oldest font encoding; letters with another accent lose it."""

_CAPITALS = {"Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega"}
"""Greek capitals that have a command; the others look Latin and have none."""


def render(table: Table) -> str:
    """A `table` environment: head, body and notes. Its first line names the packages that it needs."""
    width = 1 + len(_beside_heads(table))
    spec = "l" + ("r" * width) * len(table.columns) + ("r" if table.ranks else "")
    coloured = table.delta_rows or bool(table.filled)
    return "\n".join(
        [
            rf"% \usepackage{{booktabs,threeparttable{',xcolor' if coloured else ''}}}",
            r"\begin{table}[t]",
            r"\centering",
            r"\begin{threeparttable}",
            r"\setlength{\belowcaptionskip}{4pt}",
            rf"\caption{{{escape(table.title)}. {escape(' '.join(table.caption))}}}",
            rf"\label{{tab:{_slug(table.title)}}}",
            rf"\begin{{tabular}}{{@{{}}{spec}@{{}}}}",
            r"\toprule",
            *_head(table, width),
            r"\midrule",
            *_body(table, width),
            r"\bottomrule",
            r"\end{tabular}",
            *_notes(table),
            r"\end{threeparttable}",
            r"\end{table}",
            "",
        ]
    )


def escape(value: str) -> str:
    """Text that prints as itself wherever it stands in a document, also at the start of a table's line.

    Latin letters with accents stay; Greek letters become mathematics; any other character that pdfLaTeX does not
    have is printed as its code point, so that a label never stops a compilation.
    """
    pieces = [_character(character) for character in unicodedata.normalize("NFC", value)]
    return re.sub(r"-(?=-)", "-{}", "".join(pieces)) if "--" in value else "".join(pieces)


def _character(character: str) -> str:
    if character in _TEXT:
        return _TEXT[character]
    if character.isspace():
        return " "
    if " " <= character <= "~" or character in _LETTERS:
        return character
    parts = unicodedata.normalize("NFD", character)
    if len(parts) > 1 and parts[0].isascii():
        return character if set(parts[1:]) <= _ACCENTS else parts[0]
    if "Α" <= character <= "ω":
        return _greek(character)
    if unicodedata.category(character).startswith("C"):
        return ""
    return rf"{{\ttfamily U+{ord(character):04X}}}"


def _greek(character: str) -> str:
    name = unicodedata.name(character, "").rsplit(" ", 1)[-1].lower().replace("lamda", "lambda")
    command = name.capitalize() if character.isupper() else name
    if character in "οςΐΰάέήίόύώϊϋ" or (character.isupper() and command not in _CAPITALS) or not name:
        return rf"{{\ttfamily U+{ord(character):04X}}}"
    return rf"$\{command}$"


def _beside_heads(table: Table) -> list[str]:
    """What stands beside the values: both differences share a column."""
    heads = [r"$\Delta$"] if table.has_delta or table.has_against else []
    return [*heads, "printed"] if table.has_beside else heads


def _head(table: Table, width: int) -> list[str]:
    names, teachers, rules = [""], [""], []
    for first, last in _alike(table.columns):
        columns = width * (last - first + 1)
        names.append(_span(escape(table.columns[first].printed), columns))
        teachers.append(_span(rf"\footnotesize {escape(text.under(table.columns[first]))}", columns))
        rules.append(rf"\cmidrule(lr){{{2 + width * first}-{1 + width * (last + 1)}}}")
    rank = [""] if table.ranks else []
    lines = [" & ".join([*names, *rank]) + r" \\"]
    if any(text.under(column) for column in table.columns):
        lines.append(" & ".join([*teachers, *rank]) + r" \\")
    lines.append("".join(rules))
    heads = [escape(text.corner(table))]
    for column in table.columns:
        heads += [escape(text.value_head(table, column)), *_beside_heads(table)]
    lines.append(" & ".join([*heads, *(["rank"] if table.ranks else [])]) + r" \\")
    return lines


def _alike(columns: Sequence[Head]) -> list[tuple[int, int]]:
    """First and last of the neighbours that share a printed name: one pair under several metrics."""
    runs: list[tuple[int, int]] = []
    for index, column in enumerate(columns):
        if runs and column.metric and columns[runs[-1][0]].printed == column.printed:
            runs[-1] = (runs[-1][0], index)
        else:
            runs.append((index, index))
    return runs


def _body(table: Table, width: int) -> list[str]:
    whole = 1 + width * len(table.columns) + bool(table.ranks)
    body: list[str] = []
    for line in text.lines(table):
        if line.row is None:
            style = r"\bfseries" if line.panel else r"\itshape"
            body += [r"\addlinespace"] if body else []
            if line.text:
                body.append(rf"\multicolumn{{{whole}}}{{@{{}}l}}{{{style} {escape(line.text)}}} \\")
            continue
        cells = [r"\quad$\Delta$" if line.delta else _named(table.rows[line.row], table)]
        for column in range(len(table.columns)):
            cells += _cells(table, line, column, width)
        cells += ["" if line.delta else text.rank(table, line.row)] if table.ranks else []
        body.append(" & ".join(cells) + r" \\")
    return body


def _named(head: Head, table: Table) -> str:
    about = text.under(head)
    cite = rf"~\cite{{{head.cite}}}" if table.cite and head.cite else ""
    return escape(head.printed) + cite + (escape(f" ({about})") if about else "")


def _cells(table: Table, line: text.Line, column: int, width: int) -> list[str]:
    """The value and what stands beside it."""
    position = (line.row or 0, column)
    cell = table.cells.get(position)
    if line.delta:
        return [_coloured(cell) if cell else "", *[""] * (width - 1)]
    if position in table.filled:
        return [_filled(table.filled[position]), *[""] * (width - 1)]
    if cell is None:
        return [""] * width
    beside = [_differences(cell, table)] if table.has_delta or table.has_against else []
    beside += [_printed(cell)] if table.has_beside else []
    return [_value(cell, table), *beside]


def _value(cell: Cell, table: Table) -> str:
    mean = escape(text.mean(cell))
    marked = {"best": rf"\textbf{{{mean}}}", "second": rf"\underline{{{mean}}}", None: mean}[cell.mark]
    width = text.half_width(cell, table)
    spread = rf"{{\scriptsize$\,\pm\,${width}}}" if width else ""
    return rf"{marked}{spread}{{\scriptsize\,({text.count(cell)}{_marks(cell.notes)})}}"


def _filled(value: Filled) -> str:
    return rf"\textcolor{{gray}}{{{escape(text.filled(value))}{_marks((value.letter, *value.notes))}}}"


def _coloured(cell: Cell) -> str:
    if cell.against is None:
        return ""
    colour = "red" if text.is_large(cell.against) else "blue"
    return rf"\textcolor{{{colour}}}{{${text.delta(cell.against)}$}}"


def _printed(cell: Cell) -> str:
    return rf"{{\scriptsize {escape(text.beside(cell.beside))}{_marks(cell.beside.notes)}}}" if cell.beside else ""


def _marks(notes: Sequence[str]) -> str:
    return rf"\tnote{{{','.join(map(_mark, notes))}}}" if notes else ""


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


def _slug(value: str) -> str:
    plain = unicodedata.normalize("NFKD", value).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-") or "table"
