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
    "epochs",
)  # fmt: skip


def load_frame(store: Store, studies: Sequence[str]) -> "pd.DataFrame":
    """One row per (study, run, label, pair): COLUMNS, then one float column per final metric, by name.

    A run that is not complete has NaN for its metrics, as has one that diverged into NaN: `state` tells them apart.
    `axes`, `constants` and `recipe` are dicts, `started` and `finished` aware datetimes or None. Raises BadInput for
    an unknown study.
    """
    import pandas as pd

    rows = [row for study in studies for row in store.rows(study)]
    # as objects first: pandas would turn the None of a text column into NaN
    frame = pd.DataFrame([_fixed(row) for row in rows], columns=list(COLUMNS), dtype=object)
    frame = frame.astype(
        {"seed": int, "row": int, "attempts": int, "epochs": int, "ours": bool, "mixed_numerics": bool}
    )
    for name in sorted({name for row in rows for name in row.metrics}):
        frame[name] = pd.Series([row.metrics.get(name, float("nan")) for row in rows], dtype="float64")
    return frame


def _fixed(row: ResultRow) -> list[Any]:
    settings = {"constants": row.settings["constants"], "recipe": row.settings["recipe"]}
    return [settings[name] if name in settings else getattr(row, name) for name in COLUMNS]
