"""Learning curves: a metric of every epoch, mean and band over the seeds."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy
from matplotlib.ticker import MaxNLocator

from kdharness.reporting import names
from kdharness.reporting.figures.drawing import Array, Drawing, counted, keyed, look, panels, styled

FEW = 20
"""Epochs up to which each is marked."""


@dataclass(frozen=True)
class Curve:
    """One setting's runs."""

    label: str
    pair: str
    """As printed; empty where there is one only."""
    epochs: Array
    """(E,)"""
    values: Mapping[str, Array]
    """Metric -> (n, E): a row for each run; NaN where a run has no value."""

    @property
    def name(self) -> str:
        return f"{self.label}, {self.pair}" if self.pair else self.label

    @property
    def n(self) -> int:
        return max((len(rows) for rows in self.values.values()), default=0)


@styled
def curves(drawn: Sequence[Curve], metrics: Sequence[str], *, title: str) -> Drawing:
    """A panel for each pair and metric, a line for each setting; the band is one sample deviation."""
    pairs = list(dict.fromkeys(curve.pair for curve in drawn))
    across = len(metrics) if len(pairs) > 1 < len(metrics) else 3
    figure, axes = panels(len(pairs) * len(metrics), across=across, size=(2.9, 2.3))
    looks: dict[tuple[str, int], int] = {}
    for one, (pair, metric) in zip(axes, product(pairs, metrics), strict=True):
        seen: Counter[str] = Counter()
        for curve in drawn:
            if metric not in curve.values or curve.pair != pair:
                continue
            number = looks.setdefault((curve.label, seen[curve.label]), len(looks))
            seen[curve.label] += 1
            rows = curve.values[metric]
            mean = rows.mean(0)
            every = 1 if len(curve.epochs) <= FEW else len(curve.epochs) // 8
            one.plot(curve.epochs, mean, label=curve.label, markevery=(number % every, every), **look(number))
            if len(rows) > 1:
                std = rows.std(0, ddof=1)
                one.fill_between(
                    curve.epochs, mean - std, mean + std, color=look(number)["color"], alpha=0.15, linewidth=0
                )
        one.set_title(pair)
        one.set_xlabel("epoch")
        one.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        one.set_ylabel(names.metric(metric))
        one.set_xlim(*_ends([curve.epochs for curve in drawn]))
    keyed(figure, axes)
    caption = (
        f"{title}: {', '.join(map(names.metric, metrics))} of every epoch. Mean and sample standard deviation (band); "
        f"{counted([curve.n for curve in drawn])} of a setting. Test values were sealed until their run was finished."
    )
    return Drawing("curves-" + "-".join(metrics), figure, caption)


def _ends(epochs: Sequence[Array]) -> tuple[float, float]:
    last = max(float(numpy.max(one)) for one in epochs)
    return (1.0, max(last, 1.5))
