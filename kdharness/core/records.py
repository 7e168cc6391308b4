"""The records that cross the rooms' borders and carry no tensor: settings, recipes, runs, tables."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from kdharness.core.keys import Frozen, Since, canonical, key_of

State = Literal["waiting", "running", "complete", "pruned", "failed", "diverged", "cancelled"]
Purpose = Literal["teacher", "search", "final"]
Precision = Literal["tf32", "fp32", "bf16", "fp64"]
Select = Literal["last", "best", "best-val"]
Spread = Literal["std", "sem", "ci"]
"""What stands behind ±: sample standard deviation, its standard error, half of Student's t 95 % interval."""

ENGINE_REVISION = 1
"""Bumped by any change of the training loop, the streams, the augmentations or the optimizer that moves a number."""

MISSING = "missing"
"""Stands for the hash of images or imported weights that are not here: such a setting can be counted, not trained."""


class Recipe(Frozen):
    """How a student is trained, fully resolved. Learning rates are absolute; epochs count from 1."""

    optimizer: Literal["sgd", "adamw"] = "sgd"
    epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=1)]
    drop_last: Annotated[bool, Since(False)] = False
    """An epoch ends before its last batch where that is short."""
    lr: Annotated[float, Field(gt=0)]
    schedule: Annotated[Literal["steps", "cosine"], Since("steps")] = "steps"
    milestones: tuple[Annotated[int, Field(ge=1)], ...] = ()
    lr_decay: Annotated[float, Field(gt=0)] = 0.1
    final_lr: Annotated[float, Field(ge=0), Since(0.0)] = 0.0
    """Where the cosine would be after the last epoch."""
    warmup_epochs: Annotated[int, Field(ge=0), Since(0)] = 0
    warmup_lr: Annotated[float, Field(ge=0), Since(0.0)] = 0.0
    """Of the first epoch of a warm-up, which rises by equal steps."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """For AdamW the first beta; the second is 0.999."""
    nesterov: Annotated[bool, Since(False)] = False
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    weight_decay_on: Annotated[Literal["all", "matrices"], Since("all")] = "all"
    """`matrices`: not biases, scales and other vectors, nor a transformer's tokens and position embedding."""
    augment: str = "none"
    second_view: Annotated[str | None, Since(None)] = None
    """The augmentation of the second view, for methods that want two; None for that of the first."""
    image_size: Annotated[int | None, Field(ge=1), Since(None)] = None
    """What images are resized to, and networks are built for; None for the dataset's own."""
    teacher_image_size: Annotated[int | None, Field(ge=1), Since(None)] = None
    """The teacher sees the student's images shrunk to this, bilinearly; None as they are."""
    normalization: Annotated[Literal["dataset", "imagenet"], Since("dataset")] = "dataset"
    """Whose mean and deviation."""
    precision: Precision = "tf32"
    record: Annotated[tuple[Literal["gradients"], ...], Since(())] = ()

    def lr_at(self, epoch: int) -> float:
        """The learning rate of `epoch`.

        With milestone 150 the first decayed epoch is 151 (mdistiller's schedule). The cosine and the warm-up are
        those of timm's CosineLRScheduler: the cosine counts the warm-up's epochs, so it begins below `lr` after one.
        """
        past = epoch - 1
        if past < self.warmup_epochs:
            return self.warmup_lr + past * ((self.lr - self.warmup_lr) / self.warmup_epochs)
        if self.schedule == "cosine":
            return self.final_lr + 0.5 * (self.lr - self.final_lr) * (1 + math.cos(math.pi * past / self.epochs))
        return self.lr * self.lr_decay ** sum(epoch > milestone for milestone in self.milestones)

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        if self.schedule == "cosine" and self.milestones:
            raise ValueError("milestones are for schedule steps, here it is cosine")
        if self.schedule == "steps" and self.final_lr:
            raise ValueError("final_lr is for schedule cosine, here it is steps")
        if self.nesterov and (self.optimizer != "sgd" or not self.momentum):
            raise ValueError("nesterov is for optimizer sgd with momentum")
        return self


class RunKey(Frozen):
    """A run's identity over all studies: one seed of one setting."""

    setting_key: str
    seed: int

    @property
    def run_id(self) -> str:
        return run_id_of(self.setting_key, self.seed)


def run_id_of(setting_key: str, seed: int) -> str:
    """What people and files call a run."""
    return f"{setting_key[:12]}-{seed}"


class Teacher(Frozen):
    """What a distiller's `needs` name of a teacher: its architecture, and with `weights` whose weights."""

    model: str
    revision: int
    run: RunKey | None = None
    weights_sha256: str | None = None


class Setting(Frozen):
    """One fully resolved configuration: what a paper would print. Its hash is the `setting_key`."""

    dataset: str
    fingerprint: str
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The part of train held out as validation images: 0 in final runs."""
    student: str
    student_revision: int
    teachers: tuple[Teacher, ...] = ()
    """Several are an ensemble."""
    control: Annotated[Literal["trained", "shuffled", "untrained"], Since("trained")] = "trained"
    """`shuffled`: the teacher answers for the next image of the batch; `untrained`: with the weights it began with."""
    distiller: str
    distiller_revision: int | str
    constants: dict[str, Any]
    """Every constant of the distiller's Config, in its canonical form."""
    grad_matched: Annotated[bool, Since(False)] = False
    """The summed loss is divided by the sum of its weights."""
    recipe: Recipe
    engine_revision: int = ENGINE_REVISION

    @property
    def key(self) -> str:
        return key_of(self)

    @property
    def is_known(self) -> bool:
        """Whether everything that it names is here, so that its key is one that a run can have."""
        return MISSING not in (self.fingerprint, *(teacher.weights_sha256 for teacher in self.teachers))

    def flat(self) -> dict[str, str | int | float | bool | None]:
        """Flat names for people and trackers: `kd.temperature`, `recipe.lr`, `teacher.1`, `dataset`, ..."""
        form = canonical(self)
        constants, recipe, teachers = form.pop("constants"), form.pop("recipe"), form.pop("teachers")
        flat = {name: value for name, value in form.items() if name != "fingerprint"}
        for number, teacher in enumerate(teachers, 1):
            run, weights = teacher["run"], teacher["weights_sha256"]
            source = f"{run['setting_key'][:12]}-{run['seed']}" if run else (weights or "architecture only")[:17]
            flat[f"teacher.{number}"] = f"{teacher['model']} ({source})"
        for part, values in ((self.distiller, constants), ("recipe", recipe)):
            for name, value in _unnested(values).items():
                flat[f"{part}.{name}"] = " ".join(map(str, value)) if isinstance(value, list) else value
        return flat

    def run(self, seed: int) -> RunKey:
        return RunKey(setting_key=self.key, seed=seed)


def _unnested(values: Mapping[str, Any]) -> dict[str, Any]:
    """The constants of a sum's members as `member.constant`."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= {f"{name}.{own}": item for own, item in value.items()} if isinstance(value, dict) else {name: value}
    return flat


class Execution(Frozen):
    """How a job computes; moves at most the last bits of a result."""

    device: str = "cpu"
    threads: Annotated[int, Field(ge=1)] = 1
    layout: Literal["channels_last", "contiguous"] = "channels_last"
    compile: bool = False
    """The student is compiled by torch.compile, at its first step; the teacher never is."""
    graphs: bool = True
    """Steps are recorded and replayed on a device that can."""
    tables: Path | None = None
    """Where teachers' logits are kept; None: nowhere."""


class Numerics(Frozen):
    """What only moves the last bits: its hash is the `numerics_key`."""

    device_kind: str
    threads: int
    layout: str
    compile_mode: str = "eager"
    graphs: Annotated[bool, Since(False)] = False
    """Steps are CUDA graphs, where the method can be recorded; its run's log says where it cannot."""
    torch: str
    torch_cuda: str | None
    numpy: str


@dataclass(frozen=True)
class WantedRun:
    """One run that a study asks for, and under which name its tables show it."""

    setting: Setting
    seed: int
    purpose: Purpose
    label: str
    pair: str
    """As shown: `resnet20 -> resnet8`."""
    student: str
    teacher: str | None
    """As shown; a pair's teacher is named also where the distiller does not need it."""
    teacher_id: str | None = None
    """The run whose student is this pair's teacher, or the import that is, for the head of a table."""
    row: int = 0
    """The entry's place in the study file."""
    group: str | None = None
    axes: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    """The values of the entry's `each` axes: {"temperature": 4.0}."""
    against: str | None = None
    ours: bool = False
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Where each constant came from: {"kd.temperature": "preset hinton2015", "recipe.lr": "recipe digits-quick"}."""

    @property
    def key(self) -> RunKey:
        return self.setting.run(self.seed)

    @property
    def run_id(self) -> str:
        return self.key.run_id

    @property
    def needs(self) -> tuple[RunKey, ...]:
        """The runs that must be complete before this one can start."""
        return tuple(teacher.run for teacher in self.setting.teachers if teacher.run is not None)


class Fill(Frozen):
    """Rows of a printed table that stand in ours where no run exists."""

    table: str
    """By its key: `sun2024logit Table 2`."""
    rows: tuple[str, ...] = ()
    """Methods as the printed table names them; none means all of them."""


class TableSpec(Frozen):
    """One table of a report, as `tables:` in a study file asks for it."""

    rows: str = "distiller"
    columns: str = "pair"
    only: tuple[str, ...] = ()
    """Labels of the entries shown; none: all."""
    metric: str | tuple[str, ...] = "test_top1"
    select: Select = "last"
    baseline: str | None = None
    title: str | None = None
    published: str | None = None
    """The printed table whose values stand beside ours."""
    fill: tuple[Fill, ...] = ()
    matched_budget: bool = False
    """Without filled-in values of another training budget than the table's."""
    bold: Literal["best", "indistinguishable"] = "best"
    average: Literal["rank"] | None = None
    pm: Spread = "std"
    delta: Literal["columns", "rows"] = "columns"
    """`rows`: under each method its difference to the row that it names, instead of beside each cell."""
    strict_numerics: bool = False
    """Runs of different numerics stand in different cells."""
    cite: bool = False
    """LaTeX cites the paper of every method."""
    costs: tuple[str, ...] = ()
    """Metrics that stand behind the others as plain numbers: outside bold, ranks and tests."""
    within: str | None = None
    """`metric`, or what the columns are: its values stand in one cell, `a / b / c`."""

    @property
    def measures(self) -> tuple[str, ...]:
        """The metrics that methods are compared by."""
        return (self.metric,) if isinstance(self.metric, str) else self.metric

    @property
    def metrics(self) -> tuple[str, ...]:
        """All that the table shows."""
        return (*self.measures, *(name for name in self.costs if name not in self.measures))


FigureKind = Literal[
    "line", "heat-map", "curves", "pareto", "convergence", "reliability", "logit-bars", "differences", "features",
    "histogram", "correlations", "perception", "hardest",
]  # fmt: skip

DRAWN_OF: Mapping[FigureKind, str] = {
    "reliability": "calibration",
    "logit-bars": "logits",
    "differences": "fidelity",
    "features": "features",
    "histogram": "logits",
    "correlations": "fidelity",
    "perception": "perception",
    "hardest": "classes",
}
"""Kinds of figures that show one run each of several rows -> the analysis whose arrays they draw."""


class FigureSpec(Frozen):
    """One figure of a report, as `figures:` in a study file asks for it."""

    kind: FigureKind = "line"
    x: str | None = None
    """line, heat-map: the axis; pareto: the metric of the cost."""
    y: str | None = None
    """The metric; of curves one or several with commas between. None: test_top1."""
    lines: str | None = None
    """line: what a line is, as the rows of a table; heat-map: the other axis."""
    rows: tuple[str, ...] = ()
    """Labels of the entries shown; none: those that have the axis, or all."""
    pair: str | None = None
    """None: all pairs; of a kind that shows single runs the first one."""
    seed: int | None = None
    """Of single runs; None: the lowest."""
    title: str | None = None


class Smoke(Frozen):
    """That a study was shrunk by `--smoke`, and what its parts stand for."""

    study: str
    """The one that was shrunk, by name."""
    dataset: str
    """Its dataset as people call it."""
    pairs: Mapping[str, str] = {}
    """Pair -> the one that it stands for, by listed names; those that stand for themselves are left out."""
