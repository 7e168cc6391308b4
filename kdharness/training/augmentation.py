"""Augmentations as a finite set of views per image, drawn by a hash of (seed, epoch, index).

A view is a shift within the padding and perhaps a flip, so that a batch is one gather on stored bytes. The padding is
the raw pixel 0, as torchvision's RandomCrop pads the picture before it is normalised.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from kdharness.core.streams import draw


@dataclass(frozen=True)
class Augmentation:
    """Shifts by up to `pad` pixels each way, and with `flip` every second image mirrored."""

    pad: int
    flip: bool

    @property
    def views(self) -> int:
        """How many different views an image has."""
        return (2 * self.pad + 1) ** 2 * (2 if self.flip else 1)

    def draw(self, stream: str, seed: int, epoch: int, index: Tensor) -> Tensor:
        """One view per image: `index` (N,) -> (N,) int64 in [0, views)."""
        return draw(stream, seed, epoch, index) % self.views


AUGMENTATIONS: dict[str, Augmentation] = {
    "none": Augmentation(pad=0, flip=False),
    "shift1": Augmentation(pad=1, flip=False),
    "crop4-flip": Augmentation(pad=4, flip=True),
}


class Views:
    """The views of resident images."""

    def __init__(self, images: Tensor, augmentation: Augmentation) -> None:
        """`images` (N, C, H, W) uint8."""
        self.augmentation = augmentation
        padded = F.pad(images, [augmentation.pad] * 4).permute(0, 2, 3, 1).contiguous()
        count, self._rows, self._columns, channels = padded.shape
        self._pixels = padded.view(count * self._rows * self._columns, channels)
        self._height, self._width = images.shape[2:]
        self._y = torch.arange(self._height, device=images.device)[None, :, None]
        self._x = torch.arange(self._width, device=images.device)[None, None, :]

    def take(self, position: Tensor, view: Tensor) -> Tensor:
        """The view (B,) of the images at `position` (B,): (B, H, W, C) uint8."""
        steps = 2 * self.augmentation.pad + 1
        top, left = view % steps, (view // steps) % steps
        flipped = (view // steps**2)[:, None, None]  # 0 or 1
        y = top[:, None, None] + self._y
        x = left[:, None, None] + torch.where(flipped == 1, self._width - 1 - self._x, self._x)
        pixel = (position[:, None, None] * self._rows + y) * self._columns + x
        return self._pixels.index_select(0, pixel.flatten()).view(*pixel.shape, -1)
