"""The language of a study file as typed records: its form, not yet its names.

A value that may vary stands as itself, as `{each: [...]}` (every one is reported) or as a range that a search draws
from. Constants of distillers and fields of recipes are open here; `check` holds them against the classes they mean.
"""

import re
from fractions import Fraction
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    Tag,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from kdharness.core.records import FigureKind, Spread

HOLE = "\0"
"""Stands in a list for an element that could not be read, so that the others are still checked."""

STUDY_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}


class Part(BaseModel):
    """Base of all parts of a study file: frozen, no unknown keys, no conversions between types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, populate_by_name=False)


def _path_safe(name: str) -> str:
    if name.partition(".")[0].lower() in _RESERVED or name.endswith("."):
        raise PydanticCustomError("name", "a study's name must be a file name on every system")
    return name


def _visible(text: str) -> str:
    if text == HOLE:
        return text
    if text != text.strip() or not text.isprintable() or not text:
        raise PydanticCustomError("text", "must be printable text without blanks at its ends")
    return text


def _ascending(bounds: list[Any]) -> list[Any]:
    if len(bounds) != 2 or not bounds[0] < bounds[1]:
        raise PydanticCustomError("bounds", "must be [low, high] with low < high")
    return bounds


def _distinct(seeds: list[int]) -> list[int]:
    if len(set(seeds)) != len(seeds):
        raise PydanticCustomError("distinct", "names a seed twice")
    return seeds


StudyName = Annotated[str, Field(pattern=STUDY_NAME), AfterValidator(_path_safe)]
Name = Annotated[str, Field(max_length=200), AfterValidator(_visible)]
Label = Annotated[str, Field(max_length=64), AfterValidator(_visible)]


class Each(Part):
    """Several settings, all reported."""

    each: list[JsonValue]
    """The values, one setting each."""


class FloatRange(Part):
    """A real number that a search chooses from [low, high]."""

    bounds: Annotated[list[float], Field(alias="float", min_length=2, max_length=2), AfterValidator(_ascending)]
    """`[low, high]`"""
    log: bool = False
    """Drawn evenly on a logarithmic scale."""


class IntRange(Part):
    """A whole number that a search chooses from [low, high]."""

    bounds: Annotated[list[int], Field(alias="int", min_length=2, max_length=2), AfterValidator(_ascending)]
    """`[low, high]`"""
    log: bool = False
    """Drawn evenly on a logarithmic scale."""


class Choice(Part):
    """One of several values, chosen by a search."""

    choice: list[JsonValue]
    """The values."""


Range = FloatRange | IntRange | Choice


def _value_kind(value: Any) -> str | None:
    if not isinstance(value, dict):
        kinds: dict[type, str] = {Each: "<each>", FloatRange: "<float>", IntRange: "<int>", Choice: "<choice>"}
        return kinds.get(type(value), "<value>")
    return next((f"<{key}>" for key in ("each", "float", "int", "choice") if key in value), None)


Value = Annotated[
    Annotated[Any, WithJsonSchema({"type": ["string", "number", "boolean", "null", "array"]}), Tag("<value>")]
    | Annotated[Each, Tag("<each>")]
    | Annotated[FloatRange, Tag("<float>")]
    | Annotated[IntRange, Tag("<int>")]
    | Annotated[Choice, Tag("<choice>")],
    Discriminator(
        _value_kind,
        custom_error_type="value",
        custom_error_message="must be a plain value, {each: [...]}, {float: [low, high]}, {int: [low, high]} or "
        "{choice: [...]}",
    ),
]


class OpenPart(Part):
    """A part whose further keys are names of constants."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Value]

    @property
    def values(self) -> dict[str, Any]:
        """The constants by name."""
        return dict(self.__pydantic_extra__)


class RecipeChange(OpenPart):
    """A named recipe with fields changed: `{from: cifar100-240, batch_size: {each: [32, 64]}, lr_rule: linear}`."""

    base: Annotated[Name | None, Field(alias="from")] = None
    """The recipe that is changed; without it every field must be written."""
    lr_rule: Literal["linear"] | None = None
    """`linear`: the learning rate grows with the batch size (Goyal et al. 2017)."""


RecipePart = Annotated[
    Annotated[Name, Tag("<name>")] | Annotated[RecipeChange, Tag("<recipe>")],
    Discriminator(lambda value: "<recipe>" if isinstance(value, dict | RecipeChange) else "<name>"),
]


class Entry(OpenPart):
    """One row of the study: a distiller, its constants, and what is said about it."""

    name: Name
    """A distiller, or a sum of them: `luminet + reviewkd`."""
    preset: Name | None = None
    """Whose constants fill what is not written here: `sun2024logit`; the method's own where none is named."""
    label: Label | None = None
    """What the row is called; the distiller's name where none is given."""
    against: Label | None = None
    """The row that a table sets this one against, with a difference of its own."""
    ours: bool = False
    """Marked "(ours)"; a report warns where it was searched more than the others."""
    at: dict[str, dict[str, Value]] = {}
    """Constants for single pairs: `{resnet56 -> resnet20: {temperature: 8}}`."""
    recipe: RecipePart | None = None
    """Of this row alone: `{batch_size: {each: [32, 64]}}`."""
    through: list[Name] | None = None
    """Assistants between teacher and student, each taught by the one before."""
    teacher: Literal["trained", "shuffled", "untrained"] = "trained"
    """Controls: a teacher that answers for another image, or one that was never trained."""
    grad_matched: bool = False
    """The summed loss is divided by the sum of its weights."""


EntryPart = Annotated[
    Annotated[Name, Tag("<name>")] | Annotated[Entry, Tag("<entry>")],
    Discriminator(lambda value: "<entry>" if isinstance(value, dict | Entry) else "<name>"),
]


class Group(Part):
    """Rows that a table shows under one heading."""

    group: Label
    """The heading."""
    of: Annotated[list[EntryPart], Field(min_length=1)]
    """The rows under it."""


def _row_kind(value: Any) -> str:
    if isinstance(value, Group) or (isinstance(value, dict) and ("group" in value or "of" in value)):
        return "<group>"
    return "<entry>" if isinstance(value, dict | Entry) else "<name>"


RowPart = Annotated[
    Annotated[Name, Tag("<name>")] | Annotated[Entry, Tag("<entry>")] | Annotated[Group, Tag("<group>")],
    Discriminator(_row_kind),
]


class Product(Part):
    """Every teacher with every student."""

    teachers: Annotated[list[Name], Field(min_length=1)]
    """Each of these ..."""
    students: Annotated[list[Name], Field(min_length=1)]
    """... teaches each of these."""


PairPart = Annotated[
    Annotated[Name, Tag("<pair>")] | Annotated[Product, Tag("<product>")],
    Discriminator(lambda value: "<product>" if isinstance(value, dict | Product) else "<pair>"),
]


class FolderPart(Part):
    """Images of one's own: `{folder: my-images.tar.xz, test: 0.2}`, looked up in the data directory."""

    folder: Name
    """A directory or a tar of `train/<class>/` and `test/<class>/`, or of one tree."""
    test: Annotated[float, Field(gt=0, lt=1)] | None = None
    """The part of one tree that is held out as the test split; None for a tree with `train` and `test`."""
    size: Annotated[int, Field(ge=8, le=512)] | None = None
    """Pixels to which images of different sizes are brought; None where all have one size."""


DatasetPart = Annotated[
    Annotated[Name, Tag("<name>")] | Annotated[FolderPart, Tag("<folder>")],
    Discriminator(lambda value: "<folder>" if isinstance(value, dict | FolderPart) else "<name>"),
]


class Finalists(Part):
    """The best draws, trained again with more seeds before one is chosen."""

    keep: Annotated[int, Field(ge=1, le=1000)] = 5
    """How many draws."""
    seeds: Annotated[int, Field(ge=1, le=100)] = 3
    """How many more; the choice is made by these alone."""


_RUNG = re.compile(r"[0-9]{1,4}(/[0-9]{1,4})?|[01]?\.[0-9]{1,6}")


def _rung(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    try:
        part = Fraction(text) if _RUNG.fullmatch(text) and not isinstance(value, bool) else Fraction(0)
    except ZeroDivisionError:
        part = Fraction(0)
    if not 0 < part <= 1:
        raise PydanticCustomError("rung", "must be a part of the schedule, as 1/8 or 0.125")
    return str(part)


def _rising(rungs: list[str]) -> list[str]:
    parts = [Fraction(text) for text in rungs]
    if len(parts) < 2 or parts[-1] != 1 or any(low >= high for low, high in pairwise(parts)):
        raise PydanticCustomError("rungs", "must rise to 1, the whole schedule, as [1/8, 1/4, 1]")
    return rungs


def _pruner(value: Any) -> Any:
    return {True: "median", False: None}.get(value) if isinstance(value, bool) else value


Rung = Annotated[str, BeforeValidator(_rung), WithJsonSchema({"type": ["string", "number"]})]

SearchPairs = Annotated[
    Annotated[Literal["each"], Tag("<each-pair>")] | Annotated[list[Name], Field(min_length=1), Tag("<list>")],
    Discriminator(lambda value: "<list>" if isinstance(value, list) else "<each-pair>"),
]


class SearchPart(Part):
    """How ranges are searched: one search for each entry that has a range."""

    pairs: SearchPairs
    """One search that counts the mean over these, or with `each` a search for each pair of the study."""
    draws: Annotated[int, Field(ge=1, le=10_000)]
    """Settings that are tried for each entry with ranges; the paper's constants are the first."""
    sampler: Literal["tpe", "random", "gp", "cmaes", "nsga2"] = "tpe"
    """Optuna's."""
    maximize: Name = "val_top1_last"
    """A validation metric."""
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """The part of train that is held out as validation images."""
    generation: Annotated[int, Field(ge=1, le=1000)] = 8
    """Draws that are asked for before any of them is told; part of the study so that slots change nothing."""
    finalists: Finalists | None = None
    """The best draws, trained again before one is chosen."""
    rungs: Annotated[list[Rung], AfterValidator(_rising)] | None = None
    """Parts of the schedule that draws are trained for, the best of each going on to the next: [1/8, 1/4, 1]."""
    prefix: Annotated[Literal["median", "hyperband"] | None, BeforeValidator(_pruner)] = None
    """Instead of shorter schedules the whole one, pruned at the rungs; `true` means by the median."""
    teachers: Name = "train"
    """Those of a search never see the validation images, so the plan trains them itself: nothing else is taken."""


class CheckpointPart(Part):
    """How often a run can be resumed from within an epoch; every epoch's end is kept anyway."""

    every: Annotated[str, Field(pattern=r"^([1-9][0-9]{0,5} ?(s|min|h)|epoch)$")] = "5 min"
    """`30 s`, `5 min`, `1 h`, or `epoch`."""

    @property
    def seconds(self) -> float | None:
        """Seconds between checkpoints within an epoch; None: only at its end."""
        if self.every == "epoch":
            return None
        number = self.every.rstrip("sminh ")
        return float(number) * {"s": 1, "min": 60, "h": 3600}[self.every[len(number) :].strip()]


class ExecutionPart(Part):
    """How jobs compute; in no key."""

    threads: Annotated[int, Field(ge=1, le=64)] = 1
    """Cores of a job on a CPU."""
    layout: Literal["channels_last", "contiguous"] = "channels_last"
    """Of images and feature maps in memory."""
    compile: bool = False
    """By torch.compile."""


class FillPart(Part):
    """Rows of a printed table: `{table: sun2024logit Table 2, rows: [fitnet, at]}`; all of them without `rows`."""

    table: Name
    """A printed table: `sun2024logit Table 2`."""
    rows: list[Name] = []
    """As printed there."""


def _fills(value: Any) -> Any:
    """One table's key, a list of them, or of parts with rows."""
    listed = value if isinstance(value, list) else [value]
    return [{"table": one} if isinstance(one, str) else one for one in listed]


class TablePart(Part):
    """One table of the report."""

    rows: Name = "distiller"
    """`distiller`, `pair`, `student`, `teacher`, `group`, `metric`, or an axis: `KD by T.temperature`."""
    columns: Name = "pair"
    """One of the same."""
    only: list[Label] = []
    """The entries shown; none: all."""
    metric: Annotated[
        Annotated[Name, Tag("<name>")] | Annotated[list[Name], Field(min_length=1), Tag("<list>")],
        Discriminator(lambda value: "<list>" if isinstance(value, list) else "<name>"),
    ] = "test_top1"
    """A metric of the runs, or several."""
    select: Literal["last", "best", "best-val"] = "last"
    """The last epoch; the best one on the test images, named so; of search runs the best on the validation images."""
    baseline: Label | None = None
    """The row that differences and tests are against."""
    title: Label | None = None
    """Stands over the table."""
    published: Name | None = None
    """The printed table whose values stand beside ours: `sun2024logit Table 2`."""
    fill: Annotated[list[FillPart], BeforeValidator(_fills)] = []
    """Printed rows where no run exists."""
    matched_budget: bool = False
    """Without rows whose training budget is not that of the table's recipe."""
    bold: Literal["best", "indistinguishable"] = "best"
    """The best mean, or all that a test does not tell from it."""
    average: Literal["rank"] | None = None
    """A column with the mean rank over the others."""
    pm: Spread = "std"
    """Behind ±: sample standard deviation, standard error, or half of the 95 % interval."""
    delta: Literal["columns", "rows"] = "columns"
    """Differences beside the values, or in rows of their own below them, as Logit Standardization has them."""
    cite: bool = False
    r"""A `\cite` behind each method in LaTeX."""
    costs: list[Name] = []
    """Metrics behind the others, as plain numbers: `train_step_ms_cuda`, `train_extra_parameters`."""
    within: Name | None = None
    """`metric` or what the columns are: several values in one cell, `a / b / c`."""

    @property
    def metrics(self) -> list[str]:
        return [self.metric] if isinstance(self.metric, str) else self.metric


class FigurePart(Part):
    """One figure of the report."""

    kind: FigureKind = "line"
    """What is drawn; `kdharness plot --help` lists them."""
    x: Name | None = None
    """The axis across: `KD by T.temperature`; in a Pareto figure the metric that is the cost."""
    y: Name | None = None
    """The metric; `curves` take several, with commas."""
    lines: Name | None = None
    """What has a line each, or a row of a heat map: `pair`, `distiller`, or another axis."""
    rows: list[Label] = []
    """The entries shown; none: those that have the axis, or all."""
    pair: Name | None = None
    """The pair shown, where the kind shows one; else the first."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    """The run shown, where the kind shows one; else the first."""
    title: Label | None = None
    """Stands over the figure."""


Seed = Annotated[int, Field(ge=0, lt=2**31)]


class StudySpec(Part):
    """A study file: the setup paragraph of a paper."""

    study: StudyName
    """Its name, in the database and in `report NAME`."""
    about: Annotated[str, Field(max_length=2000)] = ""
    """For people."""
    dataset: DatasetPart
    """A registered one, or a folder of images."""
    teachers: Annotated[
        Annotated[Name, Tag("<name>")] | Annotated[dict[str, Name], Tag("<map>")],
        Discriminator(lambda value: "<map>" if isinstance(value, dict) else "<name>"),
    ]
    """`train`, `imported`, or by model: `{resnet56: my-teacher}`."""
    recipe: RecipePart | None = None
    """The dataset's own recipe where none is named."""
    pairs: Annotated[
        Annotated[list[PairPart], Field(min_length=1), Tag("<list>")] | Annotated[Product, Tag("<product>")],
        Discriminator(lambda value: "<product>" if isinstance(value, dict | Product) else "<list>"),
    ]
    """`teacher -> student`; an ensemble is `resnet32x4 + wrn_40_2 -> wrn_16_2`."""
    distillers: Annotated[list[RowPart], Field(min_length=1)]
    """The rows: names, entries with constants, and groups of both."""
    search: SearchPart | None = None
    """For the rows that have ranges."""
    seeds: Annotated[
        Annotated[int, Field(ge=1, le=1000), Tag("<number>")]
        | Annotated[list[Seed], Field(min_length=1, max_length=1000), AfterValidator(_distinct), Tag("<list>")],
        Discriminator(lambda value: "<list>" if isinstance(value, list) else "<number>"),
    ] = 3
    """How many, from 0 on, or which."""
    paired: bool = False
    """Tests are paired by seed; fixed when the study first runs."""
    checkpoint: CheckpointPart = CheckpointPart()
    """When a run can be resumed within an epoch."""
    execution: ExecutionPart = ExecutionPart()
    """How jobs compute."""
    evaluate: list[Name] = []
    """Analyses of every finished student; they change no training, so they stand in no key."""
    tables: list[TablePart] = [TablePart()]
    """What `run` and `report` print."""
    figures: list[FigurePart] = []
    """What `run` and `report --figures` draw."""

    @property
    def dataset_name(self) -> str:
        """The dataset as it is written: its name, or `folder` for every folder."""
        return self.dataset if isinstance(self.dataset, str) else "folder"

    @property
    def dataset_title(self) -> str:
        """What a person calls it: a folder by its own name."""
        return self.dataset if isinstance(self.dataset, str) else self.dataset.folder

    @property
    def seed_list(self) -> list[int]:
        """`seeds: 3` means 0, 1, 2."""
        return list(range(self.seeds)) if isinstance(self.seeds, int) else list(self.seeds)


PARTS: dict[tuple[str, ...], type[BaseModel]] = {
    (): StudySpec,
    ("dataset",): FolderPart,
    ("recipe",): RecipeChange,
    ("pairs",): Product,
    ("distillers",): Group,
    ("search",): SearchPart,
    ("search", "finalists"): Finalists,
    ("checkpoint",): CheckpointPart,
    ("execution",): ExecutionPart,
    ("tables",): TablePart,
    ("tables", "fill"): FillPart,
    ("figures",): FigurePart,
}
"""By the keys that lead there, the part whose keys are known, for suggestions."""
