"""Which operations an image undergoes, and how strong: RandAugment, AutoAugment and TrivialAugment as the papers' code.

A policy draws one layer after the other: for each image an operation (its number in `operations.NAMES`) and its value.
All draws are on the CPU. References: FixMatch's RandAugment as Multi-Level Logit Distillation (5ee473f) has it;
torchvision's AutoAugment and TrivialAugmentWide; timm 0.4.12's `rand-m9-mstd0.5-inc1`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kdharness.core.streams import Draws
from kdharness.training.operations import NAMES, Colour, apply, cut_out

Layer = tuple[Tensor, Tensor]
"""Per image the operation (B,) int64 and its value (B,) float64."""
FIXMATCH_GREY: Colour = (125, 123, 114)
IMAGENET_MEAN: Colour = (124, 116, 104)


@dataclass(frozen=True)
class Policy:
    """Layers of operations, and what geometric ones need to know."""

    layers: Callable[[Draws, int, int], Sequence[Layer]]
    """From (draws, height, width)."""
    fill: Colour = (0, 0, 0)
    bicubic: bool = False
    cutout: bool = False
    """Ends with a square of FixMatch's grey, of side U(0, 1/2) of the width."""

    def change(self, pixels: Tensor, draws: Draws) -> Tensor:
        """(B, H, W, C) uint8 -> the same shape."""
        height, width = pixels.shape[1:3]
        for operation, value in self.layers(draws, height, width):
            pixels = apply(pixels, operation, value, fill=self.fill, bicubic=self.bicubic)
        return cut_out(pixels, *squares(draws, height, width), FIXMATCH_GREY) if self.cutout else pixels


def squares(draws: Draws, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Side, x and y of each image's square; the code's `np.random.uniform(w)` draws from w down to 1, not from 0."""
    side = draws.uniform("cutout side", 0.0, 0.5) * width
    return side, draws.uniform("cutout x", width, 1), draws.uniform("cutout y", height, 1)


_FIXMATCH: dict[str, tuple[float, float]] = {
    "auto-contrast": (0, 1),
    "brightness": (0.05, 0.95),
    "color": (0.05, 0.95),
    "contrast": (0.05, 0.95),
    "equalize": (0, 1),
    "identity": (0, 1),
    "posterize": (4, 8),
    "rotate": (-30, 30),
    "sharpness": (0.05, 0.95),
    "shear-x": (-0.3, 0.3),
    "shear-y": (-0.3, 0.3),
    "solarize": (0, 256),
    "translate-x": (-0.3, 0.3),
    "translate-y": (-0.3, 0.3),
}
"""Ranges of the value; translations in parts of the image."""


def fixmatch(draws: Draws, height: int, width: int) -> Sequence[Layer]:
    """Two operations of 14, with replacement, always done, each uniform over its range: no sign is drawn besides."""
    ranges = torch.tensor([_FIXMATCH.get(name, (0, 0)) for name in NAMES], dtype=torch.float64)
    scale = _scales({"translate-x": width, "translate-y": height})
    choices = _numbers(_FIXMATCH)
    layers = []
    for layer in range(2):
        operation = choices[draws.integers(f"operation {layer}", len(choices))]
        low, high = ranges[operation].unbind(1)
        value = (low + (high - low) * draws.uniform(f"value {layer}")) * scale[operation]
        layers.append((operation, value))
    return layers


_TIMM = (
    "auto-contrast", "equalize", "invert", "rotate", "posterize", "solarize", "solarize-add", "color", "contrast",
    "brightness", "sharpness", "shear-x", "shear-y", "translate-x", "translate-y",
)  # fmt: skip


def timm_increasing(draws: Draws, height: int, width: int) -> Sequence[Layer]:
    """rand-m9-mstd0.5-inc1: two operations of 15 with replacement, each done with probability 1/2.

    The magnitude is normal around 9 with deviation 0.5, cut off to 0..10, and stronger the higher it is; which way is
    drawn. At magnitude 10 no bit is kept of a posterized image: black, as Pillow before 9 made it.
    """
    choices = _numbers(_TIMM)
    layers = []
    for layer in range(2):
        operation = choices[draws.integers(f"operation {layer}", len(choices))]
        operation = torch.where(draws.uniform(f"done {layer}") < 0.5, operation, NAMES.index("identity"))
        part = ((9 + 0.5 * draws.normal(f"magnitude {layer}")) / 10).clamp(0, 1)
        signed = torch.where(draws.integers(f"sign {layer}", 2) == 1, -part, part)
        values = {
            "rotate": signed * 30,
            "posterize": 4 - (part * 4).floor(),
            "solarize": 256 - (part * 256).floor(),
            "solarize-add": (part * 110).floor(),
            **dict.fromkeys(("color", "contrast", "brightness", "sharpness"), 1 + 0.9 * signed),
            **dict.fromkeys(("shear-x", "shear-y"), 0.3 * signed),
            "translate-x": 0.45 * signed * width,
            "translate-y": 0.45 * signed * height,
        }
        layers.append((operation, _pick(values, operation)))
    return layers


_AUTO: tuple[tuple[tuple[str, float, int], tuple[str, float, int]], ...] = (
    (("invert", 0.1, 0), ("contrast", 0.2, 6)),
    (("rotate", 0.7, 2), ("translate-x", 0.3, 9)),
    (("sharpness", 0.8, 1), ("sharpness", 0.9, 3)),
    (("shear-y", 0.5, 8), ("translate-y", 0.7, 9)),
    (("auto-contrast", 0.5, 0), ("equalize", 0.9, 0)),
    (("shear-y", 0.2, 7), ("posterize", 0.3, 7)),
    (("color", 0.4, 3), ("brightness", 0.6, 7)),
    (("sharpness", 0.3, 9), ("brightness", 0.7, 9)),
    (("equalize", 0.6, 0), ("equalize", 0.5, 0)),
    (("contrast", 0.6, 7), ("sharpness", 0.6, 5)),
    (("color", 0.7, 7), ("translate-x", 0.5, 8)),
    (("equalize", 0.3, 0), ("auto-contrast", 0.4, 0)),
    (("translate-y", 0.4, 3), ("sharpness", 0.2, 6)),
    (("brightness", 0.9, 6), ("color", 0.2, 8)),
    (("solarize", 0.5, 2), ("invert", 0.0, 0)),
    (("equalize", 0.2, 0), ("auto-contrast", 0.6, 0)),
    (("equalize", 0.2, 0), ("equalize", 0.6, 0)),
    (("color", 0.9, 9), ("equalize", 0.6, 0)),
    (("auto-contrast", 0.8, 0), ("solarize", 0.2, 8)),
    (("brightness", 0.1, 3), ("color", 0.7, 0)),
    (("solarize", 0.4, 5), ("auto-contrast", 0.9, 0)),
    (("translate-y", 0.9, 9), ("translate-y", 0.7, 9)),
    (("auto-contrast", 0.9, 0), ("solarize", 0.8, 3)),
    (("equalize", 0.8, 0), ("invert", 0.1, 0)),
    (("translate-y", 0.7, 9), ("auto-contrast", 0.9, 0)),
)
"""The CIFAR-10 policy: operation, probability and strength of 0 to 9 (Cubuk et al. 2019, appendix, table 7)."""


def auto_augment(draws: Draws, height: int, width: int) -> Sequence[Layer]:
    """One of the 25 pairs of the CIFAR-10 policy; each of its two operations with its probability, its sign drawn."""
    pair = draws.integers("policy", len(_AUTO))
    strengths = _strengths(10, height, width)
    layers = []
    for layer in range(2):
        operation = torch.tensor([NAMES.index(entry[layer][0]) for entry in _AUTO])[pair]
        probability = torch.tensor([entry[layer][1] for entry in _AUTO], dtype=torch.float64)[pair]
        strength = torch.tensor([entry[layer][2] for entry in _AUTO])[pair]
        negative = draws.integers(f"sign {layer}", 2) == 1
        value = _signed(operation, strengths[operation, strength], negative)
        done = draws.uniform(f"done {layer}") < probability
        layers.append((torch.where(done, operation, NAMES.index("identity")), value))
    return layers


_TRIVIAL = (
    "identity", "shear-x", "shear-y", "translate-x", "translate-y", "rotate", "brightness", "color", "contrast",
    "sharpness", "posterize", "solarize", "auto-contrast", "equalize",
)  # fmt: skip


def trivial_augment(draws: Draws, height: int, width: int) -> Sequence[Layer]:
    """TrivialAugmentWide: one operation of 14 at one of 31 strengths, its sign drawn (Müller and Hutter 2021)."""
    choices = _numbers(_TRIVIAL)
    operation = choices[draws.integers("operation", len(choices))]
    strength = _strengths(31, height, width, wide=True)[operation, draws.integers("strength", 31)]
    return [(operation, _signed(operation, strength, draws.integers("sign", 2) == 1))]


def rotation(draws: Draws, height: int, width: int) -> Sequence[Layer]:
    """torchvision's RandomRotation(20), nearest pixel."""
    angle = draws.uniform("angle", -20, 20)
    return [(torch.full((len(angle),), NAMES.index("rotate")), angle)]


_SIGNED = ("shear-x", "shear-y", "translate-x", "translate-y", "rotate", "brightness", "color", "contrast", "sharpness")


def _strengths(count: int, height: int, width: int, *, wide: bool = False) -> Tensor:
    """(len(NAMES), count): torchvision's float32 magnitudes, of TrivialAugmentWide's ranges with `wide`."""
    shear, factor, angle, bits = (0.99, 0.99, 135.0, 6) if wide else (0.3, 0.9, 30.0, 4)
    across, down = (32.0, 32.0) if wide else (150 / 331 * width, 150 / 331 * height)
    spaces = {
        **dict.fromkeys(("shear-x", "shear-y"), torch.linspace(0.0, shear, count)),
        "translate-x": torch.linspace(0.0, across, count).trunc(),
        "translate-y": torch.linspace(0.0, down, count).trunc(),
        "rotate": torch.linspace(0.0, angle, count),
        **dict.fromkeys(("brightness", "color", "contrast", "sharpness"), torch.linspace(0.0, factor, count)),
        "posterize": 8 - (torch.arange(count) / ((count - 1) / bits)).round(),
        "solarize": torch.linspace(255.0, 0.0, count),
    }
    none = torch.zeros(count)
    return torch.stack([spaces.get(name, none).double() for name in NAMES])


def _signed(operation: Tensor, strength: Tensor, negative: Tensor) -> Tensor:
    """A strength as the operation's value; a picture moved right is looked up on the left."""
    one = _scales(dict.fromkeys(_SIGNED, -1.0))[operation]
    value = torch.where(negative, one * strength, strength)
    value = value * _scales({"translate-x": -1.0, "translate-y": -1.0})[operation]
    factors = _numbers(("brightness", "color", "contrast", "sharpness"))
    return torch.where(torch.isin(operation, factors), 1 + value, value)


def _numbers(names: Sequence[str] | dict[str, tuple[float, float]]) -> Tensor:
    return torch.tensor([NAMES.index(name) for name in names])


def _scales(named: dict[str, float]) -> Tensor:
    """(len(NAMES),): a number for each operation named, 1 for the others."""
    return torch.tensor([named.get(name, 1.0) for name in NAMES], dtype=torch.float64)


def _pick(values: dict[str, Tensor], operation: Tensor) -> Tensor:
    """(B,): each image's value of its own operation."""
    none = torch.zeros(len(operation), dtype=torch.float64)
    table = torch.stack([values.get(name, none) for name in NAMES])
    return table.gather(0, operation[None])[0]
