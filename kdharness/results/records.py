"""What the store takes and gives: plain records without a connection behind them. Times are aware, in UTC."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from kdharness.core.records import Purpose, Setting, State
from kdharness.results.owner import Owner

UNAVAILABLE = "unavailable"
"""The reason of a run that waits for its disk or its database, and of an attempt that has waited in vain."""


DEVICE_ERROR = "device error"
"""The reason of an attempt whose device failed: the device's fault, or if it happens twice the run's."""


@dataclass(frozen=True)
class Lease:
    """The right to write for one run, until another claim raises the run's fence."""

    run_id: str
    fence: int
    attempt: int
    """Which counted attempt this is, from 1; attempts released by a signal are not counted."""
    trial: bool = False
    """A job died that had the run beside others, and now it has one to itself: with progress it is no suspect."""


@dataclass(frozen=True)
class Checkpoint:
    """A durable file from which a run can go on. It is current because this record is committed."""

    path: str
    """Relative to the home directory."""
    sha256: str
    epoch: int
    step: int
    bytes: int


@dataclass(frozen=True)
class StudyChange:
    """What saving a study found: every asked run is either new, reused or waiting."""

    new: int
    """Runs that the database did not know."""
    reused: int
    """Runs that are already complete, whichever study trained them."""
    waiting: int
    """Runs that were known but are not complete (waiting, running, failed, ...)."""
    dropped: int
    """Runs that this study asked for before and no longer does; their results stay."""


@dataclass(frozen=True)
class StudyRow:
    """A study as it stands now."""

    name: str
    path: str
    text: str
    spec: Mapping[str, Any]
    texts: int
    """How many versions of the file were kept, this one included."""
    created: datetime
    changed: datetime
    states: Mapping[State, int]
    """How many of its runs are in which state; states without a run are absent."""


@dataclass(frozen=True)
class StudyText:
    """One version of a study file."""

    number: int
    """From 1, the oldest."""
    text: str
    path: str
    saved: datetime


@dataclass(frozen=True)
class Common:
    """What runs of one seed compute once when they are trained side by side. Equal texts, equal tensors."""

    batches: str
    """All that determines their batches, but the seed."""
    answers: str = ""
    """All that determines a frozen teacher's answers to them; empty where nobody answers."""


@dataclass(frozen=True)
class QueueRow:
    """What a planner has to know of a run."""

    run_id: str
    state: State
    seed: int
    row: int
    purpose: Purpose
    needs: tuple[str, ...] = ()
    """The runs that must be complete before."""
    owner: Owner | None = None
    slot: str | None = None
    attempts: int = 0
    fence: int = 0
    """Raised by every claim."""
    epoch: int = 0
    epochs: int = 0
    lease_expired: bool = False
    label: str = ""
    axes: tuple[tuple[str, Any], ...] = ()
    """The values of its row's axes, by name."""
    pair: str = ""
    student: str = ""
    common: Common | None = None
    """None: it shares nothing with anyone."""
    alone: bool = False
    """A job that had it died, and it has made no progress since: only a job of its own shows whose fault that was."""
    deaths: int = 0
    """How many jobs died that had it beside others."""
    excluded: bool = False
    """No mean takes it."""
    reason: str | None = None
    message: str | None = None


@dataclass(frozen=True)
class AttemptRow:
    """One execution of a run."""

    number: int
    """From 1, released ones included; the fence under which it wrote."""
    counted: bool
    outcome: str | None
    """None while it runs, else complete, failed, diverged, pruned, cancelled, released or lost."""
    reason: str | None
    message: str | None
    owner: Owner
    slot: str
    device: str | None
    commit: str | None
    versions: Mapping[str, str]
    numerics_key: str | None
    numerics: Mapping[str, Any]
    claimed: datetime
    started: datetime | None
    finished: datetime | None


@dataclass(frozen=True)
class StudyAttempt:
    """One attempt of a run that a study asks for, or asked for first and that none asks for any more."""

    run_id: str
    origin: str
    """The study that asked for the run first."""
    asked: bool
    """Whether the study asks for it still."""
    attempt: AttemptRow
    until: datetime | None
    """When it ended; of one that died or goes on, when its last epoch was committed, None before that."""


@dataclass(frozen=True)
class Note:
    """What a person wrote."""

    text: str
    at: datetime


@dataclass(frozen=True)
class Marks:
    """What people say of a run."""

    excluded: str | None = None
    """Why no mean takes it."""
    tags: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class RunRow:
    """Everything that is known of one run."""

    run_id: str
    setting: Setting
    setting_key: str
    seed: int
    state: State
    reason: str | None
    message: str | None
    epoch: int
    step: int
    epochs: int
    attempts: int
    history: tuple[AttemptRow, ...]
    owner: Owner | None
    slot: str | None
    lease_expired: bool
    needs: tuple[str, ...]
    metrics: Mapping[str, float]
    numerics_key: str | None
    numerics_keys: tuple[str, ...]
    """More than one: attempts with different numerics made this run (it counts as mixed)."""
    weights_sha256: str | None
    teacher_sha256: str | None
    device: str | None
    started: datetime | None
    finished: datetime | None
    marks: Marks
    rows: tuple["ResultRow", ...]
    """Where studies show it."""


@dataclass(frozen=True)
class ResultRow:
    """One run where one study shows it: under one label, for one pair."""

    study: str
    run_id: str
    setting_key: str
    settings: Mapping[str, Any]
    """The canonical form of the setting."""
    seed: int
    state: State
    purpose: Purpose
    dataset: str
    student: str
    teacher: str | None
    teacher_run_id: str | None
    pair: str
    label: str
    group: str | None
    row: int
    axes: Mapping[str, str | int | float | bool]
    against: str | None
    ours: bool
    provenance: Mapping[str, str]
    distiller: str
    epochs: int
    attempts: int
    numerics_key: str | None
    mixed_numerics: bool
    weights_sha256: str | None
    teacher_sha256: str | None
    device: str | None
    started: datetime | None
    finished: datetime | None
    reason: str | None
    metrics: Mapping[str, float]
    marks: Marks = Marks()


@dataclass(frozen=True)
class ImportedTeacher:
    """Weights from elsewhere that may teach."""

    name: str
    model: str
    dataset: str
    weights_sha256: str
    declared_top1: float | None
    """What whoever brought them says; percent."""
    measured_top1: float | None
    """On the test split, here; None: not verified yet."""
    accepted: str | None
    """Why a difference between the two is accepted."""
    path: str
    """Relative to the home directory."""
    added: datetime | None
    verified: datetime | None = None
    """When it was measured."""
    fingerprint: str | None = None
    """Of the dataset it was measured on."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """The file, its hash, format and keys, and what it says of itself."""

    @property
    def id(self) -> str:
        """How tables find it among the runs that made teachers."""
        return f"imported-{self.weights_sha256[:12]}"

    @property
    def normalization(self) -> str:
        """What its images are fed with, by the recipes' names: `dataset` or `imagenet`."""
        return str(self.provenance.get("normalization", "dataset"))


@dataclass(frozen=True)
class EpochMetric:
    """One value of one epoch."""

    name: str
    epoch: int
    value: float
    at_ms: int
    """When the epoch was committed, ms of Unix time."""


@dataclass(frozen=True)
class RunDigest:
    """What identifies a run and what came out of it."""

    setting_key: str
    seed: int
    state: State
    weights_sha256: str | None
    teacher_sha256: str | None
    results_sha256: str
    """Of its final metrics, its curves and its predictions."""


@dataclass(frozen=True)
class Reaped:
    """A run that was taken from an owner who died or fell silent."""

    run_id: str
    state: State
    """waiting, or failed after too many attempts without progress."""
    attempts: int
    """Counted ones."""
    cause: Literal["dead", "expired"]
    owner: Owner
    beside: int = 0
    """How many other runs the owner had: with any, the attempt counts for none of them."""


@dataclass(frozen=True)
class TrainedTeacher:
    """The student of a finished run that a study asked for as a teacher."""

    run_id: str
    model: str
    dataset: str
    weights_sha256: str
    validation: float
    """The part of train that it has not seen."""
    test_top1: float | None
    val_top1: float | None
    finished: datetime | None


@dataclass(frozen=True)
class Revealed:
    """One line of the ledger: how many settings had their test score revealed."""

    dataset: str
    pair: str
    distiller: str
    settings: int
