"""ResNet56 with the keys of pycls: the CNN teacher that tiny-transformers (Li et al., ECCV 2022) distils from.

It computes what `resnet56` does, with the same stages: stage k of 3 is `sk`, at 1, 1/2 and 1/4 of the image size. Its
classifier starts from a normal of 0.01 and no bias, as pycls has it.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdharness.core.types import ModelEntry
from kdharness.models.chain import Chain, before_last_relu, init_fan_out, layer_shapes, pool
from kdharness.models.registry import MODELS

BLOCKS, WIDTHS = 9, (16, 16, 32, 64)


class Stem(nn.Module):
    """3x3 convolution, batch norm, ReLU."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)

    def forward(self, images: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(images)))


class Branch(nn.Module):
    """Two 3x3 convolutions with batch norm and a ReLU between."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.a_bn = nn.BatchNorm2d(width)
        self.b = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.b_bn = nn.BatchNorm2d(width)

    def forward(self, features: Tensor) -> Tensor:
        return self.b_bn(self.b(F.relu(self.a_bn(self.a(features)))))


class Block(nn.Module):
    """The branch and a shortcut; (B, C, H, W) -> the sum before its ReLU."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.proj: nn.Module | None = None
        if stride != 1 or channels != width:
            self.proj = nn.Conv2d(channels, width, 1, stride, bias=False)
            self.bn = nn.BatchNorm2d(width)
        self.f = Branch(channels, width, stride)

    def forward(self, features: Tensor) -> Tensor:
        shortcut = features if self.proj is None else self.bn(self.proj(features))
        return torch.add(self.f(features), shortcut)


class Head(nn.Module):
    """The classifier under pycls' key."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(width, num_classes)


class PyclsResNet(Chain):
    """Stem and three stages of nine blocks; layers `stem`, `stage1..3` with `.preact`, `pooled`."""

    def __init__(self, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels, height, width = image_shape
        self.stem = Stem(channels, WIDTHS[0])
        self.s1 = _stage(WIDTHS[0], WIDTHS[1], stride=1)
        self.s2 = _stage(WIDTHS[1], WIDTHS[2], stride=2)
        self.s3 = _stage(WIDTHS[2], WIDTHS[3], stride=2)
        self.head = Head(WIDTHS[3], num_classes)
        init_fan_out(self)
        nn.init.normal_(self.head.fc.weight, std=0.01)
        nn.init.zeros_(self.head.fc.bias)
        shapes = layer_shapes((height, width), self.steps, WIDTHS, (1, 1, 2, 2))
        self.shapes = {**shapes, "pooled": (WIDTHS[3],), "logits": (num_classes,)}

    @property
    def steps(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        steps: dict[str, Callable[[Tensor], Tensor]] = {"stem": self.stem}
        for stage, blocks in self._stages.items():
            steps |= {f"{stage}.preact": partial(before_last_relu, blocks), stage: F.relu}
        return {**steps, "pooled": pool}

    @property
    def batch_norms(self) -> Mapping[str, nn.BatchNorm2d]:
        return {stage: cast(Block, blocks[-1]).f.b_bn for stage, blocks in self._stages.items()}

    @property
    def classifier(self) -> nn.Linear:
        return self.head.fc

    @property
    def layers(self) -> Mapping[str, Sequence[nn.Module]]:
        stages = {stage: (blocks,) for stage, blocks in self._stages.items()}
        return {"stem": (self.stem,), **stages, "classifier": (self.classifier,)}

    @property
    def _stages(self) -> dict[str, nn.Sequential]:
        return {"stage1": self.s1, "stage2": self.s2, "stage3": self.s3}


def _stage(channels: int, width: int, stride: int) -> nn.Sequential:
    blocks = {f"b{number}": Block(width, width, 1) for number in range(2, BLOCKS + 1)}
    return nn.Sequential(OrderedDict(b1=Block(channels, width, stride), **blocks))


MODELS.add("pycls_resnet56")(ModelEntry("pycls_resnet56", "resnet_pycls", PyclsResNet, printed="ResNet56"))
