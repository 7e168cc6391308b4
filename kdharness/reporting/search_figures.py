"""Figures of a search: its draws, slices of its constants, their importance, and expected best against budget."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdharness.core.errors import EnvironmentRefused

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = ("pdf", "png")


@dataclass(frozen=True)
class SearchPlot:
    """What is drawn of one search."""

    title: str
    metric: str
    values: Sequence[float | None]
    """By draw; None without one."""
    params: Mapping[str, Sequence[Any]]
    """By constant its values, draw by draw."""
    logarithmic: frozenset[str]
    importance: Mapping[str, float]
    expected: Sequence[float]
    costs: Sequence[float | None]
    front: Sequence[int]


def draw_searches(plots: Sequence[SearchPlot], folder: Path, name: str) -> list[Path]:
    """One figure for each search and one of all budgets, in every format; the paths.

    Raises EnvironmentRefused where matplotlib is not installed or the folder cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise EnvironmentRefused(
            "figures need matplotlib, which is not installed", remedy='pip install "kdharness[report]"'
        ) from None
    figures: dict[str, Figure] = {}
    for number, plot in enumerate(plots, 1):
        columns = 2 + len(plot.params)
        figure = figures[f"{name}-{number}"] = Figure(figsize=(3.2 * columns, 3.0), layout="constrained")
        axes = list(figure.subplots(1, columns))
        _draws(axes[0], plot)
        _importance(axes[1], plot)
        for at, constant in zip(axes[2:], plot.params, strict=True):
            _slice(at, plot, constant)
        figure.suptitle(plot.title)
        if any(cost != plot.costs[0] for cost in plot.costs):
            figures[f"{name}-{number}-front"] = front = Figure(figsize=(4.0, 3.0), layout="constrained")
            _front(front.subplots(), plot)
    if plots:
        figures[f"{name}-budget"] = figure = Figure(figsize=(4.8, 3.4), layout="constrained")
        _budget(figure.subplots(), plots)
    paths = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for stem, figure in figures.items():
            FigureCanvasAgg(figure)
            for form in FORMATS:
                paths.append(folder / f"{stem}.{form}")
                figure.savefig(paths[-1], dpi=150)
    except OSError as error:
        raise EnvironmentRefused(f"cannot be written: {error.strerror}", where=str(folder)) from error
    return paths


def _draws(axes: "Axes", plot: SearchPlot) -> None:
    known = [(number, value) for number, value in enumerate(plot.values) if value is not None]
    axes.plot([number for number, _ in known], [value for _, value in known], "o", markersize=3)
    best = [max(value for _, value in known[: at + 1]) for at in range(len(known))]
    axes.step([number for number, _ in known], best, where="post")
    axes.set_xlabel("draw")
    axes.set_ylabel(plot.metric)


def _importance(axes: "Axes", plot: SearchPlot) -> None:
    axes.barh(list(plot.importance), list(plot.importance.values()))
    axes.invert_yaxis()
    axes.set_xlabel("importance (PED-ANOVA)")


def _slice(axes: "Axes", plot: SearchPlot, constant: str) -> None:
    values = plot.params[constant]
    known = [(one, value) for one, value in zip(values, plot.values, strict=True) if value is not None]
    as_text = any(isinstance(one, str | bool | None) for one in values)
    axes.plot([str(one) if as_text else one for one, _ in known], [value for _, value in known], "o", markersize=3)
    if constant in plot.logarithmic:
        axes.set_xscale("log")
    axes.set_xlabel(constant)


def _front(axes: "Axes", plot: SearchPlot) -> None:
    known = [(cost or 0.0, value) for cost, value in zip(plot.costs, plot.values, strict=True) if value is not None]
    axes.plot([cost for cost, _ in known], [value for _, value in known], "o", markersize=3)
    best = [(plot.costs[number] or 0.0, plot.values[number] or 0.0) for number in plot.front]
    axes.step([cost for cost, _ in best], [value for _, value in best], where="post")
    axes.set_xlabel("student's cost (multiply-adds)")
    axes.set_ylabel(plot.metric)
    axes.set_title(plot.title)


def _budget(axes: "Axes", plots: Sequence[SearchPlot]) -> None:
    for plot in plots:
        axes.plot(range(1, len(plot.expected) + 1), plot.expected, label=plot.title)
    axes.set_xlabel("draws")
    axes.set_ylabel(f"expected best {plots[0].metric}")
    axes.legend(fontsize="small")
