"""The wide residual networks WRN-d-w for CIFAR: pre-activation blocks, depth 6n+4, w times as wide.

Zagoruyko and Komodakis, BMVC 2016, with the keys of RepDistiller's and mdistiller's checkpoints. Stage k of 3 ends
after k/3 of the blocks, at 1, 1/2 and 1/4 of the image size, as in the CIFAR ResNets; the stem is the bare first
convolution. Stages are the raw sums that the blocks pass on; `stageN.preact` is what the next batch norm (the first of
the next stage, the final one after stage 3) makes of them, still before its ReLU, and so comes after `stageN`.

Every batch norm updates its running statistics once per training step. mdistiller calls the three norms of the
`.preact` a second time, so there they move twice; RepDistiller's rule is ours.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from kdharness.core.types import ModelEntry
from kdharness.models.chain import Chain, init_fan_out, layer_shapes, pool, relu_
from kdharness.models.registry import MODELS


class PreactBlock(nn.Module):
    """BN-ReLU-conv twice; the identity is the raw input, but the projection is fed the activated one."""

    def __init__(self, channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.convShortcut = (
            nn.Conv2d(channels, out_channels, 1, stride, bias=False) if channels != out_channels else None
        )

    def forward(self, features: Tensor) -> Tensor:
        return self.after_norm(self.bn1(features), features)

    def after_norm(self, normed: Tensor, features: Tensor | None = None) -> Tensor:
        """The block from its first norm's output on; `features`, its input, only where it has no projection."""
        active = F.relu(normed)
        branch = self.conv2(relu_(self.bn2(self.conv1(active))))
        if self.convShortcut is not None:
            return branch + self.convShortcut(active)
        assert features is not None
        return branch + features


class Group(nn.Module):
    """One stage: `blocks` blocks, the first of which widens and halves."""

    def __init__(self, channels: int, out_channels: int, blocks: int, stride: int) -> None:
        super().__init__()
        first = PreactBlock(channels, out_channels, stride)
        self.layer = nn.Sequential(first, *(PreactBlock(out_channels, out_channels, 1) for _ in range(blocks - 1)))

    def forward(self, features: Tensor) -> Tensor:
        return self.layer(features)

    def first(self) -> PreactBlock:
        """The block whose first norm makes the `.preact` of the stage before."""
        block = self.layer[0]
        assert isinstance(block, PreactBlock)
        return block

    def after_norm(self, normed: Tensor) -> Tensor:
        """The stage from its first norm's output on."""
        return self.layer[1:](self.first().after_norm(normed))


class WideResNet(Chain):
    """Stem and three groups; layers `stem`, `stage1..3`, each stage followed by its `.preact`, `pooled`."""

    def __init__(self, blocks: int, widen: int, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels, *size = image_shape
        widths = (16, 16 * widen, 32 * widen, 64 * widen)
        self.conv1 = nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)
        self.block1 = Group(widths[0], widths[1], blocks, stride=1)
        self.block2 = Group(widths[1], widths[2], blocks, stride=2)
        self.block3 = Group(widths[2], widths[3], blocks, stride=2)
        self.bn1 = nn.BatchNorm2d(widths[3])
        self.fc = nn.Linear(widths[3], num_classes)
        init_fan_out(self)
        nn.init.zeros_(self.fc.bias)
        shapes = layer_shapes((size[0], size[1]), self.steps, widths, (1, 1, 2, 2))
        self.shapes = {**shapes, "pooled": (widths[3],), "logits": (num_classes,)}

    @property
    def steps(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        return {
            "stem": self.conv1,
            "stage1": self.block1,
            "stage1.preact": self.block2.first().bn1,
            "stage2": self.block2.after_norm,
            "stage2.preact": self.block3.first().bn1,
            "stage3": self.block3.after_norm,
            "stage3.preact": self.bn1,
            "pooled": lambda normed: pool(F.relu(normed)),
        }

    @property
    def batch_norms(self) -> Mapping[str, nn.BatchNorm2d]:
        return {"stage1": self.block2.first().bn1, "stage2": self.block3.first().bn1, "stage3": self.bn1}

    @property
    def classifier(self) -> nn.Linear:
        return self.fc

    @property
    def layers(self) -> Mapping[str, Sequence[nn.Module]]:
        stages = {"stage1": (self.block1,), "stage2": (self.block2,), "stage3": (self.block3, self.bn1)}
        return {"stem": (self.conv1,), **stages, "classifier": (self.fc,)}


def _build(depth: int, widen: int, num_classes: int, image_shape: tuple[int, int, int]) -> WideResNet:
    return WideResNet((depth - 4) // 6, widen, num_classes, image_shape)


# RepDistiller, after epoch 240; 16-4, 28-2 and 28-4 are the teachers of Logit Standardization's Table 5
PUBLISHED = {(16, 2): 73.26, (16, 4): 77.51, (28, 2): 75.45, (28, 4): 78.60, (40, 1): 71.98, (40, 2): 75.61}

for _depth, _widen in ((16, 1), *PUBLISHED):
    _name, _printed = f"wrn_{_depth}_{_widen}", f"WRN-{_depth}-{_widen}"
    _published = {"cifar100": PUBLISHED[_depth, _widen]} if (_depth, _widen) in PUBLISHED else {}
    MODELS.add(_name)(ModelEntry(_name, "wrn", partial(_build, _depth, _widen), printed=_printed, published=_published))
