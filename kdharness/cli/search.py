"""`kdharness search`: what searches found, as tables and figures, and a copy for optuna-dashboard."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kdharness.cli.options import HomeOption, JsonOption, StudyName, echo_json
from kdharness.cli.terminal import plain_table, wide_console
from kdharness.core.home import Home

if TYPE_CHECKING:
    from rich.table import Table

    from kdharness.study.searching.view import SearchView

search = typer.Typer(help="What searches found: show; copy for optuna-dashboard.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    search.command()(show)
    search.command()(copy)
    app.add_typer(search, name="search")


def show(
    study: StudyName,
    row: Annotated[str | None, typer.Option("--row", metavar="LABEL", help="Only this row's search.")] = None,
    figures: Annotated[
        Path | None, typer.Option("--figures", metavar="DIR", help="Write figures here: PDF, PNG and caption.")
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="How many of the best draws.")] = 5,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Best draws, importance of constants, slices, Pareto front, and expected best score against budget."""
    from kdharness.results.store import Store
    from kdharness.study.searching.view import search_views

    views = search_views(Store(Home.at(home)), study, row)
    if figures is not None:
        from kdharness.runtime.figures import write_drawings
        from kdharness.runtime.search_figures import draw_searches

        for path in write_drawings(figures, draw_searches(views, f"{study}-search")):
            typer.echo(f"wrote {path}", err=as_json)
    if as_json:
        echo_json([_form(view) for view in views])
        return
    for view in views:
        _print(view, wide_console(), top)


def copy(study: StudyName, home: HomeOption = None) -> None:
    """Write the study's searches into the home's optuna.db anew; `optuna-dashboard sqlite:///PATH` opens it."""
    from kdharness.results.store import Store
    from kdharness.study.searching.dashboard import write_copy

    place = Home.at(home)
    number = write_copy(place.optuna, Store(place), study)
    typer.echo(f"{place.optuna} has {number} draws of {study}; optuna-dashboard sqlite:///{place.optuna}")


def _form(view: "SearchView") -> dict[str, Any]:
    found = asdict(view) | {"record": view.record.model_dump(mode="json", by_alias=True)}
    return found | {"slices": view.slices()}


def _print(view: "SearchView", console: Any, top: int) -> None:
    record = view.record
    console.print(f"[bold]{view.title}[/bold]", highlight=False)
    said = f"{view.finished} of {record.draws} draws by {record.sampler}, validation {record.validation_images:,}"
    if len(record.rungs) > 1:
        said += f", rungs {', '.join(record.rungs)}" + (f" pruned by {record.prefix}" if record.prefix else "")
    typer.echo(said if view.winner is None else f"{said}; draw {view.winner} was chosen")
    constants = list(record.ranges)
    best = _table("Draw", *constants, record.maximize, "whole", "repeats", "cost")
    for one in view.best[:top]:
        mark = "*" if one.number == view.winner else ""
        repeats = f"{sum(one.repeats) / len(one.repeats):.2f} ({len(one.repeats)})" if one.repeats else "-"
        best.add_row(
            f"{one.number}{mark}",
            *(_text(one.params.get(name)) for name in constants),
            _text(one.value),
            _text(one.whole),
            repeats,
            "-" if one.cost is None else f"{one.cost:.3g}",
        )
    console.print(best)
    if view.importance:
        table = _table("Constant", "importance")
        for name, share in view.importance.items():
            table.add_row(name, f"{share:.2f}")
        console.print(table)
    slices = _table("Slice", "values", "draws", "mean", "best")
    for name, parts in view.slices().items():
        for text, number, mean, highest in parts:
            slices.add_row(name, text, str(number), f"{mean:.2f}", f"{highest:.2f}")
    console.print(slices)
    if len(view.front) > 1:
        typer.echo("Pareto front (accuracy, student's cost): draws " + ", ".join(map(str, view.front)))
    if view.expected:
        marks = sorted({number for number in (1, 2, 5, 10, 20, 40, 80, 160) if number < len(view.expected)})
        table = _table("Budget", *map(str, [*marks, len(view.expected)]))
        table.add_row("expected best", *(f"{view.expected[at - 1]:.2f}" for at in [*marks, len(view.expected)]))
        console.print(table)
    if view.dropped:
        typer.echo("given up, in no mean:")
    for gone in view.dropped:
        typer.echo(f"  draw {gone.number} (n = {gone.n}): {gone.why}")
    typer.echo("")


def _table(first: str, *others: str) -> "Table":
    table = plain_table()
    table.add_column(first, no_wrap=True)
    for head in others:
        table.add_column(head, justify="right")
    return table


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
