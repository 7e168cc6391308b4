"""Holds a study's `figures:` against its rows, pairs and axes."""

from collections.abc import Collection

from kdharness.core.analyses import is_analysis_metric
from kdharness.core.records import DRAWN_OF
from kdharness.study.check_tables import ANALYSIS_METRICS, PLACES, TEST_METRICS
from kdharness.study.document import Path as Place
from kdharness.study.findings import Findings
from kdharness.study.resolve import Pair, known_pair
from kdharness.study.spec import HOLE, FigurePart, StudySpec

_TAKES = {"line": ("x", "y", "lines"), "heat-map": ("x", "y", "lines"), "curves": ("y",), "pareto": ("x", "y")}
"""What besides rows, pair, seed and title a kind takes; the others take nothing."""
_NEEDS = {"line": ("x",), "heat-map": ("x", "lines")}


def check_figures(
    spec: StudySpec, labels: Collection[str] | None, pairs: Collection[Pair], axes: Collection[str], found: Findings
) -> None:
    """Every name that a figure cannot mean; `labels` is None where some could not be read."""
    for index, figure in enumerate(spec.figures):
        place: Place = ("figures", index)
        _check_keys(figure, place, found)
        for key in ("x", "lines"):
            name = getattr(figure, key)
            if name is not None and figure.kind in _NEEDS and name not in PLACES and name not in axes:
                found.unknown((*place, key), "axis", name, {*PLACES, *axes})
        if figure.x is not None and figure.x == figure.lines:
            found.say((*place, "lines"), f"x and lines are both `{figure.x}`")
        for number, name in enumerate(figure.rows):
            if labels is not None and name not in labels and name != HOLE:
                found.unknown((*place, "rows", number), "row", name, labels)
        if figure.pair is not None and known_pair(figure.pair, spec.dataset_name) not in pairs:
            found.unknown((*place, "pair"), "pair", figure.pair, [pair.label for pair in pairs])
        if figure.seed is not None and figure.seed not in spec.seed_list:
            found.say((*place, "seed"), f"the study has no seed {figure.seed}")
        _check_metrics(figure, place, found)
        needed = DRAWN_OF.get(figure.kind)
        if needed is not None and needed not in spec.evaluate:
            found.say((*place, "kind"), f"`{figure.kind}` is drawn of an analysis: add `evaluate: [{needed}]`")


def _check_keys(figure: FigurePart, place: Place, found: Findings) -> None:
    for key in ("x", "y", "lines"):
        given = getattr(figure, key) is not None
        if given and key not in _TAKES.get(figure.kind, ()):
            found.say((*place, key), f"a figure of kind {figure.kind} has no `{key}`", key=True)
        elif not given and key in _NEEDS.get(figure.kind, ()):
            found.say(place, f"a figure of kind {figure.kind} needs `{key}`, an axis")


def _check_metrics(figure: FigurePart, place: Place, found: Findings) -> None:
    known = (*TEST_METRICS, "test_top1_last", "test_top1_best")
    if figure.y is not None and figure.kind == "curves":
        for name in figure.y.split(","):
            if not name.strip().startswith(("test_", "train_")):
                found.unknown((*place, "y"), "metric", name.strip(), TEST_METRICS)
    elif figure.y is not None and figure.y not in known and not is_analysis_metric(figure.y):
        found.unknown((*place, "y"), "metric", figure.y, (*known, *ANALYSIS_METRICS))
    cost = figure.x if figure.kind == "pareto" else None
    if cost is not None and cost not in ("train_seconds", *known) and not is_analysis_metric(cost):
        found.unknown((*place, "x"), "metric", cost, ("train_seconds", *ANALYSIS_METRICS))
