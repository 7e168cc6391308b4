"""Commands about images: verify them, decode them before anybody waits for them."""

from typing import Annotated

import typer

from kdharness.cli.options import DataOption, HomeOption, JsonOption, echo_json
from kdharness.core.home import Home

What = Annotated[
    str,
    typer.Argument(
        metavar="NAME|STUDY.yaml|SOURCE",
        help="A registered dataset, a study's, or a directory or tar of images inside the data directory.",
    ),
]
TestOption = Annotated[
    float | None, typer.Option("--test", help="Of one tree without train and test: the part held out for the test.")
]
SizeOption = Annotated[int | None, typer.Option("--size", help="Pixels to which images of several sizes are brought.")]

commands = typer.Typer(no_args_is_help=True, help="Verify a dataset's images, or decode them beforehand.")


def register(app: typer.Typer) -> None:
    app.add_typer(commands, name="data")


@commands.command()
def check(
    what: What,
    data: DataOption = None,
    home: HomeOption = None,
    test: TestOption = None,
    size: SizeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read every image again and verify it; say what was seen, or which files are wrong."""
    from kdharness.runtime.data import named_dataset, verify_dataset

    dataset = named_dataset(what, data or Home.at(home).data, test=test, size=size)
    lines = verify_dataset(dataset)
    if as_json:
        echo_json({"dataset": dataset.name, "fingerprint": dataset.fingerprint, "seen": lines})
        return
    for line in lines:
        typer.echo(line)


@commands.command()
def prepare(
    what: What,
    data: DataOption = None,
    home: HomeOption = None,
    test: TestOption = None,
    size: SizeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Decode the images into the data directory, as the first run would."""
    from dataclasses import asdict

    from kdharness.runtime.data import named_dataset, prepare_dataset

    made = prepare_dataset(named_dataset(what, data or Home.at(home).data, test=test, size=size))
    if as_json:
        echo_json(asdict(made))
        return
    images = f"{made.train:,} + {made.test:,} images of {made.classes:,} classes"
    if not made.place:
        typer.echo(f"{made.dataset}: {images}: there is nothing to decode beforehand")
    elif made.decoded:
        typer.echo(f"{made.dataset}: {images} decoded in {made.seconds} s, in {made.place}")
    else:
        typer.echo(f"{made.dataset}: {images} were there already, whole, in {made.place}")
