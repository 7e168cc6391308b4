"""A trained network for others: its weights as safetensors and `.pth`, and a card that says what they are."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

import kdharness
from kdharness.core.errors import BadInput, EnvironmentRefused, KdHarnessError
from kdharness.core.home import Home
from kdharness.core.keys import canonical
from kdharness.core.types import Distiller
from kdharness.datasets.opening import open_dataset
from kdharness.distillers.registry import DISTILLERS
from kdharness.results.records import ImportedTeacher, RunRow
from kdharness.results.store import Store
from kdharness.runtime.inputs import imported_weights
from kdharness.runtime.judge import FED
from kdharness.training import weights
from kdharness.training.files import write_durably


def export_run(home: Home, store: Store, run_id: str, folder: Path, *, data: Path) -> list[Path]:
    """Write the student of a finished run into `folder`; the paths. Raises BadInput for a run that is not finished."""
    run = store.run(store.find_run(run_id))
    if run.state != "complete" or run.weights_sha256 is None:
        raise BadInput(f"run {run.run_id} is {run.state}: it has no student yet", remedy="kdharness status says more")
    path = home.weights(run.run_id)
    state = weights.load_weights(path)
    if weights.weights_sha256(state) != run.weights_sha256:
        raise EnvironmentRefused(f"the student of run {run.run_id} is damaged", where=str(path))
    card = _data_card(run.setting.dataset, data, run.setting.recipe.normalization)
    return _write(folder, run.setting.student, state, _run_card(run) | card)


def export_teacher(home: Home, store: Store, name: str, folder: Path, *, data: Path) -> list[Path]:
    """Write a teacher, imported (by its name) or trained (by its run), into `folder`; the paths."""
    for teacher in store.imported_teachers():
        if teacher.name == name:
            state = imported_weights(home, teacher.weights_sha256, teacher.model)
            card = _import_card(teacher) | _data_card(teacher.dataset, data, teacher.normalization)
            return _write(folder, teacher.model, state, card)
    return export_run(home, store, name, folder, data=data)


def _write(folder: Path, model: str, state: Mapping[str, Tensor], card: Mapping[str, Any]) -> list[Path]:
    """`MODEL.safetensors`, `MODEL.pth` (under "model", as mdistiller and RepDistiller load it) and `card.json`."""
    plain = {key: value.contiguous() for key, value in state.items()}
    buffer = io.BytesIO()
    torch.save({"model": plain}, buffer)
    text = json.dumps({**card, "kdharness": kdharness.__version__}, indent=1, ensure_ascii=False) + "\n"
    files = {
        f"{model}.safetensors": safetensors.torch.save(plain),
        f"{model}.pth": buffer.getvalue(),
        "card.json": text.encode(),
    }
    for name, content in files.items():
        write_durably(folder / name, content)
    return [folder / name for name in files]


def _run_card(run: RunRow) -> dict[str, Any]:
    """What a paper and a stranger need to know of a student."""
    last = run.history[-1]
    return {
        "model": run.setting.student,
        "weights_sha256": run.weights_sha256,
        "metrics": dict(run.metrics),
        "metrics_are_of": _predictor(run.setting.distiller),
        "run_id": run.run_id,
        "seed": run.seed,
        "setting_key": run.setting_key,
        "setting": canonical(run.setting),
        "teacher_sha256": run.teacher_sha256,
        "code": {"commit": last.commit, "versions": dict(last.versions)},
        "numerics": dict(last.numerics),
        "device": run.device,
        "finished": run.finished.isoformat() if run.finished else None,
    }


def _predictor(distiller: str) -> str:
    """Whose accuracy the metrics are: a few methods judge the student together with what they added to it."""
    if distiller not in DISTILLERS:
        return "unknown: the distiller is not installed here"
    if DISTILLERS.get(distiller).predict is Distiller.predict:
        return "the student alone"
    return f"the prediction of {distiller}, for which these weights alone are not enough"


def _import_card(teacher: ImportedTeacher) -> dict[str, Any]:
    return {
        "model": teacher.model,
        "weights_sha256": teacher.weights_sha256,
        "metrics": {} if teacher.measured_top1 is None else {"test_top1": teacher.measured_top1},
        "declared_top1": teacher.declared_top1,
        "mismatch_accepted": teacher.accepted,
        "imported_as": teacher.name,
        # the file's name alone: a card goes to strangers
        "imported_from": {**teacher.provenance, "file": Path(teacher.provenance.get("file", "")).name},
    }


def _data_card(name: str, data: Path, normalization: str) -> dict[str, Any]:
    """What the network is fed with; only the name where the dataset is not here."""
    try:
        dataset = open_dataset(name, data)
    except KdHarnessError:
        return {"data": {"dataset": name, "normalization": normalization}}
    chosen = FED[normalization] or dataset.normalization
    return {
        "data": {
            "dataset": name,
            "fingerprint": dataset.fingerprint,
            "num_classes": dataset.num_classes,
            "image_shape": list(dataset.image_shape),
            "normalization": normalization,
            "mean": list(chosen.mean),
            "std": list(chosen.std),
        }
    }
