"""Our runs against a printed number, in standard errors and in words."""

import math
from collections.abc import Sequence

from kdharness.reporting import statistics
from kdharness.reporting.published.values import Printed
from kdharness.reporting.table import Verdict


def standard_errors(values: Sequence[float], printed: Printed) -> float | None:
    """(ours - printed) / (s sqrt(1/n + 1/n_paper)), s and n being ours, n_paper 1 where it is not known.

    None below two runs, and where ours do not vary but differ.
    """
    mean, std = statistics.mean(values), statistics.std(values)
    if mean is None or std is None:
        return None
    difference = mean - printed.value
    if std == 0.0:
        return 0.0 if abs(difference) < 0.5 * 10.0**-printed.decimals else None
    return difference / (std * math.sqrt(1 / len(values) + 1 / (printed.n or 1)))


def verdict_of(score: float | None, n: int) -> Verdict | None:
    """In words, at the 95 % bound of Student's t with our n - 1 degrees of freedom; None without scipy."""
    bound = statistics.critical_t(n - 1) if n > 1 else None
    if score is None or bound is None:
        return None
    return "compatible" if abs(score) <= bound else "above" if score > 0 else "below"
