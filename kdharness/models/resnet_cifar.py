"""The ImageNet residual networks ResNet18, 34 and 50 in their CIFAR form: a 3x3 stem of stride 1 and no max-pool.

He et al., CVPR 2016, with the keys of RepDistiller's and mdistiller's checkpoints (`ResNet50`: `shortcut` and `linear`
where the networks of `resnet.py` have `downsample` and `fc`). Stage k of 4 is `layerk`, at 1, 1/2, 1/4 and 1/8 of the
image size: stages 1 to 3 stand at the resolutions of the three stages of `resnet.py`, stage 4 is one more halving.
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

WIDTHS = (64, 128, 256, 512)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; (B, C, H, W) -> the sum before its ReLU."""

    expansion = 1

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = _shortcut(channels, width, stride)

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        return self.bn2

    def forward(self, features: Tensor) -> Tensor:
        branch = relu_(self.bn1(self.conv1(features)))
        return torch.add(self.bn2(self.conv2(branch)), self.shortcut(features))


class Bottleneck(nn.Module):
    """1x1, 3x3 (which strides) and 1x1 convolution to four times the width, and a shortcut; the sum before its ReLU."""

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.shortcut = _shortcut(channels, 4 * width, stride)

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        return self.bn3

    def forward(self, features: Tensor) -> Tensor:
        branch = relu_(self.bn1(self.conv1(features)))
        branch = relu_(self.bn2(self.conv2(branch)))
        return torch.add(self.bn3(self.conv3(branch)), self.shortcut(features))


class CifarResNet(Chain):
    """Stem and four stages of blocks; layers `stem`, `stage1..4` with `.preact`, `pooled`."""

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        counts: tuple[int, int, int, int],
        num_classes: int,
        image_shape: tuple[int, int, int],
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        outputs = [block.expansion * width for width in WIDTHS]
        self.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _stage(block, 64, WIDTHS[0], counts[0], stride=1)
        self.layer2 = _stage(block, outputs[0], WIDTHS[1], counts[1], stride=2)
        self.layer3 = _stage(block, outputs[1], WIDTHS[2], counts[2], stride=2)
        self.layer4 = _stage(block, outputs[2], WIDTHS[3], counts[3], stride=2)
        self.linear = nn.Linear(outputs[3], num_classes)
        init_fan_out(self)
        shapes = layer_shapes((height, width), self.steps, (64, *outputs), (1, 1, 2, 2, 2))
        self.shapes = {**shapes, "pooled": (outputs[3],), "logits": (num_classes,)}

    @property
    def steps(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        steps: dict[str, Callable[[Tensor], Tensor]] = {"stem": lambda images: relu_(self.bn1(self.conv1(images)))}
        for stage, blocks in self._stages.items():
            steps |= {f"{stage}.preact": partial(before_last_relu, blocks), stage: F.relu}
        return {**steps, "pooled": pool}

    @property
    def batch_norms(self) -> Mapping[str, nn.BatchNorm2d]:
        last = {stage: cast(BasicBlock | Bottleneck, blocks[-1]) for stage, blocks in self._stages.items()}
        return {stage: block.last_norm for stage, block in last.items()}

    @property
    def classifier(self) -> nn.Linear:
        return self.linear

    @property
    def layers(self) -> Mapping[str, Sequence[nn.Module]]:
        stages = {stage: (blocks,) for stage, blocks in self._stages.items()}
        return {"stem": (self.conv1, self.bn1), **stages, "classifier": (self.linear,)}

    @property
    def _stages(self) -> dict[str, nn.Sequential]:
        return {"stage1": self.layer1, "stage2": self.layer2, "stage3": self.layer3, "stage4": self.layer4}


def _shortcut(channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """The identity, or a strided 1x1 convolution with batch norm where the shape changes."""
    if stride == 1 and channels == out_channels:
        return nn.Sequential()
    return nn.Sequential(nn.Conv2d(channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))


def _stage(
    block: type[BasicBlock] | type[Bottleneck], channels: int, width: int, blocks: int, stride: int
) -> nn.Sequential:
    following = (block(block.expansion * width, width, 1) for _ in range(blocks - 1))
    return nn.Sequential(block(channels, width, stride), *following)


def _build(
    block: type[BasicBlock] | type[Bottleneck],
    counts: tuple[int, int, int, int],
    num_classes: int,
    image_shape: tuple[int, int, int],
) -> CifarResNet:
    return CifarResNet(block, counts, num_classes, image_shape)


# No bare `resnet18`: what the literature calls so depends on the data set, and look-up ignores case.
for _depth, _block, _counts in (
    (18, BasicBlock, (2, 2, 2, 2)),
    (34, BasicBlock, (3, 4, 6, 3)),
    (50, Bottleneck, (3, 4, 6, 3)),
):
    _name, _make = f"resnet{_depth}_cifar", partial(_build, _block, _counts)
    _published = {"cifar100": 79.34} if _depth == 50 else {}  # RepDistiller, after epoch 240
    MODELS.add(_name)(ModelEntry(_name, "resnet_cifar", _make, printed=f"ResNet{_depth}", published=_published))
