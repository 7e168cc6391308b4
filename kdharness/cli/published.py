"""`kdharness published`: what papers printed, beside which a table may stand."""

from pathlib import Path
from typing import Annotated

import typer

from kdharness.cli.options import HomeOption, JsonOption, echo_json
from kdharness.core.errors import BadInput, ExitCode
from kdharness.core.home import Home

published = typer.Typer(help="The papers' printed numbers: list, show, add, check.", no_args_is_help=True)
_LONG = ("file", "setting_source", "teacher_logits", "student_logits")
"""What is known of a value's training, but too long for a line."""

KeyArgument = Annotated[str, typer.Argument(metavar="KEY", help="A table, as `published list` names it.")]


def register(app: typer.Typer) -> None:
    for command in (list_tables, show, add, check):
        name = "list" if command is list_tables else command.__name__
        published.command(name)(command)
    app.add_typer(published, name="published")


def list_tables(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the tables whose numbers are known, by the key that `published:` and `fill:` take."""
    from kdharness.reporting.published.values import read_registry

    registry = read_registry(Home.at(home).published)
    tables = [
        {
            "key": key,
            "values": len(values),
            "dataset": ", ".join(sorted({one.dataset for one in values})),
            "selection": ", ".join(sorted({registry.selection(one) for one in values})),
            "paper": registry.sources[values[0].source].paper,
        }
        for key, values in registry.tables.items()
    ]
    if as_json:
        echo_json(tables)
        return
    width = max(len(str(table["key"])) for table in tables)
    for table in tables:
        typer.echo(
            f"{table['key']:<{width}}  {table['values']:>3} values, {table['dataset']}, {table['selection']} epoch"
        )


def show(key: KeyArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show every number of a printed table: as printed, how it was selected, what contradicts it."""
    from kdharness.reporting.published.values import read_registry

    registry = read_registry(Home.at(home).published)
    values = registry.table(key)
    if as_json:
        for one in values:
            notes = [note.text for note in registry.notes(one)]
            more = {"selection": registry.selection(one), "contradictions": notes, "usable": registry.is_usable(one)}
            told = {"value": one.value, "printed": one.text, **{k: v for k, v in vars(one).items() if k != "text"}}
            echo_json({**told, **more})
        return
    source = registry.sources[values[0].source]
    typer.echo(f"{source.paper}, {values[0].table}\nselected on: {source.selection} epoch ({source.evidence})")
    marks: dict[str, str] = {}
    for one in values:
        noted = [marks.setdefault(note.text, str(len(marks) + 1)) for note in registry.notes(one)]
        pair = " -> ".join(side for side in (one.teacher, one.student) if side)
        spread = f" ± {one.std:g}" if one.std is not None else ""
        count = f" (n={one.n})" if one.n is not None else ""
        said = f" [{', '.join(noted)}]" if noted else ""
        how = ", ".join(f"{name} {value}" for name, value in one.setting.items() if name not in _LONG)
        cell = f"{one.dataset:<9} {pair:<32} {one.method:<18} {one.metric:<10}"
        typer.echo(f"{cell} {one.text}{spread}{count}{said}  {how}".rstrip())
    for text, mark in marks.items():
        typer.echo(f"[{mark}] {text}")


def add(
    file: Annotated[Path, typer.Argument(metavar="FILE.csv", help="Printed values, in the columns of `published`.")],
    paper: Annotated[str, typer.Option(help="What the source is: authors, venue, year.")],
    selection: Annotated[str, typer.Option(help="Whose test accuracy was printed: last, best or unknown epoch.")],
    cite: Annotated[str | None, typer.Option(help="Key for \\cite. [default: the source's name]")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="In place of what was added under its name.")] = False,
    home: HomeOption = None,
) -> None:
    """Add the printed numbers of another paper to this home, after checking them."""
    from kdharness.reporting.published.adding import add_values

    place = add_values(file, Home.at(home).published, paper=paper, selection=selection, cite=cite, replace=replace)
    typer.echo(f"wrote {place}; `kdharness published list` names its tables")


def check(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE.csv]", help="Instead of what is known here: one file.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check printed numbers: every row reads, no cell stands twice, every printed difference recomputes."""
    from kdharness.reporting.published.adding import read_alone
    from kdharness.reporting.published.checks import counted, problems
    from kdharness.reporting.published.values import read_registry

    registry = read_registry(Home.at(home).published) if file is None else read_alone(file)
    found, counts = problems(registry), counted(registry)
    if as_json:
        echo_json({**counts, "problems": found})
    else:
        for problem in found:
            typer.echo(problem, err=True)
        typer.echo(", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items()))
    if found:
        raise typer.Exit(BadInput.exit_code if file is not None else ExitCode.SOME_FAILED)
