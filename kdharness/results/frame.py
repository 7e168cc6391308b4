"""Results as a tidy table: what reports, figures and notebooks start from."""

from collections.abc import Collection, Mapping, Sequence
from math import nan
from typing import TYPE_CHECKING, Any

from kdharness.results.encoding import moment
from kdharness.results.store import Store

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "study", "run_id", "setting_key", "numerics_key", "seed", "purpose", "dataset", "student", "teacher", "pair",
    "label", "group", "row", "axes", "against", "ours", "distiller", "state", "attempts", "weights_sha256",
    "teacher_sha256", "device", "started", "finished", "mixed_numerics", "teacher_run_id", "constants", "recipe",
    "epochs", "unpublished", "excluded", "departs", "sources",
)  # fmt: skip


def load_columns(store: Store, studies: Sequence[str], metrics: Collection[str] | None = None) -> dict[str, list[Any]]:
    """What `load_frame` has, as plain lists: without pandas, and with times as ms of Unix time."""
    parts = [store.columns(study, metrics) for study in studies]
    parts.append(_imports(parts, store))
    found: dict[str, list[Any]] = {
        name: [] for name in (*COLUMNS, *sorted({name for part in parts for name in part} - set(COLUMNS)))
    }
    for part in parts:
        for name, column in found.items():
            missing = _NOTHING.get(name) if name in COLUMNS else nan
            column += part[name] if name in part else [missing] * len(part["run_id"])
    return found


def load_frame(store: Store, studies: Sequence[str], metrics: Collection[str] | None = None) -> "pd.DataFrame":
    """One row per (study, run, label, pair): COLUMNS, then one float column per final metric, by name.

    `metrics` are the ones to read, all by default. A run that is not complete has NaN for its metrics, as has one that
    diverged into NaN: `state` tells them apart. `axes`, `constants` and `recipe` are dicts, `started` and `finished`
    aware datetimes or None; `unpublished` names a preset without constants for the pair, `excluded` says why no mean
    takes the run, `departs` in what its teaching is not its distiller's alone, `sources` where its method's constants
    came from. An imported teacher stands among the runs with purpose "teacher", its `run_id` the id of the import.
    Raises BadInput for an unknown study.
    """
    return frame_of(load_columns(store, studies, metrics))


def frame_of(columns: Mapping[str, Sequence[Any]]) -> "pd.DataFrame":
    """The tidy frame of `load_columns`."""
    import pandas as pd

    times = {name: list(map(moment, columns[name])) for name in ("started", "finished")}
    # as objects first: pandas would turn the None of a text column into NaN
    kinds = {name: object if name in COLUMNS else "float64" for name in columns}
    frame = pd.DataFrame({name: pd.Series(column, dtype=kinds[name]) for name, column in {**columns, **times}.items()})
    return frame.astype({"seed": int, "row": int, "attempts": int, "epochs": int, "ours": bool, "mixed_numerics": bool})


_NOTHING = {
    "seed": 0, "row": 0, "attempts": 0, "epochs": 0, "ours": False, "mixed_numerics": False, "axes": {},
    "constants": {}, "recipe": {}, "sources": (), "state": "complete", "purpose": "teacher", "distiller": "imported",
}  # fmt: skip
"""What an imported teacher has in the columns of a run; None in the others."""


def _imports(parts: Sequence[Mapping[str, Sequence[Any]]], store: Store) -> dict[str, list[Any]]:
    """The imported teachers that runs name, as columns: each a finished run of a study that names it."""
    named = {
        one: study
        for part in parts
        for ids, study in dict(zip(part["teacher_run_id"], part["study"], strict=True)).items()
        if ids
        for one in ids.split(" + ")
    }
    known = {run_id for part in parts for run_id in part["run_id"]}
    asked = [one for one in store.imported_teachers() if one.id in named] if named.keys() - known else []
    if not asked:
        return {"run_id": []}
    return {
        "study": [named[one.id] for one in asked],
        "run_id": [one.id for one in asked],
        "setting_key": [one.weights_sha256 for one in asked],
        "weights_sha256": [one.weights_sha256 for one in asked],
        "dataset": [one.dataset for one in asked],
        "student": [one.model for one in asked],
        "pair": [one.model for one in asked],
        "label": [one.name for one in asked],
        "finished": [None if one.added is None else round(1000 * one.added.timestamp()) for one in asked],
        "test_top1_last": [float("nan") if one.measured_top1 is None else one.measured_top1 for one in asked],
    }
