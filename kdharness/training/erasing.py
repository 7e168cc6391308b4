"""Random erasing (Zhong et al. 2020) as timm 0.4.12 does it: a rectangle of normal noise, after normalisation."""

import math
from functools import cache

import torch
from torch import Tensor

from kdharness.core.streams import Draws, mix

ATTEMPTS = 10
"""Rectangles tried before the image is left whole."""


def erase(images: Tensor, draws: Draws, probability: float) -> Tensor:
    """Put a rectangle of 2 to 33 % of the area and 3:10 to 10:3 into some images: (B, C, H, W) -> the same shape.

    The noise is drawn for each pixel and channel by a hash, from 65,536 equally likely quantiles of the normal
    distribution (timm: from a generator), so that it is the same on any device.
    """
    chosen = (draws.uniform("erased") < probability).nonzero().flatten()
    height, width = images.shape[2:]
    chosen_draws = Draws(draws.stream, draws.seed, draws.epoch, draws.index[chosen])
    bounds = torch.stack(rectangles(chosen_draws, height, width)).to(images.device, non_blocking=True)
    top, left, tall, wide = bounds[:, :, None, None]
    row = torch.arange(height, device=images.device)[None, :, None]
    column = torch.arange(width, device=images.device)[None, None, :]
    inside = (row >= top) & (row < top + tall) & (column >= left) & (column < left + wide)
    there = chosen.to(images.device, non_blocking=True)
    noise = _noise(chosen_draws, images)
    return images.index_copy(0, there, torch.where(inside[:, None], noise, images[there]))


def rectangles(draws: Draws, height: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Top, left, height and width, (N,) int64 each; none where no attempt fits."""
    area = torch.stack([draws.uniform(f"erased area {n}", 0.02, 1 / 3) for n in range(ATTEMPTS)]) * (height * width)
    edge = math.log(0.3)
    ratio = torch.stack([draws.uniform(f"erased ratio {n}", edge, -edge) for n in range(ATTEMPTS)]).exp()
    tall, wide = (area * ratio).sqrt().round().long(), (area / ratio).sqrt().round().long()
    fits = (tall < height) & (wide < width)
    first = fits.to(torch.uint8).argmax(0, keepdim=True)
    tall, wide = (torch.where(fits.any(0), each.gather(0, first)[0], 0) for each in (tall, wide))
    top = draws.bits("erased top") % (height - tall + 1)
    left = draws.bits("erased left") % (width - wide + 1)
    return top, left, tall, wide


def _noise(draws: Draws, images: Tensor) -> Tensor:
    """(N, C, H, W): each value by 16 random bits of its own."""
    channels, height, width = images.shape[1:]
    seeds = draws.bits("noise").to(images.device, non_blocking=True)[:, None, None, None]
    place = torch.arange(channels * height * width, device=images.device).view(1, channels, height, width)
    bits = mix(seeds + place) & 0xFFFF
    return _quantiles(images.device, images.dtype)[bits]


@cache
def _quantiles(device: torch.device, dtype: torch.dtype) -> Tensor:
    """(65536,): the middles of equally likely parts of the standard normal distribution."""
    middle = (torch.arange(1 << 16, dtype=torch.float64) + 0.5) / (1 << 16)
    quantiles: Tensor = torch.special.ndtri(middle)
    return quantiles.to(device, dtype)
