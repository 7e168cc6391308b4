"""What reports know of datasets by name; knows no images, so that a report loads no torch."""

import math
import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, NamedTuple


@cache
def known_datasets() -> Mapping[str, Mapping[str, Any]]:
    """By name what a paragraph says of a dataset: printed, train, test, classes, pixels, cite."""
    return tomllib.loads(resources.files("kdharness.reporting").joinpath("datasets.toml").read_text("utf-8"))


class Chance(NamedTuple):
    """The accuracy of a guess, in percent."""

    level: float
    highest: float
    """What 39 of 40 guesses at the whole test split stay below."""


@cache
def chance(dataset: str, metric: str) -> Chance | None:
    """Of a top-k accuracy on the test images; None for another metric, and where the classes are not known."""
    found, known = re.fullmatch(r"test_top(\d+)_(last|best)", metric), known_datasets().get(dataset)
    if found is None or known is None:
        return None
    share = min(int(found[1]) / known["classes"], 1.0)
    return Chance(100 * share, 100 * (share + 1.96 * math.sqrt(share * (1 - share) / known["test"])))
