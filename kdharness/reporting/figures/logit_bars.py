"""The logits of one image, teacher's beside student's (Logit Standardization, Figure 3, first row)."""

from collections.abc import Sequence

import numpy

from kdharness.reporting.figures.drawing import (
    ACROSS,
    Drawing,
    Panel,
    image_axis,
    keyed,
    one_run_each,
    one_scale,
    panels,
    styled,
)


@styled
def logit_bars(drawn: Sequence[Panel]) -> Drawing:
    """Above raw, below standardized; each panel says the variances over the classes (divisor K)."""
    figure, axes = panels(len(drawn), rows=2, size=(2.4, 1.6))
    for number, panel in enumerate(drawn):
        for row, prefix in enumerate(("", "zscore_")):
            one = axes[row * len(drawn) + number]
            teacher, student = (panel.arrays[f"{who}_{prefix}first"] for who in ("teacher", "student"))
            at = numpy.arange(len(student))
            one.bar(at, teacher, 0.9, color="0.8", label="teacher")
            one.bar(at, student, 0.35, color="black", label="student")
            one.axhline(0, color="black", linewidth=0.5)
            variances = f"variance {teacher.var():.2f} / {student.var():.2f}"
            one.set_title(f"{panel.label}\n{variances}" if row == 0 else variances)
            if row == 1:
                image_axis(one, len(student), "class")
    for row, name in enumerate(("raw logit", "standardized logit")):
        line = axes[row * len(drawn) : (row + 1) * len(drawn)]
        for first in line[::ACROSS]:
            first.set_ylabel(name)
        one_scale(line)
    keyed(figure, axes[:1])
    label = int(drawn[0].arrays["label"])
    caption = (
        f"Logits of teacher and student for the first {drawn[0].split} image (class {label}), raw and standardized by "
        f"the sample deviation; in the titles the variances over the classes, teacher / student. {one_run_each(drawn)}"
    )
    return Drawing("logit-bars", figure, caption)
