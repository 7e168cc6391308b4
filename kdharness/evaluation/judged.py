"""What an analysis starts from and what it ends with. Axes: N images of a split, K classes, D pooled features."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from kdharness.core.types import Normalization, Outputs, Split
from kdharness.evaluation.accuracy import tiles

Array = NDArray[Any]


@dataclass(frozen=True)
class Judged:
    """What a trained student and its teacher said to every image of a split, on the CPU in the split's order."""

    logits: Tensor
    """(N, K): those by which the student is judged."""
    labels: Tensor
    """(N,) int64"""
    pooled: Tensor
    """(N, D)"""
    teacher_logits: Tensor | None = None
    """(N, K); None for a student that learned from no trained teacher."""


@dataclass(frozen=True)
class Found:
    """What an analysis found."""

    metrics: Mapping[str, float]
    """By the names of `core.analyses`, without the split in front."""
    arrays: Mapping[str, Array] = field(default_factory=dict)
    """What figures are drawn from."""


@torch.no_grad()
def judge(
    student: Callable[[Tensor], Outputs],
    teacher: Callable[[Tensor], Outputs] | None,
    split: Split,
    normalization: Normalization,
    *,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    layout: torch.memory_format = torch.channels_last,
) -> Judged:
    """Ask both about every image, as `accuracy.evaluate` does. The caller has put its networks into eval mode."""
    logits, pooled, taught = [], [], []
    for images in tiles(split, normalization, device=device, dtype=dtype, layout=layout):
        said = student(images)
        logits.append(said.logits.cpu())
        pooled.append(said.pooled.cpu())
        if teacher is not None:
            taught.append(teacher(images).logits.cpu())
    return Judged(
        torch.cat(logits), split.labels.cpu(), torch.cat(pooled), torch.cat(taught) if teacher is not None else None
    )
