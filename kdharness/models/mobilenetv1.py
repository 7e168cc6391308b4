"""MobileNetV1 for ImageNet: a strided 3x3 convolution and thirteen depthwise-separable units.

Howard et al., 2017, with the keys of mdistiller's `MobileNetV1` (which papers of that line also print as MobileNetV2).
The stem is module 0 of `model`; stages 1 to 4 end after modules 3, 5, 11 and 13 of 13, at 1/4, 1/8, 1/16 and 1/32 of
the image size, so that stage k stands where stage k of an ImageNet ResNet does. mdistiller lists those four stages
without the stem; here counting starts at the same place in every family.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from kdharness.core.types import ModelEntry
from kdharness.models.chain import Chain, layer_shapes, pool
from kdharness.models.depthwise import DepthwiseConv2d
from kdharness.models.registry import MODELS

STEM = 32
UNITS = (  # channels, stride
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1)),
)
STAGES = {"stage1": (1, 4), "stage2": (4, 6), "stage3": (6, 12), "stage4": (12, 14)}


class MobileNetV1(Chain):
    """Stem and thirteen units in four stages; layers `stem`, `stage1..4` with `.preact`, `pooled`."""

    def __init__(self, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels, height, width = image_shape
        self.model = nn.Sequential(*(nn.Sequential(*part) for part in _parts(channels)))
        self.fc = nn.Linear(UNITS[-1][0], num_classes)
        widths = (STEM, *(UNITS[end - 2][0] for _, end in STAGES.values()))
        shapes = layer_shapes((height, width), self.steps, widths, (2, 2, 2, 2, 2))
        self.shapes = {**shapes, "pooled": (UNITS[-1][0],), "logits": (num_classes,)}

    @property
    def steps(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        steps: dict[str, Callable[[Tensor], Tensor]] = {"stem": self.model[0]}
        for stage, units in self._stages.items():
            steps |= {f"{stage}.preact": partial(_before_last_relu, units), stage: F.relu}
        return {**steps, "pooled": pool}

    @property
    def batch_norms(self) -> Mapping[str, nn.BatchNorm2d]:
        last = {stage: cast(nn.Sequential, units[-1]) for stage, units in self._stages.items()}
        return {stage: cast(nn.BatchNorm2d, unit[-2]) for stage, unit in last.items()}

    @property
    def classifier(self) -> nn.Linear:
        return self.fc

    @property
    def layers(self) -> Mapping[str, Sequence[nn.Module]]:
        stages = {stage: tuple(units) for stage, units in self._stages.items()}
        return {"stem": (self.model[0],), **stages, "classifier": (self.fc,)}

    @property
    def _stages(self) -> dict[str, nn.Sequential]:
        return {stage: self.model[start:end] for stage, (start, end) in STAGES.items()}


def _parts(channels: int) -> list[list[nn.Module]]:
    parts = [_convolution(channels, STEM, 3, 2)]
    channels = STEM
    for out_channels, stride in UNITS:
        depthwise = _activated(DepthwiseConv2d(channels, stride))
        parts.append(depthwise + _convolution(channels, out_channels, 1, 1))
        channels = out_channels
    return parts


def _convolution(channels: int, out_channels: int, kernel: int, stride: int) -> list[nn.Module]:
    return _activated(nn.Conv2d(channels, out_channels, kernel, stride, kernel // 2, bias=False))


def _activated(convolution: nn.Conv2d) -> list[nn.Module]:
    return [convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU()]


def _before_last_relu(units: nn.Sequential, features: Tensor) -> Tensor:
    last = cast(nn.Sequential, units[-1])
    return last[:-1](units[:-1](features))


MODELS.add("mobilenetv1", "MobileNetV1_imagenet")(
    ModelEntry(
        "mobilenetv1",
        "mobilenetv1",
        MobileNetV1,
        printed="MobileNet-V1",
        native=224,
        classes=1000,
        published={"imagenet": 68.87},
    )
)
