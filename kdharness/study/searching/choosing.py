"""Which points of a search go on and which one wins: pure functions of numbers."""

import math
from collections.abc import Mapping, Sequence

from kdharness.reporting.statistics import mean, std

LOSES_BELOW = 0.1
"""A finalist whose seeds are worse than the leader's at this level is given up (Optuna's default)."""
LEAST_PAIRS = 4
"""Below so many seeds no one-sided signed-rank test can reach that level: 1/2³ is 0.125."""


def best(values: Mapping[int, float], keep: int) -> list[int]:
    """The numbers of the `keep` highest values, in number order; of equal ones the earlier."""
    ranked = sorted(values, key=lambda number: (-values[number], number))
    return sorted(ranked[:keep])


def losers(repeats: Mapping[int, Sequence[float]], level: float = LOSES_BELOW) -> list[int]:
    """Those whose values, paired by seed with the highest mean's, are lower by Wilcoxon's signed-rank test.

    One-sided, zeros split (Pratt's counterpart `zsplit`), as Optuna's WilcoxonPruner. Nobody below `LEAST_PAIRS` seeds.
    """
    if len(repeats) < 2 or min(map(len, repeats.values())) < LEAST_PAIRS:
        return []
    from scipy.stats import wilcoxon

    leader = max(repeats, key=lambda number: (mean(repeats[number]) or 0.0, -number))
    found = []
    for number, values in repeats.items():
        differences = [value - other for value, other in zip(values, repeats[leader], strict=True)]
        if number != leader and any(differences):
            chance = float(wilcoxon(differences, alternative="less", zero_method="zsplit").pvalue)
            found += [number] if chance < level else []
    return found


def winner(repeats: Mapping[int, Sequence[float]], distance: Mapping[int, float]) -> int:
    """Of those within one standard error of the highest mean, the one at the least distance from the paper.

    The standard error is the leader's over its seeds (Breiman et al. 1984, 1-SE rule), 0 for a single seed. Of several
    at one distance the higher mean, then the earlier number.
    """
    means = {number: math.fsum(values) / len(values) for number, values in repeats.items()}
    leader = min(means, key=lambda number: (-means[number], number))
    error = (std(repeats[leader]) or 0.0) / math.sqrt(len(repeats[leader]))
    near = [number for number in means if means[number] >= means[leader] - error]
    return min(near, key=lambda number: (distance[number], -means[number], number))


def front(points: Mapping[int, tuple[float, float]]) -> list[int]:
    """The Pareto front of (value, cost): those that nobody beats in one without losing the other, by rising cost."""
    ordered = sorted(points, key=lambda number: (points[number][1], -points[number][0], number))
    found: list[int] = []
    highest = -math.inf
    for number in ordered:
        if points[number][0] > highest:
            found.append(number)
            highest = points[number][0]
    return found
