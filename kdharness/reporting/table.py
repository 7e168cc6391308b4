"""What a table is once it is computed: heads, cells and the sentences that make it honest. Rendered elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Literal, NamedTuple

from kdharness.core.records import Select, Spread

Mark = Literal["best", "second"]
Within = Literal["metric", "columns"]
"""What the values that share a printed cell differ in."""
Verdict = Literal["compatible", "above", "below"]
"""What ours is beside print, at the 95 % level."""


@dataclass(frozen=True)
class TeacherHead:
    """What the head of a pair says of its teacher."""

    name: str
    accuracy: float | None
    """Mean test_top1_last of the teacher's runs in percent, None until one is finished; an import's as measured."""
    runs: tuple[str, ...]
    imported: bool = False
    """Released weights, not trained here."""
    ensemble: tuple[float | None, ...] = ()
    """The accuracy of each member, where several teachers answer as one."""
    printed: float | None = None
    """The accuracy of the paper's teacher, beside a published column."""


@dataclass(frozen=True)
class Head:
    """The head of a row or of a column."""

    name: str
    """Unique among the heads of its panel and side: `KD (temperature=2)`, `resnet20 -> resnet8`."""
    printed: str
    panel: str = ""
    """The block it stands in: what the table neither places in rows nor in columns, e.g. `recipe.batch_size=32`."""
    panel_printed: str = ""
    group: str | None = None
    ours: bool = False
    against: str | None = None
    """The label of the row that it is compared with besides the baseline."""
    teacher: TeacherHead | None = None
    student: float | None = None
    """Mean accuracy of the pair's student trained alone, in percent."""
    metric: str = ""
    """Of a column's or row's cells, where the table has several."""
    cite: str = ""
    """The key of the row's paper."""
    side: str = "distiller"
    """What it is one of, as a table's spec names its sides: `pair`, `KD.temperature`."""


@dataclass(frozen=True)
class Delta:
    """A difference of means in the metric's unit (points for accuracies), signed: positive means larger."""

    value: float
    decimals: int
    to: str
    """The row that was subtracted."""
    improves: bool | None
    """Whether the difference is for the better; None when it is zero, and of a metric without a better end."""
    same_seeds: bool
    """Whether both means are over the same seeds."""


@dataclass(frozen=True)
class Beside:
    """What a paper printed where a cell of ours stands."""

    text: str
    """As printed."""
    value: float
    source: str
    table: str
    selection: str
    """Which epoch's test accuracy it is: last, best or unknown."""
    difference: float | None
    """Ours minus printed."""
    score: float | None
    """The difference in standard errors: (ours - printed) / (s sqrt(1/n + 1/n_paper))."""
    verdict: Verdict | None
    reason: str = ""
    """Why there is no verdict."""
    notes: tuple[str, ...] = ()
    """Marks of footnotes: what contradicts it."""


@dataclass(frozen=True)
class Filled:
    """A printed value where no run of ours exists: outside bold, ranks and tests."""

    text: str
    value: float
    std: float | None
    n: int | None
    source: str
    letter: str
    """Of its source."""
    notes: tuple[str, ...] = ()
    """Marks of footnotes: another training budget, what contradicts it."""


class Cell(NamedTuple):
    """The runs of one setting; never more than one setting, one purpose or one teacher's weights.

    A tuple, because a large table has 20,000 of them, and each is completed in several steps.
    """

    row: str
    column: str
    panel: str
    setting_key: str
    values: tuple[float, ...]
    """Of the finished runs, in the order of `seeds`."""
    seeds: tuple[int, ...]
    runs: tuple[str, ...]
    wanted_runs: tuple[str, ...]
    """Every run that the study asks for here, finished or not."""
    mean: float | None
    std: float | None
    """Sample standard deviation, None below two runs."""
    interval: tuple[float, float] | None
    """Student's t, 95 %; None below two runs or without scipy."""
    metric: str = "test_top1_last"
    decimals: int = 2
    plain: bool = False
    """A cost, printed as a number alone."""
    states: Mapping[str, int] = MappingProxyType({})
    """How many of the wanted runs are in which state; an excluded one is only `excluded`."""
    mark: Mark | None = None
    delta: Delta | None = None
    """To the table's baseline."""
    against: Delta | None = None
    """To the row that this one names."""
    p_value: float | None = None
    """Two-sided test against the baseline's runs: Welch's, or the paired one where the study declared it."""
    q_value: float | None = None
    """`p_value` adjusted over the table (Benjamini and Hochberg)."""
    stars: str = ""
    """`*` below 0.05, `**` below 0.01 of `q_value`; never below five runs on either side."""
    effect: float | None = None
    """Hedges' g against the baseline."""
    beside: Beside | None = None
    notes: tuple[str, ...] = ()
    """Marks of footnotes."""

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def wanted(self) -> int:
        return len(self.wanted_runs)

    @property
    def complete(self) -> bool:
        return self.n == self.wanted


@dataclass(frozen=True)
class Footnote:
    mark: str
    text: str


@dataclass(frozen=True)
class Table:
    """One table, ready to be rendered."""

    title: str
    metric: str
    select: Select
    dataset: str
    rows: tuple[Head, ...]
    columns: tuple[Head, ...]
    cells: Mapping[tuple[int, int], Cell]
    """By (row, column) position; a position may be empty."""
    filled: Mapping[tuple[int, int], Filled] = field(default_factory=dict)
    """By position, where no cell is."""
    metrics: tuple[str, ...] = ()
    """All of them, `metric` being the first."""
    baseline: str | None = None
    """The row that `delta` is measured from."""
    published: str | None = None
    """The printed table beside ours."""
    ranks: Mapping[int, tuple[float, int]] = field(default_factory=dict)
    """By row its mean rank, and over how many places."""
    delta_rows: bool = False
    """Differences to the row that each names stand under it."""
    pm: Spread = "std"
    cite: bool = False
    within: Within | None = None
    """Columns that differ only in this are printed in one."""
    caption: tuple[str, ...] = ()
    """Sentences: what is shown, over which seeds, by which protocol."""
    footnotes: tuple[Footnote, ...] = ()
    missing: str = ""
    """What this installation could not compute."""

    @cached_property
    def noted(self) -> Mapping[str, str]:
        """Mark -> its footnote."""
        return {note.mark: note.text for note in self.footnotes}

    @cached_property
    def compared(self) -> frozenset[int]:
        """The columns in which something is compared: not only costs stand there."""
        return frozenset(column for (_, column), cell in self.cells.items() if not cell.plain)

    @property
    def _has_room(self) -> bool:
        """Whether differences stand beside cells: they have rows of their own, or several values share a cell."""
        return not self.delta_rows and self.within is None

    @cached_property
    def has_delta(self) -> bool:
        """Whether cells have a difference to the baseline beside them."""
        return self._has_room and any(cell.delta is not None for cell in self.cells.values())

    @cached_property
    def has_against(self) -> bool:
        """Whether some row is compared with another one than the baseline, beside its cells."""
        return self._has_room and any(
            cell.against is not None and cell.against.to != self.baseline for cell in self.cells.values()
        )

    @cached_property
    def has_beside(self) -> bool:
        """Whether something printed stands beside a cell."""
        return any(cell.beside is not None for cell in self.cells.values())
