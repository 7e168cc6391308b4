"""Commands about teachers: import what others trained, list, show, measure and hand on; and a run's student."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from kdharness.cli.options import DataOption, HomeOption, JsonOption, echo_json
from kdharness.core.errors import BadInput, ExitCode, KdHarnessError
from kdharness.core.home import Home

if TYPE_CHECKING:
    from kdharness.results.records import ImportedTeacher, TrainedTeacher

teachers = typer.Typer(help="Import teachers that others trained, list, verify and export them.", no_args_is_help=True)

AcceptOption = Annotated[
    str | None,
    typer.Option("--accept-mismatch", metavar="REASON", help="Use it although it scores other than declared; why."),
]
Normalizations = Literal["dataset", "imagenet"]
TeacherName = Annotated[str, typer.Argument(metavar="NAME", help="An import's name, or the run of a trained teacher.")]


def register(app: typer.Typer) -> None:
    app.add_typer(teachers, name="teachers")
    app.command("export-model")(export_model)


@teachers.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE|DIR", help="A checkpoint, or a folder of <model>_vanilla/.")],
    dataset: Annotated[str, typer.Option("--dataset", help="What it was trained on.")],
    model: Annotated[
        str | None, typer.Option("--model", help="Its network. [default: what its folder is named after]")
    ] = None,
    declared_top1: Annotated[
        float | None,
        typer.Option("--declared-top1", min=0, max=100, help="Its test accuracy (%) as whoever trained it says."),
    ] = None,
    accept: AcceptOption = None,
    name: Annotated[
        str | None, typer.Option("--name", help="What studies call it. [default: MODEL-DATASET-HASH]")
    ] = None,
    normalization: Annotated[
        Normalizations | None,
        typer.Option("--normalization", help="Whose mean and std its images had. [default: the dataset's]"),
    ] = None,
    home: HomeOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read a foreign checkpoint without running its code, fit its keys, measure it and keep it."""
    from kdharness.results.store import Store
    from kdharness.runtime.teachers import import_folder, import_teacher

    place = Home.at(home)
    store = Store(place, create=True)
    where = data or place.data
    if not file.is_dir():
        made = import_teacher(
            place,
            store,
            file,
            model=model,
            dataset=dataset,
            data=where,
            declared_top1=declared_top1,
            accept=accept,
            name=name,
            normalization=normalization,
        )
        echo_json(_imported(made)) if as_json else typer.echo(_line(made))
        return
    for option, value in (
        ("--model", model),
        ("--declared-top1", declared_top1),
        ("--accept-mismatch", accept),
        ("--name", name),
        ("--normalization", normalization),
    ):
        if value is not None:
            raise BadInput(f"{option} is for one file, {file} is a folder", remedy="import that file by itself")
    failed = 0
    for path, found in import_folder(place, store, file, dataset=dataset, data=where):
        if isinstance(found, KdHarnessError):
            failed += 1
            typer.echo(f"error: {found if found.where else f'{path}: {found}'}", err=True)
        else:
            echo_json(_imported(found)) if as_json else typer.echo(_line(found))
    if failed:
        raise typer.Exit(ExitCode.BAD_INPUT)


@teachers.command("list")
def list_(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the teachers that are here: imported ones, and the students of finished teacher runs."""
    rows = _rows(Home.at(home))
    if as_json:
        echo_json(rows)
        return
    if not rows:
        typer.echo("no teachers yet: kdharness teachers import FILE --model NAME --dataset NAME")
        return
    lines = [("name", "model", "dataset", "top-1", "declared", "origin", "verified", "tables")]
    for row in rows:
        numbers = ("-" if row[name] is None else f"{row[name]:.2f}" for name in ("measured_top1", "declared_top1"))
        verified = f"accepted: {row['accepted']}" if row["accepted"] else "yes" if row["verified"] else "no"
        tables = f"{row['tables_bytes'] / 10**6:.1f} MB" if row["tables_bytes"] else "-"
        lines.append((row["name"], row["model"], row["dataset"], *numbers, row["origin"], verified, tables))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        typer.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


@teachers.command()
def show(name: TeacherName, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show everything that is known of a teacher: accuracy, hash, and where its weights came from."""
    rows = _rows(Home.at(home))
    found = [row for row in rows if row["name"] == name]
    if not found:
        raise BadInput(f"no teacher is called {name!r}", remedy="kdharness teachers list names them all")
    if as_json:
        echo_json(found[0])
        return
    for key, value in found[0].items():
        if isinstance(value, dict):
            typer.echo(f"{key}")
            for inner, text in value.items():
                typer.echo(f"  {inner:<15}  {'-' if text in (None, '', {}) else text}")
        else:
            typer.echo(f"{key:<17}  {'-' if value is None else value}")


@teachers.command()
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="Imports. [default: all unverified ones]")
    ] = None,
    accept: AcceptOption = None,
    home: HomeOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure imported teachers on the test split, and compare with what was declared."""
    from kdharness.results.store import Store
    from kdharness.runtime.teachers import verify_teacher

    place = Home.at(home)
    store = Store(place)
    known = {one.name: one for one in store.imported_teachers()}
    for name in names or ():
        if name not in known:
            raise BadInput(f"no imported teacher is called {name!r}", remedy="kdharness teachers list names them all")
    chosen = [known[name] for name in names] if names else [one for one in known.values() if one.measured_top1 is None]
    told = [verify_teacher(place, store, data or place.data, one, accept=accept) for one in chosen]
    if as_json:
        echo_json([_imported(one) for one in told])
        return
    for one in told:
        typer.echo(_line(one))
    if not told:
        typer.echo("nothing to verify")


@teachers.command()
def export(
    name: TeacherName,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the files are written.")],
    home: HomeOption = None,
    data: DataOption = None,
) -> None:
    """Write a teacher as safetensors and as .pth (for mdistiller and RepDistiller), with its card."""
    from kdharness.results.store import Store
    from kdharness.runtime.export_model import export_teacher

    place = Home.at(home)
    for path in export_teacher(place, Store(place), name, folder, data=data or place.data):
        typer.echo(f"wrote {path}")


def export_model(
    run_id: Annotated[str, typer.Argument(metavar="RUN_ID", help="A finished run, or its first characters.")],
    folder: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="Where to. [default: ./RUN_ID]")
    ] = None,
    home: HomeOption = None,
    data: DataOption = None,
) -> None:
    """Write a run's student alone, as safetensors and .pth, with its card: metrics, settings, data and code."""
    from kdharness.results.store import Store
    from kdharness.runtime.export_model import export_run

    place = Home.at(home)
    store = Store(place)
    run_id = store.find_run(run_id)
    for path in export_run(place, store, run_id, folder or Path(run_id), data=data or place.data):
        typer.echo(f"wrote {path}")


def _rows(home: Home) -> list[dict[str, Any]]:
    """Every teacher, with what its logit tables take (those of ensembles that it is in are not counted)."""
    from kdharness.results.store import Store
    from kdharness.training.table_shelf import TableShelf

    store = Store(home)
    rows = [_imported(one) for one in store.imported_teachers()] + [_trained(one) for one in store.trained_teachers()]
    tables = TableShelf(home.tables).tables()
    for row in rows:
        its = (one.bytes for one in tables if one.card.get("weights_sha256") == [row["weights_sha256"]])
        row["tables_bytes"] = sum(its)
    return rows


def _line(teacher: "ImportedTeacher") -> str:
    """One line on an import."""
    said = f"{teacher.name}: {teacher.model} for {teacher.dataset}"
    if teacher.measured_top1 is None:
        return f"{said}, unverified: the test images are not here; kdharness run measures it before first use"
    declared = f" (declared {teacher.declared_top1:.2f})" if teacher.declared_top1 is not None else ""
    return f"{said}, {teacher.measured_top1:.2f} % on the test split{declared}"


def _imported(teacher: "ImportedTeacher") -> dict[str, Any]:
    """As JSON says it."""
    return {
        "name": teacher.name,
        "origin": "imported",
        "model": teacher.model,
        "dataset": teacher.dataset,
        "measured_top1": teacher.measured_top1,
        "declared_top1": teacher.declared_top1,
        "verified": teacher.verified.isoformat() if teacher.verified else None,
        "accepted": teacher.accepted,
        "weights_sha256": teacher.weights_sha256,
        "fingerprint": teacher.fingerprint,
        "path": teacher.path,
        "added": teacher.added.isoformat() if teacher.added else None,
        "provenance": dict(teacher.provenance),
    }


def _trained(teacher: "TrainedTeacher") -> dict[str, Any]:
    """With the same fields; a search's teacher was measured on the validation images."""
    return {
        "name": teacher.run_id,
        "origin": "trained",
        "model": teacher.model,
        "dataset": teacher.dataset,
        "measured_top1": teacher.test_top1 if teacher.test_top1 is not None else teacher.val_top1,
        "declared_top1": None,
        "verified": teacher.finished.isoformat() if teacher.finished else None,
        "accepted": None,
        "weights_sha256": teacher.weights_sha256,
        "fingerprint": None,
        "path": None,
        "added": teacher.finished.isoformat() if teacher.finished else None,
        "provenance": {"validation": teacher.validation},
    }
