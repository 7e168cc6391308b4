"""The smallest difference of two rows that a number of seeds can show."""

import math
from collections.abc import Callable, Collection

from kdharness.reporting import statistics
from kdharness.results.store import Store

SPREAD = 0.25
"""Run-to-run standard deviation of a final accuracy in points, as CIFAR-100 students have it."""
_LEVEL = 0.05
_POWER = 0.8
_ENOUGH = 10
"""Degrees of freedom from which the finished runs say what the spread is."""


def measured_spread(store: Store, settings: Collection[str]) -> tuple[float, int] | None:
    """The pooled standard deviation of final test accuracies within these settings, and of how many runs.

    None where too few of them are finished.
    """
    _, found = store.query(
        "SELECT setting_key, value FROM runs JOIN metrics USING (run_id) WHERE state = 'complete' "
        "AND name = 'test_top1_last' AND value IS NOT NULL AND run_id NOT IN (SELECT run_id FROM exclusions)"
    )
    values: dict[str, list[float]] = {}
    for key, value in found:
        if key in settings:
            values.setdefault(key, []).append(value)
    spreads = [(std, len(each)) for each in values.values() if (std := statistics.std(each)) is not None]
    freedom = sum(n - 1 for _, n in spreads)
    if freedom < _ENOUGH:
        return None
    return math.sqrt(math.fsum((n - 1) * std**2 for std, n in spreads) / freedom), sum(n for _, n in spreads)


def smallest_difference(seeds: int, spread: float = SPREAD) -> float | None:
    """Points that a two-sided t test of two rows (level 0.05) finds in 80 % of cases; None for one seed."""
    if seeds < 2:
        return None
    freedom = 2 * seeds - 2
    critical = _solve(lambda t: _exceeds(t, 0.0, freedom), _LEVEL / 2, falling=True)
    shift = _solve(lambda delta: _exceeds(critical, delta, freedom), _POWER, falling=False)
    return shift * spread * math.sqrt(2 / seeds)


def _exceeds(bound: float, shift: float, freedom: int) -> float:
    """P(T > bound) of the noncentral t: the normal tail averaged over s, where s² is chi-square by its freedom."""
    half = freedom / 2
    constant = math.log(2) + half * math.log(half) - math.lgamma(half)
    steps, top = 600, 6.0
    total = 0.0
    for step in range(1, steps):
        s = top * step / steps
        density = math.exp(constant + (freedom - 1) * math.log(s) - half * s * s)
        total += density * 0.5 * math.erfc((bound * s - shift) / math.sqrt(2))
    return total * top / steps


def _solve(function: Callable[[float], float], target: float, *, falling: bool) -> float:
    low, high = 0.0, 100.0
    for _ in range(40):
        middle = (low + high) / 2
        if (function(middle) > target) == falling:
            low = middle
        else:
            high = middle
    return low
