"""Commands that take a study file: write one, check it, plan it, run it."""

import json
from pathlib import Path
from typing import Annotated

import typer

from kdharness.cli.options import DataOption, HomeOption, JsonOption, SmokeOption, StudyFile, echo_json
from kdharness.core.errors import BadInput, ExitCode
from kdharness.core.home import Home

ConfirmOption = Annotated[
    int | None, typer.Option("--yes-runs", metavar="N", help="Confirm a study of more than 10,000 runs: say how many.")
]
SlotsOption = Annotated[
    str | None,
    typer.Option(
        "--slots",
        metavar="N|GPU:JOBS,...|auto",
        help="Jobs at a time; `0:2,1:3`: on which GPU; `auto`: as fit. [default: one per GPU, else one per core]",
    ),
]


def register(app: typer.Typer) -> None:
    for command in (init, schema, check, plan, run):
        app.command()(command)


def init(
    path: Annotated[Path, typer.Argument(metavar="[STUDY.yaml]", help="The file to write.")] = Path("study.yaml"),
) -> None:
    """Write a commented study file that runs as it stands."""
    from kdharness.study.init import starter

    try:
        with path.open("x") as file:
            file.write(starter(path.stem))
    except FileExistsError:
        raise BadInput(f"{path} exists already", remedy="name another file, or remove it first") from None
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror}") from error
    typer.echo(f"wrote {path}; next: kdharness run {path}")


def schema() -> None:
    """Print the JSON Schema of study files, for editors."""
    from kdharness.study.schema import schema as study_schema

    typer.echo(json.dumps(study_schema(), indent=2))


def check(
    files: Annotated[list[Path], typer.Argument(metavar="STUDY.yaml...", help="Study files.")],
    data: DataOption = None,
    home: HomeOption = None,
    yes_runs: ConfirmOption = None,
    smoke: SmokeOption = False,
) -> None:
    """Say every mistake of study files as file:line:column, or what they ask for."""
    from kdharness.runtime.loading import study_of
    from kdharness.runtime.own_methods import first_settings, refuse_broken_methods
    from kdharness.study.expand import expand_at

    failed = False
    for path in files:
        try:
            expansion = expand_at(study_of(path, smoke=smoke), Home.at(home), data, yes_runs)
            if not expansion.missing:
                refuse_broken_methods(first_settings(expansion), expansion.dataset, str(path))
        except BadInput as error:
            failed = True
            typer.echo(str(error), err=True)
            continue
        for warning in expansion.warnings:
            typer.echo(f"{path}: warning: {warning}", err=True)
        for what in expansion.missing:
            typer.echo(f"{path}: missing: {what}", err=True)
        typer.echo(f"{path}: {expansion.summary}")
    if failed:
        raise typer.Exit(ExitCode.BAD_INPUT)


def plan(
    file: StudyFile,
    home: HomeOption = None,
    data: DataOption = None,
    slots: SlotsOption = None,
    hours: Annotated[
        float | None, typer.Option("--hours", min=0, help="Say which cells, and how many seeds, fit in this time.")
    ] = None,
    yes_runs: ConfirmOption = None,
    smoke: SmokeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show what a study would do: settings, runs, teachers, reuse, time, disk, and what its seeds can show."""
    from dataclasses import asdict

    from kdharness.results.store import Store
    from kdharness.runtime.loading import study_of
    from kdharness.runtime.slots import AUTO, choose_slots
    from kdharness.study.expand import expand_at
    from kdharness.study.plan import make_plan, render_plan

    place = Home.at(home)
    expansion = expand_at(study_of(file, smoke=smoke), place, data, yes_runs)
    store = Store(place) if place.results.exists() else None
    made = make_plan(expansion, store, slots=len(choose_slots(None if slots == AUTO else slots)), hours=hours)
    if as_json:
        echo_json(asdict(made))
    else:
        typer.echo(render_plan(made))


def run(
    file: StudyFile,
    home: HomeOption = None,
    slots: SlotsOption = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Save and stop before then: 18:30, a date, or 8h.")
    ] = None,
    data: DataOption = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first run that fails.")] = False,
    in_process: Annotated[bool, typer.Option("--in-process", help="Train in this process, for a debugger.")] = False,
    yes_runs: ConfirmOption = None,
    smoke: SmokeOption = False,
) -> None:
    """Run a study: train what is missing, go on where it stopped, print its tables and draw its figures."""
    from rich.console import Console

    from kdharness.core.plugins import configured_notify, configured_server
    from kdharness.runtime.command import run_command

    code = run_command(
        file,
        Home.at(home),
        console=Console(),
        slots=slots,
        until=until,
        data=data,
        fail_fast=fail_fast,
        in_process=in_process,
        confirmed=yes_runs,
        smoke=smoke,
        notify=configured_notify(Path.cwd()),
        server=configured_server(Path.cwd()),
    )
    raise typer.Exit(code)
