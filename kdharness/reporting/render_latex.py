"""A table as LaTeX with booktabs; notes stand under it without a package of their own."""

import re
import unicodedata

from kdharness.reporting import text
from kdharness.reporting.table import Cell, Delta, Head, Table

_TEXT = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "'": r"{'}", "`": r"\textasciigrave{}", "[": "{[}", "]": "{]}",
    "*": "{*}", "±": r"$\pm$", "×": r"$\times$", "→": r"$\rightarrow$", "−": "$-$", "–": "--", "—": "---",
    "†": r"$\dagger$", "‡": r"$\ddagger$", "“": "``", "”": "''", "‘": "`", "’": "'", "…": r"\ldots{}", "≤": r"$\leq$",
    "≥": r"$\geq$", "≠": r"$\neq$", "·": r"$\cdot$", "²": "$^2$", "³": "$^3$", "°": r"$^{\circ}$", "µ": r"$\mu$",
    "\u00a0": "~",
}  # fmt: skip

_CAPITALS = {"Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega"}
"""Greek capitals that have a command; the others look Latin and have none."""


def render(table: Table) -> str:
    """A `table` environment: head, body and notes. Needs `\\usepackage{booktabs}` and nothing else."""
    width = 1 + table.has_delta + table.has_against
    spec = "l" + ("r" * width) * len(table.columns)
    return "\n".join(
        [
            r"% \usepackage{booktabs}",
            r"\begin{table}[t]",
            r"\centering",
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
    if " " <= character <= "~" or "\u00c0" <= character <= "\u017e":
        return character
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
    under += [r"$\Delta$"] if table.has_delta else []
    under += ["vs"] if table.has_against else []
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
            if table.has_delta:
                cells.append(_delta(cell.delta, table) if cell else "")
            if table.has_against:
                cells.append(_against(cell.against, table) if cell else "")
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


def _delta(difference: Delta | None, table: Table) -> str:
    return f"{{\\scriptsize ${text.delta(difference, table)}$}}" if difference else ""


def _against(difference: Delta | None, table: Table) -> str:
    return f"{{\\scriptsize ${text.delta(difference, table)}$ {escape(difference.to)}}}" if difference else ""


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
