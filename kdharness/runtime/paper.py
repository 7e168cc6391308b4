"""From the store to a directory that a paper's authors \\input: tables, numbers, references, appendices, figures."""

import getpass
import platform
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdharness.core.errors import BadInput, EnvironmentRefused
from kdharness.core.home import Home
from kdharness.core.records import FigureSpec
from kdharness.reporting.latex import escape
from kdharness.reporting.paper import compute, example, numbers, setup_paragraph
from kdharness.reporting.paper import settings as appendix
from kdharness.reporting.paper.anonymous import Scrub
from kdharness.reporting.published.values import read_registry
from kdharness.reporting.references import bibliography
from kdharness.reporting.render_latex import listing, render, tabular
from kdharness.results.records import StudyAttempt
from kdharness.results.store import Store
from kdharness.runtime import paper_facts
from kdharness.runtime.figures import OF_TABLES, draw, figure_table
from kdharness.runtime.owned_files import write_owned
from kdharness.runtime.reports import study_frame, study_tables
from kdharness.study.describe import describe_study

if TYPE_CHECKING:
    from kdharness.reporting.figures.drawing import Drawing
    from kdharness.reporting.table import Table


@dataclass(frozen=True)
class Paper:
    """What was written."""

    files: list[Path]
    missing: list[str]
    """Figures that could not be drawn, and why."""


def write_paper(
    home: Home,
    store: Store,
    studies: Sequence[str],
    folder: Path,
    *,
    changes: dict[str, Any] | None = None,
    anonymous: bool = False,
) -> Paper:
    """Everything that a paper takes from the studies, finished or not; the same results give the same bytes.

    `changes` as in `study_tables`. With `anonymous` no name of a machine or user, no path, commit or link is in it;
    what the authors called things stays. Raises as `study_tables` and `write_owned`.
    """
    tried = [one for study in studies for one in store.attempts(study)]
    frame = study_frame(store, studies, set())
    tables = _keyed(studies, study_tables(store, studies, changes)) | _ablations(store, studies)
    shown = [one for one in tried if one.asked]
    setup = paper_facts.setup(store, studies, frame, list(tables.values()), shown)
    constants = paper_facts.constants({study: describe_study(store, study) for study in studies})
    parts = [(title, appendix.blocks(part)) for title, part in constants]
    parts.append(("Searches", list(map(appendix.of_search, setup.searches))))
    drawings, missing = _drawings(home, store, studies)
    printed = any(table.published or table.filled for table in tables.values())
    registry = read_registry(home.published) if printed else None
    cited = paper_facts.cited(frame, list(tables.values()), registry)
    if anonymous:
        scrub = _scrub(home, store, studies, tried)
        tables = {key: _nameless(table, scrub) for key, table in tables.items()}
        setup, parts = replace(scrub.all(setup), commit=None), scrub.all(parts)
        drawings = [drawing.said(scrub.words) for drawing in drawings]
    files = {f"tables/{key}.tex": render(table, f"tab:{key}") for key, table in tables.items()}
    files |= {f"tables/{key}-tabular.tex": tabular(table) for key, table in tables.items()}
    files["numbers.tex"] = numbers.numbers(tables)
    files["refs.bib"] = bibliography(cited | setup_paragraph.cited(setup))
    files["setup.tex"] = setup_paragraph.paragraph(setup)
    files["settings.tex"] = appendix.settings(parts, _ABOUT_SETTINGS, "tab:settings")
    hours = compute.hours(paper_facts.spans(store, studies, tried))
    files["compute.tex"] = compute.compute(hours, list(paper_facts.remarks(studies, tried)), "tab:compute")
    written = {name: text.encode() for name, text in files.items()}
    for drawing in drawings:
        written |= _figure(drawing)
    floats = [name.removesuffix(".tex") for name in written if "/" in name and name.endswith(".tex")]
    inputs = [name for name in floats if not name.endswith("-tabular")]
    document = example.example(
        [*inputs, "compute", "settings"], numbers.first_of(tables), references="@" in files["refs.bib"]
    )
    written["example.tex"] = document.encode()
    told = paper_facts.about(store, studies, frame, tables, shown, anonymous=anonymous)
    return Paper(write_owned(folder, written, told), missing)


_ABOUT_SETTINGS = (
    "Every constant of every row and pair, and where its value comes from. What a row's block does not say stands in "
    "its pair's, else in the first; “line” is one of the study file."
)


def _keyed(studies: Sequence[str], tables: Sequence["Table"]) -> dict[str, "Table"]:
    """By the name of their files, labels and numbers: the study's, and a number where there are several."""
    name = numbers.plain("-".join(studies))
    if len(tables) == 1:
        return {name: tables[0]}
    return {f"{name}-{number}": table for number, table in enumerate(tables, 1)}


def _scrub(home: Home, store: Store, studies: Sequence[str], tried: Sequence[StudyAttempt]) -> Scrub:
    machines = {one.attempt.owner.host for one in tried} | {platform.node()}
    named = {name for machine in machines for name in (machine, machine.partition(".")[0]) if not name.isdigit()}
    datasets = (store.study(study).spec.get("dataset") for study in studies)
    folders = [dataset["folder"] for dataset in datasets if isinstance(dataset, dict)]
    return Scrub(named | _user(), [str(home.root), *folders])


def _user() -> set[str]:
    """Whoever writes; nobody is found by the name root."""
    try:
        return {getpass.getuser()} - {"root"}
    except (OSError, KeyError, ImportError):  # a container's user without an entry
        return set()


def _nameless(table: "Table", scrub: Scrub) -> "Table":
    """Without paths everywhere, and without names where people write sentences: the reasons in footnotes."""
    table = scrub.all(table)
    return replace(table, footnotes=tuple(replace(note, text=scrub.words(note.text)) for note in table.footnotes))


def _asked(store: Store, study: str) -> dict[str, FigureSpec]:
    """The figures of the study's file as a paper numbers them."""
    asked = store.study(study).spec.get("figures") or []
    return {f"figure {number}": FigureSpec.model_validate(one) for number, one in enumerate(asked, 1)}


def _ablations(store: Store, studies: Sequence[str]) -> dict[str, "Table"]:
    """What the studies' line figures and heat maps show, as tables; without those that cannot be made yet."""
    made = {}
    for study in studies:
        for name, spec in _asked(store, study).items():
            if spec.kind in OF_TABLES:
                with suppress(BadInput):  # told where the figure is drawn
                    made[numbers.plain(f"{study} {name}")] = figure_table(store, [study], spec)
    return made


def _drawings(home: Home, store: Store, studies: Sequence[str]) -> tuple[list["Drawing"], list[str]]:
    """The studies' figures and those of their searches; and which could not be drawn, and why."""
    drawings: list[Drawing] = []
    missing: list[str] = []
    for study in studies:
        makers = {name: partial(draw, home, store, [study], spec) for name, spec in _asked(store, study).items()}
        if any(one.asked for one in store.searches(study)):
            makers["search"] = partial(_expected_best, store, study)
        for name, make in makers.items():
            try:
                made = make()
            except (BadInput, EnvironmentRefused) as error:
                missing.append(f"{study}, {name}: {'; '.join(str(error).splitlines())}")
                continue
            drawings.append(replace(made, name=numbers.plain(f"{study} {name} {made.name}")))
    return drawings, missing


def _expected_best(store: Store, study: str) -> "Drawing":
    from kdharness.runtime.search_figures import draw_budgets
    from kdharness.study.searching.view import search_views

    made = draw_budgets(search_views(store, study), "expected-best")
    if made is None:
        raise BadInput("no draw is finished yet")
    return made


def _figure(drawing: "Drawing") -> dict[str, bytes]:
    """The PDF, the `figure` environment with its caption that shows it, and the table of its numbers if it has one."""
    from kdharness.reporting.figures.drawing import files_of

    path = f"figures/{drawing.name}.pdf"
    said = [
        "% \\usepackage{graphicx}; from another directory: \\graphicspath{{this one/}}",
        r"\begin{figure}[t]",
        r"\centering",
        rf"\includegraphics[width=\linewidth,height=.7\textheight,keepaspectratio]{{{path}}}",
        rf"\caption{{{escape(drawing.caption)}}}",
        rf"\label{{fig:{drawing.name}}}",
        r"\end{figure}",
        "",
    ]
    files = {path: files_of(drawing)["pdf"], f"figures/{drawing.name}.tex": "\n".join(said).encode()}
    if drawing.numbers is not None:
        table = listing(drawing.numbers.lines, drawing.numbers.caption, f"tab:{drawing.name}")
        files[f"tables/{drawing.name}.tex"] = table.encode()
    return files
