"""Frames built by hand, with the columns of the results room."""

from __future__ import annotations

import hashlib
from typing import Any

import pandas as pd

RECIPE = {"optimizer": "sgd", "epochs": 30, "batch_size": 64, "lr": 0.05, "milestones": [18, 24], "weight_decay": 5e-4}


def run(
    label: str,
    seed: int = 0,
    top1: float | None = None,
    *,
    pair: str = "resnet20 -> resnet8",
    state: str | None = None,
    purpose: str = "final",
    study: str = "quickstart",
    dataset: str = "digits",
    row: int = 0,
    constants: dict[str, Any] | None = None,
    recipe: dict[str, Any] | None = None,
    teacher_seed: int = 0,
    **other: Any,
) -> dict[str, Any]:
    """One row of a frame. The setting's key is a hash of what makes the setting."""
    teacher, _, student = (side.strip() for side in pair.partition("->"))
    axes = other.get("axes", {})
    used = RECIPE | (recipe or {})
    distiller = other.get("distiller", label.lower())
    teacher_run = f"teacher-{dataset}-{teacher}-{teacher_seed}"
    made = repr((dataset, pair, distiller, constants or {}, sorted(axes.items()), sorted(used.items()), purpose))
    key = other.pop("setting_key", hashlib.sha256(made.encode()).hexdigest())
    finished = (state or ("complete" if top1 is not None else "waiting")) == "complete"
    return {
        "study": study,
        "run_id": f"{key[:12]}-{seed}",
        "setting_key": key,
        "numerics_key": "n1",
        "seed": seed,
        "purpose": purpose,
        "dataset": dataset,
        "student": student,
        "teacher": teacher,
        "pair": pair,
        "label": label,
        "group": None,
        "row": row,
        "axes": {},
        "against": None,
        "ours": False,
        "distiller": distiller,
        "state": state or ("complete" if top1 is not None else "waiting"),
        "attempts": 1,
        "weights_sha256": None,
        "teacher_sha256": "t" * 64 if finished and distiller != "none" else None,
        "device": "cpu",
        "started": None,
        "finished": None,
        "mixed_numerics": False,
        "teacher_run_id": teacher_run,
        "constants": constants or {},
        "recipe": used,
        "epochs": used["epochs"],
        "unpublished": None,
        "excluded": None,
        "departs": None,
        "test_top1_last": top1 if finished else None,
        "test_top1_best": top1 + 0.25 if finished and top1 is not None else None,
        "test_loss_last": (100 - top1) / 50 if finished and top1 is not None else None,
    } | other


def teacher(top1: float | None, *, model: str = "resnet20", dataset: str = "digits", seed: int = 0) -> dict[str, Any]:
    """The row of a teacher's run."""
    made = run("teacher", seed, top1, pair=model, purpose="teacher", dataset=dataset, distiller="none", row=-1)
    return made | {"run_id": f"teacher-{dataset}-{model}-{seed}", "setting_key": f"teacher-{dataset}-{model}"}


def frame(*runs: dict[str, Any] | list[dict[str, Any]]) -> pd.DataFrame:
    rows = [row for part in runs for row in (part if isinstance(part, list) else [part])]
    return pd.DataFrame(rows)


def seeds(label: str, *values: float | None, **other: Any) -> list[dict[str, Any]]:
    """One row per seed; None is a run that is not finished."""
    return [run(label, seed, value, **other) for seed, value in enumerate(values)]


def quickstart() -> pd.DataFrame:
    """A finished study shaped like the quickstart's."""
    return frame(
        teacher(98.06),
        seeds("none", 95.28, 95.00, 95.56, row=0),
        seeds("kd", 96.11, 95.83, 96.39, row=1),
        seeds("dkd", 96.39, 96.11, 96.39, row=2),
        seeds("KD+LS", 96.94, 96.67, 96.94, row=3, against="kd", distiller="kd", constants={"standardize": "zscore"}),
        seeds("luminet", 96.67, 96.94, 96.94, row=4, group="Newer"),
        seeds("fitnet", 95.83, 96.11, 95.56, row=5, group="Feature"),
    )
