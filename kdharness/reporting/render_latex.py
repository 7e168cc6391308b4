"""A table as LaTeX with booktabs; notes stand under it without a package of their own."""

import re
import unicodedata

from kdharness.reporting import text
from kdharness.reporting.table import Cell, Head, Table

_TEXT = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"{\ttfamily\char34}", "'": r"{'}", "`": r"\textasciigrave{}", "[": "{[}", "]": "{]}",
    "*": "{*}", "±": r"$\pm$", "×": r"$\times$", "→": r"$\rightarrow$", "−": "$-$", "–": "--", "—": "---",
    "†": r"$\dagger$", "‡": r"$\ddagger$", "“": "``", "”": "''", "‘": "`", "’": "'", "…": r"\ldots{}", "≤": r"$\leq$",
    "≥": r"$\geq$", "≠": r"$\neq$", "·": r"$\cdot$", "²": "$^2$", "³": "$^3$", "°": r"$^{\circ}$", "µ": r"$\mu$",
    "\u00a0": "~",
}  # fmt: skip

_ACCENTS = set("\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327")
_LETTERS = set("ßøØæÆœŒłŁåÅ")
"""What pdfLaTeX prints in its oldest font encoding; letters with another accent lose it."""

_CAPITALS = {"Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega"}
"""Greek capitals that have a command; the others look Latin and have none."""


def render(table: Table) -> str:
    """A `table` environment: head, body and notes. Needs `\\usepackage{booktabs}` and nothing else."""
    width = 1 + _has_differences(table)
    spec = "l" + ("r" * width) * len(table.columns)
    return "\n".join(
        [
            r"% \usepackage{booktabs}",
            r"\begin{table}[t]",
            r"\centering",
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


def _head(table: Table, width: int) -> list[str]:
    names = [_span(escape(column.printed), width) for column in table.columns]
    lines = [" & ".join(["", *names]) + r" \\"]
    if any(column.teacher for column in table.columns):
        teachers = [_span(rf"\footnotesize {escape(text.teacher(column))}", width) for column in table.columns]
        lines.append(" & ".join(["", *teachers]) + r" \\")
    rules = [rf"\cmidrule(lr){{{2 + width * i}-{1 + width * (i + 1)}}}" for i in range(len(table.columns))]
    lines.append("".join(rules))
    under = [escape(text.value_head(table))]
    under += [r"$\Delta$"] if _has_differences(table) else []
    lines.append(" & ".join([escape(text.corner(table)), *(under * len(table.columns))]) + r" \\")
    return lines


def _body(table: Table, width: int) -> list[str]:
    whole = 1 + width * len(table.columns)
    body: list[str] = []
    for line in text.lines(table):
        if line.row is None:
            style = r"\bfseries" if line.panel else r"\itshape"
            body += [r"\addlinespace"] if body else []
            if line.text:
                body.append(rf"\multicolumn{{{whole}}}{{@{{}}l}}{{{style} {escape(line.text)}}} \\")
            continue
        cells = [escape(_named(table.rows[line.row]))]
        for column in range(len(table.columns)):
            cell = table.cells.get((line.row, column))
            cells.append(_value(cell, table) if cell else "")
            if _has_differences(table):
                cells.append(_differences(cell, table) if cell else "")
        body.append(" & ".join(cells) + r" \\")
    return body


def _named(head: Head) -> str:
    about = text.teacher(head)
    return f"{head.printed} ({about})" if about else head.printed


def _value(cell: Cell, table: Table) -> str:
    mean = escape(text.mean(cell, table))
    marked = {"best": rf"\textbf{{{mean}}}", "second": rf"\underline{{{mean}}}", None: mean}[cell.mark]
    spread = rf"{{\scriptsize$\,\pm\,${cell.std:.{table.decimals}f}}}" if cell.std is not None else ""
    notes = rf"$^{{{''.join(_mark(note) for note in cell.notes)}}}$" if cell.notes else ""
    return rf"{marked}{spread}{{\scriptsize\,({text.count(cell)}{notes})}}"


def _mark(note: str) -> str:
    return {"†": r"\dagger "}.get(note, rf"\mathrm{{{note}}}")


def _has_differences(table: Table) -> bool:
    return table.has_delta or table.has_against


def _differences(cell: Cell, table: Table) -> str:
    """`+2.17 (+0.63 KD)`: to the baseline, and to the row that this one names."""
    parts = [f"${text.delta(cell.delta, table)}$"] if cell.delta else []
    if cell.against and table.has_against:
        parts.append(f"(${text.delta(cell.against, table)}$ {escape(cell.against.to)})")
    return rf"{{\scriptsize {' '.join(parts)}}}" if parts else ""


def _span(value: str, width: int) -> str:
    return rf"\multicolumn{{{width}}}{{c}}{{{value}}}"


def _notes(table: Table) -> list[str]:
    notes = [rf"$^{{{_mark(note.mark)}}}$\,{escape(note.text)}" for note in table.footnotes]
    notes += [escape(table.missing) + "."] if table.missing else []
    if not notes:
        return []
    joined = r" \\ ".join(notes)
    return [r"\par\smallskip", rf"\parbox{{\linewidth}}{{\footnotesize {joined}}}"]


def _slug(value: str) -> str:
    plain = unicodedata.normalize("NFKD", value).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-") or "table"
