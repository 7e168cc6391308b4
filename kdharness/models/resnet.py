"""The CIFAR residual networks of 3x3 basic blocks: depth 6n+2, and their four times wider x4 forms.

He et al., CVPR 2016, with the projection shortcut (option B) and the widths of RepDistiller and mdistiller, whose
released checkpoints have these keys. The pool over the last stage is adaptive, so that any image size works.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdharness.core.types import Model, ModelEntry, Outputs
from kdharness.models.registry import MODELS
from kdharness.models.statistics import kept_statistics

STAGES = ("stage1", "stage2", "stage3")


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
        branch = F.relu(self.bn1(self.conv1(features)))
        branch = self.bn2(self.conv2(branch))
        shortcut = features if self.downsample is None else self.downsample(features)
        return torch.add(branch, shortcut)


class ResNet(Model):
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
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

        shapes: dict[str, tuple[int, ...]] = {"stem": (widths[0], height, width)}
        for stage, stage_width, halvings in zip(STAGES, widths[1:], (0, 1, 2), strict=True):
            size = (stage_width, -(-height >> halvings), -(-width >> halvings))
            shapes[f"{stage}.preact"] = shapes[stage] = size
        self.shapes = {**shapes, "pooled": (widths[3],), "logits": (num_classes,)}

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

    def forward(self, images: Tensor) -> Outputs:
        stem = F.relu(self.bn1(self.conv1(images)))
        return self._continue(stem, STAGES, {"stem": stem})

    def forward_from(self, stage: str, features: Tensor, *, update_statistics: bool = False) -> Outputs:
        """See NetworkView.forward_from; also takes `stageN.preact` (its ReLU follows) and `pooled`."""
        if stage == "pooled":
            return Outputs(self.fc(features), features)
        name, _, preact = stage.partition(".")
        if stage not in self.shapes or name == "logits":
            raise KeyError(f"no layer {stage!r} to continue from; there are {', '.join(self.shapes)}")
        later = STAGES if name == "stem" else STAGES[STAGES.index(name) + 1 :]
        if preact:
            features = F.relu(features)
        tail = [self._stages[following] for following in later]
        with nullcontext() if update_statistics else kept_statistics(tail):
            return self._continue(features, later, {name: features} if preact else {})

    def _continue(self, features: Tensor, stages: Sequence[str], collected: Mapping[str, Tensor]) -> Outputs:
        """The outputs from the tensor after the layer in front of `stages`; `collected` are the layers before."""
        outputs = dict(collected)
        for stage in stages:
            blocks = self._stages[stage]
            for block in blocks[:-1]:
                features = F.relu(block(features))
            outputs[f"{stage}.preact"] = preact = blocks[-1](features)
            outputs[stage] = features = F.relu(preact)
        pooled = F.adaptive_avg_pool2d(features, 1).flatten(1)
        return Outputs(self.fc(pooled), pooled, outputs)


def _stage(channels: int, out_channels: int, blocks: int, stride: int) -> nn.Sequential:
    following = (BasicBlock(out_channels, out_channels, 1) for _ in range(blocks - 1))
    return nn.Sequential(BasicBlock(channels, out_channels, stride), *following)


def _build(
    blocks: int, widths: tuple[int, int, int, int], num_classes: int, image_shape: tuple[int, int, int]
) -> ResNet:
    return ResNet(blocks, widths, num_classes, image_shape)


for _depth in (8, 14, 20, 32, 44, 56, 110):
    _make = partial(_build, (_depth - 2) // 6, (16, 16, 32, 64))
    MODELS.add(f"resnet{_depth}")(ModelEntry(f"resnet{_depth}", "resnet", _make, printed=f"ResNet{_depth}"))
for _depth in (8, 32):
    _make = partial(_build, (_depth - 2) // 6, (32, 64, 128, 256))
    MODELS.add(f"resnet{_depth}x4")(ModelEntry(f"resnet{_depth}x4", "resnet", _make, printed=f"ResNet{_depth}×4"))
