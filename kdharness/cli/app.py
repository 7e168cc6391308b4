"""The `kdharness` command: its subcommands, and how an error becomes a paragraph and an exit code."""

import os
import sys
import tempfile
import traceback
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from kdharness import __version__
from kdharness.cli import (
    analyses,
    bench,
    clearing,
    data,
    distillers,
    doctor,
    figures,
    inspect,
    jobs,
    listing,
    marks,
    published,
    search,
    serve,
    studies,
    tables,
    teacher_tables,
    teachers,
    verify,
)
from kdharness.core.errors import ExitCode, KdHarnessError
from kdharness.core.plugins import configured_plugins, use_plugins
from kdharness.core.printable import printable

app = typer.Typer(
    name="kdharness",
    help="Benchmarks of knowledge distillation: one study.yaml in, a paper-style table out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for commands in (
    doctor,
    studies,
    tables,
    analyses,
    figures,
    published,
    search,
    verify,
    inspect,
    marks,
    clearing,
    listing,
    distillers,
    data,
    teachers,
    teacher_tables,
    bench,
    serve,
    jobs,
):
    commands.register(app)


@app.callback(invoke_without_command=True)
def options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    plugin: Annotated[
        list[str] | None, typer.Option("--plugin", metavar="MODULE", help="A module with distillers of your own.")
    ] = None,
) -> None:
    """Options of every command: `kdharness --debug run study.yaml`, or after its name."""
    if version:
        typer.echo(__version__)
        raise typer.Exit
    use_plugins([*configured_plugins(Path.cwd()), *(plugin or [])])
    if debug:
        os.environ["KDHARNESS_DEBUG"] = "1"


def options_first(arguments: Iterable[str]) -> list[str]:
    """The options of every command before its name, wherever they were given."""
    first, rest, left = list[str](), list[str](), iter(arguments)
    for argument in left:
        if argument == "--":
            rest += [argument, *left]
        elif argument == "--debug" or argument.startswith("--plugin="):
            first.append(argument)
        elif argument == "--plugin":
            name = list(islice(left, 1))
            if not name:
                return [*first, argument]  # which says what it misses
            first += [argument, *name]
        else:
            rest.append(argument)
    return first + rest


def main() -> None:
    """Run the command; end the process with design's exit codes and without a traceback unless `--debug`."""
    try:
        app(options_first(sys.argv[1:]))
    except KdHarnessError as error:
        if os.environ.get("KDHARNESS_DEBUG"):
            traceback.print_exc()
        typer.echo(printable(str(error) if error.is_list else f"error: {error}"), err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        typer.echo("interrupted; run the same command again to go on", err=True)
        sys.exit(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # The reader of a pipe (head) has seen enough; Python would complain again while it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.DONE)
    except Exception as error:  # the last line of defence: a bug becomes a file and one line
        if os.environ.get("KDHARNESS_DEBUG"):
            raise
        with tempfile.NamedTemporaryFile("w", prefix="kdharness-", suffix=".txt", delete=False) as file:
            traceback.print_exc(file=file)
        typer.echo(f"internal error: {type(error).__name__}: {error}\nThe traceback is in {file.name}", err=True)
        sys.exit(ExitCode.INTERNAL)
