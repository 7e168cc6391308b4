"""What a figure is once it is drawn, how figures look, and how they become files."""

import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib
import numpy
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

P = ParamSpec("P")
Array = NDArray[Any]

STYLE = Path(__file__).with_name("paper.mplstyle")
ACROSS = 4
"""Panels beside each other."""

PANEL = (2.3, 2.0)
"""Width and height of one panel in inches: three stand in a text's width."""

PAGE = 6.9
"""Inches across of a page's text in two columns."""
_LINE = 0.16
"""Inches from line to line of a legend."""

_COLOURS = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (6, 2)), (0, (3, 3)))

_OF_TABLES = (
    "Mean ±", "Best in bold", "Δ", "Differences between means", "“vs”", "In the heads", "Imported", "Smoke form",
)  # fmt: skip
"""How sentences begin that explain a table's marks, or that every figure has of itself."""


@dataclass(frozen=True)
class Numbers:
    """A figure's numbers for whoever wants to read them: a table of text."""

    caption: str
    lines: tuple[tuple[str, ...], ...]
    """The head first."""


@dataclass(frozen=True)
class Drawing:
    """One figure and the sentences that belong under it."""

    name: str
    """Of its files."""
    figure: Figure
    caption: str
    numbers: Numbers | None = None

    def said(self, change: Callable[[str], str]) -> "Drawing":
        """The drawing with its captions changed."""
        numbers = self.numbers and replace(self.numbers, caption=change(self.numbers.caption))
        return replace(self, caption=change(self.caption), numbers=numbers)

    @property
    def text(self) -> str:
        """The caption, and below it the numbers as Markdown."""
        if self.numbers is None:
            return self.caption
        head, *rows = ("| " + " | ".join(line) + " |" for line in self.numbers.lines)
        rule = "|---|" + "---:|" * (len(self.numbers.lines[0]) - 1)
        return "\n".join([self.caption, "", head, rule, *rows])


@dataclass(frozen=True)
class Panel:
    """What is drawn of one run."""

    label: str
    arrays: Mapping[str, Array]
    """Of an analysis of the run."""
    split: str = "test"
    seed: int = 0


@contextmanager
def style() -> Iterator[None]:
    """Inside, whatever is made or saved looks as the style file says."""
    with matplotlib.rc_context(fname=STYLE):
        yield


def styled(draw: Callable[P, Drawing]) -> Callable[P, Drawing]:
    """The same function, drawing in our style."""

    @wraps(draw)
    def within(*arguments: P.args, **options: P.kwargs) -> Drawing:
        with style():
            return draw(*arguments, **options)

    return within


def look(number: int) -> dict[str, Any]:
    """Colour, marker and dashes of the line of that number: any two differ in grey too."""
    return {
        "color": _COLOURS[number % len(_COLOURS)],
        "marker": _MARKERS[(number + number // len(_MARKERS)) % len(_MARKERS)],
        "linestyle": _DASHES[(number + 2 * (number // len(_DASHES))) % len(_DASHES)],
    }


def panels(
    number: int, *, rows: int = 1, across: int = ACROSS, size: tuple[float, float] = PANEL, share: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels in each of `rows` kinds, at most `across` beside each other; kind by kind.

    The kinds of one panel stand below each other.
    """
    columns = min(number, across)
    lines = rows * math.ceil(number / columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * lines))
    grid = figure.subplots(lines, columns, squeeze=False, sharex=share, sharey=share)
    axes = [grid[at // columns * rows + kind][at % columns] for kind in range(rows) for at in range(number)]
    for unused in set(grid.flatten()) - set(axes):
        unused.set_visible(False)
    return figure, axes


def marked(drawing: Drawing, word: str, sentence: str) -> Drawing:
    """The drawing with a word above the picture and a sentence more in its caption."""
    with style():
        drawing.figure.suptitle(word, color="#D55E00", fontsize=7)
    return drawing.said(lambda caption: f"{caption} {sentence}")


def keyed(figure: Figure, axes: Sequence[Axes]) -> None:
    """One legend for all panels, in space of its own below them; beside them where it would be half as tall and there
    is room."""
    found = {label: handle for one in axes for handle, label in zip(*one.get_legend_handles_labels(), strict=True)}
    if not found:
        return
    across, down = figure.get_figwidth(), figure.get_figheight()
    width = max(0.45 + 0.065 * len(label) for label in found)
    columns = max(1, min(len(found), 4, int(across / width)))
    beside = min(math.ceil(len(found) * _LINE / down), int((PAGE - across) / width))
    below = _LINE * math.ceil(len(found) / columns)
    if below > down / 2 and beside > 0:
        figure.set_size_inches(across + beside * width, max(down, _LINE * math.ceil(len(found) / beside)))
        figure.legend(found.values(), found.keys(), loc="outside right upper", ncols=beside)
    else:
        figure.set_figheight(down + below)
        figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=columns)


def bare(axes: Axes) -> None:
    """Without grid: for pictures."""
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(True)


def counted(numbers: Sequence[int]) -> str:
    """`n = 3 runs`, or `n = 1 to 3 runs` where they differ."""
    known = sorted({number for number in numbers if number})
    if not known:
        return "no run is finished yet"
    if len(known) == 1:
        return f"n = {known[0]} run" + ("s" if known[0] > 1 else "")
    return f"n = {known[0]} to {known[-1]} runs"


def of_figures(caption: Sequence[str]) -> list[str]:
    """The sentences of a table's caption that are true of a figure of it too: protocol, data, what is missing."""
    return [sentence for sentence in caption if not sentence.startswith(_OF_TABLES)]


def one_run_each(drawn: Sequence[Panel]) -> str:
    """Whose arrays they are: one run of each label, n = 1."""
    seeds = sorted({panel.seed for panel in drawn})
    named = f"seed {seeds[0]}" if len(seeds) == 1 else "seeds " + ", ".join(map(str, seeds))
    return f"One run each (n = 1, {named})."


def one_scale(axes: Sequence[Axes]) -> None:
    """The same values from bottom to top in all of them."""
    low, high = min(one.get_ylim()[0] for one in axes), max(one.get_ylim()[1] for one in axes)
    for one in axes:
        one.set_ylim(low, high)


def image_axis(axes: Axes, classes: int, what: str) -> None:
    """Few ticks, whole numbers."""
    axes.set_xlabel(what)
    step = max(1, round(classes / 5))
    axes.set_xticks(numpy.arange(0, classes, step))


def files_of(drawing: Drawing) -> dict[str, bytes]:
    """File ending -> content: a vector PDF, a picture, the caption. Equal drawings give equal bytes."""
    made = {}
    with style():
        for ending, metadata in (("pdf", {"CreationDate": None}), ("png", {"Software": None})):
            buffer = io.BytesIO()
            drawing.figure.savefig(buffer, format=ending, metadata=metadata)
            made[ending] = buffer.getvalue()
    return {**made, "txt": (drawing.text + "\n").encode()}
