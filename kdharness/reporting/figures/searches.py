"""Figures of searches: draws and slices of their constants, the front of accuracy against cost, and budgets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from kdharness.reporting import names
from kdharness.reporting.figures.drawing import Drawing, keyed, look, one_scale, panels, styled

_DRAW: dict[str, Any] = {"marker": "o", "markerfacecolor": "none", "color": "0.35", "linestyle": "none"}
_NONE: dict[str, Any] = {"marker": "x", "markersize": 3, "color": "0.5", "linestyle": "none"}
_BEST: dict[str, Any] = {"color": "#000000", "linewidth": 1.0}
_CHOSEN: dict[str, Any] = {"marker": "*", "markersize": 9, "color": "#D55E00", "linestyle": "none"}


@dataclass(frozen=True)
class SearchPlot:
    """What is drawn of one search."""

    title: str
    metric: str
    sampler: str
    images: int
    """Of the validation split."""
    schedule: str
    """What part of it the values come from: `1` is the whole."""
    values: Sequence[float | None]
    """By draw; None without one."""
    winner: int | None
    params: Mapping[str, Sequence[Any]]
    """By constant its values, draw by draw."""
    logarithmic: frozenset[str]
    importance: Mapping[str, float]
    expected: Sequence[float]
    costs: Sequence[float | None]
    """Multiply-adds of the student for one training image, over all epochs."""
    front: Sequence[int]

    @property
    def known(self) -> list[tuple[int, float]]:
        """Draws with a value."""
        return [(number, value) for number, value in enumerate(self.values) if value is not None]


def search_figures(plots: Sequence[SearchPlot], name: str) -> list[Drawing]:
    """One figure for each search that has a value, its front where costs differ, and one of all budgets."""
    found: list[Drawing] = []
    drawn = [(number, plot) for number, plot in enumerate(plots, 1) if plot.known]
    for number, plot in drawn:
        found.append(draws(plot, f"{name}-{number}"))
        if len({plot.costs[at] for at, _ in plot.known}) > 1:
            found.append(cost_front(plot, f"{name}-{number}-front"))
    return [*found, budgets([plot for _, plot in drawn], f"{name}-budget")] if drawn else found


@styled
def draws(plot: SearchPlot, name: str) -> Drawing:
    """The draws in their order, over each constant, and how much each constant mattered."""
    number = 1 + len(plot.params) + bool(plot.importance)
    across = min(4, number)
    figure, (first, *others) = panels(number, across=across, size=(2.3, 2.1))
    values = dict(plot.known)
    best = [max(value for _, value in plot.known[: at + 1]) for at in range(len(values))]
    first.plot(list(values), list(values.values()), **_DRAW, label="draw")
    first.step(list(values), best, where="post", **_BEST, label="best so far")
    gone = [number for number in range(len(plot.values)) if number not in values]
    if gone:
        _at_the_foot(first, gone, label="no value")
    first.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    first.set_xlabel("draw")
    chosen = plot.winner if plot.winner in values else None
    if chosen is not None:
        first.plot([chosen], [values[chosen]], **_CHOSEN, label="chosen")
    for axes, constant in zip(others, plot.params, strict=False):
        places = plot.params[constant]
        as_text = any(isinstance(place, str | bool | None) for place in places)
        where = [str(place) if as_text else place for place in places]
        axes.plot([where[draw] for draw in values], list(values.values()), **_DRAW)
        _at_the_foot(axes, [where[draw] for draw in gone])
        if chosen is not None:
            axes.plot([where[chosen]], [values[chosen]], **_CHOSEN)
        if constant in plot.logarithmic:
            _logarithmic(axes)
        axes.set_xlabel(constant)
        if as_text:
            axes.margins(x=0.3)
    if plot.importance:
        _shares(others[len(plot.params)], plot.importance)
    one_scale(scored := [first, *others[: len(plot.params)]])
    for at, axes in enumerate(scored):
        if at % across == 0:
            axes.set_ylabel(names.metric(plot.metric))
        else:
            axes.tick_params(labelleft=False)
    keyed(figure, [first])
    said = " Importance: PED-ANOVA over the draws, shares of 1." if plot.importance else ""
    return Drawing(name, figure, f"{plot.title}: {_counted(plot)}. Each point is one run.{said}")


@styled
def cost_front(plot: SearchPlot, name: str) -> Drawing:
    """Accuracy against the student's cost; the line joins those that nobody beats."""
    figure, (axes,) = panels(1, size=(3.2, 2.4))
    millions = {number: (plot.costs[number] or 0.0) / 1e6 for number, _ in plot.known}
    values = dict(plot.known)
    axes.plot(list(millions.values()), list(values.values()), **_DRAW, label="draw")
    best = [(millions[number], values[number]) for number in plot.front]
    axes.step(*zip(*best, strict=True), where="post", **_BEST)
    axes.plot(*zip(*best, strict=True), "o", color="#000000", label="beaten by nobody")
    if plot.winner in values:
        axes.plot([millions[plot.winner]], [values[plot.winner]], **_CHOSEN, label="chosen")
    axes.set_xlabel("student's cost ($10^6$ multiply-adds)")
    axes.set_ylabel(names.metric(plot.metric))
    keyed(figure, [axes])
    caption = (
        f"{plot.title}: accuracy against the student's cost, {_counted(plot)}. Each point is one run. Cost: "
        "multiply-adds of the student's forward passes over one training image, in all epochs."
    )
    return Drawing(name, figure, caption)


@styled
def budgets(plots: Sequence[SearchPlot], name: str) -> Drawing:
    """The best value that a search of fewer draws would be expected to find, a line for each search."""
    figure, (axes,) = panels(1, size=(3.2, 2.2))
    for order, plot in enumerate(plots):
        every = max(1, len(plot.expected) // 6)
        axes.plot(range(1, len(plot.expected) + 1), plot.expected, label=plot.title, markevery=every, **look(order))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel("draws")
    metric = names.metric(plots[0].metric)
    axes.set_ylabel(f"Expected best\n{metric[:1].lower()}{metric[1:]}")
    keyed(figure, [axes])
    learning = sorted({plot.sampler for plot in plots} - {"random"})
    caption = (
        "Expected best validation score against the number of draws (Dodge et al. 2019). "
        + "; ".join(f"{plot.title}: {_counted(plot)}" for plot in plots)
        + "."
        + (f" Draws by {', '.join(learning)} are not independent: small budgets come out too high." if learning else "")
    )
    return Drawing(name, figure, caption)


def _shares(axes: Axes, importance: Mapping[str, float]) -> None:
    """Bars with their names above them, so that long names take no room from other panels."""
    places = range(len(importance))
    axes.barh(places, list(importance.values()), color="0.7", edgecolor="0.2", height=0.35)
    for place, name in zip(places, importance, strict=True):
        axes.text(0.0, place - 0.22, name, va="bottom", fontsize=7)
    axes.set_ylim(len(importance) - 0.6, -0.8)
    axes.set_yticks([])
    axes.set_xlim(0, 1)
    axes.set_xlabel("importance")


def _at_the_foot(axes: Axes, places: Sequence[Any], label: str | None = None) -> None:
    """What was drawn and has no value."""
    axes.plot(places, [0.03] * len(places), transform=axes.get_xaxis_transform(), label=label, **_NONE)


def _logarithmic(axes: Axes) -> None:
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1,) if high / low > 50 else (1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _counted(plot: SearchPlot) -> str:
    """`n = 11 draws by tpe, validation 144 images, on 1/4 of the schedule; 1 more has no value`."""
    said = f"n = {len(plot.known)} draws by {plot.sampler}, validation {plot.images:,} images"
    said += f", on {plot.schedule} of the schedule" if plot.schedule != "1" else ""
    without = len(plot.values) - len(plot.known)
    return said + (f"; {without} more without a value (not finished, failed or given up)" if without else "")
