"""What stands in a search's figures is what its draws came to, and the caption says of how many."""

from dataclasses import replace

import numpy as np

from kdharness.reporting.figures.drawing import files_of
from kdharness.reporting.figures.searches import SearchPlot, search_figures

PLOT = SearchPlot(
    title="kd, a -> b",
    metric="val_top1_last",
    sampler="tpe",
    images=5000,
    schedule="1/4",
    values=[70.0, None, 73.0, 72.0],
    winner=2,
    params={"temperature": [1.0, 2.0, 4.0, 16.0], "standardize": ["none", "none", "zscore", "none"]},
    logarithmic=frozenset({"temperature"}),
    importance={"temperature": 0.7, "standardize": 0.3},
    expected=[71.0, 72.0, 72.5],
    costs=[1e6, 2e6, 4e6, 3e6],
    front=[0, 3, 2],
)


def points(axes, label):
    (line,) = [one for one in axes.lines if one.get_label() == label]
    return list(zip(np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist(), strict=True))


def test_figures_of_a_search_show_its_draws():
    first, front, budget = search_figures([PLOT], "study-search")
    assert [first.name, front.name, budget.name] == ["study-search-1", "study-search-1-front", "study-search-budget"]
    order, temperature, standardize, importance = first.figure.axes
    assert points(order, "draw") == [(0, 70.0), (2, 73.0), (3, 72.0)]
    assert points(order, "best so far") == [(0, 70.0), (2, 73.0), (3, 73.0)]
    assert points(order, "chosen") == [(2, 73.0)] and [at for at, _ in points(order, "no value")] == [1]
    assert temperature.get_xscale() == "log" and temperature.lines[0].get_xdata().tolist() == [1.0, 4.0, 16.0]
    assert standardize.lines[2].get_xdata() == ["zscore"]
    assert [bar.get_width() for bar in importance.patches] == [0.7, 0.3]
    said = "n = 3 draws by tpe, validation 5,000 images, on 1/4 of the schedule; 1 more without a value"
    assert all(said in drawing.caption for drawing in (first, front, budget))
    (axes,) = front.figure.axes
    assert points(axes, "beaten by nobody") == [(1.0, 70.0), (3.0, 72.0), (4.0, 73.0)]
    (axes,) = budget.figure.axes
    assert points(axes, PLOT.title) == [(1, 71.0), (2, 72.0), (3, 72.5)]
    assert "small budgets come out too high" in budget.caption
    assert set(files_of(first)) == {"pdf", "png", "txt"}


def test_what_cannot_be_drawn_is_left_out():
    empty = replace(PLOT, values=[None] * 4, expected=[], importance={}, winner=None, front=[])
    equal = replace(PLOT, costs=[5.0] * 4, sampler="random", schedule="1", importance={}, winner=None)
    assert search_figures([empty], "s") == []
    drawings = search_figures([empty, equal], "s")
    assert [drawing.name for drawing in drawings] == ["s-2", "s-budget"]
    assert len(drawings[0].figure.axes) == 3
    assert "schedule" not in drawings[1].caption and "independent" not in drawings[1].caption
