"""From stored pixels to what a network sees."""

import torch
from torch import Tensor

from kdharness.core.types import Normalization


def normalised(pixels: Tensor, normalization: Normalization, dtype: torch.dtype) -> Tensor:
    """(B, H, W, C) uint8 -> (B, C, H, W) `dtype`, stored channels last: (pixel / 255 - mean) / std.

    In this order of operations the float32 values are torchvision's ToTensor and Normalize bit for bit.
    """
    mean = torch.tensor(normalization.mean, dtype=dtype, device=pixels.device)
    std = torch.tensor(normalization.std, dtype=dtype, device=pixels.device)
    return pixels.to(dtype).div_(255).sub_(mean).div_(std).permute(0, 3, 1, 2)
