"""`kdharness bench`: measure the harness beside a plain loop, and against an earlier report."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdharness.cli.options import HomeOption, JsonOption, echo_json
from kdharness.core.errors import BadInput
from kdharness.core.home import Home

if TYPE_CHECKING:
    from kdharness.benchmarks.report import Report

QuickOption = Annotated[bool, typer.Option("--quick", help="A short form, to see that it works.")]
SaveOption = Annotated[Path | None, typer.Option("--save", metavar="FILE", help="Keep the report as JSON.")]
CompareOption = Annotated[
    Path | None,
    typer.Option("--compare", metavar="OLD.json", help="Against an earlier report: ratios, changes beyond the IQRs."),
]
DeviceOption = Annotated[
    str | None, typer.Option("--device", metavar="cpu|cuda:N", help="Where. [default: a GPU, where there is one]")
]
ThreadsOption = Annotated[int, typer.Option("--threads", min=1, help="Of each side, on a CPU.")]

commands = typer.Typer(no_args_is_help=True, help="Measure what the harness costs, beside a plain loop.")


def register(app: typer.Typer) -> None:
    app.add_typer(commands, name="bench")


@commands.command()
def step(
    pairs: Annotated[
        list[str] | None, typer.Option("--pair", metavar="TEACHER->STUDENT", help="One of several. [default: six]")
    ] = None,
    device: DeviceOption = None,
    threads: ThreadsOption = 1,
    quick: QuickOption = False,
    as_json: JsonOption = False,
    save: SaveOption = None,
    compare: CompareOption = None,
) -> None:
    """Time a step of eight runs side by side, cold, warm and in bf16, against eight plain steps (10 minutes)."""
    from kdharness.benchmarks.step import run

    place = _device(device)
    _tell(lambda: run(pairs or (), device=place, threads=threads, quick=quick, say=_say), as_json, save, compare)


@commands.command()
def study(
    quick: QuickOption = False, as_json: JsonOption = False, save: SaveOption = None, compare: CompareOption = None
) -> None:
    """Time a whole study, `run` and `report` from a cold home, against one plain process (10 minutes)."""
    from kdharness.benchmarks.study import run

    _tell(lambda: run(quick=quick, say=_say), as_json, save, compare)


@commands.command()
def data(
    device: DeviceOption = None,
    threads: ThreadsOption = 1,
    quick: QuickOption = False,
    as_json: JsonOption = False,
    save: SaveOption = None,
    compare: CompareOption = None,
) -> None:
    """Count training images per second of a core, against torchvision's pipeline of PIL pictures."""
    from kdharness.benchmarks.data import run

    place = _device(device)
    _tell(lambda: run(device=place, threads=threads, quick=quick, say=_say), as_json, save, compare)


@commands.command()
def store(
    quick: QuickOption = False, as_json: JsonOption = False, save: SaveOption = None, compare: CompareOption = None
) -> None:
    """Time the results database: claims and finishes, 32 writers, 100,000 runs planned and inserted."""
    from kdharness.benchmarks.store import run

    _tell(lambda: run(quick=quick, say=_say), as_json, save, compare)


@commands.command()
def precision(
    models: Annotated[
        list[str] | None, typer.Option("--model", metavar="NAME", help="One of several. [default: of the six pairs]")
    ] = None,
    compiled: Annotated[bool, typer.Option("--compile/--no-compile", help="With torch.compile.")] = True,
    accuracy: Annotated[
        str | None,
        typer.Option("--accuracy", metavar="STUDY", help="Instead: is bf16 as accurate as fp32 in this study's rows?"),
    ] = None,
    home: HomeOption = None,
    device: DeviceOption = None,
    threads: ThreadsOption = 1,
    quick: QuickOption = False,
    as_json: JsonOption = False,
    save: SaveOption = None,
    compare: CompareOption = None,
) -> None:
    """Time each network in fp32 and bf16, eager and compiled: which precision is the faster one here."""
    if accuracy is not None:
        _tell_accuracy(accuracy, Home.at(home), as_json)
        return
    from kdharness.benchmarks.precision import run

    place = _device(device)
    _tell(
        lambda: run(models or (), device=place, threads=threads, compiled=compiled, quick=quick, say=_say),
        as_json,
        save,
        compare,
    )


def _tell_accuracy(study: str, home: Home, as_json: bool) -> None:
    """Two one-sided tests of each row that the study trains in both precisions."""
    from kdharness.reporting.equivalence import LEVEL, POWER, precisions
    from kdharness.reporting.runs import TEACHER_METRIC, read
    from kdharness.results.frame import load_frame
    from kdharness.results.store import Store

    found = precisions(read(load_frame(Store(home), [study]), TEACHER_METRIC))
    if not found:
        raise BadInput(
            f"{study} has no row with finished runs in bf16 and in fp32",
            remedy="give its recipe `precision: {each: [fp32, bf16]}` and run it",
        )
    if as_json:
        rows = [(*row, asdict(one) | {"shown": one.shown} if one is not None else None) for row, one in found.items()]
        echo_json([dict(zip(("dataset", "pair", "label", "bf16"), row, strict=True)) for row in rows])
        return
    for (dataset, pair, label), one in found.items():
        if one is None:
            typer.echo(f"{label}, {pair}, {dataset}: too few runs, or all alike")
            continue
        said = "equivalent" if one.shown else "not shown to be equivalent"
        typer.echo(
            f"{label}, {pair}, {dataset}: bf16 {one.difference:+.2f} points (90 % interval {one.interval[0]:+.2f} to "
            f"{one.interval[1]:+.2f}; n = {one.n[0]} and {one.n[1]}): {said} within {one.margin} points "
            f"(TOST p = {one.p:.2g}, level {LEVEL}; {one.needed} seeds of each have {POWER:.0%} power)"
        )


def _device(name: str | None) -> str:
    """Raises BadInput for a device that is none, or is not here."""
    from kdharness.runtime.slots import choose_slots, device_of, gpu_count

    if name is None or name == "cpu":
        return name or device_of(choose_slots("1")[0])
    device = device_of(name)
    number = int(device.partition(":")[2] or 0)
    if device != "cpu" and number >= gpu_count():
        raise BadInput(f"--device {name}: there are {gpu_count()} GPUs here")
    return device


def _tell(measure: "Callable[[], Report]", as_json: bool, save: Path | None, compare: Path | None) -> None:
    """Measure, keep, compare and print; what could go wrong with the files is told before the minutes begin."""
    from kdharness.benchmarks import report

    old = report.read(compare) if compare is not None else None
    if save is not None and not save.absolute().parent.is_dir():
        raise BadInput(f"--save {save}: there is no directory {save.absolute().parent}")
    found = measure()
    if save is not None:
        try:
            save.write_text(json.dumps(report.as_json(found), ensure_ascii=False, indent=1) + "\n")
        except OSError as error:
            raise BadInput(f"--save {save}: cannot be written: {error.strerror or error}") from error
    if as_json:
        echo_json(report.as_json(found))
        return
    typer.echo(report.render(found))
    if old is not None:
        typer.echo("\n" + report.compare(old, found))


def _say(what: str) -> None:
    typer.echo(f"measuring: {what}", err=True)
