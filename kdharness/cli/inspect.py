"""Commands that read the results database: where studies stand, what a run is, why it failed."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kdharness.cli.options import DataOption, HomeOption, JsonOption, RunId, StudyName, echo_json
from kdharness.core.errors import BadInput
from kdharness.core.home import Home
from kdharness.core.printable import printable

if TYPE_CHECKING:
    from kdharness.results.records import Note, RunRow
    from kdharness.results.store import Store
    from kdharness.runtime.predictions import Agreement

RunIds = Annotated[list[str] | None, typer.Argument(metavar="[RUN_ID...]", help="Runs, or their first characters.")]


def register(app: typer.Typer) -> None:
    for command in (status, show, diff, logs, log, cancel, retry, query):
        app.command()(command)


def status(
    study: Annotated[str | None, typer.Argument(metavar="[STUDY]", help="One study; all by default.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how far studies are: runs by state, jobs with pid, slot and epoch, what failed and why."""
    from dataclasses import asdict

    from kdharness.results.store import Store
    from kdharness.runtime.status import study_status

    place = Home.at(home)
    found = study_status(Store(place), place, study)
    if as_json:
        echo_json({"studies": [asdict(one) for one in found]})
        return
    for one in found:
        states = ", ".join(f"{count} {state}" for state, count in one.runs.items())
        typer.echo(f"{one.study}: {states or 'no runs'}")
        for job in one.jobs:
            typer.echo(f"  {job.slot}  pid {job.pid}  epoch {job.epoch}/{job.epochs}  {' '.join(job.run_ids)}")
        for run in one.failed:
            typer.echo(f"  {run.run_id}  {run.label}, {run.pair}, seed {run.seed}: {run.state}")
            typer.echo(f"    {run.message}\n    {run.log}")
        if one.excluded:
            typer.echo(f"  excluded from every mean: {' '.join(one.excluded)}")
        for text in one.notes:
            typer.echo(f"  note  {text}")
    if not found:
        typer.echo("no studies yet: kdharness init writes a first one")


def show(
    what: Annotated[str, typer.Argument(metavar="STUDY|STUDY.yaml|RUN_ID", help="A study, its file, or a run.")],
    label: Annotated[str | None, typer.Argument(metavar="[LABEL]", help="One entry of the study.")] = None,
    home: HomeOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show every constant of a study's settings, or of a run, and where each value came from."""
    from dataclasses import asdict

    from kdharness.results.store import Store
    from kdharness.study.describe import describe_file, describe_run, describe_study

    place = Home.at(home)
    run = None
    if what.endswith((".yaml", ".yml")):
        rows = describe_file(Path(what), place, data)
    else:
        store = Store(place)
        if any(study.name == what for study in store.studies()):
            rows = describe_study(store, what)
        else:
            run = store.run(store.find_run(what))
            rows = [describe_run(store, run.run_id)]
    rows = [row for row in rows if label is None or row.label == label]
    if not rows:
        raise BadInput(f"{what} has no entry labelled {label!r}", remedy=f"kdharness show {what} lists them all")
    if as_json:
        echo_json([asdict(row) for row in rows])
        return
    for row in rows:
        typer.echo(f"{row.label}, {row.pair}  ({row.purpose}; runs {' '.join(row.run_ids)})")
        width = max(map(len, row.values))
        for name, value in row.values.items():
            typer.echo(f"  {name:<{width}}  {_text(value):<14}  {row.provenance.get(name, '')}".rstrip())
    if run is not None:
        typer.echo(f"state {run.state}, seed {run.seed}, attempts {run.attempts}, device {run.device}")
        for name, value in run.metrics.items():
            typer.echo(f"  {name:<28}  {value:.4f}")
        if run.marks.excluded:
            typer.echo(f"excluded: {run.marks.excluded}")
        if run.marks.tags:
            typer.echo(f"tags {' '.join(run.marks.tags)}")
        _echo_notes(run.marks.notes)


def diff(
    first: RunId,
    second: RunId,
    home: HomeOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show in which constants two runs differ, their final metrics, and whether they err on the same test images."""
    from dataclasses import asdict

    from kdharness.results.store import Store

    place = Home.at(home)
    store = Store(place)
    one, other = (store.run(store.find_run(run_id)) for run_id in (first, second))
    left, right = ({**run.setting.flat(), "seed": run.seed} for run in (one, other))
    names = [name for name in {**left, **right} if left.get(name) != right.get(name)]
    metrics = sorted({*one.metrics, *other.metrics})
    answers, why = _answers(store, data or place.data, one, other)
    if as_json:
        echo_json(
            {
                "settings": {name: [left.get(name), right.get(name)] for name in names},
                "metrics": {name: [run.metrics.get(name) for run in (one, other)] for name in metrics},
                "answers": asdict(answers) if answers else None,
                "why_no_answers": why,
            }
        )
        return
    for name in names:
        typer.echo(f"{name:<28}  {_text(left.get(name)):<20}  {_text(right.get(name))}")
    if not names:
        typer.echo("the same setting and seed")
    for name in metrics:
        values = [run.metrics.get(name) for run in (one, other)]
        typer.echo(f"{name:<28}  " + "  ".join(f"{'-' if value is None else f'{value:.2f}':<20}" for value in values))
    if answers is None:
        typer.echo(f"no test of their answers: {why}")
        return
    typer.echo(
        f"of {answers.images} test images both are right on {answers.both}, only {one.run_id} on {answers.first_only}, "
        f"only {other.run_id} on {answers.second_only}, neither on {answers.neither}"
    )
    typer.echo(f"McNemar's test (exact, of these two networks and not of their methods): p = {answers.p_value:.3g}")


def _answers(store: "Store", data: Path, one: "RunRow", other: "RunRow") -> tuple["Agreement | None", str | None]:
    """What their answers to the test images say, or why that cannot be said and what to do."""
    from kdharness.core.errors import KdHarnessError
    from kdharness.runtime.predictions import agreement

    try:
        return agreement(store, data, one, other), None
    except KdHarnessError as error:
        return None, "; ".join(str(error).splitlines())


def logs(
    run_id: RunId,
    home: HomeOption = None,
) -> None:
    """Print what a run's attempts wrote, tracebacks included."""
    from kdharness.results.store import Store

    run_id = Store(Home.at(home)).find_run(run_id)
    path = Home.at(home).log(run_id)
    if not path.exists():
        raise BadInput(f"run {run_id} has written nothing yet", where=str(path))
    typer.echo(printable(path.read_text(errors="replace")), nl=False)


def log(study: StudyName, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show every version of the study file that was run, newest last."""
    from kdharness.results.store import Store

    texts = Store(Home.at(home)).texts(study)
    if as_json:
        echo_json([{"number": text.number, "saved": text.saved.isoformat(), "text": text.text} for text in texts])
        return
    for text in texts:
        typer.echo(f"# version {text.number}, saved {text.saved:%Y-%m-%d %H:%M:%S} UTC, {text.path}\n{text.text}")


def cancel(
    what: Annotated[str, typer.Argument(metavar="STUDY|RUN_ID", help="A study by name, or one run.")],
    home: HomeOption = None,
) -> None:
    """Take waiting runs out of the queue and stop running ones; `kdharness retry` goes on where they were."""
    from kdharness.results.store import Store

    store = Store(Home.at(home))
    if any(study.name == what for study in store.studies()):
        study, count = what, store.cancel(what)
    else:
        run_id = store.find_run(what)
        rows = store.run(run_id).rows
        if not rows:
            raise BadInput(f"no study asks for {run_id}: nothing would train it")
        study = rows[0].study
        count = store.cancel(study, [run_id])
    typer.echo(
        f"{count} runs cancelled; kdharness retry {study} lets them wait again" if count else "nothing to cancel"
    )
    left = sum(row.state in ("waiting", "running") for row in store.queue(study)) if study == what else 0
    if left:
        typer.echo(f"{left} go on, because another study asks for them too: name the run to cancel it")


def retry(study: StudyName, run_ids: RunIds = None, home: HomeOption = None) -> None:
    """Let failed, diverged and cancelled runs wait again; `kdharness run` then goes on with them."""
    from kdharness.results.store import Store

    store = Store(Home.at(home))
    count = store.retry(study, [store.find_run(run_id) for run_id in run_ids] if run_ids else None)
    typer.echo(f"{count} runs wait again" if count else "nothing to retry")


def query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="A SELECT; nothing else is allowed.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask the results database anything, read-only.

    Its tables: studies, study_texts, study_runs, study_labels; settings, runs, run_needs, attempts, metrics,
    epoch_metrics, predictions, checkpoints; teachers; searches, draws, draw_runs; notes, run_tags, exclusions,
    revealed; outbox, mirror, process_leases, places. `SELECT sql FROM sqlite_master` shows their columns.
    """
    from kdharness.results.store import Store

    names, rows = Store(Home.at(home)).query(sql)
    if as_json:
        for row in rows:
            echo_json(dict(zip(names, map(_plain, row), strict=True)))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*names, box=box.SIMPLE)
    for row in rows:
        table.add_row(*(Text(_text(_plain(value))) for value in row))
    Console().print(table)


def _echo_notes(notes: Iterable["Note"]) -> None:
    for one in notes:
        typer.echo(f"note {one.at:%Y-%m-%d %H:%M}  {one.text}")


def _plain(value: Any) -> Any:
    """A database value as JSON can say it."""
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, float) and value != value:
        return "nan"
    return value


def _text(value: Any) -> str:
    return "" if value is None else str(value)
