"""`kdharness verify`: a printed table planned, and held against what is finished."""

from pathlib import Path
from typing import Annotated

import typer

from kdharness.cli.options import DataOption, HomeOption, JsonOption, echo_json
from kdharness.core.home import Home


def register(app: typer.Typer) -> None:
    app.command()(verify)


def verify(
    paper: Annotated[str, typer.Argument(metavar="PAPER", help="The source, as `published list` names it.")],
    table: Annotated[str, typer.Argument(metavar="TABLE", help='Its table: "Table 2".')],
    cell: Annotated[
        list[str] | None,
        typer.Option(metavar="METHOD|PAIR|METHOD: PAIR", help="Only these cells: 'kd+ls: resnet32x4 -> resnet8x4'."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A directory for the study files, to `run` them.")
    ] = None,
    teachers: Annotated[str, typer.Option(help="As in a study: imported, or train.")] = "imported",
    home: HomeOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Plan the runs that would reproduce a printed table; where they exist, say within, below or above."""
    from dataclasses import asdict

    from kdharness.reporting.published.values import read_registry
    from kdharness.results.store import Store
    from kdharness.runtime.reports import write_text
    from kdharness.runtime.reproducing import expand_printed, verified
    from kdharness.runtime.slots import choose_slots
    from kdharness.study.plan import make_plan, render_plan
    from kdharness.study.printed import studies_of

    place = Home.at(home)
    registry = read_registry(place.published)
    store = Store(place) if place.results.exists() else None
    made, left_out = studies_of(registry, f"{paper} {table}", cell or (), teachers)
    told = []
    for study in made:
        expansion = expand_printed(study, place, data)
        cells = verified(study, expansion, registry, store)
        plan = make_plan(expansion, store, slots=len(choose_slots(None)))
        if output is not None:
            write_text(output / f"{study.name}.yaml", study.text)
        told.append({"study": study.text, "plan": asdict(plan), "cells": [asdict(one) for one in cells]})
        if as_json:
            continue
        typer.echo(render_plan(plan))
        for one in cells:
            ours = "–" if one.mean is None else f"{one.mean:.2f}" + (f" ± {one.std:.2f}" if one.std is not None else "")
            counted = f"({one.n}/{one.wanted})"
            typer.echo(f"{one.row:<24} {one.pair:<28} {one.printed} {one.selection:<8} {ours} {counted}  {one.verdict}")
    if as_json:
        echo_json({"studies": told, "left_out": left_out})
        return
    for what in left_out:
        typer.echo(f"left out: {what}", err=True)
    if output is not None:
        typer.echo(f"wrote {', '.join(f'{study.name}.yaml' for study in made)} in {output}")
