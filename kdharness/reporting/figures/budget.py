"""What a search of a given budget would be expected to find: the best validation score against the number of draws."""

from collections.abc import Mapping, Sequence

from matplotlib.ticker import MaxNLocator

from kdharness.reporting import names
from kdharness.reporting.figures.drawing import Drawing, keyed, look, panels, styled


@styled
def budget(expected: Mapping[str, Sequence[float]], metric: str) -> Drawing:
    """A line for each search by its name: the expected best score of 1, 2, ... draws (Dodge et al., EMNLP 2019)."""
    figure, (axes,) = panels(1, size=(3.2, 2.4))
    for number, (name, values) in enumerate(expected.items()):
        draws = range(1, len(values) + 1)
        axes.plot(draws, values, label=name, markevery=max(1, len(values) // 8), **look(number))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("draws")
    score = names.metric(metric)
    axes.set_ylabel(f"expected best {score[:1].lower()}{score[1:]}")
    keyed(figure, [axes])
    counts = ", ".join(f"{name}: {len(values)} draws" for name, values in expected.items())
    caption = (
        f"{score} that the best of so many draws is expected to have, from all draws of a search "
        f"({counts}; one run each). With a sampler that learns, small budgets come out too high."
    )
    return Drawing("expected-best", figure, caption)
