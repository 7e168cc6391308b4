"""What a tracker writes of a run: its name, its flat params and its tags. Plain text, no tracker's library."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from kdharness.tracking.tracker import RunView

VALUE_LENGTH = 6000
"""The longest value of a param that MLflow takes."""

_TOLD = ("study", "run_id", "setting_key", "numerics_key", "label", "pair", "purpose", "state", "reused_from")
"""Facts that have a tag of their own already."""

_NOT_IN_A_NAME = re.compile(r"[^\w\-. /:]")
_NOT_IN_A_FOLDER = re.compile(r"[^A-Za-z0-9._-]")


def run_name(run: RunView) -> str:
    """`KD+LS resnet20->resnet8 seed 0`."""
    axes = ", ".join(f"{name}={_text(value)}" for name, value in run.axes.items())
    label = f"{run.label} ({axes})" if axes else run.label
    return f"{label} {run.pair.replace(' -> ', '->')} seed {run.seed}"


def identity(run: RunView) -> str:
    """A tag value by which a run is found again, whatever characters its label holds."""
    return hashlib.sha256(f"{run.study.name}|{run.identity}".encode()).hexdigest()[:32]


def folder(name: str) -> str:
    """A folder's name for a study's artifacts: distinct studies get distinct ones."""
    plain = _NOT_IN_A_FOLDER.sub("-", name)
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def params(run: RunView) -> dict[str, str]:
    """Every constant of the setting under a flat name: `kd.temperature`, `recipe.lr`, `student`, `seed`."""
    setting = run.setting
    flat: dict[str, Any] = {
        "distiller": setting.distiller,
        "student": setting.student,
        "teacher": " + ".join(teacher.model for teacher in setting.teachers) or "none",
        "dataset": setting.dataset,
        "seed": run.seed,
        "validation": setting.validation,
    }
    flat |= _flat(setting.distiller, setting.constants)
    flat |= _flat("recipe", setting.recipe.model_dump())
    return {_NOT_IN_A_NAME.sub("_", name): _text(value)[:VALUE_LENGTH] for name, value in flat.items()}


def tags(run: RunView) -> dict[str, str]:
    """How people find and group runs in the tracker's pages, and (under `kdharness.`) how programs do."""
    found = {
        "mlflow.runName": run_name(run),
        "label": run.label,
        "pair": run.pair,
        "purpose": run.purpose,
        "state": run.state,
        **{_NOT_IN_A_NAME.sub("_", name): value for name, value in run.facts.items() if name not in _TOLD},
        "kdharness.study": run.study.name,
        "kdharness.run_id": run.run_id,
        "kdharness.setting_key": run.setting.key,
    }
    if run.numerics_key:
        found["kdharness.numerics_key"] = run.numerics_key
    if run.reused_from:
        found["kdharness.reused_from"] = run.reused_from
    if run.facts.get("commit"):
        found["mlflow.source.git.commit"] = run.facts["commit"]
    return {name: value[:VALUE_LENGTH] for name, value in found.items() if value}


def _flat(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(f"{prefix}.{name}", value) if isinstance(value, Mapping) else {f"{prefix}.{name}": value}
    return flat


def _text(value: Any) -> str:
    """Whole floats without their `.0`, sequences as JSON: as a study file writes them."""
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, list | tuple):
        return json.dumps(list(value))
    return str(value)
