"""The arguments and options that several commands share."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

HomeOption = Annotated[
    Path | None,
    typer.Option("--home", help="Where results are kept. [default: $KDHARNESS_HOME or ./kdharness-home]"),
]
DataOption = Annotated[
    Path | None, typer.Option("--data", help="Where datasets are looked up. [default: the home's data directory]")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
SmokeOption = Annotated[
    bool,
    typer.Option("--smoke", help="The study's shrunk form, STUDY-smoke: a minute or two, to see its whole path work."),
]
StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study file.")]


def study_name(text: str) -> str:
    """The study that is meant by its name or its file."""
    if not text.endswith((".yaml", ".yml")):
        return text
    from kdharness.study.load import load_study

    return load_study(Path(text)).name


StudyName = Annotated[str, typer.Argument(metavar="STUDY", parser=study_name, help="The study's name, or its file.")]
RowsOption = Annotated[list[str] | None, typer.Option("--row", metavar="LABEL", help="Only this row; may be repeated.")]
RunId = Annotated[str, typer.Argument(metavar="RUN_ID", help="A run, or its first characters.")]


def echo_json(value: Any) -> None:
    """One line of JSON on stdout."""
    typer.echo(json.dumps(value, ensure_ascii=False, allow_nan=False))
