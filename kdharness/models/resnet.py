"""The CIFAR residual networks of 3x3 basic blocks: depth 6n+2, and their four times wider x4 forms.

He et al., CVPR 2016, with the projection shortcut (option B) and the widths of RepDistiller and mdistiller, whose
released checkpoints have these keys. Stage k of 3 is `layerk`: it ends after k/3 of the blocks, at 1, 1/2 and 1/4 of
the image size. The pool over the last stage is adaptive, so that any image size works.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdharness.core.types import ModelEntry
from kdharness.models.chain import Chain, before_last_relu, init_fan_out, layer_shapes, pool, relu_
from kdharness.models.registry import MODELS


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; (B, C, H, W) -> the sum before its ReLU."""

    def __init__(self, channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, features: Tensor) -> Tensor:
        branch = relu_(self.bn1(self.conv1(features)))
        branch = self.bn2(self.conv2(branch))
        shortcut = features if self.downsample is None else self.downsample(features)
        return torch.add(branch, shortcut)


class ResNet(Chain):
    """Stem and three stages of `blocks` basic blocks each; layers `stem`, `stage1..3` with `.preact`, `pooled`."""

    def __init__(
        self, blocks: int, widths: tuple[int, int, int, int], num_classes: int, image_shape: tuple[int, int, int]
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        self.conv1 = nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.layer1 = _stage(widths[0], widths[1], blocks, stride=1)
        self.layer2 = _stage(widths[1], widths[2], blocks, stride=2)
        self.layer3 = _stage(widths[2], widths[3], blocks, stride=2)
        self.fc = nn.Linear(widths[3], num_classes)
        init_fan_out(self)
        shapes = layer_shapes((height, width), self.steps, widths, (1, 1, 2, 2))
        self.shapes = {**shapes, "pooled": (widths[3],), "logits": (num_classes,)}

    @property
    def steps(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        steps: dict[str, Callable[[Tensor], Tensor]] = {"stem": lambda images: relu_(self.bn1(self.conv1(images)))}
        for stage, blocks in self._stages.items():
            steps |= {f"{stage}.preact": partial(before_last_relu, blocks), stage: F.relu}
        return {**steps, "pooled": pool}

    @property
    def batch_norms(self) -> Mapping[str, nn.BatchNorm2d]:
        last = {stage: cast(BasicBlock, blocks[-1]) for stage, blocks in self._stages.items()}
        return {stage: block.bn2 for stage, block in last.items()}

    @property
    def classifier(self) -> nn.Linear:
        return self.fc

    @property
    def layers(self) -> Mapping[str, Sequence[nn.Module]]:
        stages = {stage: (blocks,) for stage, blocks in self._stages.items()}
        return {"stem": (self.conv1, self.bn1), **stages, "classifier": (self.fc,)}

    @property
    def _stages(self) -> dict[str, nn.Sequential]:
        return {"stage1": self.layer1, "stage2": self.layer2, "stage3": self.layer3}


def _stage(channels: int, out_channels: int, blocks: int, stride: int) -> nn.Sequential:
    following = (BasicBlock(out_channels, out_channels, 1) for _ in range(blocks - 1))
    return nn.Sequential(BasicBlock(channels, out_channels, stride), *following)


def _build(
    blocks: int, widths: tuple[int, int, int, int], num_classes: int, image_shape: tuple[int, int, int]
) -> ResNet:
    return ResNet(blocks, widths, num_classes, image_shape)


_NARROW, _WIDE = (16, 16, 32, 64), (32, 64, 128, 256)
PUBLISHED = {  # RepDistiller, after epoch 240
    **{"resnet20": 69.06, "resnet32": 71.14, "resnet56": 72.34, "resnet110": 74.31},
    **{"resnet8x4": 72.50, "resnet32x4": 79.42},
}

for _depth, _widths in (*((depth, _NARROW) for depth in (8, 14, 20, 32, 44, 56, 110)), (8, _WIDE), (32, _WIDE)):
    _name = f"resnet{_depth}x4" if _widths is _WIDE else f"resnet{_depth}"
    _make, _printed = partial(_build, (_depth - 2) // 6, _widths), _name.replace("resnet", "ResNet").replace("x", "×")
    _published = {"cifar100": PUBLISHED[_name]} if _name in PUBLISHED else {}
    MODELS.add(_name)(ModelEntry(_name, "resnet", _make, printed=_printed, published=_published))
