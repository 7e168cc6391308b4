"""ShuffleNetV2 (net size 1) for CIFAR: a 1x1 stem without pool, three stages of 4, 8 and 4 units.

Ma et al., ECCV 2018, as RepDistiller and mdistiller have it (`ShuffleV2`), with their keys. Stage k of 3 is `layerk`,
at 1/2, 1/4 and 1/8 of the image size after 4, 12 and 16 of 16 units: one halving deeper than the stages of the CIFAR
ResNets. `pooled` comes from one more 1x1 convolution to 1024.

`stageN.preact` is what the last unit's two halves hold side by side: the first half already activated, the second
before its last ReLU, both before the shuffle, as in mdistiller. Its channels therefore stand in another order than
those of `stageN`, and no batch norm makes all of them.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdharness.core.types import ModelEntry
from kdharness.models.chain import Chain, before_last_relu, layer_shapes, pool, relu_
from kdharness.models.depthwise import DepthwiseConv2d
from kdharness.models.registry import MODELS

STEM, WIDTHS, UNITS, FEATURES = 24, (116, 232, 464), (4, 8, 4), 1024


class Unit(nn.Module):
    """Half of the channels pass, half go through 1x1, 3x3 depthwise, 1x1; the halves side by side, before the ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = nn.Conv2d(half, half, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(half)
        self.conv2 = DepthwiseConv2d(half)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(half, half, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(half)

    def forward(self, features: Tensor) -> Tensor:
        passed, branch = features.chunk(2, dim=1)
        branch = self.bn2(self.conv2(relu_(self.bn1(self.conv1(branch)))))
        return torch.cat((passed, _gathering(self.bn3(self.conv3(branch)))), 1)


class DownUnit(nn.Module):
    """Two strided branches (3x3 depthwise, 1x1; and 1x1, 3x3 depthwise, 1x1) side by side, before the ReLU."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.conv1 = DepthwiseConv2d(channels, 2)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, half, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(channels, half, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(half)
        self.conv4 = DepthwiseConv2d(half, 2)
        self.bn4 = nn.BatchNorm2d(half)
        self.conv5 = nn.Conv2d(half, half, 1, bias=False)
        self.bn5 = nn.BatchNorm2d(half)

    def forward(self, features: Tensor) -> Tensor:
        left = self.bn2(self.conv2(self.bn1(self.conv1(features))))
        right = self.bn4(self.conv4(relu_(self.bn3(self.conv3(features)))))
        return torch.cat((_gathering(left), _gathering(self.bn5(self.conv5(right)))), 1)


class ShuffleNetV2(Chain):
    """Stem and three stages of units; layers `stem`, `stage1..3` with `.preact`, `head`, `pooled`."""

    def __init__(self, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels, height, width = image_shape
        self.conv1 = nn.Conv2d(channels, STEM, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.layer1 = _stage(STEM, WIDTHS[0], UNITS[0])
        self.layer2 = _stage(WIDTHS[0], WIDTHS[1], UNITS[1])
        self.layer3 = _stage(WIDTHS[1], WIDTHS[2], UNITS[2])
        self.conv2 = nn.Conv2d(WIDTHS[2], FEATURES, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(FEATURES)
        self.linear = nn.Linear(FEATURES, num_classes)
        shapes = layer_shapes((height, width), self.steps, (STEM, *WIDTHS, FEATURES), (1, 2, 2, 2, 1))
        self.shapes = {**shapes, "pooled": (FEATURES,), "logits": (num_classes,)}

    @property
    def steps(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        steps: dict[str, Callable[[Tensor], Tensor]] = {"stem": lambda images: relu_(self.bn1(self.conv1(images)))}
        for stage, units in self._stages.items():
            steps[f"{stage}.preact"] = partial(before_last_relu, units, activate=_activate)
            steps[stage] = _activate
        return {**steps, "head": lambda features: relu_(self.bn2(self.conv2(features))), "pooled": pool}

    @property
    def batch_norms(self) -> Mapping[str, nn.BatchNorm2d]:
        return {}

    @property
    def classifier(self) -> nn.Linear:
        return self.linear

    @property
    def layers(self) -> Mapping[str, Sequence[nn.Module]]:
        stages = {stage: (units,) for stage, units in self._stages.items()}
        ends = {"head": (self.conv2, self.bn2), "classifier": (self.linear,)}
        return {"stem": (self.conv1, self.bn1), **stages, **ends}

    @property
    def _stages(self) -> dict[str, nn.Sequential]:
        return {"stage1": self.layer1, "stage2": self.layer2, "stage3": self.layer3}


def _gathering(half: Tensor) -> Tensor:
    """The same; its gradient, every second run of channels in memory, is moved together before it is handed on.

    On a CPU the backward pass of batch norm takes four times as long over a gradient with gaps.
    """
    if half.requires_grad:
        layout = torch.contiguous_format if half.is_contiguous() else torch.channels_last
        half.register_hook(  # type: ignore[no-untyped-call]  # torch does not type it
            lambda gradient: gradient.contiguous(memory_format=layout)
        )
    return half


def _activate(preact: Tensor) -> Tensor:
    """A unit's output: the ReLU changes nothing in the half that passed, which a ReLU has already seen."""
    return F.channel_shuffle(F.relu(preact), 2)


def _stage(channels: int, out_channels: int, units: int) -> nn.Sequential:
    return nn.Sequential(DownUnit(channels, out_channels), *(Unit(out_channels) for _ in range(units - 1)))


MODELS.add("shufflenetv2", "ShuffleV2")(
    ModelEntry(
        "shufflenetv2",
        "shufflenetv2",
        ShuffleNetV2,
        revision=2,
        printed="ShuffleNet-V2",
        published={"cifar100": 71.82},
    )
)
