"""One image's probabilities before and after LumiNet's perception (Figure 7)."""

from collections.abc import Sequence

import numpy

from kdharness.reporting.figures.drawing import (
    ACROSS,
    Drawing,
    Panel,
    image_axis,
    one_run_each,
    one_scale,
    panels,
    styled,
)


@styled
def perception(drawn: Sequence[Panel]) -> Drawing:
    """Above the softmax with temperature 4, below that of the logits standardized over a batch; the true class dark."""
    figure, axes = panels(len(drawn), rows=2, size=(2.4, 1.5))
    for number, panel in enumerate(drawn):
        label = int(panel.arrays["label"])
        for row, name in enumerate(("softened", "perceived")):
            one, values = axes[row * len(drawn) + number], panel.arrays[name]
            colours = numpy.where(numpy.arange(len(values)) == label, "black", "0.7").tolist()
            one.bar(numpy.arange(len(values)), values, 0.9, color=colours)
            one.set_ylim(bottom=0)
            entropy = float(-(values * numpy.log(numpy.maximum(values, 1e-300))).sum())
            one.set_title((f"{panel.label}\n" if row == 0 else "") + f"entropy {entropy:.2f} nats")
            if row == 1:
                image_axis(one, len(values), "class")
    for row, name in enumerate(("softened (T = 4)", "perception (T = 4)")):
        line = axes[row * len(drawn) : (row + 1) * len(drawn)]
        one_scale(line)
        for first in line[::ACROSS]:
            first.set_ylabel(name)
    caption = (
        f"Probabilities of the first {drawn[0].split} image: softmax of its logits with temperature 4, and of the "
        "logits standardized per class over the first 64 images, with the same temperature; its class is dark. "
        f"{one_run_each(drawn)}"
    )
    return Drawing("perception", figure, caption)
