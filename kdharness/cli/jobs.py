"""Hidden commands: what `run` starts as processes of their own."""

from pathlib import Path
from typing import Annotated

import typer

from kdharness.core.home import Home


def register(app: typer.Typer) -> None:
    app.command(hidden=True)(job)
    app.command(hidden=True)(mirror)


def job(
    run_ids: Annotated[list[str], typer.Argument(metavar="RUN_ID...")],
    home: Annotated[Path, typer.Option("--home")],
    slot: Annotated[str, typer.Option("--slot")] = "cpu:0",
) -> None:
    """Train runs side by side until they are done or the process is told to stop."""
    from kdharness.runtime.job import run_job

    raise typer.Exit(run_job(Home.at(home), run_ids, slot=slot))


def mirror(home: Annotated[Path, typer.Option("--home")]) -> None:
    """Feed MLflow from the results database until nobody runs and nothing is left."""
    from kdharness.runtime.mirror import run_mirror

    raise typer.Exit(run_mirror(Home.at(home)))
