"""MobileNetV2 at half width for CIFAR: linear bottlenecks, plain ReLU.

Sandler et al., CVPR 2018, as RepDistiller and mdistiller have it (`mobile_half`: T 6, W 0.5), with their keys: the
first convolution strides, the first two groups do not, every bottleneck has its expansion, widths are cut to integers.
The stem and stages 1 to 4 end after the stem, group 1, 2, 4 and 6 of 0..6, so after 0, 3, 6, 13 and 17 of 17
bottlenecks, at 1/2, 1/2, 1/4, 1/8 and 1/16 of the image size: stage k stands for stage k of a network with four.
No ReLU ends a stage, so there is no `.preact` and no batch norm in front of one.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

from torch import Tensor, nn

from kdharness.core.types import ModelEntry
from kdharness.models.chain import Chain, init_fan_out, layer_shapes, pool
from kdharness.models.depthwise import DepthwiseConv2d
from kdharness.models.registry import MODELS

EXPANSION, WIDTH, FEATURES = 6, 0.5, 1280
GROUPS = (  # expansion, channels at full width, bottlenecks, stride of the first
    (1, 16, 1, 1),
    (EXPANSION, 24, 2, 1),
    (EXPANSION, 32, 3, 2),
    (EXPANSION, 64, 4, 2),
    (EXPANSION, 96, 3, 1),
    (EXPANSION, 160, 3, 2),
    (EXPANSION, 320, 1, 1),
)
STAGES = {"stage1": (0, 2), "stage2": (2, 3), "stage3": (3, 5), "stage4": (5, 7)}


class Bottleneck(nn.Module):
    """1x1 expansion, 3x3 depthwise, 1x1 linear; the input is added where the shape stays."""

    def __init__(self, channels: int, out_channels: int, expansion: int, stride: int) -> None:
        super().__init__()
        wide = channels * expansion
        self.adds = stride == 1 and channels == out_channels
        self.conv = nn.Sequential(
            nn.Conv2d(channels, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(inplace=True),
            DepthwiseConv2d(wide, stride),
            nn.BatchNorm2d(wide),
            nn.ReLU(inplace=True),
            nn.Conv2d(wide, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        branch = self.conv(features)
        return features + branch if self.adds else branch


class MobileNetV2(Chain):
    """Stem and seven groups of bottlenecks; layers `stem`, `stage1..4`, `head` (1x1 convolution to 1280), `pooled`."""

    def __init__(self, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels, height, width = image_shape
        stem = int(32 * WIDTH)
        self.conv1 = nn.Sequential(
            nn.Conv2d(channels, stem, 3, 2, padding=1, bias=False), nn.BatchNorm2d(stem), nn.ReLU(inplace=True)
        )
        self.blocks = nn.Sequential()
        channels = stem
        for expansion, full, count, stride in GROUPS:
            wide = int(full * WIDTH)
            first = Bottleneck(channels, wide, expansion, stride)
            self.blocks.append(nn.Sequential(first, *(Bottleneck(wide, wide, expansion, 1) for _ in range(count - 1))))
            channels = wide
        self.conv2 = nn.Sequential(
            nn.Conv2d(channels, FEATURES, 1, bias=False), nn.BatchNorm2d(FEATURES), nn.ReLU(inplace=True)
        )
        linear = nn.Linear(FEATURES, num_classes)
        self._modules["classifier"] = nn.Sequential(linear)  # the checkpoints' key, and the name of the seam's property
        init_fan_out(self)
        nn.init.normal_(linear.weight, std=0.01)
        nn.init.zeros_(linear.bias)

        widths = (stem, *(int(GROUPS[end - 1][1] * WIDTH) for _, end in STAGES.values()), FEATURES)
        shapes = layer_shapes((height, width), self.steps, widths, (2, 1, 2, 2, 2, 1))
        self.shapes = {**shapes, "pooled": (FEATURES,), "logits": (num_classes,)}

    @property
    def steps(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        return {"stem": self.conv1, **self._stages, "head": self.conv2, "pooled": pool}

    @property
    def batch_norms(self) -> Mapping[str, nn.BatchNorm2d]:
        return {}

    @property
    def classifier(self) -> nn.Linear:
        return cast(nn.Linear, cast(nn.Sequential, self._modules["classifier"])[0])

    @property
    def layers(self) -> Mapping[str, Sequence[nn.Module]]:
        stages = {stage: tuple(groups) for stage, groups in self._stages.items()}
        return {"stem": (self.conv1,), **stages, "head": (self.conv2,), "classifier": (self.classifier,)}

    @property
    def _stages(self) -> dict[str, nn.Sequential]:
        return {stage: self.blocks[start:end] for stage, (start, end) in STAGES.items()}


MODELS.add("mobilenetv2")(
    ModelEntry("mobilenetv2", "mobilenetv2", MobileNetV2, printed="MobileNet-V2", published={"cifar100": 64.60})
)
