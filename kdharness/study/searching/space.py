"""The space of a search: its ranges, what the paper says brought into them, and how far two points are apart."""

import math
from collections.abc import Mapping
from typing import Any

from kdharness.study.spec import Choice, FloatRange, IntRange, Range


def brought_inside(ranges: Mapping[str, Range], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values at the nearest point of their ranges; without one that a choice does not offer."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        one = ranges[name]
        if isinstance(one, Choice):
            if value in one.choice:
                found[name] = value
        else:
            inside = min(max(value, one.bounds[0]), one.bounds[1])
            found[name] = round(inside) if isinstance(one, IntRange) else inside
    return found


def distance(ranges: Mapping[str, Range], point: Mapping[str, Any], paper: Mapping[str, Any]) -> float:
    """Euclidean distance with every range (a logarithmic one: its logarithm) as [0, 1], a choice as equal or not.

    Constants that the paper does not name count for nothing.
    """
    squares = 0.0
    for name, there in paper.items():
        one, here = ranges[name], point[name]
        if isinstance(one, Choice):
            squares += here != there
        else:
            squares += (_unit(one, here) - _unit(one, there)) ** 2
    return math.sqrt(squares)


def _unit(one: FloatRange | IntRange, value: float) -> float:
    low, high = one.bounds
    if one.log:
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)
