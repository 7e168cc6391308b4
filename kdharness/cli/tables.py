"""Commands that turn results into tables and records."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from kdharness.cli.options import HomeOption, JsonOption, StudyName, echo_json
from kdharness.core.home import Home


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


def register(app: typer.Typer) -> None:
    for command in (report, export):
        app.command()(command)


def report(
    studies: Annotated[list[str], typer.Argument(metavar="STUDY...", help="Studies by name; the first one's tables.")],
    form: Annotated[
        Format | None, typer.Option("--format", help="Markup. [default: terminal on a terminal, else md]")
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write to this file instead.")] = None,
    rows: Annotated[str | None, typer.Option(help="What rows are: distiller, pair, teacher or an axis.")] = None,
    columns: Annotated[str | None, typer.Option("--cols", "--columns", help="What columns are.")] = None,
    metric: Annotated[str | None, typer.Option(help="test_top1, test_top5, test_loss, val_top1, train_loss.")] = None,
    select: Annotated[Select | None, typer.Option(help="Last epoch; best on test; best on validation.")] = None,
    baseline: Annotated[str | None, typer.Option(help="The row that deltas are taken against.")] = None,
    home: HomeOption = None,
) -> None:
    """Print a study's tables, finished or not."""
    from kdharness.reporting.render import render
    from kdharness.results.store import Store
    from kdharness.runtime.reports import study_tables, write_text

    asked: dict[str, Any] = {"rows": rows, "columns": columns, "metric": metric, "baseline": baseline}
    asked["select"] = select.value if select else None
    changes = {name: value for name, value in asked.items() if value is not None}
    tables = study_tables(Store(Home.at(home)), studies, changes)
    from rich.console import Console

    console = Console()
    if output is None and (form is Format.TERMINAL or (form is None and console.is_terminal)):
        from kdharness.reporting.render_terminal import render as render_terminal

        for table in tables:
            console.print(render_terminal(table, console.width))
        return
    text = render(tables, Format.MD if form in (None, Format.TERMINAL) else form)
    if output is None:
        typer.echo(text, nl=False)
    else:
        write_text(output, text)


def export(study: StudyName, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Print everything about a study's runs, one JSON object per line and run."""
    from kdharness.results.store import Store

    del as_json  # the only form so far; scripts say --json so that another may come
    for row in Store(Home.at(home)).export(study):
        echo_json(row)
