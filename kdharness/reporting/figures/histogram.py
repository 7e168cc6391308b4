"""Bivariate histograms of the mean and the deviation of each image's logits (Logit Standardization, Figure 5)."""

from collections.abc import Sequence

import numpy
from matplotlib.colors import LogNorm

from kdharness.reporting.figures.drawing import Array, Drawing, Panel, one_run_each, panels, styled

BINS = 40


@styled
def histogram(drawn: Sequence[Panel]) -> Drawing:
    """A panel for the first teacher there is, and one for each student, on one scale; the cross: standardized."""
    clouds: list[tuple[str, str, Panel]] = []
    taught = next((panel for panel in drawn if "teacher_mean" in panel.arrays), None)
    if taught is not None:
        clouds.append(("teacher", "teacher", taught))
    clouds += [(panel.label, "student", panel) for panel in drawn]
    figure, axes = panels(len(clouds), size=(2.1, 2.1))
    means = numpy.concatenate([panel.arrays[f"{who}_mean"] for _, who, panel in clouds])
    stds = numpy.concatenate([panel.arrays[f"{who}_std"] for _, who, panel in clouds])
    (left, right), top = _ends(means), max(float(stds.max()), 1.0) * 1.05
    edges = [numpy.linspace(left, right, BINS + 1), numpy.linspace(0, top, BINS + 1)]
    most = 1.0
    pictures = []
    for one, (name, who, panel) in zip(axes, clouds, strict=True):
        counts, _, _, picture = one.hist2d(
            panel.arrays[f"{who}_mean"], panel.arrays[f"{who}_std"], bins=edges, cmin=1, norm=LogNorm(vmin=1, vmax=2)
        )
        most = max(most, float(numpy.nanmax(counts)))
        pictures.append(picture)
        standard = panel.arrays[f"{who}_zscore_mean"].mean(), panel.arrays[f"{who}_zscore_std"].mean()
        one.plot(*standard, marker="x", color="#D55E00", markersize=6, linestyle="none", label="standardized")
        one.set_title(name)
        one.set_xlabel("mean of the logits")
    for picture in pictures:
        picture.set_norm(LogNorm(vmin=1, vmax=max(most, 2.0)))
    axes[0].set_ylabel("sample deviation of the logits")
    axes[0].legend(loc="upper left")
    figure.colorbar(pictures[-1], ax=axes, label="images", pad=0.02)
    caption = (
        f"Mean and sample deviation over the classes of the logits of each of {len(drawn[0].arrays['student_mean']):,} "
        f"{drawn[0].split} images, {BINS} bins a side, one scale; the cross is where all of them lie once they are "
        f"standardized. {one_run_each(drawn)}"
    )
    return Drawing("histogram", figure, caption)


def _ends(values: Array) -> tuple[float, float]:
    """Around all values and 0."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    pad = 0.08 * max(high - low, 0.1)
    return low - pad, high + pad
