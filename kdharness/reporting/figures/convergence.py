"""How training went: loss, gradient, its variance, convergence (LumiNet, Figure 4), from `record: [gradients]`."""

from collections.abc import Callable, Sequence

import numpy
from matplotlib.ticker import MaxNLocator

from kdharness.reporting.figures.curves import Curve
from kdharness.reporting.figures.drawing import Array, Drawing, counted, keyed, look, panels, styled

WINDOW = 5
"""Epochs of a moving mean or variance; of a short training half of them."""


@styled
def convergence(drawn: Sequence[Curve], *, title: str) -> Drawing:
    """Four panels: loss over that of the first epoch; moving variance of the gradient norm; moving mean of the
    relative loss; the gradient norms of all epochs as boxes."""
    figure, axes = panels(4, across=2, size=(2.9, 2.1))
    said, longest = [], 0
    for number, curve in enumerate(drawn):
        loss, gradient = curve.values["train_loss"].mean(0), curve.values["train_gradient"].mean(0)
        relative = loss / loss[0]
        window = max(1, min(WINDOW, len(loss) // 2))
        late, every = curve.epochs[window - 1 :], max(1, len(loss) // 8)
        line = {**look(number), "markevery": (number % every, every)}
        axes[0].plot(curve.epochs, relative, label=curve.name, **line)
        axes[1].plot(late, moving(gradient, window, numpy.var), label=curve.name, **line)
        axes[2].plot(late, moving(relative, window, numpy.mean), label=curve.name, **line)
        longest = max(longest, window)
        half = relative[len(relative) // 2]
        said.append(f"{curve.name}: {100 * (1 - half):.0f} % at epoch {curve.epochs[len(relative) // 2]:.0f}")
    boxes = axes[3].boxplot(
        [curve.values["train_gradient"].mean(0) for curve in drawn], patch_artist=True, widths=0.5,
        medianprops={"color": "black"}, flierprops={"markersize": 2},
    )  # fmt: skip
    for number, box in enumerate(boxes["boxes"]):
        box.set(facecolor="0.9", edgecolor=look(number)["color"])
    axes[3].set_xticks(range(1, len(drawn) + 1), [curve.name for curve in drawn], rotation=25, ha="right")
    if any((numpy.asarray(line.get_ydata()) > 0).any() for line in axes[1].lines):
        axes[1].set_yscale("log")
    for one, name in zip(
        axes,
        (
            "loss / loss of epoch 1",
            "variance of the\ngradient norm",
            "moving mean of\nthe relative loss",
            "gradient norm",
        ),
        strict=True,
    ):
        one.set_ylabel(name)
    for one in axes[:3]:
        one.set_xlabel("epoch")
        one.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    keyed(figure, axes[:3])
    caption = (
        f"{title}: training loss relative to its first epoch, variance and mean over the last {longest} epochs of the "
        "gradient's L2 norm (epoch means) and of that loss, and the norms of all epochs. Losses of different methods "
        f"have different terms: only their course compares. {counted([curve.n for curve in drawn])} of a setting, "
        f"averaged. Loss reduction: {'; '.join(said)}."
    )
    return Drawing("convergence", figure, caption)


def moving(values: Array, window: int, what: Callable[..., Array]) -> Array:
    """(E,) -> (E - window + 1,): a statistic of each window."""
    windows = numpy.lib.stride_tricks.sliding_window_view(values, window)
    return what(windows, axis=1)
