"""Accuracy against cost: who is beaten by nobody that costs less."""

from collections.abc import Sequence

from kdharness.reporting import names
from kdharness.reporting.figures.drawing import Drawing, counted, keyed, look, panels, styled
from kdharness.reporting.table import Table


@styled
def pareto(cost: Table, score: Table, *, title: str | None = None) -> Drawing:
    """The cells that both tables have, cost by score; a panel for each pair (column).

    Bars are one sample deviation of either side. The stepped line joins the settings that nobody beats at the same or
    a lower cost.
    """
    columns = [number for number, head in enumerate(score.columns) if any(at[1] == number for at in score.cells)]
    figure, axes = panels(len(columns), across=3, size=(2.9, 2.4))
    rows_of_cost = {(head.panel, head.name): row for row, head in enumerate(cost.rows)}
    columns_of_cost = {head.name: column for column, head in enumerate(cost.columns)}
    counts = []
    for one, column in zip(axes, columns, strict=True):
        points: list[tuple[float, float]] = []
        for order, (row, head) in enumerate(enumerate(score.rows)):
            cell = score.cells.get((row, column))
            at = rows_of_cost.get((head.panel, head.name)), columns_of_cost.get(score.columns[column].name)
            price = cost.cells.get((at[0], at[1])) if at[0] is not None and at[1] is not None else None
            if cell is None or price is None or cell.mean is None or price.mean is None:
                continue
            one.errorbar(
                price.mean, cell.mean, xerr=price.std or 0.0, yerr=cell.std or 0.0, label=head.printed, capsize=2,
                **{**look(order), "linestyle": "none"},
            )  # fmt: skip
            counts.append(cell.n)
            points.append((price.mean, cell.mean))
        best = front(points, lower=names.lower_is_better(score.metric))
        if len(best) > 1:
            (step,) = one.step([x for x, _ in best], [y for _, y in best], where="post", color="0.6", linewidth=0.8)
            step.set_zorder(0)
        one.set_xlabel(_named(cost.metric))
        one.set_title(score.columns[column].printed if len(columns) > 1 else "")
    axes[0].set_ylabel(names.metric(score.metric))
    keyed(figure, axes)
    caption = (
        f"{title or score.title} against {_named(cost.metric)}. Means with sample standard deviations (bars); each "
        f"point: {counted(counts)}. The line joins what nobody beats at the same or a lower cost."
    )
    return Drawing(f"pareto-{score.metric}-{cost.metric}", figure, caption)


def front(points: Sequence[tuple[float, float]], *, lower: bool) -> list[tuple[float, float]]:
    """Those that no cheaper or equally cheap point beats, by cost; with `lower` the smaller score is the better one."""
    best: list[tuple[float, float]] = []
    for x, y in sorted(points, key=lambda point: (point[0], point[1] if lower else -point[1])):
        if not best or (y < best[-1][1] if lower else y > best[-1][1]):
            best.append((x, y))
    return best


def _named(metric: str) -> str:
    return "training time (s)" if metric == "train_seconds" else names.metric(metric)
