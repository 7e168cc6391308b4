"""From the store and the analyses beside the runs to figures, and their files."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdharness.core.errors import BadInput, EnvironmentRefused
from kdharness.core.home import Home
from kdharness.core.records import DRAWN_OF, FigureSpec, Select, TableSpec
from kdharness.results.store import Store
from kdharness.runtime.reports import shrunk_of, study_frame, table_builder

if TYPE_CHECKING:
    import pandas as pd

    from kdharness.reporting.figures.curves import Curve
    from kdharness.reporting.figures.drawing import Drawing, Panel
    from kdharness.reporting.table import Table

OF_TABLES = ("line", "heat-map")
"""Kinds that show a table of the runs over axes of the study."""

MOST_PANELS = 12
_NEEDS = {"logit-bars": "teacher_first", "hardest": "hardest"}
"""Kinds that show a teacher -> an array that a run without one lacks."""


def study_figures(home: Home, store: Store, study: str) -> list["Drawing"]:
    """The figures that the study's file asks for. Raises as `draw`."""
    specs = [FigureSpec.model_validate(figure) for figure in store.study(study).spec.get("figures") or []]
    drawings = [draw(home, store, [study], spec) for spec in specs]
    return [replace(one, name=f"figure-{number}-{one.name}") for number, one in enumerate(drawings, 1)]


def draw(home: Home, store: Store, studies: Sequence[str], spec: FigureSpec) -> "Drawing":
    """One figure of the studies' finished runs.

    Raises EnvironmentRefused without matplotlib; BadInput where the figure cannot be made of these runs, and where an
    analysis that it is drawn of is not there yet.
    """
    require_matplotlib()
    return _marked(_drawn(home, store, studies, spec), store, studies)


def _marked(drawing: "Drawing", store: Store, studies: Sequence[str]) -> "Drawing":
    """The figure of a shrunk study says so, in the picture and under it."""
    from kdharness.reporting.figures.drawing import marked
    from kdharness.reporting.smoke import sentence

    smoke = shrunk_of(store, studies)
    return marked(drawing, "smoke", sentence(smoke)) if smoke is not None else drawing


def _drawn(home: Home, store: Store, studies: Sequence[str], spec: FigureSpec) -> "Drawing":
    from kdharness.reporting.figures.convergence import convergence
    from kdharness.reporting.figures.curves import curves
    from kdharness.reporting.figures.pareto import pareto
    from kdharness.reporting.tables import build_table

    if spec.kind in OF_TABLES:
        return _of_table(figure_table(store, studies, spec), spec)
    frame = _chosen(study_frame(store, studies), spec)
    title = spec.title or ", ".join(studies)
    if spec.kind == "pareto":
        cost = build_table(frame, TableSpec(metric=spec.x or "train_seconds"))
        return pareto(cost, build_table(frame, _table_spec(spec)), title=spec.title)
    if spec.kind == "curves":
        metrics = [name.strip() for name in (spec.y or "test_top1").split(",")]
        return curves(_curves(store, frame, metrics), metrics, title=title)
    if spec.kind == "convergence":
        try:
            return convergence(_curves(store, frame, ["train_loss", "train_gradient"], every=True), title=title)
        except BadInput as error:
            raise BadInput(error.what, remedy="It is drawn of a study with `recipe: {record: [gradients]}`.") from error
    from kdharness.reporting.figures.kinds import OF_ANALYSES

    drawn, pair = _panels(home, frame, spec, studies)
    made = OF_ANALYSES[spec.kind](drawn)
    return made.said(lambda caption: f"{spec.title or ', '.join(studies)}, {pair}. {caption}")


def ablation(
    store: Store,
    studies: Sequence[str],
    axes: Sequence[str],
    *,
    by: str = "distiller",
    metric: str = "test_top1",
    select: Select = "last",
    beside: Sequence[str] = (),
) -> tuple["Table", FigureSpec]:
    """The table of the runs over one or two axes, and the figure that shows the same.

    Raises BadInput for an axis that no run has, and for more than two.
    """
    if not 1 <= len(axes) <= 2:
        raise BadInput(f"an ablation is over one axis or two, not {len(axes)}")
    spec = FigureSpec(
        kind="line" if len(axes) == 1 else "heat-map",
        x=axes[-1],
        y=f"{metric}_{select}" if select != "best-val" else metric,
        lines=by if len(axes) == 1 else axes[0],
        rows=tuple(beside),
    )
    return figure_table(store, studies, spec), spec


def figure_table(store: Store, studies: Sequence[str], spec: FigureSpec) -> "Table":
    """What a line figure or a heat map shows, as a table. Raises BadInput as `draw`."""
    from kdharness.reporting import names

    whole = study_frame(store, studies)
    chosen = _chosen(whole, spec)
    if spec.x is None or (spec.kind == "heat-map" and spec.lines is None):
        raise BadInput(f"a figure of kind {spec.kind} needs an axis", remedy="x: LABEL.temperature, for example")
    rows = spec.lines or ("pair" if spec.x == "distiller" else "distiller")
    made = table_builder(store, studies, whole)(chosen, _table_spec(spec, rows=rows, columns=spec.x))
    over = [spec.x, rows] if spec.kind == "heat-map" else [spec.x]
    return replace(made, title=f"{made.title}, over {' and '.join(map(names.axis, over))}")


def draw_ablation(store: Store, studies: Sequence[str], table: "Table", spec: FigureSpec) -> "Drawing":
    """The figure of the studies' ablation, from its table. Raises EnvironmentRefused without matplotlib."""
    require_matplotlib()
    return _marked(_of_table(table, spec), store, studies)


def toy_case() -> "Drawing":
    """The toy case of Logit Standardization. Raises EnvironmentRefused without matplotlib."""
    require_matplotlib()
    from kdharness.reporting.figures.toy import toy

    return toy()


def write_drawings(folder: Path, drawings: Sequence["Drawing"]) -> list[Path]:
    """Each as PDF, PNG and the text that belongs under it; the paths. Raises EnvironmentRefused."""
    from kdharness.reporting.figures.drawing import files_of

    paths = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for drawing in drawings:
            for ending, content in files_of(drawing).items():
                path = folder / f"{drawing.name}.{ending}"
                unfinished = path.with_name(f".{path.name}")
                unfinished.write_bytes(content)
                unfinished.replace(path)
                paths.append(path)
    except OSError as error:
        what = f"figures cannot be written: {error.strerror}"
        raise EnvironmentRefused(what, where=str(folder), remedy="name another folder") from error
    return paths


def require_matplotlib() -> None:
    """Raise EnvironmentRefused where it is not installed."""
    if find_spec("matplotlib") is None:
        raise EnvironmentRefused("figures need matplotlib", remedy='pip install "kdharness[report]"')


def _table_spec(spec: FigureSpec, **sides: str) -> TableSpec:
    metric, select = spec.y or "test_top1", "last"
    for when in ("last", "best"):
        if metric.endswith(f"_{when}"):
            metric, select = metric.removesuffix(f"_{when}"), when
    return TableSpec.model_validate({"metric": metric, "select": select, "title": spec.title, **sides})


def _of_table(table: "Table", spec: FigureSpec) -> "Drawing":
    from kdharness.reporting.figures.heat_map import heat_map
    from kdharness.reporting.figures.line import line

    if spec.kind == "heat-map":
        return heat_map(table, across=spec.x or "", down=spec.lines or "")
    return line(table, axis=spec.x or "")


def _chosen(frame: "pd.DataFrame", spec: FigureSpec) -> "pd.DataFrame":
    """The rows that the figure is about; teachers stay for the heads of tables.

    Raises BadInput for a label, pair or axis that no run has.
    """
    from kdharness.reporting.placing import SIDES
    from kdharness.reporting.runs import require_rows

    runs = frame[frame["purpose"] != "teacher"]
    require_rows(spec.rows, runs["label"])
    pair = spec.pair and _listed(spec.pair, runs)
    axes = [axis for axis in (spec.x, spec.lines) if axis is not None and axis not in SIDES]
    if spec.kind not in OF_TABLES:
        axes = []

    def wanted(row: Any) -> bool:
        if pair and row["pair"] != pair:
            return False
        known = {name for axis in row["axes"] or {} for name in (axis, f"{row['label']}.{axis}")}
        if all(axis in known for axis in axes):
            return not spec.rows or bool(axes) or row["label"] in spec.rows
        return row["label"] in spec.rows

    keep = [row["purpose"] == "teacher" or wanted(row) for row in frame.to_dict("records")]
    chosen = frame[keep]
    if not (chosen["purpose"] != "teacher").any():
        there = {f"{row['label']}.{axis}" for row in runs.to_dict("records") for axis in row["axes"] or {}}
        raise BadInput(
            f"no run has the axis {' and '.join(axes)}", remedy=f"Axes: {', '.join(sorted(there)) or 'none'}"
        )
    return chosen


def _listed(pair: str, runs: "pd.DataFrame") -> str:
    """The runs' pair that is meant, in the names of the literature too. Raises BadInput where none is."""
    known = dict.fromkeys(runs["pair"])
    if pair not in known:
        from kdharness.study.resolve import known_pair  # with torch, for the names of networks

        meant = [known_pair(pair, dataset) for dataset in dict.fromkeys(runs["dataset"])]
        found = next((one.label for one in meant if one is not None and one.label in known), None)
        if found is None:
            raise BadInput(f"no pair is {pair!r}", remedy=f"Pairs: {', '.join(known)}")
        return found
    return pair


def _finished(frame: "pd.DataFrame") -> Iterator[Mapping[str, Any]]:
    """The final runs that a mean may take."""
    for row in frame.to_dict("records"):
        if row["purpose"] == "final" and row["state"] == "complete" and not row["excluded"]:
            yield {str(name): value for name, value in row.items()}


def _name(row: Mapping[str, Any]) -> str:
    """`KD (temperature=2)`."""
    from kdharness.reporting.placing import Entry, entry_name

    return entry_name(Entry(row["label"], tuple((row["axes"] or {}).items())))


def _curves(store: Store, frame: "pd.DataFrame", metrics: Sequence[str], *, every: bool = False) -> list["Curve"]:
    """One for each setting with one teacher's weights, of the runs that have the metrics (with `every` all of them).

    Raises BadInput where none has.
    """
    import numpy

    from kdharness.reporting import names
    from kdharness.reporting.figures.curves import Curve

    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in _finished(frame):
        key = (_name(row), row["pair"], row["setting_key"], str(row["teacher_sha256"]))
        groups.setdefault(key, []).append(row)
    several = len({pair for _, pair, *_ in groups}) > 1
    found = []
    for (name, pair, *_), rows in groups.items():
        values: dict[str, list[dict[int, float]]] = {metric: [] for metric in metrics}
        for run_id in dict.fromkeys(row["run_id"] for row in rows):
            told: dict[str, dict[int, float]] = {}
            for one in store.epoch_metrics(run_id):
                told.setdefault(one.name, {})[one.epoch] = one.value
            for metric in metrics:
                if metric in told:
                    values[metric].append(told[metric])
        present = {metric: series for metric, series in values.items() if series}
        if not present or (every and len(present) < len(metrics)):
            continue
        epochs = sorted({epoch for series in present.values() for one in series for epoch in one})
        arrays = {
            metric: numpy.array([[one.get(epoch, numpy.nan) for epoch in epochs] for one in series])
            for metric, series in present.items()
        }
        found.append(Curve(name, names.pair(pair) if several else "", numpy.array(epochs, dtype=float), arrays))
    if not found:
        raise BadInput(f"no finished run has {' and '.join(metrics)} of its epochs")
    return found


def _panels(home: Home, frame: "pd.DataFrame", spec: FigureSpec, studies: Sequence[str]) -> tuple[list["Panel"], str]:
    """One run of each row of one pair, with its arrays; and the pair. Raises BadInput for none, or too many."""
    import numpy

    from kdharness.reporting import names
    from kdharness.reporting.figures.drawing import Panel

    analysis = DRAWN_OF[spec.kind]
    runs = list(_finished(frame))
    pair = next((row["pair"] for row in runs), "")
    of_label: dict[str, Mapping[str, Any]] = {}
    for row in sorted(runs, key=lambda row: row["seed"]):
        if row["pair"] == pair and spec.seed in (None, row["seed"]):
            of_label.setdefault(_name(row), row)
    order = {name: number for number, name in enumerate(dict.fromkeys(map(_name, runs)))}
    drawn = []
    for name in sorted(of_label, key=lambda name: order[name]):
        path = home.analysis(of_label[name]["run_id"], analysis)
        if not path.exists():
            continue
        with numpy.load(path, allow_pickle=False) as arrays:
            kept = dict(arrays)
        if _NEEDS.get(spec.kind, next(iter(kept))) in kept:
            drawn.append(Panel(name, kept, seed=of_label[name]["seed"]))
    if not drawn:
        raise BadInput(
            f"no finished run of these has the analysis {analysis} yet",
            remedy=f"kdharness evaluate {studies[0]} --analysis {analysis}",
        )
    if len(drawn) > MOST_PANELS:
        raise BadInput(
            f"a figure of {len(drawn)} panels", remedy=f"Name at most {MOST_PANELS} rows: {', '.join(of_label)}"
        )
    return drawn, names.pair(pair)
