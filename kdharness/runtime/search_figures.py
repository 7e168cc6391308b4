"""From a study's searches to their figures."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kdharness.runtime.figures import require_matplotlib
from kdharness.study.searching.view import SearchView

if TYPE_CHECKING:
    from kdharness.reporting.figures.drawing import Drawing
    from kdharness.reporting.figures.searches import SearchPlot


def draw_searches(views: Sequence[SearchView], name: str) -> list["Drawing"]:
    """The figures of each search, and one of all budgets. Raises EnvironmentRefused without matplotlib."""
    require_matplotlib()
    from kdharness.reporting.figures.searches import search_figures

    return search_figures([_plot(view) for view in views], name)


def draw_budgets(views: Sequence[SearchView], name: str) -> "Drawing | None":
    """What fewer draws would be expected to find; None while nothing is drawn. Raises as `draw_searches`."""
    require_matplotlib()
    from kdharness.reporting.figures.searches import budgets

    drawn = [plot for plot in map(_plot, views) if plot.known]
    return budgets(drawn, name) if drawn else None


def _plot(view: SearchView) -> "SearchPlot":
    from kdharness.reporting import names
    from kdharness.reporting.figures.searches import SearchPlot

    record = view.record
    return SearchPlot(
        title=", ".join([view.row, *map(names.pair, record.pairs)]),
        metric=record.maximize,
        sampler=record.sampler,
        images=record.validation_images,
        schedule=str(record.fractions[0]),
        values=[one.value for one in view.draws],
        winner=view.winner,
        params={name: [one.params.get(name) for one in view.draws] for name in record.ranges},
        logarithmic=frozenset(name for name, one in record.ranges.items() if getattr(one, "log", False)),
        importance=view.importance,
        expected=view.expected,
        costs=[one.cost for one in view.draws],
        front=view.front,
    )
