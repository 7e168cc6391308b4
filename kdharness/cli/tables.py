"""Commands that turn results into tables and records."""

from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kdharness.cli.options import HomeOption, JsonOption, RowsOption, SmokeOption, StudyName, echo_json, study_name
from kdharness.core.errors import BadInput
from kdharness.core.home import Home

if TYPE_CHECKING:
    from kdharness.reporting.table import Table
    from kdharness.results.store import Store


class Format(StrEnum):
    """What a table is printed as."""

    TERMINAL = "terminal"
    MD = "md"
    LATEX = "latex"
    CSV = "csv"
    HTML = "html"
    JSON = "json"


class Select(StrEnum):
    """Which epoch's metric stands in a cell."""

    LAST = "last"
    BEST = "best"
    BEST_VAL = "best-val"


class PlusMinus(StrEnum):
    """What stands behind ±."""

    STD = "std"
    SEM = "sem"
    CI = "ci"


class Bold(StrEnum):
    """What is printed bold."""

    BEST = "best"
    INDISTINGUISHABLE = "indistinguishable"


class Deltas(StrEnum):
    """Where differences stand."""

    COLUMNS = "columns"
    ROWS = "rows"


FormatOption = Annotated[
    Format | None, typer.Option("--format", help="Markup. [default: terminal on a terminal, else md]")
]
OutputOption = Annotated[Path | None, typer.Option("-o", "--output", help="Write to this file instead.")]


def register(app: typer.Typer) -> None:
    for command in (report, export):
        app.command()(command)


def report(
    studies: Annotated[
        list[str],
        typer.Argument(metavar="STUDY...", help="Studies by name or file, as last run; the first one's tables."),
    ],
    form: FormatOption = None,
    output: OutputOption = None,
    rows: Annotated[
        str | None, typer.Option(help="What rows are: distiller, pair, teacher, metric or an axis.")
    ] = None,
    columns: Annotated[str | None, typer.Option("--cols", "--columns", help="What columns are.")] = None,
    only: RowsOption = None,
    metric: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="test_top1, test_top5, test_ece, train_seconds, ...")
    ] = None,
    select: Annotated[Select | None, typer.Option(help="Last epoch; best on test; best on validation.")] = None,
    baseline: Annotated[str | None, typer.Option(help="The row that deltas are taken against.")] = None,
    published: Annotated[str | None, typer.Option(metavar="KEY", help="A printed table to stand beside ours.")] = None,
    fill: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="A printed table's rows where no run exists.")
    ] = None,
    matched_budget: Annotated[
        bool | None, typer.Option("--matched-budget", help="Fill in nothing of another training budget.")
    ] = None,
    pm: Annotated[
        PlusMinus | None, typer.Option(help="Behind ±: standard deviation, its error, 95 % interval.")
    ] = None,
    bold: Annotated[Bold | None, typer.Option(help="The best, or all that a test does not tell from it.")] = None,
    delta: Annotated[
        Deltas | None,
        typer.Option(
            help="Differences beside the cells, or those to the row that each is `against` in rows under them."
        ),
    ] = None,
    rank: Annotated[bool | None, typer.Option("--rank", help="A column of mean ranks over pairs.")] = None,
    strict_numerics: Annotated[
        bool | None, typer.Option("--strict-numerics", help="Different devices or versions in different cells.")
    ] = None,
    cite: Annotated[bool | None, typer.Option("--cite", help="LaTeX cites every method's paper.")] = None,
    figures: Annotated[
        Path | None,
        typer.Option("--figures", metavar="DIR", help="Draw their figures too, into this directory."),
    ] = None,
    paper: Annotated[
        Path | None,
        typer.Option("--paper", metavar="DIR", help="Write all that a paper takes from the studies, to \\input."),
    ] = None,
    anonymous: Annotated[
        bool,
        typer.Option(
            "--anonymous", help="Of --paper: no host, user, path, commit or link; what you called things stays."
        ),
    ] = False,
    smoke: SmokeOption = False,
    home: HomeOption = None,
) -> None:
    """Print a study's tables, finished or not, and draw its figures; or write a paper's files."""
    from kdharness.results.store import Store
    from kdharness.runtime.reports import edited, study_tables

    asked: dict[str, Any] = {
        "rows": rows,
        "columns": columns,
        "only": only or None,
        "metric": tuple(metric.split(",")) if metric and "," in metric else metric,
        "select": select and select.value,
        "baseline": baseline,
        "published": published,
        "fill": [{"table": key} for key in fill] if fill else None,
        "matched_budget": matched_budget,
        "pm": pm and pm.value,
        "bold": bold and bold.value,
        "delta": delta and delta.value,
        "average": "rank" if rank else None,
        "strict_numerics": strict_numerics,
        "cite": cite,
    }
    changes = {name: value for name, value in asked.items() if value is not None}
    place, named = Home.at(home), [study_name(study) for study in studies]
    if smoke:
        from kdharness.study.smoke import shrunk_name

        named = [shrunk_name(study) for study in named]
    for study, text in zip(named, studies, strict=True):
        if text != study_name(text) and (said := edited(Store(place), study, Path(text))):
            typer.echo(said, err=True)
    if paper is not None or anonymous:
        alone = output is None and form is None and figures is None
        _write_paper(place, named, paper, changes, anonymous=anonymous, alone=alone)
        return
    store = Store(place)
    failed: list[BadInput] = []
    tables = study_tables(store, named, changes, failed=failed)
    if figures is not None:
        _draw(place, store, named, figures)
    put_tables(store, named, tables, form, output)
    if failed:
        raise failed[0]


def put_tables(
    store: "Store", studies: Sequence[str], tables: Sequence["Table"], form: Format | None, output: Path | None
) -> None:
    """Print the tables of the studies, or write them to a file."""
    from rich.console import Console

    from kdharness.reporting.render import render
    from kdharness.runtime.reports import mlflow_links, write_text

    console = Console()
    if output is None and (form is Format.TERMINAL or (form is None and console.is_terminal)):
        from kdharness.reporting.render_terminal import render as render_terminal

        for table in tables:
            console.print(render_terminal(table, console.width))
        return
    links = mlflow_links(store, studies) if form is Format.HTML else None
    text = render(tables, Format.MD if form in (None, Format.TERMINAL) else form, links)
    if output is None:
        typer.echo(text, nl=False)
    else:
        write_text(output, text)


def _draw(home: Home, store: "Store", studies: list[str], folder: Path) -> None:
    from kdharness.runtime.figures import study_figures, write_drawings

    for study in studies:
        drawings = study_figures(home, store, study)
        for path in write_drawings(folder if len(studies) == 1 else folder / study, drawings):
            typer.echo(f"wrote {path}", err=True)
        if not drawings:
            typer.echo(f"{study} asks for no figures", err=True)


def _write_paper(
    home: Home, studies: list[str], folder: Path | None, changes: dict[str, Any], *, anonymous: bool, alone: bool
) -> None:
    from kdharness.results.store import Store
    from kdharness.runtime.paper import write_paper

    if folder is None:
        raise BadInput("--anonymous is for --paper", remedy="kdharness report STUDY --paper DIR --anonymous")
    if not alone:
        raise BadInput("--paper writes LaTeX and figures into a directory: not with --format, --output or --figures")
    made = write_paper(home, Store(home), studies, folder, changes=changes, anonymous=anonymous)
    for path in made.files:
        typer.echo(f"wrote {path}")
    for text in made.missing:
        typer.echo(f"not drawn: {text}", err=True)


def export(
    study: StudyName,
    bundle: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write one file that others can `verify`: rows, texts, tables, hashes."),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print all about a study's runs as JSON lines, one for each row that shows a run; or bundle it for others."""
    from kdharness.results.store import Store

    if bundle is not None:
        from kdharness.runtime.bundling import make_bundle

        made = make_bundle(Home.at(home), study, bundle)
        if as_json:
            echo_json({**asdict(made), "path": str(made.path)})
        else:
            typer.echo(f"wrote {bundle}: {made.runs} runs, {made.cells} cells, {made.bytes:,} bytes")
            typer.echo(f"sha256 {made.sha256}")
        return
    for row in Store(Home.at(home)).export(study):
        echo_json(row)
