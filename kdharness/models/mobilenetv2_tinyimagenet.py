"""MobileNetV2 at full width for Tiny-ImageNet, as mdistiller's `MobileNetV2_tinyimagenet`.

Another network than `mobilenetv2`, with other keys: ReLU6, biases everywhere, a 1x1 stem whose padding of 1 makes the
image two pixels larger, and a 1x1 convolution as classifier. Stages 1 to 4 end after its groups 2, 3 and 4 and after
its last 1x1 convolution to 1280, so after 3, 6, 10 and 17 of 17 bottlenecks, at 1/2, 1/4, 1/8 and 1/8 of the (enlarged)
image: the feature maps that mdistiller lists. They are linear but the last, so there is no `.preact`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from kdharness.core.types import ModelEntry
from kdharness.models.chain import Chain, layer_shapes, pool
from kdharness.models.depthwise import DepthwiseConv2d
from kdharness.models.registry import MODELS

FEATURES = 1280


class Bottleneck(nn.Module):
    """1x1 expansion, 3x3 depthwise, 1x1 linear, all with biases; the input is added where the shape stays."""

    def __init__(self, channels: int, out_channels: int, stride: int, expansion: int = 6) -> None:
        super().__init__()
        wide = channels * expansion
        self.adds = stride == 1 and channels == out_channels
        self.residual = nn.Sequential(
            nn.Conv2d(channels, wide, 1),
            nn.BatchNorm2d(wide),
            nn.ReLU6(),
            DepthwiseConv2d(wide, stride, bias=True),
            nn.BatchNorm2d(wide),
            nn.ReLU6(),
            nn.Conv2d(wide, out_channels, 1),
            nn.BatchNorm2d(out_channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        branch = self.residual(features)
        return features + branch if self.adds else branch


class TinyImageNetMobileNetV2(Chain):
    """Stem and seven groups; layers `stem`, `stage1..4`, `pooled`."""

    def __init__(self, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels, height, width = image_shape
        self.pre = nn.Sequential(nn.Conv2d(channels, 32, 1, padding=1), nn.BatchNorm2d(32), nn.ReLU6())
        self.stage1 = Bottleneck(32, 16, stride=1, expansion=1)
        self.stage2 = _group(16, 24, 2, stride=2)
        self.stage3 = _group(24, 32, 3, stride=2)
        self.stage4 = _group(32, 64, 4, stride=2)
        self.stage5 = _group(64, 96, 3, stride=1)
        self.stage6 = _group(96, 160, 3, stride=1)
        self.stage7 = Bottleneck(160, 320, stride=1)
        self.conv1 = nn.Sequential(nn.Conv2d(320, FEATURES, 1), nn.BatchNorm2d(FEATURES), nn.ReLU6())
        self.conv2 = _kept_as_convolution(nn.Linear(FEATURES, num_classes))
        widths = (32, 24, 32, 64, FEATURES)
        shapes = layer_shapes((height + 2, width + 2), self.steps, widths, (1, 2, 2, 2, 1))
        self.shapes = {**shapes, "pooled": (FEATURES,), "logits": (num_classes,)}

    @property
    def steps(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        stages = {stage: nn.Sequential(*modules) for stage, modules in self._stages.items()}
        return {"stem": self.pre, **stages, "pooled": pool}

    @property
    def batch_norms(self) -> Mapping[str, nn.BatchNorm2d]:
        return {}

    @property
    def classifier(self) -> nn.Linear:
        return self.conv2

    @property
    def layers(self) -> Mapping[str, Sequence[nn.Module]]:
        return {"stem": (self.pre,), **self._stages, "classifier": (self.conv2,)}

    @property
    def _stages(self) -> dict[str, tuple[nn.Module, ...]]:
        last = (self.stage5, self.stage6, self.stage7, self.conv1)
        return {
            "stage1": (self.stage1, self.stage2),
            "stage2": (self.stage3,),
            "stage3": (self.stage4,),
            "stage4": last,
        }


def _group(channels: int, out_channels: int, count: int, stride: int) -> nn.Sequential:
    following = (Bottleneck(out_channels, out_channels, stride=1) for _ in range(count - 1))
    return nn.Sequential(Bottleneck(channels, out_channels, stride), *following)


def _kept_as_convolution(linear: nn.Linear) -> nn.Linear:
    """The layer itself, whose weight stands in a state_dict as a (K, D, 1, 1) convolution: the checkpoints' shape."""
    linear.register_state_dict_post_hook(_as_convolution)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    linear.register_load_state_dict_pre_hook(_from_convolution)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return linear


def _as_convolution(module: nn.Module, state: dict[str, Any], prefix: str, metadata: dict[str, Any]) -> None:
    state[f"{prefix}weight"] = state[f"{prefix}weight"][:, :, None, None]


def _from_convolution(module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    weight = state.get(f"{prefix}weight")
    if weight is not None and weight.shape[2:] == (1, 1):
        state[f"{prefix}weight"] = weight.flatten(1)


_NAME = "mobilenetv2_tinyimagenet"
MODELS.add(_NAME)(ModelEntry(_NAME, _NAME, TinyImageNetMobileNetV2, printed="MobileNet-V2", native=64, classes=200))
