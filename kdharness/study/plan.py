"""What a study would do: settings, runs, teachers, reuse, time, disk, and what its seeds can show. Needs no data."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from kdharness.core.records import WantedRun
from kdharness.results.store import Store
from kdharness.study.changed import changed_methods
from kdharness.study.cost import Known, kept_mib, known, run_seconds, working_mib
from kdharness.study.expand import Expansion
from kdharness.study.fitting import Fitting, fit
from kdharness.study.images import missing_images
from kdharness.study.power import SPREAD, measured_spread, smallest_difference
from kdharness.study.resolve import label_of
from kdharness.study.rows import rows
from kdharness.study.teachers import TEACHER, TeacherSource


@dataclass(frozen=True)
class PlannedRow:
    """One row of the study in numbers."""

    label: str
    settings: int
    runs: int
    missing: int
    """Runs that are not finished yet."""
    searched: bool = False
    """Its constants are chosen by a search first."""


@dataclass(frozen=True)
class PlannedTeacher:
    """A teacher of the final runs, or an assistant between one and its student."""

    model: str
    """An assistant with its own teacher: `resnet32x4 -> resnet20`."""
    origin: Literal["trained", "imported", "missing"]
    run_id: str | None
    """Of the run that makes it, where its key can be known."""
    name: str | None
    """Of the import."""
    ready: bool
    """Finished, or imported and verified."""


@dataclass(frozen=True)
class Plan:
    """What `run` would do now."""

    study: str
    dataset: str
    pairs: list[str]
    seeds: list[int]
    rows: list[PlannedRow]
    shared: int
    """Runs that stand in several rows: each is trained once."""
    teachers: list[PlannedTeacher]
    settings: int
    runs: int
    """All that can be named now, teachers included."""
    reused: int
    """Of these, finished already, whichever study trained them."""
    to_train: int
    search_runs: int
    """At most, besides: draws, their teachers, and the final runs of what they choose."""
    slots: int
    seconds: float | None
    """Of the runs that can be named now and of the searches, on `slots`; None where the images are not here."""
    measured_runs: int
    """Finished runs that the time is read from; 0: a rough model."""
    disk_mib: float | None
    smallest_difference: float | None
    """Points between two rows that this many seeds find in 80 % of cases; None for one seed."""
    spread: float
    """Run-to-run standard deviation that it supposes, in points."""
    spread_runs: int
    """Finished runs of this study that it is of; 0: as CIFAR-100 students have it."""
    missing: list[str]
    """What is not here; `run` refuses until it is."""
    warnings: list[str]
    changed: list[str]
    """Methods that are trained again because their code has changed."""
    hours: float | None = None
    """The time that `fits` is about."""
    fits: list[Fitting] = field(default_factory=list)
    """Per cell how many seeds are finished within it."""


def make_plan(expansion: Expansion, store: Store | None, *, slots: int = 1, hours: float | None = None) -> Plan:
    """The plan of the study against what the store has. Opens no data."""
    facts = known(store)
    runs = list({run.run_id: run for run in expansion.wanted}.values())
    missing = [run for run in runs if run.run_id not in facts.complete]
    known_images = not missing_images(expansion.dataset)
    finals = {run.setting.key for run in runs if run.purpose == "final"}
    spread, spread_runs = (measured_spread(store, finals) if store is not None else None) or (SPREAD, 0)
    return Plan(
        study=expansion.study.name,
        dataset=expansion.study.spec.dataset_title,
        pairs=[pair.label for pair in expansion.pairs],
        seeds=expansion.study.spec.seed_list,
        rows=_rows(expansion, facts),
        shared=_shared(expansion),
        teachers=[
            *(_teacher(source, facts) for source in expansion.teachers.values() if _is_asked(source, runs)),
            *(_assistant(run, facts) for run in runs if run.purpose == "teacher" and run.teacher is not None),
        ],
        settings=len({run.setting.key for run in runs if run.purpose != "teacher"}),
        runs=len(runs),
        reused=len(runs) - len(missing),
        to_train=len(missing),
        search_runs=expansion.search_count,
        slots=slots,
        seconds=_seconds(expansion, missing, facts, slots) if known_images else None,
        measured_runs=facts.measured,
        disk_mib=_disk(expansion, missing, slots) if known_images else None,
        smallest_difference=smallest_difference(len(expansion.study.spec.seed_list), spread),
        spread=spread,
        spread_runs=spread_runs,
        missing=list(expansion.missing),
        warnings=list(expansion.warnings),
        changed=changed_methods(store, expansion.study.name, missing) if store is not None else [],
        hours=hours,
        fits=_fits(expansion, facts, slots, hours) if known_images and hours is not None else [],
    )


def _fits(expansion: Expansion, facts: Known, slots: int, hours: float) -> list[Fitting]:
    return fit(
        expansion.wanted,
        lambda run: run_seconds(run, expansion.dataset, facts),
        complete=facts.complete,
        slots=slots,
        limit_seconds=3600 * hours,
    )


def _is_asked(source: TeacherSource, runs: list[WantedRun]) -> bool:
    """Whether the plan has it: a trained teacher is left out where nobody learns from it."""
    return source.trained is None or any(run.run_id == source.id for run in runs)


def _teacher(source: TeacherSource, facts: Known) -> PlannedTeacher:
    if source.imported is not None:
        verified = source.imported.measured_top1 is not None
        return PlannedTeacher(source.model, "imported", None, source.imported.name, verified)
    if source.trained is None:
        return PlannedTeacher(source.model, "missing", None, None, False)
    run_id = source.id if source.trained.is_known else None
    return PlannedTeacher(source.model, "trained", run_id, None, run_id in facts.complete)


def _rows(expansion: Expansion, facts: Known) -> list[PlannedRow]:
    searched = {one.templates[0].label for one in expansion.searched}
    found: list[PlannedRow] = []
    for row in rows(expansion.study.spec):
        label = label_of(row)
        own = {run.run_id: run for run in expansion.wanted if run.label == label and run.purpose != "teacher"}
        settings = len({run.setting.key for run in own.values()})
        missing = sum(run_id not in facts.complete for run_id in own)
        found.append(PlannedRow(label, settings, len(own), missing, label in searched))
    return found


def _shared(expansion: Expansion) -> int:
    placed = {(run.run_id, run.label) for run in expansion.wanted if run.purpose != "teacher"}
    return sum(count > 1 for count in Counter(run_id for run_id, _ in placed).values())


def _seconds(expansion: Expansion, missing: list[WantedRun], facts: Known, slots: int) -> float:
    """The work spread over the slots, but not shorter than a teacher and its slowest student after it."""
    teachers = [run_seconds(run, expansion.dataset, facts) for run in missing if run.purpose == "teacher"]
    students = [run_seconds(run, expansion.dataset, facts) for run in missing if run.purpose != "teacher"]
    if expansion.searched and expansion.study.spec.search is not None:
        samples = [run_seconds(run, expansion.dataset, facts) for run in _samples(expansion)]
        students += [sum(samples) / len(samples)] * expansion.search_count if samples else []
    work = (sum(teachers) + sum(students)) / max(1, slots)
    return max(work, max(teachers, default=0.0) + max(students, default=0.0))


def _samples(expansion: Expansion) -> list[WantedRun]:
    """One run of every searched row, with any values: how long its draws take."""
    from kdharness.study.resolve import any_values
    from kdharness.study.students import settled, student_runs

    found: list[WantedRun] = []
    for searched in expansion.searched:
        one = searched.templates[0]
        chosen = {**any_values(one), **searched.chosen}
        resolved = settled(expansion.study, one, chosen)
        study, teachers = expansion.study, expansion.teachers
        found += student_runs(study, expansion.dataset, one, chosen, resolved, teachers, seeds=[0])[-1:]
    return found


def _disk(expansion: Expansion, missing: list[WantedRun], slots: int) -> float:
    samples = _samples(expansion)
    kept = sum(kept_mib(run, expansion.dataset) for run in missing)
    if samples:
        kept += expansion.search_count * max(kept_mib(run, expansion.dataset) for run in samples)
    working = max((working_mib(run, expansion.dataset) for run in [*missing, *samples]), default=0.0)
    return kept + slots * working


def render_plan(plan: Plan) -> str:
    """The plan for a person to read."""
    lines = [
        f"study     {plan.study}: {plan.dataset}, {_many(len(plan.pairs), 'pair')}, {_many(len(plan.seeds), 'seed')}",
        f"settings  {plan.settings}",
        f"runs      {plan.runs}: {plan.to_train} to train, {plan.reused} finished already",
    ]
    if plan.search_runs:
        lines.append(f"search    up to {plan.search_runs} runs more: draws, their teachers, and what they choose")
    for teacher in plan.teachers:
        lines.append(f"{TEACHER}   {teacher.model} {_origin(teacher)}")
    width = max((len(row.label) for row in plan.rows), default=0)
    for row in plan.rows:
        state = "searched first" if row.searched else f"{row.runs} runs, {row.missing} to train"
        lines.append(f"row       {row.label:<{width}}  {state}")
    if plan.shared:
        lines.append(f"shared    {_many(plan.shared, 'run')} in several rows: trained once")
    if plan.seconds is None or plan.disk_mib is None:
        lines.append("time      unknown without the images, as is the disk")
    else:
        source = f"from {_many(plan.measured_runs, 'finished run')} here" if plan.measured_runs else "a rough guess"
        lines.append(f"time      about {_duration(plan.seconds)} on {_many(plan.slots, 'slot')} ({source})")
        lines.append(f"disk      about {plan.disk_mib:.0f} MiB")
    if plan.fits:
        whole = [cell for cell in plan.fits if cell.seeds == cell.wanted]
        lines.append(f"fits      in {plan.hours:g} h: {len(whole)} of {_many(len(plan.fits), 'cell')} with all seeds")
        lines += [f"          {cell.label}, {cell.pair}: {cell.seeds}/{cell.wanted}" for cell in plan.fits]
    if plan.smallest_difference is None:
        lines.append("seeds     one seed has no spread: no difference can be shown")
    else:
        whose = f", that of {plan.spread_runs} finished runs here" if plan.spread_runs else ""
        lines.append(
            f"seeds     {len(plan.seeds)} find a difference of {plan.smallest_difference:.2f} points between two rows "
            f"in 80 % of cases (at a run-to-run standard deviation of {plan.spread:.2f}{whose})"
        )
    lines += [f"changed   {what}" for what in plan.changed]
    lines += [f"missing   {what}" for what in plan.missing]
    lines += [f"warning   {warning}" for warning in plan.warnings]
    return "\n".join(lines)


def _assistant(run: WantedRun, facts: Known) -> PlannedTeacher:
    run_id = run.run_id if run.setting.is_known else None
    return PlannedTeacher(run.pair, "trained", run_id, None, run_id in facts.complete)


def _origin(teacher: PlannedTeacher) -> str:
    """In the words of a plan: `(a1b2c3d4e5f6-0) finished`, `imported as NAME`."""
    if teacher.origin == "imported":
        return f"imported as {teacher.name}{'' if teacher.ready else ', not verified yet'}"
    if teacher.origin == "missing":
        return "missing: to be imported"
    run_id = f"({teacher.run_id}) " if teacher.run_id else ""
    return run_id + ("finished" if teacher.ready else "missing: trained first")


def _many(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
