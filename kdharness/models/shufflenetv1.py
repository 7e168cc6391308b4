"""ShuffleNetV1 with 3 groups for CIFAR: a 1x1 stem without pool, three stages of 4, 8 and 4 units.

Zhang et al., CVPR 2018, as RepDistiller and mdistiller have it (`ShuffleV1`), with their keys: unlike the paper there
is a ReLU behind the depthwise convolution. Stage k of 3 is `layerk`, at 1/2, 1/4 and 1/8 of the image size after 4, 12
and 16 of 16 units: one halving deeper than the stages of the CIFAR ResNets.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdharness.core.types import ModelEntry
from kdharness.models.chain import Chain, before_last_relu, layer_shapes, pool, relu_
from kdharness.models.depthwise import DepthwiseConv2d
from kdharness.models.registry import MODELS

STEM, WIDTHS, UNITS, GROUPS = 24, (240, 480, 960), (4, 8, 4), 3


class Unit(nn.Module):
    """Grouped 1x1, shuffle, 3x3 depthwise, grouped 1x1; (B, C, H, W) -> what follows its shortcut, before the ReLU.

    With stride 1 the input is added; with stride 2 its mean-pooled form is appended, behind the branch's channels.
    """

    def __init__(self, channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        made = out_channels - channels if stride == 2 else out_channels
        wide = made // 4
        self.groups = 1 if channels == STEM else GROUPS
        self.conv1 = nn.Conv2d(channels, wide, 1, groups=self.groups, bias=False)
        self.bn1 = nn.BatchNorm2d(wide)
        self.conv2 = DepthwiseConv2d(wide, stride)
        self.bn2 = nn.BatchNorm2d(wide)
        self.conv3 = nn.Conv2d(wide, made, 1, groups=GROUPS, bias=False)
        self.bn3 = nn.BatchNorm2d(made)

    def forward(self, features: Tensor) -> Tensor:
        branch = relu_(self.bn1(self.conv1(features)))
        branch = relu_(self.bn2(self.conv2(F.channel_shuffle(branch, self.groups))))
        branch = self.bn3(self.conv3(branch))
        if self.stride == 2:
            return torch.cat((branch, F.avg_pool2d(features, 3, 2, padding=1)), 1)
        return torch.add(branch, features)


class ShuffleNetV1(Chain):
    """Stem and three stages of units; layers `stem`, `stage1..3` with `.preact`, `pooled`."""

    def __init__(self, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels, height, width = image_shape
        self.conv1 = nn.Conv2d(channels, STEM, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.layer1 = _stage(STEM, WIDTHS[0], UNITS[0])
        self.layer2 = _stage(WIDTHS[0], WIDTHS[1], UNITS[1])
        self.layer3 = _stage(WIDTHS[1], WIDTHS[2], UNITS[2])
        self.linear = nn.Linear(WIDTHS[2], num_classes)
        shapes = layer_shapes((height, width), self.steps, (STEM, *WIDTHS), (1, 2, 2, 2))
        self.shapes = {**shapes, "pooled": (WIDTHS[2],), "logits": (num_classes,)}

    @property
    def steps(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        steps: dict[str, Callable[[Tensor], Tensor]] = {"stem": lambda images: relu_(self.bn1(self.conv1(images)))}
        for stage, units in self._stages.items():
            steps |= {f"{stage}.preact": partial(before_last_relu, units), stage: F.relu}
        return {**steps, "pooled": pool}

    @property
    def batch_norms(self) -> Mapping[str, nn.BatchNorm2d]:
        return {stage: cast(Unit, units[-1]).bn3 for stage, units in self._stages.items()}

    @property
    def classifier(self) -> nn.Linear:
        return self.linear

    @property
    def layers(self) -> Mapping[str, Sequence[nn.Module]]:
        stages = {stage: (units,) for stage, units in self._stages.items()}
        return {"stem": (self.conv1, self.bn1), **stages, "classifier": (self.linear,)}

    @property
    def _stages(self) -> dict[str, nn.Sequential]:
        return {"stage1": self.layer1, "stage2": self.layer2, "stage3": self.layer3}


def _stage(channels: int, out_channels: int, units: int) -> nn.Sequential:
    following = (Unit(out_channels, out_channels, stride=1) for _ in range(units - 1))
    return nn.Sequential(Unit(channels, out_channels, stride=2), *following)


MODELS.add("shufflenetv1", "ShuffleV1")(
    ModelEntry(
        "shufflenetv1",
        "shufflenetv1",
        ShuffleNetV1,
        printed="ShuffleNet-V1",
        published={"cifar100": 70.50},
    )
)
