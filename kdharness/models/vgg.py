"""The VGG networks with batch norm for CIFAR: five blocks of 3x3 convolutions with biases, one linear classifier.

Simonyan and Zisserman, ICLR 2015, with the keys of RepDistiller's and mdistiller's checkpoints (their `vgg8` is
`vgg8_bn`). Block 0 is the `stem`, as those repositories count it; blocks 1 to 4 are `stage1..4`, each before the pool
that follows it, so that at 32 pixels they have 1/2, 1/4, 1/8 and again 1/8 of the image size: stage k of 4 ends after
k/4 of the blocks behind the stem, and the last two differ in depth only.

The pool after stage 3 is there only for images that are 64 high. A pool keeps a side that is down to 1 pixel.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from kdharness.core.types import ModelEntry
from kdharness.models.chain import Chain, init_fan_out, pool
from kdharness.models.registry import MODELS

WIDTHS = (64, 128, 256, 512, 512)
CONVOLUTIONS = {8: (1, 1, 1, 1, 1), 11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


class VGG(Chain):
    """Five blocks; layers `stem`, `stage1..4` with `.preact` (the last batch norm's output), `pooled`."""

    def __init__(self, depth: int, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels, height, width = image_shape
        counts = CONVOLUTIONS[depth]
        self.halves_stage3 = height == 64
        self.block0 = _block(channels, WIDTHS[0], counts[0])
        self.block1 = _block(WIDTHS[0], WIDTHS[1], counts[1])
        self.block2 = _block(WIDTHS[1], WIDTHS[2], counts[2])
        self.block3 = _block(WIDTHS[2], WIDTHS[3], counts[3])
        self.block4 = _block(WIDTHS[3], WIDTHS[4], counts[4])
        linear = nn.Linear(WIDTHS[4], num_classes)
        self._modules["classifier"] = linear  # the key of the checkpoints, and the name of the seam's property
        init_fan_out(self)
        nn.init.normal_(linear.weight, std=0.01)
        nn.init.zeros_(linear.bias)

        shapes: dict[str, tuple[int, ...]] = {"stem": (WIDTHS[0], height, width)}
        for number, channels in enumerate(WIDTHS[1:], start=1):
            if number < 4 or self.halves_stage3:
                height, width = max(height // 2, 1), max(width // 2, 1)
            shapes[f"stage{number}.preact"] = shapes[f"stage{number}"] = (channels, height, width)
        self.shapes = {**shapes, "pooled": (WIDTHS[4],), "logits": (num_classes,)}

    @property
    def steps(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        return {
            "stem": lambda images: F.relu(self.block0(images)),
            "stage1.preact": lambda features: self.block1(_halve(features)),
            "stage1": F.relu,
            "stage2.preact": lambda features: self.block2(_halve(features)),
            "stage2": F.relu,
            "stage3.preact": lambda features: self.block3(_halve(features)),
            "stage3": F.relu,
            "stage4.preact": lambda features: self.block4(_halve(features) if self.halves_stage3 else features),
            "stage4": F.relu,
            "pooled": pool,
        }

    @property
    def batch_norms(self) -> Mapping[str, nn.BatchNorm2d]:
        blocks = (self.block1, self.block2, self.block3, self.block4)
        return {f"stage{number}": cast(nn.BatchNorm2d, block[-1]) for number, block in enumerate(blocks, start=1)}

    @property
    def classifier(self) -> nn.Linear:
        return cast(nn.Linear, self._modules["classifier"])

    @property
    def layers(self) -> Mapping[str, Sequence[nn.Module]]:
        stages = {
            "stage1": (self.block1,),
            "stage2": (self.block2,),
            "stage3": (self.block3,),
            "stage4": (self.block4,),
        }
        return {"stem": (self.block0,), **stages, "classifier": (self.classifier,)}


def _block(channels: int, out_channels: int, convolutions: int) -> nn.Sequential:
    """Convolution and batch norm, `convolutions` times, with ReLUs between but none at the end."""
    modules: list[nn.Module] = []
    for _ in range(convolutions):
        convolution = nn.Conv2d(channels, out_channels, 3, padding=1)
        modules += [convolution, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)]
        channels = out_channels
    return nn.Sequential(*modules[:-1])


def _halve(features: Tensor) -> Tensor:
    height, width = features.shape[2:]
    return F.max_pool2d(features, (min(2, height), min(2, width)))


def _build(depth: int, num_classes: int, image_shape: tuple[int, int, int]) -> VGG:
    return VGG(depth, num_classes, image_shape)


PUBLISHED = {8: {"cifar100": 70.36}, 13: {"cifar100": 74.64}}  # RepDistiller, after epoch 240

for _depth in CONVOLUTIONS:
    _name, _make, _published = f"vgg{_depth}", partial(_build, _depth), PUBLISHED.get(_depth, {})
    MODELS.add(_name)(ModelEntry(_name, "vgg", _make, printed=f"VGG{_depth}", published=_published))
