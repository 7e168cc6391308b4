"""The classes that are hardest for the teacher, and what the students make of them (LumiNet, Table 6)."""

from collections.abc import Sequence

import numpy

from kdharness.reporting.figures.drawing import Drawing, Numbers, Panel, keyed, look, one_run_each, panels, styled

_MARKS = ("ring", "asterisk")
"""Of the figure and of its table."""


@styled
def hardest(drawn: Sequence[Panel]) -> Drawing:
    """Errors in percent by class, hardest first; a ring: strictly below the teacher. Its numbers are the paper's table.

    The teacher is the first run's: the same for all of a pair.
    """
    chosen = drawn[0].arrays["hardest"]
    teacher = drawn[0].arrays["teacher"][chosen]
    figure, (axes,) = panels(1, size=(4.6, 2.5))
    at = numpy.arange(len(chosen))
    axes.bar(at, teacher, 0.8, color="0.85", label="teacher")
    lines = [["class", "teacher", *(panel.label for panel in drawn)]]
    lines += [[str(number), f"{error:.1f}"] for number, error in zip(chosen, teacher, strict=True)]
    for number, panel in enumerate(drawn):
        own = panel.arrays["student"][chosen]
        below = own < teacher
        beside = at + 0.6 * ((number + 0.5) / len(drawn) - 0.5)
        axes.plot(beside, own, label=panel.label, clip_on=False, **{**look(number), "linestyle": "none"})
        if below.any():  # an empty line that may leave the axes would push them aside
            axes.plot(
                beside[below],
                own[below],
                "o",
                clip_on=False,
                markersize=8,
                fillstyle="none",
                color="black",
                markeredgewidth=0.6,
            )
        for line, error, better in zip(lines[1:], own, below, strict=True):
            line.append(f"{error:.1f}{'*' if better else ''}")
    axes.set_xticks(at, [str(number) for number in chosen])
    axes.set_xlabel("class, hardest for the teacher first")
    axes.set_ylabel("error (%)")
    axes.set_ylim(bottom=0)
    keyed(figure, [axes])
    images = f"the {drawn[0].split} images of the {len(chosen)} classes that the teacher gets wrong most often"
    ring, asterisk = (
        f"Error (%) on {images}; {mark}: strictly below the teacher. {one_run_each(drawn)}" for mark in _MARKS
    )
    return Drawing("hardest", figure, ring, Numbers(asterisk, tuple(map(tuple, lines))))
