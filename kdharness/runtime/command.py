"""`kdharness run`, from the study file to the table: where the rooms are put together."""

import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.text import Text

from kdharness.core.analyses import Analysis
from kdharness.core.errors import BadInput, EnvironmentRefused, ExitCode
from kdharness.core.home import Home
from kdharness.core.plugins import plugins
from kdharness.results.store import Store
from kdharness.runtime.doctor import checkup, refuse
from kdharness.runtime.evaluating import describe_all, evaluate_runs, require_libraries, study_runs
from kdharness.runtime.executors import Executor, InProcessExecutor, SubprocessExecutor
from kdharness.runtime.figures import study_figures, write_drawings
from kdharness.runtime.footprint import parts
from kdharness.runtime.job import run_job
from kdharness.runtime.loading import study_of
from kdharness.runtime.mirror import MirrorProcess
from kdharness.runtime.options import JobOptions
from kdharness.runtime.outcome import RunOutcome
from kdharness.runtime.own_methods import first_settings, refuse_broken_methods
from kdharness.runtime.packing import NvidiaMeter, Packing
from kdharness.runtime.progress import progress_for
from kdharness.runtime.reports import mlflow_links, study_tables, write_reports
from kdharness.runtime.scheduler import run_study
from kdharness.runtime.slots import AUTO, choose_slots, device_of
from kdharness.runtime.status import jobs_of
from kdharness.runtime.until import parse_until
from kdharness.runtime.warm_tables import WarmTables
from kdharness.study.expand import Expansion, expand_at
from kdharness.study.saved import saved_form
from kdharness.study.searching.dashboard import write_copy
from kdharness.study.searching.search import Search
from kdharness.tracking.mlflow import installed as mlflow_installed


def run_command(
    file: Path,
    home: Home,
    *,
    console: Console,
    slots: str | None = None,
    until: str | None = None,
    data: Path | None = None,
    fail_fast: bool = False,
    in_process: bool = False,
    confirmed: int | None = None,
    smoke: bool = False,
    notify: Sequence[str] = (),
    server: str | None = None,
) -> ExitCode:
    """Everything between the study file and its tables; says what is new, reused and no longer asked for.

    With `smoke` it is the study's shrunk form. `server`: the MLflow server that is told instead of the home's store.

    Raises StudyError and BadInput about the study before anything is written; EnvironmentRefused, and BadInput about
    images, before anything is trained.
    """
    checks = checkup(home)
    refuse(checks, home)
    for check in checks:
        if check.status == "warning" and check.name in ("home", "database", "disk", "open files", "clock"):
            _say(console, f"warning: {check.name}: {check.text}" + (f"; {check.remedy}" if check.remedy else ""))
    expansion = expand_at(study_of(file, smoke=smoke), home, data, confirmed, upgrade=True)
    if expansion.missing:
        raise BadInput("; ".join(expansion.missing), where=str(file))
    refuse_broken_methods(first_settings(expansion), expansion.dataset, str(file))
    asked = [Analysis.parse(text) for text in expansion.study.spec.evaluate]
    require_libraries(asked)
    places = choose_slots(slots)
    moment = None if until is None else parse_until(until, datetime.now().astimezone())
    if expansion.study.spec.execution.compile:
        _require_compiler(places)
    _open_home(home)
    store = Store(home, create=True)
    search = Search(expansion, store, lambda: write_copy(home.optuna, store, expansion.study.name))
    study = _save(store, expansion, console)
    search.advance()
    _open_inputs(store, study, expansion, home, data or home.data)
    command, options = _own_command(), JobOptions.of_study(expansion.study.spec, data)
    executor: Executor = SubprocessExecutor(home, command, options)
    if in_process:
        executor = InProcessExecutor(lambda run_ids, slot: run_job(home, run_ids, slot=slot, options=options))
    outcome = run_study(
        store,
        study,
        home=home,
        slots=places,
        executor=executor,
        progress=progress_for(console),
        search=search if expansion.searched else None,
        mirror=MirrorProcess(home, store, command, server=server) if mlflow_installed() else None,
        parts=parts((want.setting for want in expansion.wanted), expansion.dataset),
        warm=WarmTables(store, home.tables, device_of(places[0]), options).runs,
        fail_fast=fail_fast,
        notify=notify,
        until=moment,
        packing=Packing(NvidiaMeter()) if slots == AUTO and places[0].startswith("cuda") else None,
    )
    _tell(outcome, study, home, console)
    for line in search.notes:
        _say(console, line)
    if asked and outcome.exit_code not in (ExitCode.INTERRUPTED, ExitCode.STOPPED):
        _evaluate(store, study, home, data or home.data, asked, console)
    _show_tables(store, study, home, console)
    return outcome.exit_code


def _own_command() -> Sequence[str]:
    """How this program starts itself, the user's plug-ins included; no module of the working directory (-P) besides."""
    return (sys.executable, "-P", "-m", "kdharness", *(f"--plugin={module}" for module in plugins()))


def _require_compiler(places: Sequence[str]) -> None:
    """Raises EnvironmentRefused where a device of these has no compiler."""
    from kdharness.training.compiling import without_compiler

    for missing in {without_compiler(device_of(place)) for place in places} - {""}:
        raise EnvironmentRefused(
            f"the study asks for compiled students, but {missing}",
            where="execution: compile",
            remedy="install it, or leave `compile` out: `kdharness bench precision` says what it would bring here",
        )


def _open_home(home: Home) -> None:
    try:
        home.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise EnvironmentRefused(
            f"cannot be made: {error.strerror}", where=str(home.root), remedy="name another place with --home"
        ) from error


def _save(store: Store, expansion: Expansion, console: Console) -> str:
    study = expansion.study
    for warning in expansion.warnings:
        _say(console, f"{study.path}: warning: {warning}")
    spec = saved_form(study) | {"paired": _paired(store, expansion, console)}
    change = store.save_study(study.name, study.text, expansion.wanted, path=study.path, spec=spec)
    parts = [f"{change.new} new", f"{change.reused} reused", f"{change.waiting} to go on with"]
    parts += [f"{change.dropped} no longer asked for (kept)"] if change.dropped else []
    _say(console, f"{expansion.summary}: {', '.join(parts)}")
    others = jobs_of(store.queue(study.name))
    if others:
        pids = ", ".join(str(job.pid) for job in others)
        _say(
            console,
            f"another `run` trains {sum(len(job.run_ids) for job in others)} of them (processes {pids}); "
            "this one takes what nobody has begun",
        )
    return study.name


def _paired(store: Store, expansion: Expansion, console: Console) -> bool:
    """Whether tests are paired by seed: as the study said when it first ran, not as its results may invite to."""
    name, asked = expansion.study.name, expansion.study.spec.paired
    fixed = next((bool(study.spec.get("paired", False)) for study in store.studies() if study.name == name), asked)
    if fixed != asked:
        _say(console, f"paired stays {str(fixed).lower()}: it was fixed when {name} first ran")
    return fixed


def _open_inputs(store: Store, study: str, expansion: Expansion, home: Home, data: Path) -> None:
    """Missing or damaged images and teachers are told once, before the first job; a finished study needs neither."""
    if not any(row.state in ("waiting", "running") for row in store.queue(study)):
        return
    expansion.dataset.split("train")
    from kdharness.runtime.inputs import imported_weights  # with torch
    from kdharness.runtime.teachers import verify_teacher

    for teacher in (source.imported for source in expansion.teachers.values()):
        if teacher is None:
            continue
        for run in expansion.wanted:
            fed = run.setting.recipe.normalization
            taught = any(one.weights_sha256 == teacher.weights_sha256 for one in run.setting.teachers)
            if taught and fed != teacher.normalization:
                raise BadInput(
                    f"{run.label} would feed the teacher {teacher.name} with normalization {fed}, its accuracy was "
                    f"measured with {teacher.normalization}",
                    remedy=f"set `recipe: {{normalization: {teacher.normalization}}}`, or import it again with "
                    f"--normalization {fed}, which measures it so",
                )
        imported_weights(home, teacher.weights_sha256, teacher.model)
        if teacher.measured_top1 is None or teacher.fingerprint != expansion.dataset.fingerprint:
            verify_teacher(home, store, data, teacher)


def _tell(outcome: RunOutcome, study: str, home: Home, console: Console) -> None:
    if outcome.exit_code in (ExitCode.INTERRUPTED, ExitCode.STOPPED):
        _say(console, f"stopped with {outcome.unfinished} runs to go; the same command goes on")
    elif not outcome.trained and outcome.complete == outcome.total:
        _say(console, f"nothing to train: all {outcome.total} runs are finished")
    else:
        _say(console, f"trained {outcome.trained} runs in {outcome.seconds:.0f} s")
    for run in outcome.failed:
        _say(console, f"{run.state}: {run.label}, {run.pair}, seed {run.seed} ({run.run_id}): {run.message}")
        _say(console, f"  {run.log}")
    if outcome.blocked:
        _say(console, f"{len(outcome.blocked)} runs could not start: what they need has failed")
    if outcome.failed:
        _say(console, f"kdharness retry {study} lets failed runs wait again")
        if plugins():
            _say(
                console, "a plug-in that was mended has other runs: kdharness run trains them, nothing is to be retried"
            )
    if outcome.mirror_behind is None:
        _say(console, 'MLflow is not installed: pip install "kdharness[mlflow]", then kdharness sync')
    elif outcome.mirror_behind:
        _say(console, f"MLflow is behind by {outcome.mirror_behind} records: kdharness sync")


def _evaluate(store: Store, study: str, home: Home, data: Path, asked: Sequence[Analysis], console: Console) -> None:
    """The analyses that the study asks for, of every finished student that lacks them."""
    for line in describe_all(evaluate_runs(home, store, study_runs(store, study), asked, data=data)):
        _say(console, line)


def _show_tables(store: Store, study: str, home: Home, console: Console) -> None:
    from kdharness.reporting.render_terminal import render

    failed: list[BadInput] = []
    try:
        tables = study_tables(store, [study], failed=failed)
    except BadInput as error:
        _say(console, f"no table: {error}")
        return
    for reason in failed:
        _say(console, f"no table: {reason}")
    for table in tables:
        console.print()
        console.print(render(table, console.width))
    console.print()
    links = mlflow_links(store, [study])
    for path in [*write_reports(home, study, tables, links), *_figures(store, study, home, console)]:
        _say(console, f"wrote {_short(path)}")
    _say(console, f"results {_short(home.results)}; kdharness ui opens MLflow; kdharness report {study} --format latex")


def _figures(store: Store, study: str, home: Home, console: Console) -> list[Path]:
    """The files of the figures that the study asks for, as far as they can be drawn."""
    if not store.study(study).spec.get("figures"):
        return []
    try:
        return write_drawings(home.reports / study, study_figures(home, store, study))
    except (BadInput, EnvironmentRefused) as error:
        _say(console, f"no figures yet: {error}")
        return []


def _short(path: Path) -> str:
    """Relative to where the user stands, where that is shorter."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _say(console: Console, text: str) -> None:
    console.print(Text(text), soft_wrap=True)
