"""Commands by which people say what they think of runs and studies. Nothing is deleted by any of them."""

from typing import Annotated

import typer

from kdharness.cli.options import HomeOption, RunId
from kdharness.core.errors import BadInput
from kdharness.core.home import Home

RunIds = Annotated[list[str], typer.Argument(metavar="RUN_ID...", help="Runs, or their first characters.")]


def register(app: typer.Typer) -> None:
    for command in (note, tag, exclude, include):
        app.command()(command)


def note(
    what: Annotated[str, typer.Argument(metavar="RUN_ID|STUDY", help="A run, or a study by name.")],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to remember.")],
    home: HomeOption = None,
) -> None:
    """Write a note on a run or a study; `show`, `status` and `export` print it."""
    from kdharness.results.store import Store

    store = Store(Home.at(home))
    if any(study.name == what for study in store.studies()):
        store.note_study(what, text)
    else:
        what = store.find_run(what)
        store.note_run(what, text)
    typer.echo(f"noted on {what}")


def tag(
    run_id: RunId,
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME...]", help="Words to find it by.")] = None,
    remove: Annotated[list[str] | None, typer.Option("--remove", metavar="NAME", help="Take this one away.")] = None,
    home: HomeOption = None,
) -> None:
    """Give a run words to find it by (`export`, `query`, MLflow), or print those it has."""
    from kdharness.results.store import Store

    store = Store(Home.at(home))
    run_id = store.find_run(run_id)
    if names or remove:
        store.tag(run_id, names or (), remove=remove or ())
    typer.echo(f"{run_id}: {' '.join(store.run(run_id).marks.tags) or 'no tags'}")


def exclude(
    run_ids: RunIds,
    reason: Annotated[str, typer.Option("--reason", help="Why; stands below every table that it is missing from.")],
    home: HomeOption = None,
) -> None:
    """Keep runs out of every mean; tables count them in sight, with the reason. Nothing is deleted."""
    from kdharness.results.store import Store

    store = Store(Home.at(home))
    found = [store.find_run(run_id) for run_id in run_ids]
    store.exclude(found, reason)
    typer.echo(f"excluded {' '.join(found)}; kdharness include undoes it")


def include(run_ids: RunIds, home: HomeOption = None) -> None:
    """Let excluded runs count again."""
    from kdharness.results.store import Store

    store = Store(Home.at(home))
    count = store.include([store.find_run(run_id) for run_id in run_ids])
    if not count:
        raise BadInput(f"not excluded: {' '.join(run_ids)}")
    typer.echo("1 run counts again" if count == 1 else f"{count} runs count again")
