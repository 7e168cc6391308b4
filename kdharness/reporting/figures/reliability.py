"""Reliability diagrams: how right a student is where it is how sure (Guo et al., ICML 2017)."""

from collections.abc import Sequence

import numpy

from kdharness.reporting.figures.drawing import ACROSS, Drawing, Panel, keyed, one_run_each, one_scale, panels, styled


@styled
def reliability(drawn: Sequence[Panel]) -> Drawing:
    """Bars: accuracy in each bin of the confidence; hatched: the gap to the confidence; below: how many images."""
    figure, axes = panels(len(drawn), rows=2, size=(1.9, 1.5))
    bins = len(drawn[0].arrays["count"])
    edges = numpy.linspace(0, 1, bins + 1)
    said = []
    for number, panel in enumerate(drawn):
        count, confidence, accuracy = (panel.arrays[name] for name in ("count", "confidence", "accuracy"))
        filled = count > 0
        centres, width = (edges[:-1] + edges[1:]) / 2, 1 / bins
        upper, lower = axes[number], axes[len(drawn) + number]
        upper.bar(centres[filled], accuracy[filled], width, color="0.55", edgecolor="black", label="accuracy")
        low, high = numpy.minimum(accuracy, confidence), numpy.maximum(accuracy, confidence)
        upper.bar(
            centres[filled], (high - low)[filled], width, bottom=low[filled], color="none", edgecolor="#D55E00",
            hatch="////", label="gap to the confidence",
        )  # fmt: skip
        upper.plot([0, 1], [0, 1], color="black", linewidth=0.7, linestyle="--")
        gaps = abs(accuracy - confidence)[filled]
        ece, mce = float((count[filled] / count.sum() * gaps).sum()), float(gaps.max())
        upper.set_title(f"{panel.label}\nECE {ece:.3f}, MCE {mce:.3f}")
        said.append(f"{panel.label}: ECE {ece:.4f}, MCE {mce:.4f}")
        lower.bar(centres, count, width, color="0.75", edgecolor="black")
        lower.set_yscale("log")
        lower.set_xlabel("confidence")
        for one in (upper, lower):
            one.set_xlim(0, 1)
        upper.set_ylim(0, 1)
    for row, name in enumerate(("accuracy", "images")):
        for first in axes[row * len(drawn) : (row + 1) * len(drawn) : ACROSS]:
            first.set_ylabel(name)
    one_scale(axes[len(drawn) :])
    keyed(figure, axes[:1])
    images = int(drawn[0].arrays["count"].sum())
    caption = (
        f"Reliability over {bins} bins of equal width, {images:,} {drawn[0].split} images. {one_run_each(drawn)} "
        f"{'; '.join(said)}."
    )
    return Drawing("reliability", figure, caption)
