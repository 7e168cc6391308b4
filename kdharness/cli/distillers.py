"""Commands about the methods themselves: list them, begin one of your own, try one."""

from pathlib import Path
from typing import Annotated

import typer

from kdharness.cli.listing import lists
from kdharness.cli.options import JsonOption, echo_json
from kdharness.cli.terminal import plain_table, wide_console
from kdharness.core.errors import ExitCode

starters = typer.Typer(help="Write a file to start from: a distiller.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    lists.command("distillers")(list_distillers)
    starters.command("distiller")(new_distiller)
    app.add_typer(starters, name="new")
    app.command("try")(try_distiller)


def list_distillers(as_json: JsonOption = False) -> None:
    """List the methods: paper, family, what they ask for, and the code whose numbers they equal."""
    from dataclasses import asdict

    from kdharness.distillers import listing

    found = listing.list_distillers()
    if as_json:
        echo_json([asdict(one) for one in found])
        return
    table = plain_table()
    for head in ("Distiller", "Family"):
        table.add_column(head, no_wrap=True)
    for head in ("Paper", "Needs", "Equals"):
        table.add_column(head, overflow="fold")
    for one in found:
        table.add_row(one.name, one.family, one.short_paper, ", ".join(one.needs) or "-", one.status)
    wide_console().print(table)
    typer.echo("Needs: besides both networks' logits. Equals: the code whose numbers it gives; whole with --json.")


def new_distiller(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As study files will call it: my_method.")],
) -> None:
    """Write NAME.py and test_NAME.py here: a method that works as it stands, for you to change."""
    from kdharness.runtime.new_distiller import write_distiller

    method, test = write_distiller(name, Path())
    typer.echo(f"wrote {method} and {test}; next: kdharness --plugin {name} try {name}")


def try_distiller(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A distiller; with --plugin MODULE one of yours.")],
    as_json: JsonOption = False,
) -> None:
    """Check a distiller's laws and train 50 steps on the digits: what is broken, gradients, time and memory."""
    from dataclasses import asdict

    from kdharness.runtime import trying

    tried = trying.try_distiller(name)
    if as_json:
        echo_json(asdict(tried))
    else:
        typer.echo(trying.render(tried))
    if tried.broken:
        raise typer.Exit(ExitCode.SOME_FAILED)
