"""Commands about what stands beside the results: the MLflow mirror, and the database itself."""

import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from kdharness.cli.options import HomeOption, JsonOption, echo_json
from kdharness.core.errors import BadInput, EnvironmentRefused, ExitCode
from kdharness.core.home import Home

db = typer.Typer(help="Look after the results database.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    for command in (ui, sync):
        app.command()(command)
    app.add_typer(db, name="db")


def ui(
    home: HomeOption = None,
    port: Annotated[int | None, typer.Option(help="A free port. [default: the first free one from 5000]")] = None,
) -> None:
    """Open the MLflow UI on this machine; Ctrl-C ends it."""
    from kdharness.tracking.ui import ui_command, wait_until_up

    place = Home.at(home)
    command = ui_command(place, port)
    said = place.root / "ui.log"
    with said.open("wb") as log:
        process = subprocess.Popen(command.argv, env=dict(command.environment), stdout=log, stderr=log)
    try:
        wait_until_up(command.url, lambda: process.poll() is None)
        typer.echo(f"MLflow is at {command.url} (Ctrl-C ends it)")
        for study, page in command.pages.items():
            typer.echo(f"  {study}: {page}")
        process.wait()
        raise EnvironmentRefused("the MLflow UI has ended by itself", where=str(said), remedy="See what it said there.")
    except KeyboardInterrupt:
        pass
    finally:
        process.terminate()
        with suppress(KeyboardInterrupt):
            process.wait()


def sync(
    everything: Annotated[bool, typer.Option("--all", help="Look at every run, also those that were told.")] = False,
    home: HomeOption = None,
) -> None:
    """Tell MLflow everything that it does not know yet."""
    from kdharness.core.plugins import configured_server
    from kdharness.runtime.mirror import sync_mirror

    told = sync_mirror(Home.at(home), configured_server(Path.cwd()), everything=everything)
    typer.echo(f"told MLflow {told} records; it is equal to the results now")


@db.command()
def upgrade(home: HomeOption = None) -> None:
    """Make the results database, or bring it to this version; a backup is kept beside it."""
    from kdharness.results.store import Store

    place = Home.at(home)
    place.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    Store(place, create=True).close()
    typer.echo(f"{place.results} is up to date")


@db.command()
def backup(
    target: Annotated[Path, typer.Argument(metavar="FILE", help="Where the copy goes; never overwritten.")],
    home: HomeOption = None,
) -> None:
    """Copy the results database while it is in use, and verify the copy."""
    from kdharness.results.backup import backup as copy

    place = _there(home)
    size = copy(place.results, target)
    typer.echo(f"wrote {target}: {size:,} bytes, verified; to restore it, put it where {place.results} is")


@db.command()
def verify(
    files: Annotated[bool, typer.Option("--files", help="Also the hashes of weights and checkpoints.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at every page, reference, table and setting of the results database, and at the files it names."""
    from kdharness.results.backup import look_into

    place = _there(home)
    problems = look_into(place.results)
    looked = 0
    if files and not problems:
        from kdharness.results.store import Store
        from kdharness.runtime.verifying import named_files, wrong_with

        for file in named_files(place, Store(place)):
            looked += 1
            problems += filter(None, [wrong_with(file)])
    if as_json:
        echo_json({"database": str(place.results), "files": looked, "problems": problems})
    else:
        for problem in problems:
            typer.echo(problem, err=True)
        seen = f"{place.results} and {looked} files" if files else str(place.results)
        typer.echo(f"{seen}: {len(problems)} problems" if problems else f"{seen}: all as it should be")
    if problems:
        raise typer.Exit(ExitCode.ENVIRONMENT_REFUSED)


def _there(home: Path | None) -> Home:
    place = Home.at(home)
    if not place.results.exists():
        raise BadInput(f"no results here: {place.results}", remedy="name another --home")
    return place
