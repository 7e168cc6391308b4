"""From the store to a study's tables, and the files that `kdharness run` leaves beside them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdharness.core.cycles import all_kept
from kdharness.core.errors import BadInput
from kdharness.core.home import Home
from kdharness.core.records import Smoke, TableSpec
from kdharness.results.store import Store
from kdharness.training.files import write_durably

if TYPE_CHECKING:
    import pandas as pd

    from kdharness.reporting.published.values import Registry
    from kdharness.reporting.runs import Columns
    from kdharness.reporting.table import Table

WRITTEN = {"md": "md", "latex": "tex", "csv": "csv", "html": "html", "json": "json"}
"""Format -> file ending of what a finished study leaves in its home."""


@all_kept()
def study_tables(
    store: Store,
    studies: Sequence[str],
    changes: dict[str, Any] | None = None,
    *,
    failed: list[BadInput] | None = None,
) -> list["Table"]:
    """The tables that the studies ask for, or one that `changes` (fields of TableSpec) describe.

    Raises BadInput for an unknown study, and where a table cannot be made of these runs: with `failed` the others are
    made, the reasons are put there, and it is raised where there is no other.
    """
    asked = store.spec(studies[0])
    specs = [TableSpec.model_validate(table) for table in asked.get("tables") or [{}]]
    if changes:
        if "only" in changes and specs[0].baseline not in changes["only"]:
            changes = {"baseline": None, **changes}
        specs = [TableSpec.model_validate({**specs[0].model_dump(), "title": None, **changes})]
    columns = study_columns(store, studies, _metrics(specs))
    build = table_builder(store, studies, columns, _registry(store.home, specs))
    made, reasons = _made(build, columns, specs)
    if reasons:
        columns = study_columns(store, studies)  # the same mistake is told with what there is instead
        made, reasons = _made(build, columns, specs)
    if reasons and (failed is None or not made):
        raise reasons[0]
    if failed is not None:
        failed += reasons
    said = {
        only: tuple(dict.fromkeys(one for study in studies for one in _budgets(store, study, columns, only)))
        for only in {spec.only for spec, _ in made}
    }
    return [replace(table, caption=(*table.caption, *said[spec.only])) for spec, table in made]


def _made(
    build: Callable[["Columns", TableSpec], "Table"], columns: "Columns", specs: Sequence[TableSpec]
) -> tuple[list[tuple[TableSpec, "Table"]], list[BadInput]]:
    """The tables that can be made, and why the others cannot."""
    made, reasons = [], []
    for spec in specs:
        try:
            made.append((spec, build(columns, spec)))
        except BadInput as error:
            reasons.append(error)
    return made, reasons


def edited(store: Store, study: str, file: Path) -> str:
    """What to say where the study's file is no longer as it was run; nothing where it is.

    Raises BadInput for an unknown study.
    """
    last = store.study(study)
    if file.read_text(encoding="utf-8") == last.text:
        return ""
    return (
        f"{file} has changed since it was run: this is version {last.texts}, of {last.changed:%Y-%m-%d %H:%M} UTC; "
        f"`kdharness run {file}` runs what was added"
    )


def table_builder(
    store: Store, studies: Sequence[str], whole: "pd.DataFrame | Columns", registry: "Registry | None" = None
) -> Callable[["pd.DataFrame | Columns", TableSpec], "Table"]:
    """`build_table` for parts of the studies' whole frame, with how they test, what they tried, and smoke."""
    from kdharness.reporting.ledger import tried
    from kdharness.reporting.tables import build_table

    paired = all(store.spec(study).get("paired", False) for study in studies)
    ledger = {(one.dataset, one.pair, one.distiller): one.settings for one in store.ledger()}
    revealed, smoke = tried(whole, ledger), shrunk_of(store, studies)
    return partial(build_table, registry=registry, paired=paired, tried=revealed, smoke=smoke)


def shrunk_of(store: Store, studies: Sequence[str]) -> Smoke | None:
    """What the first of them that `--smoke` shrank stands for; None where all are whole."""
    forms = (store.spec(study).get("smoke") for study in studies)
    return next((Smoke.model_validate(form) for form in forms if form), None)


def _budgets(store: Store, study: str, columns: "Columns", only: Sequence[str]) -> list[str]:
    """What the rows that a table shows cost to find."""
    from kdharness.reporting.budgets import Row, budgets

    names = ("study", "purpose", "label", "pair", "setting_key", "ours", "sources", "excluded")
    top1 = columns.get("test_top1_last") or [nan] * len(columns["study"])
    rows = [
        Row(label, pair, key, ours, sources, None if excluded is not None or isnan(value) else value)
        for of, purpose, label, pair, key, ours, sources, excluded, value in zip(
            *(columns[name] for name in names), top1, strict=True
        )
        if of == study and purpose == "final" and (label in only or not only)
    ]
    searches = [(one.spec, one.outcome) for one in store.searches(study) if one.asked]
    return budgets(rows, [one for one in searches if one[0]["label"] in only or not only])


def _metrics(specs: Sequence[TableSpec]) -> set[str]:
    """The final metrics that the tables may show, and the heads'."""
    named = {(metric, "_last" if spec.select == "last" else "_best") for spec in specs for metric in spec.metrics}
    return {f"{metric}{when}" for metric, select in named for when in ("", select)} | {"test_top1_last"}


def study_columns(store: Store, studies: Sequence[str], metrics: set[str] | None = None) -> "Columns":
    """The columns of the studies' frame, a folder of images by the name that people gave it; all metrics where none
    are named.

    Raises BadInput for an unknown study.
    """
    from kdharness.results.frame import load_columns

    columns = load_columns(store, studies, metrics)
    for study in studies:
        dataset = store.spec(study).get("dataset")
        if isinstance(dataset, dict):
            columns["dataset"] = [
                f"{dataset['folder']} ({name})" if of == study else name
                for of, name in zip(columns["study"], columns["dataset"], strict=True)
            ]
    return columns


def study_frame(store: Store, studies: Sequence[str], metrics: set[str] | None = None) -> "pd.DataFrame":
    """The same as a frame."""
    from kdharness.results.frame import frame_of

    return frame_of(study_columns(store, studies, metrics))


def _registry(home: Home, specs: Sequence[TableSpec]) -> "Registry | None":
    """The printed numbers, where a table asks for some."""
    if not any(spec.published or spec.fill for spec in specs):
        return None
    from kdharness.reporting.published.values import read_registry

    return read_registry(home.published)


def mlflow_links(store: Store, studies: Sequence[str]) -> dict[str, str]:
    """Run -> its page in the home's MLflow, of those that are mirrored there."""
    from kdharness.tracking.ui import run_pages

    pages = run_pages(store.home)
    told = {run: name for study in studies for run, name in store.mirrored(study).items()} if pages else {}
    return {run: pages[name] for run, name in told.items() if name in pages}


def write_reports(home: Home, study: str, tables: Sequence["Table"], links: Mapping[str, str]) -> list[Path]:
    """The tables in every format, whole or not at all; the paths."""
    from kdharness.reporting.render import render

    paths = []
    for form, ending in WRITTEN.items():
        path = home.reports / f"{study}.{ending}"
        write_text(path, render(tables, form, links))
        paths.append(path)
    return paths


def write_text(path: Path, text: str) -> None:
    """Replace the file's text; a reader sees the old text or the new one, never a part, also after a power cut."""
    write_durably(path, text.encode())
