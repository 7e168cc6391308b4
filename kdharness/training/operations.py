"""The picture operations of AutoAugment and its kin on batches of stored bytes, equal to Pillow's.

Axes: N images, H W C as stored, uint8. What is drawn for an image (which operation, how strong) lies on the CPU, so
that images are told apart without waiting for a device; pixels stay where they are. Integers, or floats in Pillow's
own order of operations: every operation gives Pillow's bytes on an x86 machine, on any device.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from kdharness.core.errors import BadInput

Colour = tuple[int, int, int]

# ITU-R 601-2 in 16-bit fixed point, as Pillow converts RGB to grey
_RED, _GREEN, _BLUE, _HALF = 19595, 38470, 7471, 0x8000
_FIXED = 1 << 16


def apply(pixels: Tensor, operation: Tensor, value: Tensor, *, fill: Colour, bicubic: bool) -> Tensor:
    """One operation per image: (N, H, W, C) uint8, `operation` (N,) of `NAMES`, `value` (N,) -> (N, H, W, C) uint8.

    Geometric operations fill what lies outside with `fill` and take the nearest pixel, or with `bicubic` Pillow's
    bicubic mean. Raises BadInput for images that are neither grey nor RGB.
    """
    if pixels.shape[3] not in (1, 3):
        raise BadInput(f"augmentation policies are for grey or RGB images, not for {pixels.shape[3]} channels")
    changed = pixels.clone()
    for number in sorted(set(operation.tolist())):
        name = NAMES[number]
        if name == "identity":
            continue
        chosen = (operation == number).nonzero().flatten()
        there, strength = chosen.to(pixels.device, non_blocking=True), value[chosen]
        before = pixels[there]
        if name in _MATRICES:
            matrix = _MATRICES[name](strength, *before.shape[1:3])
            after = (warp_bicubic if bicubic else warp_nearest)(before, matrix, fill)
        else:
            after = _PIXELWISE[name](before, strength)
        changed.index_copy_(0, there, after)
    return changed


def cut_out(pixels: Tensor, side: Tensor, x: Tensor, y: Tensor, fill: Colour) -> Tensor:
    """Fill a square of `side` (N,) pixels around (`x`, `y`), as FixMatch does with Pillow: both ends are inside.

    Only the first corner is centred: clipped at the border, the square keeps its side from there.
    """
    height, width = pixels.shape[1:3]
    left, top = (x - side / 2).clamp(min=0).floor(), (y - side / 2).clamp(min=0).floor()
    right, bottom = (left + side).clamp(max=width).floor(), (top + side).clamp(max=height).floor()
    bounds = torch.stack([left, right, top, bottom, side > 0]).to(pixels.device, non_blocking=True)[:, :, None, None]
    column = torch.arange(width, device=pixels.device)[None, None, :]
    row = torch.arange(height, device=pixels.device)[None, :, None]
    inside = (column >= bounds[0]) & (column <= bounds[1]) & (row >= bounds[2]) & (row <= bounds[3]) & (bounds[4] > 0)
    return torch.where(inside[..., None], _colour(fill, pixels), pixels)


def grey(pixels: Tensor) -> Tensor:
    """(N, H, W, C) uint8 -> (N, H, W, 1) int64: Pillow's luminance."""
    if pixels.shape[3] == 1:
        return pixels.long()
    red, green, blue = pixels.long().chunk(3, dim=3)
    weighted = red * _RED + green * _GREEN + blue * _BLUE
    return (weighted + _HALF) >> 16


def warp_nearest(pixels: Tensor, matrix: Tensor, fill: Colour) -> Tensor:
    """The pixel at `matrix` (N, 6) @ (x + 1/2, y + 1/2, 1), in Pillow's 16.16 fixed point."""
    a, b, c, d, e, f = matrix.unbind(1)
    steps = torch.stack([a, b, c + a * 0.5 + b * 0.5, d, e, f + d * 0.5 + e * 0.5])
    fixed = torch.floor(steps * _FIXED + 0.5).long().to(pixels.device, non_blocking=True)[:, :, None, None]
    column = torch.arange(pixels.shape[2], device=pixels.device)[None, None, :]
    row = torch.arange(pixels.shape[1], device=pixels.device)[None, :, None]
    x = (fixed[0] * column + fixed[1] * row + fixed[2]) >> 16
    y = (fixed[3] * column + fixed[4] * row + fixed[5]) >> 16
    return torch.where(_inside(x, y, pixels)[..., None], _at(pixels, x, y), _colour(fill, pixels))


def warp_bicubic(pixels: Tensor, matrix: Tensor, fill: Colour) -> Tensor:
    """As `warp_nearest`, by Pillow's bicubic mean of 4x4 pixels (its a is -1 here), cut off to bytes."""
    a, b, c, d, e, f = matrix.to(pixels.device, non_blocking=True).t()[:, :, None, None]
    column = torch.arange(pixels.shape[2], device=pixels.device)[None, None, :] + 0.5
    row = torch.arange(pixels.shape[1], device=pixels.device)[None, :, None] + 0.5
    x, y = a * column + b * row + c, d * column + e * row + f
    inside = _inside(x, y, pixels)
    x, y = x - 0.5, y - 0.5
    left, top = x.floor(), y.floor()
    across, down = (x - left)[..., None], (y - top)[..., None]
    rows = []
    for dy in range(-1, 3):
        taps = [_at(pixels, left + dx, top + dy).double() for dx in range(-1, 3)]
        rows.append(_cubic(taps, across))
    mean = _cubic(rows, down).clamp(0, 255).to(torch.uint8)
    return torch.where(inside[..., None], mean, _colour(fill, pixels))


def _cubic(taps: list[Tensor], at: Tensor) -> Tensor:
    """Between the second and the third of four values, in the order in which Pillow computes it."""
    one, two, three, four = taps
    second = three - one
    third = 2 * (one - two) + three - four
    fourth = two - one - three + four
    return two + at * (second + at * (third + at * fourth))


def _at(pixels: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """(N, H, W, C): the pixels at (N, H, W) coordinates, those outside replaced by the border's."""
    images, height, width, channels = pixels.shape
    first = torch.arange(images, device=pixels.device)[:, None, None] * (height * width)
    place = first + y.long().clamp(0, height - 1) * width + x.long().clamp(0, width - 1)
    return pixels.reshape(-1, channels).index_select(0, place.flatten()).view(*place.shape, channels)


def _inside(x: Tensor, y: Tensor, pixels: Tensor) -> Tensor:
    return (x >= 0) & (x < pixels.shape[2]) & (y >= 0) & (y < pixels.shape[1])


def _colour(fill: Colour, pixels: Tensor) -> Tensor:
    """(C,) uint8: the colour, or its grey."""
    colour = torch.tensor(fill, dtype=torch.uint8)
    if pixels.shape[3] == 1:
        colour = grey(colour[None, None, None]).flatten().to(torch.uint8)
    return colour.to(pixels.device, non_blocking=True)


def _rotation(degrees: Tensor, height: int, width: int) -> Tensor:
    """Counter-clockwise around the middle."""
    angle = -degrees * (torch.pi / 180)
    cosine, sine = (torch.round(value, decimals=15) for value in (torch.cos(angle), torch.sin(angle)))
    x, y = width / 2, height / 2
    right = cosine * -x + sine * -y + 0.0 + x
    down = -sine * -x + cosine * -y + 0.0 + y
    return torch.stack([cosine, sine, right, -sine, cosine, down], dim=1)


def _affine(value: Tensor, place: int) -> Tensor:
    """The identity with `value` at `place` of the six."""
    matrix = torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0], dtype=torch.float64).repeat(len(value), 1)
    matrix[:, place] = value
    return matrix


_MATRICES: Mapping[str, Callable[[Tensor, int, int], Tensor]] = {
    "rotate": _rotation,
    "shear-x": lambda value, height, width: _affine(value, 1),
    "shear-y": lambda value, height, width: _affine(value, 3),
    "translate-x": lambda value, height, width: _affine(value, 2),
    "translate-y": lambda value, height, width: _affine(value, 5),
}
"""Degrees, slopes, and pixels by which the place looked at moves: (N,) -> (N, 6) from target to source."""


def _look_up(pixels: Tensor, table: Tensor) -> Tensor:
    """Each byte replaced by its entry: `table` (N, 256) or (N, C, 256)."""
    images, _, _, channels = pixels.shape
    table = table.to(pixels.device, torch.uint8, non_blocking=True)
    if table.ndim == 2:
        table = table[:, None].expand(-1, channels, -1)
    bytes_ = pixels.reshape(images, -1, channels).transpose(1, 2).long()
    return table.gather(2, bytes_).transpose(1, 2).reshape(pixels.shape)


def _histogram(pixels: Tensor) -> Tensor:
    """(N, C, 256) int64."""
    images, _, _, channels = pixels.shape
    bytes_ = pixels.reshape(images, -1, channels).transpose(1, 2).long()
    counts = torch.zeros(images, channels, 256, dtype=torch.int64, device=pixels.device)
    return counts.scatter_add_(2, bytes_, torch.ones_like(bytes_))


def _ends(histogram: Tensor) -> tuple[Tensor, Tensor]:
    """(N, C, 1): the lowest and the highest byte that occurs."""
    occurs = (histogram > 0).to(torch.uint8)
    return occurs.argmax(2, keepdim=True), 255 - occurs.flip(2).argmax(2, keepdim=True)


def _auto_contrast(pixels: Tensor, value: Tensor) -> Tensor:
    low, high = _ends(_histogram(pixels))
    level = torch.arange(256, device=pixels.device).expand(*low.shape[:2], 256)
    scale = torch.full_like(low, 255, dtype=torch.float64) / (high - low).clamp(min=1)
    stretched = level * scale + -low * scale
    return _look_up(pixels, torch.where(high > low, stretched.clamp(0, 255).long(), level))


def _equalize(pixels: Tensor, value: Tensor) -> Tensor:
    histogram = _histogram(pixels)
    _, high = _ends(histogram)
    step = (histogram.sum(2, keepdim=True) - histogram.gather(2, high)) // 255
    level = torch.arange(256, device=pixels.device).expand_as(histogram)
    below = histogram.cumsum(2) - histogram
    spread = (step // 2 + below) // step.clamp(min=1)
    return _look_up(pixels, torch.where(step > 0, spread.clamp(max=255), level))


def _levels(value: Tensor) -> tuple[Tensor, Tensor]:
    """(1, 256) and (N, 1): a byte and an image's value, for tables that need no look at the image."""
    return torch.arange(256)[None, :], value[:, None]


def _invert(pixels: Tensor, value: Tensor) -> Tensor:
    return 255 - pixels


def _posterize(pixels: Tensor, value: Tensor) -> Tensor:
    level, bits = _levels(value.long())
    return _look_up(pixels, level & ~((1 << (8 - bits)) - 1))


def _solarize(pixels: Tensor, value: Tensor) -> Tensor:
    level, threshold = _levels(value)
    return _look_up(pixels, torch.where(level < threshold, level, 255 - level))


def _solarize_add(pixels: Tensor, value: Tensor) -> Tensor:
    level, more = _levels(value.long())
    return _look_up(pixels, torch.where(level < 128, (level + more).clamp(max=255), level))


def _blend(ground: Tensor, pixels: Tensor, factor: Tensor) -> Tensor:
    """From `ground` (factor 0) over the picture (1) on to its exaggeration, in float32 and cut off to bytes."""
    factor = factor.float().to(pixels.device, non_blocking=True)[:, None, None, None]
    ground = ground.float()
    return (ground + factor * (pixels.float() - ground)).clamp(0, 255).to(torch.uint8)


def _brightness(pixels: Tensor, value: Tensor) -> Tensor:
    return _blend(torch.zeros_like(pixels), pixels, value)


def _contrast(pixels: Tensor, value: Tensor) -> Tensor:
    mean = grey(pixels).sum((1, 2, 3), keepdim=True).double() / (pixels.shape[1] * pixels.shape[2])
    return _blend((mean + 0.5).floor(), pixels, value)


def _colourfulness(pixels: Tensor, value: Tensor) -> Tensor:
    return _blend(grey(pixels), pixels, value)


def _sharpness(pixels: Tensor, value: Tensor) -> Tensor:
    """The ground is the mean with the pixel itself counted 5 of 13 times; the border keeps its pixels."""
    smooth = pixels.long()
    inner = smooth[:, 1:-1, 1:-1]
    rows = smooth[:, :-2] + smooth[:, 1:-1] + smooth[:, 2:]
    around = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    mean = (2 * (around + 4 * inner) + 13) // 26
    smooth = smooth.clone()
    smooth[:, 1:-1, 1:-1] = mean
    return _blend(smooth, pixels, value)


_PIXELWISE: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "auto-contrast": _auto_contrast,
    "equalize": _equalize,
    "invert": _invert,
    "posterize": _posterize,
    "solarize": _solarize,
    "solarize-add": _solarize_add,
    "brightness": _brightness,
    "contrast": _contrast,
    "color": _colourfulness,
    "sharpness": _sharpness,
}
"""By name the operation on (N, H, W, C) with values (N,): bits kept, thresholds, addends, factors; or none."""

NAMES: tuple[str, ...] = ("identity", *_MATRICES, *_PIXELWISE)
"""The number of an operation is its place here."""
