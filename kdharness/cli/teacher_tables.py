"""`kdharness teachers table`: what a teacher says to each view of each image, computed at once."""

from typing import Annotated

import typer

from kdharness.cli.options import DataOption, HomeOption, JsonOption, echo_json
from kdharness.cli.teachers import TeacherName, teachers
from kdharness.core.home import Home


def register(_: typer.Typer) -> None:
    teachers.command("table")(table)


def table(
    name: TeacherName,
    dataset: Annotated[str | None, typer.Option("--dataset", help="Whose images. [default: those it learned]")] = None,
    recipe: Annotated[
        str | None, typer.Option("--recipe", help="Of the students to come. [default: the dataset's own]")
    ] = None,
    augment: Annotated[
        str | None, typer.Option("--augment", help="Instead of the recipe's augmentation, as crop4-flip.")
    ] = None,
    pooled: Annotated[
        bool, typer.Option("--pooled", help="With its pooled features, for crd, rkd, pkt and cc.")
    ] = False,
    home: HomeOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compute its logits for every view of every training image; runs find them there. Stopped, it goes on."""
    from kdharness.results.store import Store
    from kdharness.runtime.teacher_tables import fill_table

    place = Home.at(home)
    steps = fill_table(
        place,
        Store(place),
        name,
        data=data or place.data,
        dataset=dataset,
        recipe=recipe,
        augment=augment,
        pooled=pooled,
    )
    done, every = next(steps)
    if as_json:
        list(steps)
        echo_json({"teacher": name, "entries": every})
        return
    with typer.progressbar(length=every, label=name) as bar:
        bar.update(done)
        for now, _ in steps:
            bar.update(now - done)
            done = now
    typer.echo(f"{name}: all {every} entries are there")
