"""The renderings: what they say, that they are well formed, and that no label breaks them."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from kdharness.core.errors import BadInput
from kdharness.core.records import TableSpec
from kdharness.reporting import names, render_latex, render_terminal
from kdharness.reporting.latex import escape
from kdharness.reporting.latex_fitting import Body
from kdharness.reporting.latex_fitting import parts as parts_of
from kdharness.reporting.latex_width import SIZES, natural
from kdharness.reporting.render import render
from kdharness.reporting.render_csv import FIELDS
from kdharness.reporting.table import Table
from kdharness.reporting.tables import build_table

from .frames import frame, quickstart, run, seeds, teacher

HOSTILE = [
    "=1+1", "+A1", "-2", "@SUM(A1)", "\tx", "a|b", "50% & more_of #1", r"\input{/etc/passwd}", "{x}^2~$y$", "[1em]",
    "*", '<script>alert("1")</script>', "a\nb", "ours, \"quoted\"", "--dash -- ''q'' `b`", "é ü ß ą",
    "αβ Δ Ω Α ς ά", "学習", "🙂", "× → ± † …", "\x07bell", "KD+LS",
]  # fmt: skip


def hostile() -> Table:
    runs = [
        seeds(label, 90.0 + n, 91.0 + n, row=n, distiller="kd", constants={"c": n}) for n, label in enumerate(HOSTILE)
    ]
    data = frame(teacher(98.06), *runs)
    return build_table(data, TableSpec(title=r"100% of \titles_ & $more$"))


def plain() -> Table:
    return build_table(quickstart(), TableSpec(baseline="kd"))


def crowded() -> Table:
    """Three pairs, groups, lost runs, several footnotes, both kinds of differences."""
    parts = []
    for pair, plus in (("resnet56 -> resnet20", 0.0), ("wrn_40_2 -> wrn_16_2", 3.0), ("resnet32x4 -> resnet8x4", -2.0)):
        here: dict[str, Any] = {"pair": pair, "dataset": "cifar100"}
        ls = {**here, "row": 3, "group": "Logits", "against": "KD", "ours": True}
        parts += [
            teacher(72.34 + plus, model=pair.split()[0], dataset="cifar100"),
            seeds("none", 69.1 + plus, 69.3 + plus, 69.0 + plus, row=0, **here),
            seeds("KD", 70.7 + plus, 70.9 + plus, 70.4 + plus, row=1, group="Logits", **here),
            seeds("DKD", 71.9 + plus, 71.8 + plus, None, row=2, group="Logits", **here),
            [
                run("KD+LS", 0, 71.4 + plus, **ls),
                run("KD+LS", 1, 71.2 + plus, **ls),
                run("KD+LS", 2, state="diverged", **ls),
            ],
            seeds("FitNet", 69.2 + plus, 69.9 + plus, None, row=4, group="Features", recipe={"epochs": 480}, **here),
        ]
    return build_table(frame(*parts), TableSpec(baseline="none", title="CIFAR-100, three pairs"))


def test_json_is_the_interface() -> None:
    said = json.loads(render(plain(), "json"))
    table = said["tables"][0]
    assert {"title", "metric", "cells"} <= set(table)
    assert all({"row", "column", "mean", "std", "n", "runs"} <= set(cell) for cell in table["cells"])
    kd = next(cell for cell in table["cells"] if cell["row"] == "kd")
    assert kd["mean"] == pytest.approx(96.11) and kd["n"] == 3 and len(kd["runs"]) == 3


def test_markdown_is_aligned_and_marked() -> None:
    lines = [line for line in render(plain(), "md").splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1
    assert "**96.85** ± 0.16 (3)" in render(plain(), "md") and "<u>96.30</u>" in render(plain(), "md")
    assert "(teacher 98.06, student 95.28)" in lines[0] and "+0.19" in render(plain(), "md")
    rows = [line for line in render(hostile(), "md").splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {3}
    assert len(rows) == 2 + len(HOSTILE)


def test_csv_is_rfc_4180_and_no_formula() -> None:
    text = render([hostile(), plain()], "csv")
    assert text.count("\r\n") == len(list(csv.reader(io.StringIO(text, newline="")))) and text.endswith("\r\n")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(rows) == len(HOSTILE) + 6 and set(rows[0]) == set(FIELDS)
    assert [row["row"].removeprefix("'") for row in rows[: len(HOSTILE)]] == HOSTILE
    for row in rows:
        for name, value in row.items():
            if value and value[0] in "=+-@\t\r":
                assert name in ("mean", "delta", "against_delta", "effect"), (name, value)
                float(value)


class _Balanced(HTMLParser):
    """Notes unclosed tags, scripts, and whatever would be fetched."""

    VOID = ("meta", "link", "circle", "line", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.fetched += [
            value for name, value in attrs if name in ("src", "href") and value and not value.startswith("data:")
        ]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("table", [plain(), hostile(), crowded()], ids=["plain", "hostile", "crowded"])
def test_html_is_one_page_of_its_own(table: Table) -> None:
    page = render(table, "html")
    parser = _Balanced()
    parser.feed(page)
    assert parser.open == [] and parser.fetched == [] and parser.scripts == 1
    assert "http" not in page.replace("http-equiv", "") and "@import" not in page
    cell = table.cells[1, 0]
    assert all(run_id in page for run_id in cell.runs) and "Student&#x27;s t" in page


def test_a_terminal_shows_bold_and_underline_and_folds_when_narrow() -> None:
    for width in (200, 133, 100, 80, 60):
        console = Console(width=width, force_terminal=True, color_system="standard", record=True, file=io.StringIO())
        console.print(render_terminal.render(crowded(), width))
        said = console.export_text(styles=True)
        assert "\x1b[1m70.67" in said or "\x1b[1m" in said
        shown = re.sub(r"\x1b\[[0-9;]*m", "", said)
        assert max(map(len, shown.splitlines())) <= width
        assert "2/3†" in shown and "Logits" in shown and "…" not in shown
    assert "\x1b[4m" in said


def test_printed_names() -> None:
    said = {
        "resnet32x4": "ResNet32×4",
        "wrn_40_2": "WRN-40-2",
        "resnet50_cifar": "ResNet50",
        "mobilenetv2": "MobileNet-V2",
    }
    assert {name: names.model(name) for name in said} == said
    assert names.pair("resnet32x4 + wrn_40_2 -> my_net") == "ResNet32×4 + WRN-40-2 → my_net"
    assert names.metric("test_top1_last") == "Test top-1 accuracy (%)" and names.metric("odd") == "odd"


def test_an_unknown_format_is_named() -> None:
    with pytest.raises(BadInput, match="docx"):
        render(plain(), "docx")


@pytest.mark.parametrize("table", [plain(), hostile(), crowded()], ids=["plain", "hostile", "crowded"])
def test_latex_has_the_structure_of_a_booktabs_table(table: Table) -> None:
    text = render(table, "latex")
    rules = [text.index(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\end{tabular}", r"\end{table")]
    assert rules == sorted(rules) and r"\caption{" in text and r"\hline" not in text
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")]
    spec = re.search(r"\\begin\{tabular\}\{@\{\}(l[lr]*)@\{\}\}", text)
    assert spec is not None
    for line in body.splitlines()[1:]:
        cells = len(re.findall(r"(?<!\\)&", line)) + 1
        assert cells == len(spec[1]) or r"\multicolumn" in line or line == r"\addlinespace", line
    braces = re.sub(r"\\[{}]", "", text)
    assert braces.count("{") == braces.count("}")
    assert not re.search(r"(?<!\\)[#%_](?!.*usepackage)", re.sub(r"\$[^$]*\$|^%.*$|tab:[^}]*", "", text, flags=re.M))


def wide(pairs: int) -> Table:
    """As many pairs, each with a longer name, with a mark in one row, and ranks."""
    parts = []
    for number in range(pairs):
        here: dict[str, Any] = {"pair": f"wrn_40_{number} -> {'s' * 3 * number}s-{number}", "dataset": "cifar100"}
        parts += [teacher(75.0, model=f"wrn_40_{number}", dataset="cifar100"), seeds("KD", 70.0, 71.0, row=0, **here)]
        parts += [seeds("LS", 71.5, 72.5, row=1, recipe={"epochs": 60}, **here)]
    return build_table(frame(*parts), TableSpec(baseline="KD", title="Many pairs", average="rank"))


@pytest.mark.parametrize(("pairs", "parts"), [(1, (1, 1)), (2, (1, 1)), (3, (1, 1)), (6, (3, 2)), (8, (4, 3))])
def test_a_wide_table_stands_in_parts_that_fit_and_nothing_is_lost(pairs: int, parts: tuple[int, int]) -> None:
    """In one form for pages of one column and of two, or in a form for each."""
    table = wide(pairs)
    text, whole = render(table, "latex"), render_latex.tabular(table)
    assert text.splitlines()[0].startswith("%") and whole.count(r"\begin{tabular}") == 1
    forms = re.fullmatch(r"%.*?\n\\ifdim\\textwidth<455pt\n(.*)\n\\else\n(.*)\n\\fi\n", text, flags=re.DOTALL)
    assert (forms is not None) == (pairs > 2)
    for form, number, limit in zip(forms.groups() if forms else (text, text), parts, (345, 455), strict=True):
        bodies = re.findall(r"\\begin\{tabular\}.*?\\end\{tabular\}", form, flags=re.DOTALL)
        assert len(bodies) == number and all(Body(body.splitlines()).across(SIZES[-1]) <= limit for body in bodies)
        assert form.count(r"\label{") == form.count(r"\begin{tablenotes}") == 1
        assert (r"\begin{table*}" in form) == (pairs > 1)
        for pair in range(pairs):
            assert form.count(f"s-{pair}}}") == whole.count(f"s-{pair}}}") == 1
        assert form.count("70.50") == whole.count("70.50") == pairs
        assert [body.count("& rank") for body in bodies] == [0] * (number - 1) + [1]


def test_notes_of_several_floats_stand_below_the_last_and_the_others_say_so() -> None:
    floats = re.findall(r"\\begin\{table\*\}.*?\\end\{table\*\}", render(wide(60), "latex"), flags=re.DOTALL)
    others = ["Notes: below the last part." in one for one in floats]
    assert len(floats) > 4 and set(others) == {True, False}
    for one, other in zip(floats, others, strict=True):
        assert one.count(r"\begin{tablenotes}") == 1 and ("trained by a recipe of its own" in one) != other
    bare = replace(wide(60), footnotes=())
    assert "tablenotes" not in render(bare, "latex")


def test_the_columns_of_a_pair_that_are_too_wide_for_a_part_are_cut_too() -> None:
    names = [f"method of a long name {number}" for number in range(3)]
    here = {"against": names[0], "distiller": "kd"}
    rows = [seeds(name, 70.0, 71.5, row=row, constants={"t": row}, **here) for row, name in enumerate(names)]
    metrics = ("test_top1", "test_loss")
    table = build_table(frame(teacher(98.0), *rows), TableSpec(baseline=names[1], metric=metrics))
    text = render(table, "latex")
    bodies = re.findall(r"\\begin\{tabular\}.*?\\end\{tabular\}", text.partition(r"\else")[0], flags=re.DOTALL)
    assert len(bodies) == 2 and all(Body(body.splitlines()).across(SIZES[-1]) <= 345 for body in bodies)
    assert all("ResNet20" in body for body in bodies) and [body.count("top-1") for body in bodies] == [1, 0]


def test_as_many_parts_as_a_very_wide_table_needs_are_found_without_trying_all_fewer() -> None:
    """A table of a thousand columns would be written a thousand times."""
    written: list[int] = []
    table = render_latex.Written(wide(60))

    def part(first: int, last: int) -> Body:
        written.append(last - first)
        return table.part(first, last)

    for limit, most in ((2000, 20), (700, 60)):
        written.clear()
        found = parts_of(table.table, table.whole, part, limit)
        assert len(found) == most and all(body.across(SIZES[-1]) <= limit for body in found)
        assert len(written) < 6 * len(found) and 60 not in written


CELLS = [
    "ResNet32×4 → WRN-16-2", "MobileNet-V2 (ours) [kd_weight=0.5]", "batch_size=64 & 50 % # 1", '"quoted" ~ ^ <a>|b',
]  # fmt: skip
DIFFERENCE = r"{\scriptsize $+2.17${*}{*} ($-0.63$ KD)}"
RAW = [
    r"\textbf{76.33}{\scriptsize$\,\pm\,$0.22}{\scriptsize\,(3/5)\textsuperscript{$\dagger$,\S{},a}}", DIFFERENCE,
    r"{\scriptsize teacher 98.06, imported}", r"\quad$\Delta$", r"\textcolor{red}{$-1.25$}",
    r"{\scriptsize 73.33 (best epoch)\textsuperscript{a,b}}", r"\underline{4.02} / 2.31", r"\bfseries ResNet20",
]  # fmt: skip


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here")
def test_widths_are_those_of_tex(tmp_path: Path) -> None:
    cells = [*map(escape, CELLS), *RAW]
    lines = [
        rf"\setbox0\hbox{{{one.command.partition(chr(92) + 'setl')[0]}{{}}{cell}}}\typeout{{W{number}: \the\wd0}}"
        for number, (one, cell) in enumerate((one, cell) for one in SIZES for cell in cells)
    ]
    said = typeset(tmp_path, "article", "\n".join(lines))
    measured = [float(found) for found in re.findall(r"^W\d+: ([\d.]+)pt", said, flags=re.MULTILINE)]
    estimated = [natural(cell).at(one.letters) for one in SIZES for cell in cells]
    off = [(ours / theirs - 1, cell) for ours, theirs, cell in zip(estimated, measured, cells * 3, strict=True)]
    assert [(share, cell) for share, cell in off if abs(share) > 0.03] == []
    assert natural(r"KD~\cite{a,b}") == natural("KD [00, 00]")  # as numbers: those of a document are not known


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here")
@pytest.mark.parametrize("options", ["", "[twocolumn]"])
def test_no_table_is_wider_than_the_text(tmp_path: Path, options: str) -> None:
    """Nor taller: in an article of ten points, 345 points wide, and in two columns, 469 points wide."""
    tables = [plain(), crowded(), *map(wide, (1, 2, 3, 4, 6, 9))]
    pairs = [{"pair": f"resnet{number} -> {'s' * 24}-{number}", "dataset": "cifar100"} for number in range(9)]
    tall = [seeds(f"row {row}", 70.0, 71.0, row=row, distiller="kd", **pair) for pair in pairs for row in range(9)]
    tables.append(replace(build_table(frame(*tall), TableSpec(title="Tall")), caption=("Many words. " * 60,)))
    said = typeset(tmp_path, f"{options}article", render(tables, "latex"))
    assert re.findall(r"(?:Overfull|Float too large).*\n.*", said) == []


def typeset(folder: Path, kind: str, body: str) -> str:
    """The log of a document that compiles."""
    options, _, name = kind.rpartition("]")
    head = rf"\documentclass{options + ']' if options else ''}{{{name}}}"
    packages = r"\usepackage{booktabs,threeparttable,xcolor}"
    (folder / "t.tex").write_text("\n".join([head, packages, r"\begin{document}", body, r"\end{document}"]))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "t.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    return (folder / "t.log").read_text(errors="replace")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here")
def test_latex_compiles(tmp_path: Path) -> None:
    said = typeset(tmp_path, "article", render([plain(), hostile(), crowded(), wide(9)], "latex"))
    assert "Missing character" not in said


def test_every_latex_character_is_escaped() -> None:
    assert escape(r"a_b & 50% #1 {x} \y ~ ^ $z$") == (
        r"a\_b \& 50\% \#1 \{x\} \textbackslash{}y \textasciitilde{} \textasciicircum{} \$z\$"
    )
    assert escape("α Ω 学") == r"$\alpha$ $\Omega$ {\ttfamily U+5B66}"
    assert escape("a--b") == "a-{}-b"
