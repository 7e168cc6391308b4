"""The rows that wanted runs become, worked out before the write transaction begins, so that it stays short."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from kdharness.core.keys import canonical_json
from kdharness.core.records import RunKey, Setting, WantedRun
from kdharness.results.encoding import dumps

LABEL_FIELDS = (
    "label", "pair", "purpose", "student", "teacher", "teacher_run_id", "row", "group_name", "axes", "against", "ours",
    "provenance",
)  # fmt: skip
Label = tuple[Any, ...]
"""One line of study_labels: the values of LABEL_FIELDS."""


@dataclass
class Prepared:
    """Rows by what identifies them, in the order of the study file."""

    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    needs: list[dict[str, Any]] = field(default_factory=list)
    labels: dict[str, list[Label]] = field(default_factory=dict)


def prepare(wanted: Sequence[WantedRun]) -> Prepared:
    """The rows of all wanted runs; equal settings, runs and labels once."""
    prepared = Prepared()
    keys: dict[int, str] = {}
    shown: set[tuple[str, ...]] = set()
    texts: dict[int, str] = {}
    for want in wanted:
        # settings and provenance are shared by all seeds of an entry: work on each object once
        key = keys.get(id(want.setting))
        if key is None:
            key = keys[id(want.setting)] = want.setting.key
            if key not in prepared.settings:
                prepared.settings[key] = setting_row(want.setting, key)
        run_id = RunKey(setting_key=key, seed=want.seed).run_id
        if run_id not in prepared.runs:
            prepared.runs[run_id] = _run_row(run_id, key, want.seed)
            needs = dict.fromkeys(run.run_id for run in want.needs)
            prepared.needs += [{"run_id": run_id, "needs_run_id": need} for need in needs]
        place = (run_id, want.label, want.pair, want.purpose)
        if place not in shown:
            shown.add(place)
            provenance = texts.get(id(want.provenance))
            if provenance is None:
                provenance = texts[id(want.provenance)] = dumps(dict(want.provenance))
            prepared.labels.setdefault(run_id, []).append(_label(want, provenance))
    return prepared


def setting_row(setting: Setting, key: str | None = None) -> dict[str, Any]:
    """The row of a setting, whose key may be known already."""
    return {
        "setting_key": key or setting.key,
        "canonical": canonical_json(setting),
        "dataset": setting.dataset,
        "student": setting.student,
        "teacher": " + ".join(teacher.model for teacher in setting.teachers) or None,
        "distiller": setting.distiller,
        "validation": setting.validation,
        "epochs": setting.recipe.epochs,
    }


def _run_row(run_id: str, key: str, seed: int) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "setting_key": key,
        "seed": seed,
        "state": "waiting",
        "fence": 0,
        "attempts": 0,
        "futile": 0,
        "epoch": 0,
        "step": 0,
        "numerics_keys": "[]",
    }


def _label(want: WantedRun, provenance: str) -> Label:
    return (
        want.label,
        want.pair,
        want.purpose,
        want.student,
        want.teacher,
        want.teacher_id,
        want.row,
        want.group,
        dumps(dict(want.axes)),
        want.against,
        want.ours,
        provenance,
    )
