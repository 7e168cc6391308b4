"""The tables of the results database; what design.md promises is held by keys and checks, not by code alone.

Times are ms of Unix time (`_ms`), lease ends seconds of CLOCK_BOOTTIME. A number that is not finite stands as NULL
with its name beside it, because SQLite would silently turn NaN into NULL. JSON columns hold sorted JSON text. `crc` is
of the row (`checksums`), because SQLite does not notice a flipped bit; None: older than the checksum.
"""

from typing import ClassVar

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, MetaData, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import REAL

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
"""Unnamed constraints would be dropped by a batch migration."""

_STATES = "'waiting', 'running', 'complete', 'pruned', 'failed', 'diverged', 'cancelled'"
_OUTCOMES = "'complete', 'pruned', 'failed', 'diverged', 'cancelled', 'released', 'lost'"
_PURPOSES = "'teacher', 'search', 'final'"


class Table(DeclarativeBase):
    """Base of all tables."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar = {str: Text(), float: REAL()}


def _one_value() -> tuple[CheckConstraint, CheckConstraint]:
    """Either a finite value or the name of what it is instead."""
    return (
        CheckConstraint("nonfinite IN ('nan', 'inf', '-inf')", "nonfinite"),
        CheckConstraint("(value IS NULL) = (nonfinite IS NOT NULL)", "one_value"),
    )


class Study(Table):
    """What is asked, as it stands now."""

    __tablename__ = "studies"
    study_id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    created_ms: Mapped[int]


class StudyText(Table):
    """Every version of a study's file; the highest number is in force."""

    __tablename__ = "study_texts"
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.study_id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]
    path: Mapped[str]
    spec: Mapped[str]
    saved_ms: Mapped[int]
    crc: Mapped[int | None]


class Setting(Table):
    """One fully resolved configuration; `canonical` hashes to the key, the other columns are read out of it."""

    __tablename__ = "settings"
    setting_key: Mapped[str] = mapped_column(primary_key=True)
    canonical: Mapped[str]
    dataset: Mapped[str]
    student: Mapped[str]
    teacher: Mapped[str | None]
    distiller: Mapped[str]
    validation: Mapped[float]
    epochs: Mapped[int]


class Run(Table):
    """One seed of a setting, with the lease of whoever works on it."""

    __tablename__ = "runs"
    __table_args__ = (
        UniqueConstraint("setting_key", "seed"),
        CheckConstraint(f"state IN ({_STATES})", "state"),
        CheckConstraint(
            "(state = 'running') = (lease_until IS NOT NULL) AND (state = 'running') = (owner_pid IS NOT NULL)", "lease"
        ),
        CheckConstraint("(state = 'complete') = (weights_sha256 IS NOT NULL)", "weights"),
        Index(None, "state"),
    )
    run_id: Mapped[str] = mapped_column(primary_key=True)
    setting_key: Mapped[str] = mapped_column(ForeignKey("settings.setting_key"))
    seed: Mapped[int]
    state: Mapped[str]
    origin_study: Mapped[str]
    """The name of the study that asked first."""
    created_ms: Mapped[int]
    fence: Mapped[int]
    """Raised by every claim; a writer with a lower one has lost its lease."""
    attempts: Mapped[int]
    """Counted ones."""
    futile: Mapped[int]
    """Counted attempts in a row that ended without a new checkpoint."""
    epoch: Mapped[int]
    step: Mapped[int]
    owner_host: Mapped[str | None]
    owner_boot_id: Mapped[str | None]
    owner_pid: Mapped[int | None]
    owner_pid_start: Mapped[int | None]
    owner_nonce: Mapped[str | None]
    slot: Mapped[str | None]
    lease_until: Mapped[float | None]
    numerics_keys: Mapped[str]
    """JSON list: the numerics of the attempts that made this run, the last one last."""
    device: Mapped[str | None]
    weights_sha256: Mapped[str | None]
    teacher_sha256: Mapped[str | None]
    started_ms: Mapped[int | None]
    finished_ms: Mapped[int | None]
    reason: Mapped[str | None]
    message: Mapped[str | None]
    metric_names: Mapped[str | None]
    """JSON list, so that a final metric that is lost is missed; None: not complete."""
    crc: Mapped[int | None]


class RunNeed(Table):
    """A run that has to be complete before another can start: its teachers."""

    __tablename__ = "run_needs"
    __table_args__ = ({"sqlite_with_rowid": False},)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.run_id"), primary_key=True)
    needs_run_id: Mapped[str] = mapped_column(ForeignKey("runs.run_id"), primary_key=True, index=True)


class StudyRun(Table):
    """A study asks for a run: as long as it has a label for it."""

    __tablename__ = "study_runs"
    __table_args__ = (UniqueConstraint("study_id", "run_id"), {"sqlite_autoincrement": True})
    study_run_id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.study_id"))
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.run_id"), index=True)
    crc: Mapped[int | None]


class StudyLabel(Table):
    """Under which label, for which pair and as what a study shows a run; a run may stand in several cells."""

    __tablename__ = "study_labels"
    __table_args__ = (
        UniqueConstraint("study_run_id", "label", "pair", "purpose"),
        CheckConstraint(f"purpose IN ({_PURPOSES})", "purpose"),
    )
    study_label_id: Mapped[int] = mapped_column(primary_key=True)
    """Ascends in the order of the study file."""
    study_run_id: Mapped[int] = mapped_column(ForeignKey("study_runs.study_run_id", ondelete="CASCADE"))
    label: Mapped[str]
    pair: Mapped[str]
    purpose: Mapped[str]
    student: Mapped[str]
    teacher: Mapped[str | None]
    teacher_run_id: Mapped[str | None]
    row: Mapped[int]
    group_name: Mapped[str | None]
    axes: Mapped[str]
    against: Mapped[str | None]
    ours: Mapped[bool]
    provenance: Mapped[str]
    extended: Mapped[bool]
    """Added while the study ran (by its search), not by its file."""
    crc: Mapped[int | None]


class Attempt(Table):
    """One execution of a run; its number is the fence under which it wrote."""

    __tablename__ = "attempts"
    __table_args__ = (CheckConstraint(f"outcome IN ({_OUTCOMES})", "outcome"), {"sqlite_with_rowid": False})
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.run_id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    counted: Mapped[bool]
    outcome: Mapped[str | None]
    reason: Mapped[str | None]
    message: Mapped[str | None]
    owner_host: Mapped[str]
    owner_boot_id: Mapped[str]
    owner_pid: Mapped[int]
    owner_pid_start: Mapped[int]
    owner_nonce: Mapped[str]
    slot: Mapped[str]
    device: Mapped[str | None]
    git_commit: Mapped[str | None]
    versions: Mapped[str | None]
    numerics_key: Mapped[str | None]
    numerics: Mapped[str | None]
    checkpoints: Mapped[int]
    """How many it committed: progress, if any."""
    claimed_ms: Mapped[int]
    started_ms: Mapped[int | None]
    finished_ms: Mapped[int | None]


class Metric(Table):
    """A final number of a complete run."""

    __tablename__ = "metrics"
    __table_args__ = (*_one_value(), {"sqlite_with_rowid": False})
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.run_id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[float | None]
    nonfinite: Mapped[str | None]
    crc: Mapped[int | None]
    """Of run, name and value."""


class EpochMetric(Table):
    """A number of one epoch; test metrics enter with the completion."""

    __tablename__ = "epoch_metrics"
    __table_args__ = (*_one_value(), {"sqlite_with_rowid": False})
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.run_id"), primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[float | None]
    nonfinite: Mapped[str | None]
    at_ms: Mapped[int]
    crc: Mapped[int | None]


class Checkpoint(Table):
    """The row makes a durable file current; a run has at most two."""

    __tablename__ = "checkpoints"
    __table_args__ = (
        ForeignKeyConstraint(["run_id", "fence"], ["attempts.run_id", "attempts.number"]),
        {"sqlite_autoincrement": True},
    )
    checkpoint_id: Mapped[int] = mapped_column(primary_key=True)
    """Ascends with time: the highest is the newest."""
    run_id: Mapped[str] = mapped_column(index=True)
    fence: Mapped[int]
    path: Mapped[str] = mapped_column(unique=True)
    sha256: Mapped[str]
    epoch: Mapped[int]
    step: Mapped[int]
    bytes: Mapped[int]
    saved_ms: Mapped[int]


class Teacher(Table):
    """Weights that may teach: trained here by a run, or imported."""

    __tablename__ = "teachers"
    __table_args__ = (
        CheckConstraint("origin IN ('trained', 'imported')", "origin"),
        CheckConstraint("(origin = 'trained') = (run_id IS NOT NULL)", "trained"),
    )
    teacher_id: Mapped[int] = mapped_column(primary_key=True)
    weights_sha256: Mapped[str]
    dataset: Mapped[str]
    model: Mapped[str]
    origin: Mapped[str]
    run_id: Mapped[str | None] = mapped_column(ForeignKey("runs.run_id"), unique=True)
    name: Mapped[str | None] = mapped_column(unique=True)
    path: Mapped[str | None]
    declared_top1: Mapped[float | None]
    measured_top1: Mapped[float | None]
    added_ms: Mapped[int]
    accepted: Mapped[str | None]
    """Why an import whose measured accuracy is not the declared one is used all the same."""
    fingerprint: Mapped[str | None]
    """Of the dataset that an import was measured on; the last measurement's."""
    provenance: Mapped[str | None]
    verified_ms: Mapped[int | None]
    crc: Mapped[int | None]


class Prediction(Table):
    """Predicted class and confidence per test image of a complete run, packed by the job."""

    __tablename__ = "predictions"
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.run_id"), primary_key=True)
    packed: Mapped[bytes]


class Revealed(Table):
    """The ledger: settings whose test score was revealed. Without foreign keys: nothing that is cleared up later
    may shorten it."""

    __tablename__ = "revealed"
    __table_args__ = (Index(None, "dataset", "pair", "distiller"),)
    setting_key: Mapped[str] = mapped_column(primary_key=True)
    dataset: Mapped[str]
    pair: Mapped[str]
    distiller: Mapped[str]
    run_id: Mapped[str]
    """Whose completion revealed it first."""
    revealed_ms: Mapped[int]


class Place(Table):
    """Where this database has lived, the last one last: a copy of the file has another inode."""

    __tablename__ = "places"
    place_id: Mapped[int] = mapped_column(primary_key=True)
    inode: Mapped[int]
    path: Mapped[str]
    since_ms: Mapped[int]


class Note(Table):
    """What a person wrote about a run or a study; never changed, never deleted."""

    __tablename__ = "notes"
    __table_args__ = (CheckConstraint("(run_id IS NULL) = (study_id IS NOT NULL)", "one_subject"),)
    note_id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[str | None] = mapped_column(ForeignKey("runs.run_id"), index=True)
    study_id: Mapped[int | None] = mapped_column(ForeignKey("studies.study_id"))
    text: Mapped[str]
    at_ms: Mapped[int]


class RunTag(Table):
    """A word that a person gave a run."""

    __tablename__ = "run_tags"
    __table_args__ = ({"sqlite_with_rowid": False},)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.run_id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)


class Exclusion(Table):
    """A run that no mean takes, and why."""

    __tablename__ = "exclusions"
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.run_id"), primary_key=True)
    reason: Mapped[str]
    at_ms: Mapped[int]
    crc: Mapped[int | None]


class Search(Table):
    """One search of a study: what it searches, and what it came to."""

    __tablename__ = "searches"
    __table_args__ = ({"sqlite_with_rowid": False},)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.study_id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    """The row's label, and what it searches in; its draws stand under this name, of several pairs each with its own."""
    number: Mapped[int]
    """Its place in the study file."""
    asked: Mapped[bool]
    """The study's file still asks for it."""
    spec: Mapped[str]
    outcome: Mapped[str | None]
    """None until it has chosen."""
    created_ms: Mapped[int]
    crc: Mapped[int | None]


class Draw(Table):
    """One point of a study's search."""

    __tablename__ = "draws"
    __table_args__ = ({"sqlite_with_rowid": False},)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.study_id"), primary_key=True)
    label: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    generation: Mapped[int]
    params: Mapped[str]
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.run_id"))
    created_ms: Mapped[int]
    cost: Mapped[float | None]
    """Of its student, in multiply-adds."""
    pruned_epoch: Mapped[int | None]
    """The epoch after which its search gave it up, whatever became of its run."""
    crc: Mapped[int | None]


class DrawRun(Table):
    """What a draw was trained for after its first run: on a longer schedule, or again with another seed."""

    __tablename__ = "draw_runs"
    __table_args__ = (
        ForeignKeyConstraint(["study_id", "label", "number"], ["draws.study_id", "draws.label", "draws.number"]),
        {"sqlite_with_rowid": False},
    )
    study_id: Mapped[int] = mapped_column(primary_key=True)
    label: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    rung: Mapped[int] = mapped_column(primary_key=True)
    seed: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.run_id"))
    crc: Mapped[int | None]


class Outbox(Table):
    """A (study, run) whose mirror is behind. A newer change replaces the row and its id."""

    __tablename__ = "outbox"
    __table_args__ = (
        CheckConstraint("what IN ('asked', 'study', 'state', 'epoch')", "what"),
        {"sqlite_autoincrement": True},
    )
    outbox_id: Mapped[int] = mapped_column(primary_key=True)
    study_run_id: Mapped[int] = mapped_column(ForeignKey("study_runs.study_run_id", ondelete="CASCADE"), unique=True)
    what: Mapped[str]
    at_ms: Mapped[int]


class Mirror(Table):
    """What the tracker knows of a (study, run). Kept when the study stops asking: it may ask again."""

    __tablename__ = "mirror"
    __table_args__ = ({"sqlite_with_rowid": False},)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.study_id"), primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.run_id"), primary_key=True)
    external_id: Mapped[str]
    logged_epoch: Mapped[int]
    finished: Mapped[bool]
    saved_ms: Mapped[int]


class ProcessLease(Table):
    """A role that only one process may have: the mirror."""

    __tablename__ = "process_leases"
    role: Mapped[str] = mapped_column(primary_key=True)
    owner_host: Mapped[str]
    owner_boot_id: Mapped[str]
    owner_pid: Mapped[int]
    owner_pid_start: Mapped[int]
    owner_nonce: Mapped[str]
    lease_until: Mapped[float]
