"""The command that analyses finished students."""

from dataclasses import asdict
from typing import Annotated

import typer

from kdharness.cli.options import DataOption, HomeOption, JsonOption, echo_json
from kdharness.core.analyses import DEFAULT, WRITTEN, Analysis
from kdharness.core.home import Home


def register(app: typer.Typer) -> None:
    app.command()(evaluate)


def evaluate(
    what: Annotated[str, typer.Argument(metavar="STUDY|RUN", help="A study's name, or a run's first characters.")],
    names: Annotated[
        list[str] | None,
        typer.Option(
            "--analysis",
            metavar="NAME",
            help=f"One of {', '.join(WRITTEN)}; may be given again. [default: {', '.join(DEFAULT)}]",
        ),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Compute what is stored already, and replace it.")] = False,
    home: HomeOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Analyse finished students from their kept weights; what is found become metrics that tables can show."""
    from kdharness.results.store import Store
    from kdharness.runtime.evaluating import describe, evaluate_runs, finished_runs

    asked = [Analysis.parse(name) for name in dict.fromkeys(names or DEFAULT)]
    place = Home.at(home)
    store = Store(place)
    for analysed in evaluate_runs(
        place, store, finished_runs(store, what), asked, data=data or place.data, again=again
    ):
        if as_json:
            metrics = {
                name: value if abs(value) < float("inf") else str(value) for name, value in analysed.metrics.items()
            }
            echo_json({**asdict(analysed), "metrics": metrics})
        else:
            typer.echo(describe(analysed))
