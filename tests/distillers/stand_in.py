"""A batch and outputs made of bare logits, for the arithmetic of one loss."""

import torch
from torch import Tensor

from kdharness.core.types import Batch, Outputs


def outputs(logits: Tensor) -> Outputs:
    return Outputs(logits, logits)


def batch(labels: Tensor) -> Batch:
    rows = len(labels)
    return Batch(
        torch.zeros(rows, 3, 1, 1), labels, torch.arange(rows), torch.tensor(1), torch.tensor(0), torch.Generator()
    )


def logits(rows: int, classes: int, seed: int, scale: float = 3.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rows, classes, generator=generator, dtype=torch.float64)
