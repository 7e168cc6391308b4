"""`kdharness list`: what there is to name in a study."""

from typing import Annotated

import typer

from kdharness.cli.options import DataOption, HomeOption, JsonOption, echo_json
from kdharness.cli.terminal import plain_table, wide_console
from kdharness.core.home import Home

lists = typer.Typer(help="List what a study can name: models, distillers.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    lists.command()(models)
    app.add_typer(lists, name="list")


def models(
    dataset: Annotated[
        str | None, typer.Option(metavar="NAME", help="Networks for this dataset's images, sized for them.")
    ] = None,
    home: HomeOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the networks: parameters, multiply-adds, stages, accuracy in the literature."""
    from dataclasses import asdict

    from kdharness.datasets.registry import DATASETS
    from kdharness.models.listing import list_models
    from kdharness.models.registry import MODELS

    opened = DATASETS.get(dataset)(data or Home.at(home).data) if dataset is not None else None
    found = list_models(opened)
    if as_json:
        echo_json([asdict(model) for model in found])
        return
    table = plain_table()
    for head in ("Model", "Family"):
        table.add_column(head, no_wrap=True)
    for head in ("Side", "Params", "MACs", "Stages", "Top-1"):
        table.add_column(head, justify="right", no_wrap=True)
    for model in found:
        table.add_row(
            model.name,
            model.family,
            str(model.image_shape[1]),
            f"{model.size.parameters / 1e6:,.2f}M",
            f"{model.size.multiply_adds / 1e6:,.1f}M",
            str(model.size.stages),
            ", ".join(f"{top1:.2f} {of}" for of, top1 in model.published.items()) or "-",
        )
    wide_console(100).print(table)
    counted = opened.name if opened is not None else "the released networks"
    typer.echo("Side: of the images, in pixels. MACs: multiply-adds for one of them, attention in full.")
    typer.echo(f"Params: for the classes of {counted}. Top-1 (%): in the literature, untaught.")
    left_out = sorted(set(MODELS) - {model.name for model in found})
    if left_out and opened is not None:
        typer.echo(f"Not for the images of {opened.name}: {', '.join(left_out)}.")
