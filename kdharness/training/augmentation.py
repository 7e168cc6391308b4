"""Augmentations by name: what becomes of an image's stored bytes before a network sees it.

The first part is one of finitely many views (a shift within the padding and perhaps a flip), so that it is one gather;
the padding is the raw pixel 0, as torchvision's RandomCrop pads the picture before it is normalised. What else there
is follows on the batch's bytes, but for random erasing, which comes after normalisation.

Everything is drawn by a hash of (stream, seed, epoch, index), on the CPU; pixels stay on their device.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from kdharness.core.streams import Draws
from kdharness.training import policies
from kdharness.training.erasing import erase
from kdharness.training.policies import Policy
from kdharness.training.resampling import Filter, resized, resized_crops


@dataclass(frozen=True)
class Augmentation:
    """Shifts by up to `pad` pixels each way, with `flip` every second image mirrored, and then what is named."""

    pad: int = 0
    flip: bool = False
    resized_crop: Filter | None = None
    """A random part of the image at full size, and how it is resized."""
    policy: Policy | None = None
    erasing: float = 0.0
    """The probability of random erasing."""

    @property
    def views(self) -> int:
        """How many different views an image has before what is named."""
        return (2 * self.pad + 1) ** 2 * (2 if self.flip else 1)

    @property
    def is_finite(self) -> bool:
        """Whether nothing else befalls an image: a network can be asked once about each of its views."""
        return self.resized_crop is None and self.policy is None and not self.erasing

    def draw(self, draws: Draws) -> Tensor:
        """One view per image: (B,) int64 in [0, views)."""
        return draws.bits() % self.views

    def change(self, pixels: Tensor, draws: Draws, size: int | None) -> Tensor:
        """What follows the view: (B, H, W, C) uint8 -> (B, `size`, `size`, C) uint8, or as stored without a size."""
        if self.resized_crop is not None:
            pixels = resized_crops(pixels, draws, size or pixels.shape[1], self.resized_crop)
        elif size is not None:
            pixels = resized(pixels, size)
        return self.policy.change(pixels, draws) if self.policy is not None else pixels

    def finish(self, images: Tensor, draws: Draws) -> Tensor:
        """What follows normalisation: (B, C, H, W) -> the same shape."""
        return erase(images, draws, self.erasing) if self.erasing else images


AUGMENTATIONS: dict[str, Augmentation] = {
    "none": Augmentation(),
    "shift1": Augmentation(pad=1),
    "crop4-flip": Augmentation(pad=4, flip=True),
    # MLKD's strong view (5ee473f, dataset/cifar100.py): FixMatch's RandAugment and Cutout
    "crop4-flip-randaugment": Augmentation(pad=4, flip=True, policy=Policy(policies.fixmatch, cutout=True)),
    "crop4-flip-autoaugment": Augmentation(pad=4, flip=True, policy=Policy(policies.auto_augment)),
    "crop4-flip-trivialaugment": Augmentation(pad=4, flip=True, policy=Policy(policies.trivial_augment)),  # CAT-KD
    # mdistiller's DOT on Tiny-ImageNet; it flips after it rotates, which is the same distribution
    "rotate20-flip": Augmentation(flip=True, policy=Policy(policies.rotation)),
    "resized-crop-flip": Augmentation(flip=True, resized_crop="bilinear"),  # torchvision's, ImageNet's
    # timm 0.4.12's create_transform as tiny-transformers (d2165f7) calls it; it flips after it crops, the same likewise
    "resized-crop-flip-randaugment-erasing": Augmentation(
        flip=True,
        resized_crop="bicubic",
        policy=Policy(policies.timm_increasing, policies.IMAGENET_MEAN, bicubic=True),
        erasing=0.25,
    ),
}


class Views:
    """The views of resident images that shifts by up to `pad` pixels and flips make."""

    def __init__(self, images: Tensor, pad: int) -> None:
        """`images` (N, C, H, W) uint8."""
        self._steps = 2 * pad + 1
        padded = F.pad(images, [pad] * 4).permute(0, 2, 3, 1).contiguous()
        count, self._rows, self._columns, channels = padded.shape
        self._pixels = padded.view(count * self._rows * self._columns, channels)
        self._height, self._width = images.shape[2:]
        self._y = torch.arange(self._height, device=images.device)[None, :, None]
        self._x = torch.arange(self._width, device=images.device)[None, None, :]

    def take(self, position: Tensor, view: Tensor) -> Tensor:
        """The view (B,) of the images at `position` (B,): (B, H, W, C) uint8."""
        top, left = view % self._steps, (view // self._steps) % self._steps
        flipped = (view // self._steps**2)[:, None, None]  # 0 or 1
        y = top[:, None, None] + self._y
        x = left[:, None, None] + torch.where(flipped == 1, self._width - 1 - self._x, self._x)
        pixel = (position[:, None, None] * self._rows + y) * self._columns + x
        return self._pixels.index_select(0, pixel.flatten()).view(*pixel.shape, -1)
