"""Results as a tidy table: what reports, figures and notebooks start from."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kdharness.results.records import ResultRow
from kdharness.results.store import Store

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "study", "run_id", "setting_key", "numerics_key", "seed", "purpose", "dataset", "student", "teacher", "pair",
    "label", "group", "row", "axes", "against", "ours", "distiller", "state", "attempts", "weights_sha256",
    "teacher_sha256", "device", "started", "finished", "mixed_numerics", "teacher_run_id", "constants", "recipe",
    "epochs", "unpublished", "excluded", "departs",
)  # fmt: skip


def load_frame(store: Store, studies: Sequence[str]) -> "pd.DataFrame":
    """One row per (study, run, label, pair): COLUMNS, then one float column per final metric, by name.

    A run that is not complete has NaN for its metrics, as has one that diverged into NaN: `state` tells them apart.
    `axes`, `constants` and `recipe` are dicts, `started` and `finished` aware datetimes or None; `unpublished` names a
    preset without constants for the pair, `excluded` says why no mean takes the run, `departs` in what its teaching is
    not its distiller's alone. An imported teacher stands among the runs with purpose "teacher", its `run_id` the id of
    the import. Raises BadInput for an unknown study.
    """
    import pandas as pd

    rows = [row for study in studies for row in store.rows(study)]
    rows += _imports(rows, store)
    # as objects first: pandas would turn the None of a text column into NaN
    frame = pd.DataFrame([_fixed(row) for row in rows], columns=list(COLUMNS), dtype=object)
    frame = frame.astype(
        {"seed": int, "row": int, "attempts": int, "epochs": int, "ours": bool, "mixed_numerics": bool}
    )
    for name in sorted({name for row in rows for name in row.metrics}):
        frame[name] = pd.Series([row.metrics.get(name, float("nan")) for row in rows], dtype="float64")
    return frame


def _imports(rows: Sequence[ResultRow], store: Store) -> list[ResultRow]:
    """The imported teachers that the rows name, each as a finished run of their study."""
    named = {one: row.study for row in rows if row.teacher_run_id for one in row.teacher_run_id.split(" + ")}
    known = {row.run_id for row in rows}
    asked = [one for one in store.imported_teachers() if one.id in named] if named.keys() - known else []
    return [
        ResultRow(
            study=named[one.id],
            run_id=one.id,
            setting_key=one.weights_sha256,
            settings={"constants": {}, "recipe": {}},
            seed=0,
            state="complete",
            purpose="teacher",
            dataset=one.dataset,
            student=one.model,
            teacher=None,
            teacher_run_id=None,
            pair=one.model,
            label=one.name,
            group=None,
            row=0,
            axes={},
            against=None,
            ours=False,
            provenance={},
            distiller="imported",
            epochs=0,
            attempts=0,
            numerics_key=None,
            mixed_numerics=False,
            weights_sha256=one.weights_sha256,
            teacher_sha256=None,
            device=None,
            started=None,
            finished=one.added,
            reason=None,
            metrics={} if one.measured_top1 is None else {"test_top1_last": one.measured_top1},
        )
        for one in asked
    ]


def _fixed(row: ResultRow) -> list[Any]:
    settings = {
        "constants": row.settings["constants"],
        "recipe": row.settings["recipe"],
        "unpublished": row.provenance.get("unpublished"),
        "excluded": row.marks.excluded,
        "departs": _departs(row),
    }
    return [settings[name] if name in settings else getattr(row, name) for name in COLUMNS]


def _departs(row: ResultRow) -> str | None:
    """In what a run is not taught as its distiller and its pair say."""
    settings = row.settings
    found = [f"teacher {settings['control']}"] if settings.get("control", "trained") != "trained" else []
    found += ["gradients matched"] if settings.get("grad_matched") else []
    taught_by = " + ".join(teacher["model"] for teacher in settings.get("teachers", ()))
    found += [f"taught by {taught_by}"] if taught_by and row.teacher and taught_by != row.teacher else []
    return ", ".join(found) or None
