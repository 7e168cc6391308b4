"""A student's features in two dimensions (Logit Standardization, Figure 4)."""

from collections.abc import Sequence

import matplotlib
import numpy

from kdharness.reporting.figures.drawing import Drawing, Panel, bare, one_run_each, panels, styled

MARKED = 10
"""Up to so many classes each has its number as its mark, which grey cannot take away."""


@styled
def features(drawn: Sequence[Panel]) -> Drawing:
    """t-SNE of the pooled features, coloured by class."""
    figure, axes = panels(len(drawn), size=(2.1, 2.2))
    colours = matplotlib.colormaps["turbo"]
    for one, panel in zip(axes, drawn, strict=True):
        points, labels = panel.arrays["points"], panel.arrays["labels"]
        classes = numpy.unique(labels)
        few = len(classes) <= MARKED
        for number, label in enumerate(classes):
            own = points[labels == label]
            one.scatter(
                own[:, 0], own[:, 1], s=12 if few else 4, marker=f"${label}$" if few else ".", linewidths=0.2,
                color=colours(number / max(1, len(classes) - 1)),
            )  # fmt: skip
        bare(one)
        one.set_xticks([])
        one.set_yticks([])
        one.set_title(panel.label)
    labels = drawn[0].arrays["labels"]
    caption = (
        f"t-SNE of the pooled features of {len(labels):,} {drawn[0].split} images of {len(numpy.unique(labels))} "
        f"classes (perplexity 30, begun with the principal components); axes have no unit. {one_run_each(drawn)}"
    )
    return Drawing("features", figure, caption)
