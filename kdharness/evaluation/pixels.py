"""From stored pixels to what a network sees."""

from functools import cache

import torch
from torch import Tensor

from kdharness.core.types import Normalization


def normalised(pixels: Tensor, normalization: Normalization, dtype: torch.dtype) -> Tensor:
    """(B, H, W, C) uint8 -> (B, C, H, W) `dtype`, stored channels last: (pixel / 255 - mean) / std.

    In this order of operations the float32 values are torchvision's ToTensor and Normalize bit for bit.
    """
    mean, std = _constants(normalization, dtype, pixels.device)
    return pixels.to(dtype).div_(255).sub_(mean).div_(std).permute(0, 3, 1, 2)


@cache
def _constants(normalization: Normalization, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Made once: to bring them to a GPU the host would wait for it, at every batch."""
    mean, std = (torch.tensor(values, dtype=dtype, device=device) for values in (normalization.mean, normalization.std))
    return mean, std
