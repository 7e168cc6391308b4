"""A network's weights as a file and as a hash."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from kdharness.core.errors import EnvironmentRefused
from kdharness.training.files import write_durably


def weights_sha256(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 (64 hex digits) over (key, dtype, shape, bytes) in key order; memory layout and device are not in it."""
    digest = hashlib.sha256()
    for key in sorted(weights):
        value = weights[key].detach().cpu()
        digest.update(f"{key}\0{str(value.dtype).removeprefix('torch.')}\0{tuple(value.shape)}\0".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write a safetensors file, whole or not at all. Raises EnvironmentRefused when the disk refuses."""
    write_durably(path, pack_weights(weights))


def pack_weights(weights: Mapping[str, Tensor]) -> bytes:
    """The content of a safetensors file."""
    return safetensors.torch.save({key: value.detach().cpu().contiguous() for key, value in weights.items()})


def load_weights(path: Path) -> dict[str, Tensor]:
    """The state_dict of a file of `save_weights`. Raises EnvironmentRefused when it is missing or damaged."""
    try:
        return safetensors.torch.load(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise EnvironmentRefused(
            f"these weights cannot be read: {error}",
            where=str(path),
            remedy="delete the file and train its run again with `kdharness retry`",
        ) from error
