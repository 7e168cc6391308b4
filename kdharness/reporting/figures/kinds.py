"""The figures that are drawn of runs' analyses, by name."""

from collections.abc import Callable, Mapping, Sequence

from kdharness.reporting.figures.drawing import Drawing, Panel
from kdharness.reporting.figures.features import features
from kdharness.reporting.figures.hardest import hardest
from kdharness.reporting.figures.histogram import histogram
from kdharness.reporting.figures.logit_bars import logit_bars
from kdharness.reporting.figures.maps import correlation_maps, difference_maps
from kdharness.reporting.figures.perception import perception
from kdharness.reporting.figures.reliability import reliability

OF_ANALYSES: Mapping[str, Callable[[Sequence[Panel]], Drawing]] = {
    "reliability": reliability,
    "logit-bars": logit_bars,
    "differences": difference_maps,
    "features": features,
    "histogram": histogram,
    "correlations": correlation_maps,
    "perception": perception,
    "hardest": hardest,
}
"""`core.records.FIGURES` says which analysis each is drawn of."""
