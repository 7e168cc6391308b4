"""Whatever stands in a label, note, title or caption: every rendering prints it, and none obeys it."""

from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import replace

from hypothesis import example, given, settings
from hypothesis import strategies as st

from kdharness.reporting import latex
from kdharness.reporting.latex_fitting import Page
from kdharness.reporting.render import render
from kdharness.reporting.render_csv import FIELDS
from kdharness.reporting.render_latex import Written, _floats
from kdharness.reporting.table import Table

from .test_render import HOSTILE, _Balanced, crowded

LIVE = [
    r"\input{/etc/passwd}", r"\write18{rm -rf ~}", r"\immediate\write18", "^^5cinput", r"}\end{table}\evil{", "$$x$$",
    "%", r"\\[1em]", "&&", "#1", "~_^", "=HYPERLINK(\"http://x\")", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1",
    "a\r\nb", '","', '"', "<script>alert(1)</script>", "</td><td>", "|", "||", "a\\|b", "`", "\u2028", "\x00",
    "\x1b[2J", "\ud800", "\u202eevil", "e\u0301", "\u0301", "ế", "ǖ", "½", "ﬁ", "🙂", "?`", "<<", ",,", "---",
]  # fmt: skip
TEXTS = st.one_of(
    st.sampled_from([*LIVE, *HOSTILE]),
    st.text(max_size=20),
    st.text(alphabet="\\{}$&%#_^~[]*'\"`|<>=+-@\t\r\n aé", max_size=12),
    st.lists(st.sampled_from([*LIVE, "a"]), max_size=3).map("".join),
).filter(bool)
"""A group without a name has no line of its own."""

COMMANDS = r"pm|times|rightarrow|dagger|ddagger|leq|geq|neq|cdot|mu|surd"
GREEK = (
    "alpha|beta|gamma|delta|epsilon|zeta|eta|theta|iota|kappa|lambda|nu|xi|pi|rho|sigma|tau|upsilon|phi|chi|psi|omega"
)
CAPITALS = "Gamma|Delta|Theta|Lambda|Xi|Pi|Sigma|Upsilon|Phi|Psi|Omega"
HARMLESS = re.compile(
    rf"""(?: \\[{{}}$&%\#_]
    | \\(?:textbackslash|textasciitilde|textasciicircum|textless|textgreater|textbar|textasciigrave|ldots|S)\{{\}}
    | \{{'\}} | \{{\[\}} | \{{\]\}} | \{{\*\}} | \{{\\ttfamily\\char34\}} | \{{\\ttfamily\ U\+[0-9A-F]{{4,6}}\}}
    | \$(?:\\(?:{COMMANDS}|{GREEK}|{CAPITALS})|-|\^2|\^3|\^\{{\\circ\}})\$
    | -\{{\}}
    | [^\\{{}}$&%\#_^\[\]*"<>|\x00-\x1f\x7f\u0180-\U0010ffff]
    )*""",
    re.VERBOSE,
)
"""LaTeX that prints characters and does nothing else."""
UNESCAPED = {
    r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^", r"\textless{}": "<",
    r"\textgreater{}": ">", r"\textbar{}": "|", r"\textasciigrave{}": "`", r"{\ttfamily\char34}": '"', "{'}": "'",
    "{[}": "[", "{]}": "]", "{*}": "*", "-{}": "-", **{"\\" + one: one for one in "{}$&%#_"},
}  # fmt: skip

many = settings(max_examples=400, deadline=None, database=None, derandomize=True)
few = settings(max_examples=40, deadline=None, database=None, derandomize=True)
MARK = "MARK"
TEMPLATE = replace(crowded(), published=None)


def with_text(text: str) -> Table:
    """A table that says it everywhere."""
    heads = {
        name: tuple(
            replace(head, printed=text, name=text, group=head.group and text) for head in getattr(TEMPLATE, name)
        )
        for name in ("rows", "columns")
    }
    cells = {at: cell._replace(row=text, column=text) for at, cell in TEMPLATE.cells.items()}
    notes = tuple(replace(note, text=text) for note in TEMPLATE.footnotes)
    return replace(TEMPLATE, **heads, cells=cells, title=text, caption=(text,), footnotes=notes, missing=text)


@many
@given(TEXTS)
@example("".join(map(chr, range(1, 0x250))))
def test_escaped_text_is_no_command(text: str) -> None:
    assert HARMLESS.fullmatch(latex.escape(text))


@many
@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=30))
def test_what_was_escaped_reads_as_it_was(text: str) -> None:
    said = latex.escape(text)
    pieces = re.split("(" + "|".join(map(re.escape, sorted(UNESCAPED, key=len, reverse=True))) + ")", said)
    assert "".join(UNESCAPED.get(piece, piece) for piece in pieces) == text


@few
@given(TEXTS)
def test_a_latex_table_is_the_same_around_any_text(text: str) -> None:
    """Titles, labels, groups, captions and notes: all are escaped, and nothing else depends on them."""

    def body(table: Table) -> str:
        lines = _floats(Written(table), "tab:x", Page(math.inf, math.inf))  # whole, however wide it is
        return "\n".join(lines).replace("table*", "table")

    assert body(with_text(text)) == body(with_text(MARK)).replace(MARK, latex.escape(text))


@few
@given(TEXTS)
def test_a_csv_holds_any_text_and_no_formula(text: str) -> None:
    said = render(with_text(text), "csv")
    rows = list(csv.reader(io.StringIO(said, newline="")))
    plain = list(csv.reader(io.StringIO(render(with_text(MARK), "csv"), newline="")))
    assert [len(row) for row in rows] == [len(FIELDS)] * len(plain)
    shown = "'" + text if text.startswith(tuple("=+-@\t\r\n")) else text
    for row, other in zip(rows[1:], plain[1:], strict=True):
        assert [shown if cell == MARK else cell for cell in other if MARK not in cell.replace(MARK, "", 1)] == [
            cell for cell, was in zip(row, other, strict=True) if MARK not in was.replace(MARK, "", 1)
        ]
        for name, cell in zip(FIELDS, row, strict=True):
            if cell[:1] in tuple("=+-@\t\r\n"):
                assert name in ("mean", "delta", "against_delta", "effect", "difference"), (name, cell)
                float(cell)


@few
@given(TEXTS)
def test_an_html_page_holds_any_text_and_no_markup(text: str) -> None:
    parser = _Balanced()
    parser.feed(render(with_text(text), "html"))
    assert parser.open == [] and parser.fetched == [] and parser.scripts == 1


@few
@given(TEXTS)
def test_a_markdown_table_keeps_its_shape_around_any_text(text: str) -> None:
    def pipes(table: Table) -> list[int]:
        lines = render(table, "md").split("\n")
        return [len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines if line.startswith("|")]

    said = render(with_text(text), "md")
    assert pipes(with_text(text)) == pipes(with_text(MARK)) and "<script" not in said
