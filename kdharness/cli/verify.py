"""`kdharness verify`: a printed table planned and held against what is finished; a bundle made again from its rows."""

from pathlib import Path
from typing import Annotated

import typer

from kdharness.cli.options import DataOption, HomeOption, JsonOption, echo_json
from kdharness.core.errors import BadInput, ExitCode
from kdharness.core.home import Home
from kdharness.core.printable import printable


def register(app: typer.Typer) -> None:
    app.command()(verify)


def verify(
    paper: Annotated[
        str,
        typer.Argument(metavar="PAPER|BUNDLE", help="The source, as `published list` names it; or a bundle."),
    ],
    table: Annotated[
        str | None, typer.Argument(metavar="[TABLE]", help='The table of the paper: "Table 2"; none for a bundle.')
    ] = None,
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
    """Plan the runs that would reproduce a printed table; where they exist, say within, below or above.

    With the file of a bundle (`export --bundle`): make every cell again from its rows, and say equal or differs.
    """
    if table is None:
        if not Path(paper).exists() and "/" not in paper and "." not in paper:
            raise BadInput(f"which table of {paper}?", remedy='kdharness verify PAPER "Table 2", or verify BUNDLE')
        _verify_bundle(Path(paper), as_json)
        return
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
        notes = list(dict.fromkeys(note for one in cells for note in one.notes))
        for one in cells:
            ours = "–" if one.mean is None else f"{one.mean:.2f}" + (f" ± {one.std:.2f}" if one.std is not None else "")
            counted = f"({one.n}/{one.wanted})"
            typer.echo(
                f"{one.row:<24} {one.pair:<28} {one.printed} {one.selection:<8} {ours} {counted}  {one.verdict}"
                + "".join(f" [{notes.index(note) + 1}]" for note in one.notes)
            )
        for number, note in enumerate(notes, 1):
            typer.echo(f"[{number}] {note}")
    if as_json:
        echo_json({"studies": told, "left_out": left_out})
        return
    for what in left_out:
        typer.echo(f"left out: {what}", err=True)
    if output is not None:
        typer.echo(f"wrote {', '.join(f'{study.name}.yaml' for study in made)} in {output}")


def _verify_bundle(path: Path, as_json: bool) -> None:
    from dataclasses import asdict

    from kdharness.runtime.rebuilding import verify_bundle

    found = verify_bundle(path)
    if as_json:
        checked = [{**asdict(one), "equal": one.equal} for one in found.checked]
        echo_json({**asdict(found), "checked": checked, "equal": found.equal})
    else:
        title = None
        for one in found.checked:
            if one.table != title:
                title = one.table
                typer.echo(printable(title or "rows"))
            what = f"{one.row} | {one.column}" if one.row else "heads and notes" if one.table else ""
            line = "  ".join(filter(None, ("equal  " if one.equal else "differs", what, one.text)))
            typer.echo(printable(f"  {line}"))
            for difference in one.differences:
                typer.echo(printable(f"           {difference}"))
            for sentence in one.worded:
                typer.echo(printable(f"           in the words of {found.version}: {sentence}"))
        equal = sum(one.equal for one in found.checked)
        typer.echo(printable(f"{found.study}: {equal} of {len(found.checked)} equal, written by {found.version}"))
        typer.echo(f"sha256 {found.sha256}")
    if not found.equal:
        raise typer.Exit(ExitCode.SOME_FAILED)
