"""What stands on the axes of a figure is what stands in the frame or in an analysis's arrays."""

import io

import numpy as np
import pytest
from PIL import Image

from kdharness.core.records import DRAWN_OF, TableSpec
from kdharness.reporting.figures.convergence import convergence
from kdharness.reporting.figures.curves import Curve, curves
from kdharness.reporting.figures.drawing import Panel, files_of, look, of_figures, panels
from kdharness.reporting.figures.heat_map import heat_map
from kdharness.reporting.figures.kinds import OF_ANALYSES
from kdharness.reporting.figures.line import line, number_of
from kdharness.reporting.figures.pareto import front, pareto
from kdharness.reporting.figures.toy import STUDENTS, TEACHER, divergence, standardized, toy
from kdharness.reporting.render_latex import listing
from kdharness.reporting.tables import build_table

from .frames import frame, seeds, teacher


def ablated():
    """KD at three temperatures and two weights, two seeds each, and a student alone."""
    points = [(t, w) for t in (1.0, 4.0, 16.0) for w in (0.5, 2.0)]
    rows = [
        seeds(
            "KD",
            90 + t / 4 + w,
            91 + t / 4 + w,
            row=1,
            axes={"temperature": t, "kd_weight": w},
            constants={"t": t, "w": w},
        )
        for t, w in points
    ]
    return frame(teacher(98.0), seeds("none", 89.0, 90.0, row=0), *rows)


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_a_line_is_the_means_of_the_table_and_its_band_their_deviation():
    runs = ablated()
    table = build_table(runs, TableSpec(rows="distiller", columns="KD.temperature"))
    drawing = line(table, axis="KD.temperature")
    (axes,) = drawing.figure.axes
    drawn = {one.get_label(): one for one in axes.lines}
    for weight in (0.5, 2.0):
        one = drawn[f"KD (kd_weight={weight:g})"]
        expected = runs[runs["axes"].map(lambda a, w=weight: a.get("kd_weight") == w)]
        expected = expected.groupby(expected["axes"].map(lambda a: a["temperature"]))["test_top1_last"]
        assert one.get_xdata().tolist() == [1, 4, 16]
        assert one.get_ydata() == pytest.approx(expected.mean().tolist())
    assert drawn["none"].get_ydata() == pytest.approx([89.5, 89.5])  # a level line
    low, high = axes.collections[0].get_paths()[0].vertices[:, 1].min(), 91 + 0.25 + 0.5
    assert low == pytest.approx(90.75 + 0.5 - np.sqrt(0.5)) and low < high
    assert axes.get_xscale() == "log" and [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "4", "16"]
    assert axes.get_xlabel() == "temperature" and "n = 2 runs" in drawing.caption
    assert "Best in bold" not in drawing.caption and "Protocol: 30 epochs" in drawing.caption


@pytest.mark.parametrize("lines", [3, 22, 40])
def test_a_long_legend_stands_beside_its_one_panel(lines):
    """A page has no room for one that is taller than what it explains."""
    values = np.arange(6.0).reshape(2, 3)
    drawn = [Curve(f"method {n}", "", np.arange(1.0, 4), {"test_top1": values + n}) for n in range(lines)]
    figure = curves(drawn, ["test_top1"], title="small").figure
    (legend,) = figure.legends
    assert len(legend.get_texts()) == lines
    assert figure.get_figheight() < (figure.get_figwidth() if lines > 3 else 3) and figure.get_figwidth() <= 6.9


def test_rows_of_different_panels_never_look_alike():
    """They share one legend."""
    runs = [
        seeds(label, 90.0 + t, 91.0 + t, row=n, axes={"temperature": t, "recipe.epochs": epochs}, constants={"t": t})
        for n, (label, epochs) in enumerate([("KD", 1), ("other", 3)])
        for t in (1.0, 4.0)
    ]
    table = build_table(frame(*runs), TableSpec(rows="distiller", columns="temperature"))
    figure = line(table, axis="temperature").figure
    looks = [(one.get_label(), one.get_color(), one.get_marker()) for axes in figure.axes for one in axes.lines]
    assert [label for label, *_ in looks] == ["KD", "other"] and len({look[1:] for look in looks}) == 2


def test_names_on_the_axis_are_not_joined():
    pairs = ["resnet20 -> resnet8", "resnet32 + wrn_40_2 -> resnet8"]
    runs = frame(*(seeds("kd", 90.0, 91.0 + n, pair=pair) for n, pair in enumerate(pairs)))
    (axes,) = line(build_table(runs, TableSpec(columns="teacher")), axis="teacher").figure.axes
    (container,) = axes.containers
    assert container[0].get_linestyle() == "None"
    assert container[0].get_ydata() == pytest.approx([90.5, 91.0])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["ResNet20", "ResNet32 + WRN-40-2"]
    assert number_of("temperature=0.5") == 0.5 and number_of("augment=crop") is None and number_of("kd") is None


def test_methods_on_the_axis_of_pairs():
    runs = frame(seeds("none", 89.0), seeds("kd", 90.0, row=1))
    (axes,) = line(build_table(runs, TableSpec(rows="pair", columns="distiller")), axis="distiller").figure.axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["none", "kd"]
    assert axes.containers[0][0].get_ydata() == pytest.approx([89.0, 90.0])


def test_a_heat_map_shows_every_mean_and_the_best_in_bold():
    table = build_table(ablated().query("label == 'KD'"), TableSpec(rows="KD.kd_weight", columns="KD.temperature"))
    drawing = heat_map(table, across="KD.temperature", down="KD.kd_weight")
    axes = drawing.figure.axes[0]
    shown = np.asarray(axes.images[0].get_array())
    expected = [[90.5 + t / 4 + w for t in (1, 4, 16)] for w in (0.5, 2)]
    assert shown == pytest.approx(np.array(expected))
    assert [text.get_text() for text in axes.texts if text.get_fontweight() == "bold"] == ["96.50"]
    assert texts(axes)[0] == "91.25" and axes.get_xlabel() == "temperature" and axes.get_ylabel() == "kd weight"
    assert "n = 2 runs" in drawing.caption


def test_curves_have_mean_and_band_of_every_epoch():
    values = np.array([[10.0, 20.0, 30.0], [14.0, 26.0, 38.0]])
    drawing = curves([Curve("KD", "", np.arange(1.0, 4), {"test_top1": values})], ["test_top1"], title="small")
    (axes,) = drawing.figure.axes
    assert axes.lines[0].get_ydata() == pytest.approx([12, 23, 34])
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert band.max() == pytest.approx(34 + np.std([30, 38], ddof=1))
    assert axes.get_ylabel() == "Test top-1 accuracy (%)" and "n = 2 runs" in drawing.caption


def test_curves_of_several_pairs_have_a_panel_each_and_one_look_for_a_row():
    rising = np.array([[10.0, 20.0, 30.0]])
    drawn = [
        Curve(label, pair, np.arange(1.0, 4), {"test_top1": rising + more, "train_loss": rising})
        for pair, more in (("a → b", 0), ("a → c", 1))
        for label in ("none", "KD")
    ]
    axes = curves(drawn, ["test_top1", "train_loss"], title="small").figure.axes
    assert [one.get_title() for one in axes] == ["a → b", "a → b", "a → c", "a → c"]
    assert [one.lines[1].get_ydata()[0] for one in axes] == [10, 10, 11, 10]
    for one in axes:
        told = {line.get_label(): (line.get_color(), line.get_marker()) for line in one.lines}
        assert list(told) == ["none", "KD"] and len(set(told.values())) == 2
        assert told == {line.get_label(): (line.get_color(), line.get_marker()) for line in axes[0].lines}


def test_the_front_is_what_nobody_beats():
    points = [(1.0, 90.0), (2.0, 89.0), (2.0, 92.0), (3.0, 92.0), (4.0, 95.0)]
    assert front(points, lower=False) == [(1.0, 90.0), (2.0, 92.0), (4.0, 95.0)]
    assert front([(1.0, 0.5), (2.0, 0.7), (3.0, 0.1)], lower=True) == [(1.0, 0.5), (3.0, 0.1)]


def test_accuracy_against_cost():
    runs = frame(seeds("none", 90.0, 91.0, train_seconds=10.0), seeds("kd", 93.0, 94.0, train_seconds=30.0, row=1))
    score, cost = build_table(runs, TableSpec()), build_table(runs, TableSpec(metric="train_seconds"))
    (axes,) = pareto(cost, score).figure.axes
    points = {one.get_label(): (one[0].get_xdata()[0], one[0].get_ydata()[0]) for one in axes.containers}
    assert points == {"none": (10.0, 90.5), "kd": (30.0, 93.5)}


def test_convergence_is_relative_and_moves_over_a_window():
    loss = np.array([[4.0, 2.0, 1.0, 1.0]])
    norms = np.array([[1.0, 3.0, 3.0, 1.0]])
    curve = Curve("KD", "", np.arange(1.0, 5), {"train_loss": loss, "train_gradient": norms})
    drawing = convergence([curve], title="small")
    relative, variance, mean, boxes = drawing.figure.axes
    assert relative.lines[0].get_ydata() == pytest.approx([1, 0.5, 0.25, 0.25])
    assert variance.lines[0].get_ydata() == pytest.approx([1, 0, 1])  # of the last two epochs
    assert mean.lines[0].get_ydata() == pytest.approx([0.75, 0.375, 0.25])
    assert [tick.get_text() for tick in boxes.get_xticklabels()] == ["KD"]
    assert "75 % at epoch 3" in drawing.caption
    assert convergence(
        [Curve("one", "", np.ones(1), {"train_loss": loss[:, :1], "train_gradient": norms[:, :1]})], title="x"
    )


def test_the_toy_case_is_the_printed_one():
    # Logit Standardization, Figure 2
    assert divergence(TEACHER, STUDENTS["S1"]) == pytest.approx(0.1749, abs=5e-5)
    assert divergence(TEACHER, STUDENTS["S2"]) == pytest.approx(0.3457, abs=5e-5)
    assert standardized(TEACHER) == pytest.approx([-1.162, 1.162, 0.387, -0.387], abs=5e-4)
    assert standardized(STUDENTS["S1"]) == pytest.approx([-1.320, 0.660, 0.880, -0.220], abs=5e-4)
    assert divergence(standardized(TEACHER), standardized(STUDENTS["S1"])) == pytest.approx(0.0995, abs=5e-5)
    drawing = toy()
    titles = [axes.get_title() for axes in drawing.figure.axes]
    assert titles == ["teacher", "S1 (wrong)\nKL 0.1749", "S2 (right)\nKL 0.3457", "", "KL 0.0995", "KL 0.0000"]
    assert [bar.get_height() for bar in drawing.figure.axes[1].patches] == [1.0, 2.8, 3.0, 2.0]


def arrays(kind, classes=12, seed=0):
    """What the analysis behind a figure leaves."""
    draw = np.random.default_rng(seed)
    analysis = DRAWN_OF[kind]
    if analysis == "calibration":
        empty = [np.nan] * 13
        count = np.array([0.0] * 13 + [30, 170])
        return {"count": count, "confidence": np.array([*empty, 0.9, 0.97]), "accuracy": np.array([*empty, 0.5, 0.99])}
    if analysis == "logits":
        sizes = {
            "first": classes,
            "zscore_first": classes,
            "mean": 200,
            "zscore_mean": 200,
            "zscore_std": 200,
            "std": 200,
        }
        names = {f"{who}_{name}": size for who in ("student", "teacher") for name, size in sizes.items()}
        return {"label": np.array(3)} | {name: draw.normal(size=size) ** 2 for name, size in names.items()}
    if analysis == "fidelity":
        names = ("raw", "zscore", "student_correlation", "teacher_correlation")
        return {name: draw.random((classes, classes)) for name in names}
    if analysis == "features":
        return {"points": draw.normal(size=(90, 2)), "labels": np.arange(90) % classes}
    if analysis == "perception":
        even = np.full(classes, 1 / classes)
        return {"label": np.array(3), "softened": even, "perceived": even}
    errors = np.arange(classes) * 1.0
    return {"student": errors, "teacher": 2 * errors[::-1], "hardest": np.arange(10)}


def two(kind):
    return [Panel("KD", arrays(kind)), Panel("KD+LS", arrays(kind, seed=1))]


@pytest.mark.parametrize("kind", OF_ANALYSES)
def test_every_figure_of_runs_becomes_files_whose_text_is_inside_the_picture(kind):
    drawing = OF_ANALYSES[kind](two(kind))
    files = files_of(drawing)
    assert files["pdf"].startswith(b"%PDF") and "n = 1" in files["txt"].decode()
    picture = np.asarray(Image.open(io.BytesIO(files["png"])).convert("L"))
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    assert picture.shape[0] > 200 and (border == 255).all()  # nothing is cut off at the edge


def test_equal_figures_are_equal_files():
    def small():
        return curves([Curve("KD", "", np.arange(1.0, 4), {"lr": np.ones((1, 3))})], ["lr"], title="small")

    first, second = (files_of(small()) for _ in range(2))
    assert first == second and first.keys() == {"pdf", "png", "txt"}


def test_reliability_shows_the_bins_and_their_gaps():
    drawn = two("reliability")
    upper = OF_ANALYSES["reliability"](drawn).figure.axes[0]
    assert [bar.get_height() for bar in upper.patches] == pytest.approx([0.5, 0.99, 0.4, 0.02])
    assert upper.get_title() == "KD\nECE 0.077, MCE 0.400"  # 30/200 * 0.4 + 170/200 * 0.02 = 0.077


def test_maps_show_the_arrays_on_one_scale():
    drawn = two("differences")
    figure = OF_ANALYSES["differences"](drawn).figure
    pictures = [axes.images[0] for axes in figure.axes if axes.images]
    for picture, expected in zip(pictures, [p.arrays[k] for k in ("raw", "zscore") for p in drawn], strict=False):
        assert np.asarray(picture.get_array()) == pytest.approx(expected)
    assert pictures[0].get_clim() == pictures[1].get_clim()
    pictures = [axes.images[0] for axes in OF_ANALYSES["correlations"](drawn).figure.axes if axes.images]
    expected = abs(drawn[1].arrays["student_correlation"] - drawn[1].arrays["teacher_correlation"])
    assert np.asarray(pictures[1].get_array()) == pytest.approx(expected)


def test_logit_bars_are_teacher_and_student_of_the_first_image():
    drawn = two("logit-bars")
    axes = OF_ANALYSES["logit-bars"](drawn).figure.axes[0]
    heights = [bar.get_height() for bar in axes.patches]
    assert heights == pytest.approx([*drawn[0].arrays["teacher_first"], *drawn[0].arrays["student_first"]])


def test_the_histogram_counts_every_image_of_teacher_and_students():
    figure = OF_ANALYSES["histogram"](two("histogram")).figure
    counts = [np.ma.filled(axes.collections[0].get_array(), 0) for axes in figure.axes[:3]]
    assert [np.nansum(count) for count in counts] == [200, 200, 200]
    assert [axes.get_title() for axes in figure.axes[:3]] == ["teacher", "KD", "KD+LS"]


def test_the_hardest_classes_are_a_table_with_marks():
    drawing = OF_ANALYSES["hardest"](two("hardest"))
    assert "ring: strictly below" in drawing.caption and "asterisk" in drawing.numbers.caption
    rows = drawing.text.split("\n\n")[1].splitlines()
    assert rows[0] == "| class | teacher | KD | KD+LS |"
    assert rows[2] == "| 0 | 22.0 | 0.0* | 0.0* |" and rows[-1] == "| 9 | 4.0 | 9.0 | 9.0 |"
    latex = listing(drawing.numbers.lines, drawing.numbers.caption, "tab:hardest")
    assert r"0 & 22.0 & 0.0{*} & 0.0{*} \\" in latex and r"\caption{Error (\%)" in latex and r"\begin{table}" in latex
    prefixed = drawing.said(lambda caption: f"Mine. {caption}")
    assert prefixed.caption.startswith("Mine.") and prefixed.numbers.caption.startswith("Mine.")


def test_no_class_below_the_teacher_leaves_the_axes_in_place():
    worse = arrays("hardest") | {"student": np.full(12, 90.0)}
    figure = OF_ANALYSES["hardest"]([Panel("KD", worse)]).figure
    figure.draw_without_rendering()
    assert figure.axes[0].get_position().height > 0.5


def test_looks_differ_in_grey_too():
    looks = [look(number) for number in range(24)]
    assert len({(one["marker"], str(one["linestyle"])) for one in looks}) == 24


def test_a_figure_keeps_the_sentences_that_are_true_of_it():
    assert of_figures(["Best in bold, second.", "Protocol: x.", "2 of 4 runs are not in the means."]) == [
        "Protocol: x.",
        "2 of 4 runs are not in the means.",
    ]


def test_the_kinds_of_a_panel_stand_below_each_other_and_only_so_many_panels_beside():
    figure, axes = panels(6, rows=2)
    assert len(axes) == 12 and sum(one.get_visible() for one in figure.axes) == 12
    at = [one.get_subplotspec().rowspan.start * 10 + one.get_subplotspec().colspan.start for one in axes]
    assert at == [0, 1, 2, 3, 20, 21, 10, 11, 12, 13, 30, 31]
