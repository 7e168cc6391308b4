"""The ImageNet ResNets 18, 34, 50, 101 and 152: torchvision's networks with the stages named.

Keys, weights and numbers are torchvision's; `IMAGENET1K_V1` is what the papers' teachers and baselines are. Stage k of
4 is `layerk`, at 1/4, 1/8, 1/16 and 1/32 of the image size; the stem is the 7x7 convolution at 1/2 after its ReLU, in
front of the max-pool.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdharness.core.types import ModelEntry
from kdharness.models.chain import Chain, layer_shapes, pool
from kdharness.models.registry import MODELS

STEM = 64


class ImageNetResNet(Chain):
    """The parts of a torchvision `ResNet`; layers `stem`, `stage1..4` with `.preact`, `pooled`."""

    def __init__(self, network: Any, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels, height, width = image_shape
        self.conv1: nn.Conv2d = network.conv1
        if channels != self.conv1.in_channels:
            self.conv1 = nn.Conv2d(channels, STEM, 7, 2, padding=3, bias=False)
            nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.bn1: nn.BatchNorm2d = network.bn1
        self.layer1: nn.Sequential = network.layer1
        self.layer2: nn.Sequential = network.layer2
        self.layer3: nn.Sequential = network.layer3
        self.layer4: nn.Sequential = network.layer4
        self.fc: nn.Linear = network.fc
        widths = (STEM, *(norm.num_features for norm in self.batch_norms.values()))
        shapes = layer_shapes((height, width), self.steps, widths, (2, 2, 2, 2, 2))
        self.shapes = {**shapes, "pooled": (self.fc.in_features,), "logits": (self.fc.out_features,)}

    @property
    def steps(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        steps: dict[str, Callable[[Tensor], Tensor]] = {"stem": lambda images: F.relu(self.bn1(self.conv1(images)))}
        for stage, blocks in self._stages.items():
            steps |= {f"{stage}.preact": partial(_before_last_relu, blocks), stage: F.relu}
        return {**steps, "stage1.preact": self._first_stage, "pooled": pool}

    @property
    def batch_norms(self) -> Mapping[str, nn.BatchNorm2d]:
        return {stage: _convolutions(blocks[-1])[-1][1] for stage, blocks in self._stages.items()}

    @property
    def classifier(self) -> nn.Linear:
        return self.fc

    @property
    def layers(self) -> Mapping[str, Sequence[nn.Module]]:
        stages = {stage: (blocks,) for stage, blocks in self._stages.items()}
        return {"stem": (self.conv1, self.bn1), **stages, "classifier": (self.fc,)}

    @property
    def _stages(self) -> dict[str, nn.Sequential]:
        return {"stage1": self.layer1, "stage2": self.layer2, "stage3": self.layer3, "stage4": self.layer4}

    def _first_stage(self, stem: Tensor) -> Tensor:
        return _before_last_relu(self.layer1, F.max_pool2d(stem, 3, 2, padding=1))


def _convolutions(block: nn.Module) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """The branch of a torchvision block: two convolutions, three in a bottleneck, each with its batch norm."""
    convolutions = [module for module in block.children() if isinstance(module, nn.Conv2d)]
    norms = [module for module in block.children() if isinstance(module, nn.BatchNorm2d)]
    return list(zip(convolutions, norms, strict=True))


def _before_last_relu(blocks: nn.Sequential, features: Tensor) -> Tensor:
    """Through torchvision's blocks, the last one without its ReLU, which would overwrite the sum in place."""
    features = blocks[:-1](features)
    last: Any = blocks[-1]
    *earlier, (convolution, norm) = _convolutions(last)
    branch = features
    for inner, inner_norm in earlier:
        branch = F.relu(inner_norm(inner(branch)))
    shortcut = features if last.downsample is None else last.downsample(features)
    return torch.add(norm(convolution(branch)), shortcut)


def _build(depth: int, num_classes: int, image_shape: tuple[int, int, int]) -> ImageNetResNet:
    from torchvision import models  # here: naming the zoo must not cost its import

    makers = {
        18: models.resnet18,
        34: models.resnet34,
        50: models.resnet50,
        101: models.resnet101,
        152: models.resnet152,
    }
    return ImageNetResNet(makers[depth](num_classes=num_classes), image_shape)


for _depth, _top1 in ((18, 69.76), (34, 73.31), (50, 76.13), (101, 77.37), (152, 78.31)):  # IMAGENET1K_V1
    _name = f"resnet{_depth}_imagenet"
    MODELS.add(_name)(
        ModelEntry(
            _name,
            "resnet_imagenet",
            partial(_build, _depth),
            printed=f"ResNet{_depth}",
            native=224,
            classes=1000,
            published={"imagenet": _top1},
        )
    )
