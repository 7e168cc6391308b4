"""Whether two ways of training give the same accuracy: two one-sided tests (TOST, Schuirmann 1987) of a difference.

A difference that no test finds is no equivalence; here equality within the margin is what has to be shown.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kdharness.core.errors import EnvironmentRefused
from kdharness.reporting.runs import Run
from kdharness.reporting.statistics import MISSING, mean, std

MARGIN = 0.3
"""Points of accuracy: what CIFAR-100 students of one setting differ by from seed to seed."""
LEVEL, POWER = 0.05, 0.8
_QUANTILES = 400
_MOST_SEEDS = 10_000


@dataclass(frozen=True)
class Equivalence:
    """What the seeds of two settings say of their difference, in points."""

    n: tuple[int, int]
    difference: float
    interval: tuple[float, float]
    """90 %, Welch: equivalent is what lies wholly within the margin."""
    p: float
    """Of the worse of the two one-sided tests."""
    needed: int
    """Seeds of each that show it in 80 % of cases, were there no difference, at the spread measured here."""
    margin: float = MARGIN

    @property
    def shown(self) -> bool:
        """Equivalent by enough seeds: a passed test of fewer than needed was luck."""
        return self.p < LEVEL and min(self.n) >= self.needed


def equivalence(values: Sequence[float], others: Sequence[float], margin: float = MARGIN) -> Equivalence | None:
    """Welch's form of TOST; None below two values on either side, or where neither side varies.

    Raises EnvironmentRefused without scipy.
    """
    special = _special()
    spreads = std(values), std(others)
    centres = mean(values), mean(others)
    if spreads[0] is None or spreads[1] is None or centres[0] is None or centres[1] is None:
        return None
    one, two = spreads[0] ** 2 / len(values), spreads[1] ** 2 / len(others)
    if one + two == 0.0:
        return None
    difference, error = centres[0] - centres[1], math.sqrt(one + two)
    freedom = (one + two) ** 2 / (one**2 / (len(values) - 1) + two**2 / (len(others) - 1))
    half = float(special.stdtrit(freedom, 1 - LEVEL)) * error
    p = 1.0 - float(special.stdtr(freedom, (margin - abs(difference)) / error))
    spread = math.sqrt((spreads[0] ** 2 + spreads[1] ** 2) / 2)
    interval = (difference - half, difference + half)
    return Equivalence((len(values), len(others)), difference, interval, p, seeds_needed(spread, margin), margin)


def seeds_needed(spread: float, margin: float = MARGIN, power: float = POWER) -> int:
    """Seeds of each of two settings without a difference, of which TOST shows it with that power.

    `spread` is the standard deviation from seed to seed, in points. Raises EnvironmentRefused without scipy.
    """
    low, high = 2, 2
    while _power(high, spread, margin) < power and high < _MOST_SEEDS:
        low, high = high, 2 * high
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _power(middle, spread, margin) >= power else (middle + 1, high)
    return high


def precisions(runs: Sequence[Run]) -> dict[tuple[str, str, str], Equivalence | None]:
    """By data set, pair and row: what bf16's finished final runs say against those of the row's fp32 or tf32.

    Rows are the same where nothing differs but the precision; those without both are left out.
    """
    values: dict[str, dict[str, list[float]]] = {}
    names: dict[str, tuple[str, str, str]] = {}
    for run in runs:
        if run.purpose != "final" or run.value is None:
            continue
        recipe = {name: value for name, value in run.recipe.items() if name != "precision"}
        axes = {name: value for name, value in run.axes.items() if name != "recipe.precision"}
        alike = [run.dataset, run.pair, run.label, axes, run.distiller, run.constants, recipe, run.teacher_sha256]
        key = json.dumps(alike, sort_keys=True)
        names[key] = (run.dataset, run.pair, run.label)
        values.setdefault(key, {}).setdefault(str(run.recipe["precision"]), []).append(run.value)
    found: dict[tuple[str, str, str], Equivalence | None] = {}
    for key, by_precision in values.items():
        exact = by_precision.get("fp32") or by_precision.get("tf32")
        if exact and "bf16" in by_precision:
            found[names[key]] = equivalence(by_precision["bf16"], exact)
    return found


def _power(n: int, spread: float, margin: float) -> float:
    """P(both one-sided tests reject | no difference): the normal's, averaged over the sample deviation's quantiles."""
    special = _special()
    freedom, error = 2 * n - 2, spread * math.sqrt(2 / n)
    critical = float(special.stdtrit(freedom, 1 - LEVEL))
    total = 0.0
    for place in range(_QUANTILES):
        ratio = 2 * float(special.gammaincinv(freedom / 2, (place + 0.5) / _QUANTILES)) / freedom
        total += max(0.0, math.erf((margin / error - critical * math.sqrt(ratio)) / math.sqrt(2)))
    return total / _QUANTILES


def _special() -> Any:
    try:
        import scipy.special
    except ImportError as error:
        raise EnvironmentRefused(MISSING) from error
    return scipy.special
