"""From the store to a study's tables, and the files that `kdharness run` leaves beside them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdharness.core.errors import BadInput
from kdharness.core.home import Home
from kdharness.core.records import Smoke, TableSpec
from kdharness.results.store import Store
from kdharness.training.files import write_durably

if TYPE_CHECKING:
    import pandas as pd

    from kdharness.reporting.published.values import Registry
    from kdharness.reporting.table import Table

WRITTEN = {"md": "md", "latex": "tex", "csv": "csv", "html": "html", "json": "json"}
"""Format -> file ending of what a finished study leaves in its home."""


def study_tables(store: Store, studies: Sequence[str], changes: dict[str, Any] | None = None) -> list["Table"]:
    """The tables that the studies ask for, or one that `changes` (fields of TableSpec) describe.

    Raises BadInput for an unknown study, and where a table cannot be made of these runs.
    """
    from kdharness.reporting.tables import build_table

    asked = [store.study(study).spec for study in studies]
    specs = [TableSpec.model_validate(table) for table in asked[0].get("tables") or [{}]]
    if changes:
        specs = [TableSpec.model_validate({**specs[0].model_dump(), "title": None, **changes})]
    paired = all(spec.get("paired", False) for spec in asked)
    smoke = shrunk_of(store, studies)
    ledger = {(one.dataset, one.pair, one.distiller): one.settings for one in store.ledger()}
    registry = _registry(store.home, specs)

    def tables(metrics: set[str] | None) -> list["Table"]:
        frame = study_frame(store, studies, metrics)
        return [
            build_table(frame, spec, registry=registry, paired=paired, ledger=ledger, smoke=smoke) for spec in specs
        ]

    try:
        built = tables(_metrics(specs))
    except BadInput:
        built = tables(None)  # with all metrics, the same mistake is told with what there is instead
    said = tuple(sentence for study in studies for sentence in _budgets(store, study))
    return [replace(table, caption=(*table.caption, *said)) for table in built]


def shrunk_of(store: Store, studies: Sequence[str]) -> Smoke | None:
    """What the first of them that `--smoke` shrank stands for; None where all are whole."""
    forms = (store.study(study).spec.get("smoke") for study in studies)
    return next((Smoke.model_validate(form) for form in forms if form), None)


def _budgets(store: Store, study: str) -> list[str]:
    from kdharness.reporting.budgets import Row, budgets

    rows = [
        Row(
            row.label,
            row.pair,
            row.setting_key,
            row.ours,
            tuple(source for name, source in row.provenance.items() if name.startswith(f"{row.distiller}.")),
            row.metrics.get("test_top1_last") if row.marks.excluded is None else None,
        )
        for row in store.rows(study)
        if row.purpose == "final"
    ]
    return budgets(rows, [(one.spec, one.outcome) for one in store.searches(study) if one.asked])


def _metrics(specs: Sequence[TableSpec]) -> set[str]:
    """The final metrics that the tables may show, and the heads'."""
    named = {metric for spec in specs for metric in spec.metrics}
    return {f"{metric}{when}" for metric in named for when in ("", "_last", "_best")} | {"test_top1_last"}


def study_frame(store: Store, studies: Sequence[str], metrics: set[str] | None = None) -> "pd.DataFrame":
    """The studies' frame, a folder of images by the name that people gave it; all metrics where none are named.

    Raises BadInput for an unknown study.
    """
    from kdharness.results.frame import load_frame

    frame = load_frame(store, studies, metrics)
    for study in studies:
        dataset = store.study(study).spec.get("dataset")
        if isinstance(dataset, dict):
            here = frame["study"] == study
            frame.loc[here, "dataset"] = [f"{dataset['folder']} ({name})" for name in frame.loc[here, "dataset"]]
    return frame


def _registry(home: Home, specs: Sequence[TableSpec]) -> "Registry | None":
    """The printed numbers, where a table asks for some."""
    if not any(spec.published or spec.fill for spec in specs):
        return None
    from kdharness.reporting.published.values import read_registry

    return read_registry(home.published)


def write_reports(home: Home, study: str, tables: Sequence["Table"]) -> list[Path]:
    """The tables in every format, whole or not at all; the paths."""
    from kdharness.reporting.render import render

    paths = []
    for form, ending in WRITTEN.items():
        path = home.reports / f"{study}.{ending}"
        write_text(path, render(tables, form))
        paths.append(path)
    return paths


def write_text(path: Path, text: str) -> None:
    """Replace the file's text; a reader sees the old text or the new one, never a part, also after a power cut."""
    write_durably(path, text.encode())
