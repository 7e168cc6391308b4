"""Hidden commands: what `run` starts as processes of their own."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from kdharness.core.home import Home


class Layout(StrEnum):
    """How images lie in memory."""

    CHANNELS_LAST = "channels_last"
    CONTIGUOUS = "contiguous"


def register(app: typer.Typer) -> None:
    app.command(hidden=True)(job)
    app.command(hidden=True)(mirror)


def job(
    run_ids: Annotated[list[str], typer.Argument(metavar="RUN_ID...")],
    home: Annotated[Path, typer.Option("--home")],
    slot: Annotated[str, typer.Option("--slot")] = "cpu:0",
    data: Annotated[Path | None, typer.Option("--data")] = None,
    threads: Annotated[int, typer.Option("--threads", min=1)] = 1,
    layout: Annotated[Layout, typer.Option("--layout")] = Layout.CHANNELS_LAST,
    compiled: Annotated[bool, typer.Option("--compile")] = False,
    checkpoint_seconds: Annotated[float, typer.Option("--checkpoint-seconds")] = 300.0,
) -> None:
    """Train runs side by side until they are done or the process is told to stop."""
    from kdharness.runtime.devices import offer_to_the_kernel
    from kdharness.runtime.job import run_job
    from kdharness.runtime.options import JobOptions

    options = JobOptions(data, threads, layout.value, compiled, checkpoint_seconds)
    offer_to_the_kernel()
    raise typer.Exit(run_job(Home.at(home), run_ids, slot=slot, options=options))


def mirror(
    home: Annotated[Path, typer.Option("--home")], server: Annotated[str | None, typer.Option("--server")] = None
) -> None:
    """Feed MLflow from the results database until nobody runs and nothing is left."""
    from kdharness.runtime.mirror import run_mirror
    from kdharness.tracking.mlflow import open_mlflow

    raise typer.Exit(run_mirror(Home.at(home), lambda place: open_mlflow(place, server)))
