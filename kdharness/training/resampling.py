"""Resizing of stored bytes, equal to Pillow's, and the random crop that is resized (Szegedy et al. 2015).

Pillow resizes in two passes, across and then down, each a sum of bytes times integer coefficients, rounded back to
bytes. The sums are products of float64 matrices here: below 2**53 they are exact, in any order, on any device. (The
one difference: where a high picture shrinks, Pillow 13 goes down first, and rounds elsewhere. Ours goes across first.)
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from kdharness.core.streams import Draws

Filter = Literal["bilinear", "bicubic"]

_BITS = 22
"""Fraction bits of Pillow's coefficients."""
AREA, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
"""Of a crop: its part of the image's area, and width to height."""
ATTEMPTS = 10
"""Crops tried before the middle is taken."""
MOST_BYTES = 1 << 28
"""Of a float64 intermediate: larger batches go in parts."""


def resized(pixels: Tensor, size: int, kind: Filter = "bilinear") -> Tensor:
    """Pillow's `resize((size, size))`: (N, H, W, C) uint8 -> (N, size, size, C) uint8."""
    count, height, width, _ = pixels.shape
    if (height, width) == (size, size):
        return pixels
    whole = torch.zeros(1, dtype=torch.int64)
    down = coefficients(whole, whole + height, height, size, kind).expand(count, -1, -1)
    across = coefficients(whole, whole + width, width, size, kind).expand(count, -1, -1)
    return _filtered(pixels, down, across)


def resized_crops(pixels: Tensor, draws: Draws, size: int, kind: Filter) -> Tensor:
    """torchvision's RandomResizedCrop: a random part of each image, as (N, size, size, C) uint8."""
    height, width = pixels.shape[1:3]
    top, left, tall, wide = crop_boxes(draws, height, width)
    down = coefficients(top, tall, height, size, kind)
    across = coefficients(left, wide, width, size, kind)
    return _filtered(pixels, down, across)


def crop_boxes(draws: Draws, height: int | Tensor, width: int | Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Top, left, height and width of each image's crop, (N,) int64 each; all images of one size, or (N,) sizes.

    Where no attempt fits, the middle part of the image that is nearest to it and within 3:4 and 4:3.
    """
    height, width = (torch.as_tensor(each).expand(len(draws.index)) for each in (height, width))
    area = torch.stack([draws.uniform(f"crop area {n}", *AREA) for n in range(ATTEMPTS)]) * (height * width)
    edges = [math.log(edge) for edge in RATIO]
    ratio = torch.stack([draws.uniform(f"crop ratio {n}", *edges) for n in range(ATTEMPTS)]).exp()
    wide, tall = (area * ratio).sqrt().round().long(), (area / ratio).sqrt().round().long()
    fits = (wide > 0) & (wide <= width) & (tall > 0) & (tall <= height)
    first, found = fits.to(torch.uint8).argmax(0, keepdim=True), fits.any(0)
    tallest = torch.minimum(height, (width / RATIO[0]).round().long())
    widest = torch.minimum(width, (height * RATIO[1]).round().long())
    tall = torch.where(found, tall.gather(0, first)[0], tallest)
    wide = torch.where(found, wide.gather(0, first)[0], widest)
    top = torch.where(found, draws.bits("crop top") % (height - tall + 1), (height - tall) // 2)
    left = torch.where(found, draws.bits("crop left") % (width - wide + 1), (width - wide) // 2)
    return top, left, tall, wide


def coefficients(start: Tensor, length: Tensor, size_before: int, size: int, kind: Filter) -> Tensor:
    """Pillow's integer weights of the `size_before` places of a line for each of `size` places of the resized part.

    The part of image n is `length[n]` places from `start[n]`: (N,), (N,) -> (N, size, size_before) float64.
    """
    filter_, reach = _FILTERS[kind]
    scale = (length.double() / size)[:, None, None]
    stretch = scale.clamp(min=1)
    support, middle = reach * stretch, (torch.arange(size)[None, :, None] + 0.5) * scale
    place = torch.arange(size_before)[None, None, :] - start[:, None, None]
    first = (middle - support + 0.5).long().clamp(min=0)
    last = torch.minimum((middle + support + 0.5).long(), length[:, None, None])
    weights = filter_((place - middle + 0.5) * (1 / stretch)) * ((place >= first) & (place < last))
    weights = weights / weights.sum(2, keepdim=True)
    return torch.trunc(weights * (1 << _BITS) + torch.where(weights < 0, -0.5, 0.5))


def _filtered(pixels: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Both passes, across first."""
    size, channels = down.shape[1], pixels.shape[3]
    at_once = max(1, MOST_BYTES // (8 * size * size * channels))
    parts = []
    for begin in range(0, len(pixels), at_once):
        part = slice(begin, begin + at_once)
        columns, rows = (each[part].to(pixels.device, non_blocking=True) for each in (across, down))
        values = pixels[part].permute(0, 2, 1, 3).double()
        count, width, height, _ = values.shape
        values = _to_bytes(columns @ values.reshape(count, width, height * channels))
        values = values.view(count, size, height, channels).transpose(1, 2)
        values = _to_bytes(rows @ values.reshape(count, height, size * channels))
        parts.append(values.view(count, size, size, channels).to(torch.uint8))
    return torch.cat(parts)


def _to_bytes(sums: Tensor) -> Tensor:
    """Rounded, halves up, and cut off to 0..255, still as float64."""
    return sums.add_(1 << (_BITS - 1)).div_(1 << _BITS).floor_().clamp_(0, 255)


def _triangle(x: Tensor) -> Tensor:
    return (1 - x.abs()).clamp(min=0)


def _cubic(x: Tensor) -> Tensor:
    """Keys' cubic with a = -1/2."""
    a, x = -0.5, x.abs()
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


_FILTERS: dict[Filter, tuple[Callable[[Tensor], Tensor], float]] = {
    "bilinear": (_triangle, 1.0),
    "bicubic": (_cubic, 2.0),
}
"""The filter and how far it reaches, in places of the smaller picture."""
