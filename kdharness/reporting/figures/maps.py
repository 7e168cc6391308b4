"""Class-by-class maps: where student and teacher differ (Logit Standardization, Figure 3; LumiNet, Figures 5 and 6)."""

from collections.abc import Sequence

import numpy

from kdharness.reporting.figures.drawing import (
    Array,
    Drawing,
    Panel,
    bare,
    image_axis,
    one_run_each,
    panels,
    styled,
)


@styled
def difference_maps(drawn: Sequence[Panel]) -> Drawing:
    """Mean |student - teacher| of each logit over the images of each class; above raw, below standardized."""
    kinds = {"raw": "raw logits", "zscore": "standardized logits"}
    maps = [[panel.arrays[name] for panel in drawn] for name in kinds]
    caption = (
        f"Mean absolute difference of teacher's and student's logits, true class by logit, on the {drawn[0].split} "
        f"images; above the maps their mean and largest entry. Each row has one scale. {one_run_each(drawn)}"
    )
    return _drawn("differences", drawn, maps, list(kinds.values()), "true class", caption)


@styled
def correlation_maps(drawn: Sequence[Panel]) -> Drawing:
    """|student's - teacher's| correlation of every two classes' logits."""
    maps = [[abs(panel.arrays["student_correlation"] - panel.arrays["teacher_correlation"]) for panel in drawn]]
    caption = (
        "Absolute difference of the student's and the teacher's correlation of every two classes' logits over the "
        f"{drawn[0].split} images; above the maps their mean and largest entry. {one_run_each(drawn)}"
    )
    return _drawn("correlations", drawn, maps, ["correlations"], "class", caption)


def _drawn(
    name: str, drawn: Sequence[Panel], maps: list[list[Array]], kinds: list[str], down: str, caption: str
) -> Drawing:
    figure, axes = panels(len(drawn), rows=len(kinds), across=len(drawn), size=(2.1, 2.2))
    for row, kind in enumerate(kinds):
        top = max(float(numpy.nanmax(one)) for one in maps[row])
        line = axes[row * len(drawn) : (row + 1) * len(drawn)]
        for one, panel, values in zip(line, drawn, maps[row], strict=True):
            picture = one.imshow(values, vmin=0, vmax=top)
            bare(one)
            spread = f"mean {numpy.nanmean(values):.2f}, max {numpy.nanmax(values):.2f}"
            one.set_title(f"{panel.label}\n{spread}" if row == 0 else spread)
            image_axis(one, len(values), "logit" if down == "true class" else "class")
            one.set_yticks(one.get_xticks())
            one.set_ylim(len(values) - 0.5, -0.5)
            one.set_xlim(-0.5, len(values) - 0.5)
        line[0].set_ylabel(down)
        figure.colorbar(picture, ax=line, label=f"difference of {kind}", pad=0.02)
    return Drawing(name, figure, caption)
