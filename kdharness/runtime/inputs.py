"""What a job reads before it trains: settings, the dataset, verified teacher weights, the newest whole checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from kdharness.core.errors import BadInput, EnvironmentRefused
from kdharness.core.home import Home
from kdharness.core.records import RunKey, Setting
from kdharness.core.types import Dataset
from kdharness.datasets import opening
from kdharness.results.store import Store
from kdharness.runtime.runlog import note
from kdharness.training import checkpoint, weights
from kdharness.training.members import Member

_REMEDY = "Put the file back from a copy, or train in a new home."


@dataclass(frozen=True)
class Prepared:
    """A run ready to train, and the hash of the teacher weights it is fed (None: it needs none)."""

    member: Member
    teacher_sha256: str | None


def prepare(home: Home, store: Store, run_id: str) -> Prepared:
    """Everything one run needs but the dataset. Raises EnvironmentRefused where teacher weights are not as recorded."""
    setting, seed = store.setting(run_id)
    teachers, sha256 = teacher_weights(home, store, setting)
    return Prepared(Member(run_id, setting, seed, teachers, resume_point(home, store, run_id)), sha256)


def open_dataset(data: Path, setting: Setting) -> Dataset:
    """The setting's dataset. Raises EnvironmentRefused where its images are not those the setting was made for."""
    dataset = opening.open_dataset(setting.dataset, data)
    if dataset.fingerprint != setting.fingerprint:
        raise EnvironmentRefused(
            f"dataset {setting.dataset!r} has changed: the run was planned for fingerprint {setting.fingerprint[:12]}, "
            f"here is {dataset.fingerprint[:12]}",
            remedy="Run the study again: it plans new runs for the new images.",
        )
    return dataset


def teacher_weights(home: Home, store: Store, setting: Setting) -> tuple[tuple[Mapping[str, Tensor], ...], str | None]:
    """One state_dict per teacher whose weights the distiller needs, and their hash (joined by `+` for several)."""
    loaded = []
    hashes = []
    for teacher in setting.teachers:
        if teacher.run is not None:
            state, found = trained_weights(home, store, teacher.run)
        elif teacher.weights_sha256 is not None:
            state, found = imported_weights(home, teacher.weights_sha256, teacher.model), teacher.weights_sha256
        else:
            continue
        loaded.append(state)
        hashes.append(found)
    return tuple(loaded), "+".join(hashes) or None


def trained_weights(home: Home, store: Store, run: RunKey) -> tuple[Mapping[str, Tensor], str]:
    """The student of a finished run, and its hash. Raises EnvironmentRefused where it is gone or damaged."""
    run_id = run.run_id
    path = home.weights(run_id)
    expected = store.weights_of(run)
    if expected is None:
        raise BadInput(f"run {run_id} is not complete")
    if not path.exists():
        raise EnvironmentRefused(f"the weights of run {run_id} are gone", where=str(path), remedy=_REMEDY)
    state = weights.load_weights(path)
    found = weights.weights_sha256(state)
    if found != expected:
        raise EnvironmentRefused(
            f"the weights of run {run_id} are damaged: sha256 {found[:12]}, recorded {expected[:12]}",
            where=str(path),
            remedy=_REMEDY,
        )
    return state, found


def imported_weights(home: Home, sha256: str, model: str) -> Mapping[str, Tensor]:
    """The imported weights of that hash. Raises EnvironmentRefused where they are gone or damaged."""
    path = home.imported_weights(sha256)
    remedy = f"Import the same file again: kdharness teachers import FILE --model {model} --dataset NAME"
    if not path.exists():
        raise EnvironmentRefused(f"the imported {model} is gone", where=str(path), remedy=remedy)
    try:
        state = weights.load_weights(path)
    except EnvironmentRefused as error:
        raise EnvironmentRefused(f"the imported {model}: {error.what}", where=str(path), remedy=remedy) from error
    found = weights.weights_sha256(state)
    if found != sha256:
        raise EnvironmentRefused(
            f"the imported {model} is damaged: sha256 {found[:12]}, recorded {sha256[:12]}",
            where=str(path),
            remedy=remedy,
        )
    return state


def resume_point(home: Home, store: Store, run_id: str) -> Mapping[str, Any] | None:
    """The newest checkpoint whose bytes are those that were recorded; None to start over. The log says which."""
    saved = store.checkpoints(run_id)
    for point in saved:
        try:
            state = checkpoint.read(home.root / point.path, point.sha256)
        except checkpoint.DamagedCheckpoint as error:
            note(run_id, f"checkpoint of epoch {point.epoch} cannot be used: {' '.join(str(error).split())}")
            continue
        note(run_id, f"resuming after epoch {point.epoch}, step {point.step}")
        return state
    if saved:
        note(run_id, "no usable checkpoint is left: starting over")
    return None
