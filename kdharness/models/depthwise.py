"""Depthwise convolutions: each channel by itself."""

import torch
from torch import Tensor, nn


class DepthwiseConv2d(nn.Conv2d):
    """A 3x3 depthwise convolution, without bias unless asked for; its keys are `Conv2d`'s.

    On a CPU it stays in float32 under autocast: oneDNN's bf16 gradient of a strided one takes 10 to 30 times as long.
    """

    def __init__(self, channels: int, stride: int = 1, *, bias: bool = False) -> None:
        super().__init__(channels, channels, 3, stride, padding=1, groups=channels, bias=bias)

    def forward(self, features: Tensor) -> Tensor:
        if features.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(features)
        with torch.autocast("cpu", enabled=False):
            return super().forward(features.float())
