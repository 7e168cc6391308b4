"""Commands that draw: ablations over an axis, and the figures of papers."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from kdharness.cli.options import HomeOption, JsonOption, RowsOption, StudyName, echo_json, study_name
from kdharness.cli.tables import Format, FormatOption, OutputOption, Select, put_tables
from kdharness.core.errors import BadInput, EnvironmentRefused
from kdharness.core.home import Home
from kdharness.core.records import FigureSpec

FolderOption = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="DIR", help="Where files go. [default: the home's reports/STUDY]"),
]


class Kind(StrEnum):
    """What is drawn."""

    STUDY = "study"
    TOY = "toy"
    LINE = "line"
    HEAT_MAP = "heat-map"
    CURVES = "curves"
    PARETO = "pareto"
    CONVERGENCE = "convergence"
    RELIABILITY = "reliability"
    LOGIT_BARS = "logit-bars"
    DIFFERENCES = "differences"
    FEATURES = "features"
    HISTOGRAM = "histogram"
    CORRELATIONS = "correlations"
    PERCEPTION = "perception"
    HARDEST = "hardest"


def register(app: typer.Typer) -> None:
    for command in (ablate, plot):
        app.command()(command)


def ablate(
    study: StudyName,
    axes: Annotated[
        list[str],
        typer.Option("--axis", metavar="AXIS", help="LABEL.temperature, recipe.batch_size, teacher; one or two."),
    ],
    by: Annotated[str, typer.Option("--by", help="What the rows and lines are: distiller, pair, ...")] = "distiller",
    metric: Annotated[str, typer.Option(help="What is shown.")] = "test_top1",
    select: Annotated[Select, typer.Option(help="Last epoch, or best on test.")] = Select.LAST,
    beside: Annotated[
        list[str] | None,
        typer.Option("--beside", metavar="LABEL", help="A row without the axis, shown as a level line."),
    ] = None,
    form: FormatOption = None,
    output: OutputOption = None,
    figures: Annotated[
        Path | None,
        typer.Option("--figures", metavar="DIR", help="Where its figure goes. [default: the home's reports/STUDY]"),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what an axis of a study does: a table, and a line figure (one axis) or a heat map (two)."""
    from kdharness.results.store import Store
    from kdharness.runtime.figures import ablation, draw_ablation, write_drawings

    place = Home.at(home)
    store = Store(place)
    table, spec = ablation(store, [study], axes, by=by, metric=metric, select=select.value, beside=beside or ())
    put_tables(store, [study], [table], Format.JSON if as_json else form, output)
    try:
        paths = write_drawings(figures or place.reports / study, [draw_ablation(store, [study], table, spec)])
    except EnvironmentRefused as error:
        typer.echo(f"no figure: {error}", err=True)
        return
    for path in paths:
        typer.echo(f"wrote {path}", err=True)


def plot(
    kind: Annotated[
        Kind,
        typer.Argument(metavar="KIND", help="study: what its file asks for; toy; or one of " + ", ".join(Kind) + "."),
    ],
    studies: Annotated[
        list[str] | None, typer.Argument(metavar="[STUDY...]", parser=study_name, help="Studies by name or file.")
    ] = None,
    x: Annotated[
        str | None, typer.Option("--x", help="line, heat-map: the axis; pareto: the metric of the cost.")
    ] = None,
    y: Annotated[str | None, typer.Option("--y", help="The metric; of curves several, with commas.")] = None,
    lines: Annotated[str | None, typer.Option("--lines", help="What a line is; of a heat map the other axis.")] = None,
    rows: RowsOption = None,
    pair: Annotated[str | None, typer.Option("--pair", help="Only this pair, as in the study file.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of single runs. [default: the lowest]")] = None,
    output: FolderOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw a figure as PDF, PNG and its caption; those of single runs need `kdharness evaluate` before."""
    from kdharness.runtime.figures import draw, study_figures, toy_case, write_drawings

    place = Home.at(home)
    if kind is Kind.TOY:
        drawings, folder = [toy_case()], place.reports
    else:
        from kdharness.results.store import Store

        if not studies:
            raise BadInput(f"`plot {kind}` needs a study", remedy="kdharness plot KIND STUDY")
        store, folder = Store(place), place.reports / studies[0]
        if kind is Kind.STUDY:
            drawings = [one for study in studies for one in study_figures(place, store, study)]
            if not drawings:
                raise BadInput("the study asks for no figures", remedy="`figures:` in its file, or name a KIND")
        else:
            asked: dict[str, Any] = {"x": x, "y": y, "lines": lines, "pair": pair, "seed": seed}
            spec = FigureSpec.model_validate({"kind": kind.value, "rows": tuple(rows or ()), **asked})
            drawings = [draw(place, store, studies, spec)]
    paths = write_drawings(output or folder, drawings)
    if as_json:
        echo_json({"files": [str(path) for path in paths], "captions": [one.text for one in drawings]})
        return
    for one in drawings:
        typer.echo(one.text)
    for path in paths:
        typer.echo(f"wrote {path}", err=True)
