"""Every operation gives Pillow's bytes: exactly, its float ones too."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from kdharness.core.errors import BadInput
from kdharness.training.operations import NAMES, apply, cut_out

HEIGHT, WIDTH, FILL = 24, 20, (124, 116, 104)
RANGES = {
    "rotate": (-135, 135),
    "shear-x": (-1, 1),
    "shear-y": (-1, 1),
    "translate-x": (-15, 15),
    "translate-y": (-15, 15),
    "posterize": (1, 8.99),
    "solarize": (0, 256),
    "solarize-add": (0, 110),
    **dict.fromkeys(("brightness", "color", "contrast", "sharpness"), (0, 2)),
}
GEOMETRIC = ("rotate", "shear-x", "shear-y", "translate-x", "translate-y")


def pictures(count: int, channels: int) -> np.ndarray:
    """A third noise, a third noise of few levels (one of them constant), a third gradients."""
    rng = np.random.default_rng(3)
    shape = (HEIGHT, WIDTH, channels)
    made = []
    for number in range(count):
        if number % 3 == 0:
            made.append(rng.integers(0, 256, shape))
        elif number % 3 == 1:
            made.append(np.clip(rng.normal(rng.integers(0, 256), number // 3 * 4, shape), 0, 255))
        else:
            steps = np.add.outer(np.arange(HEIGHT) * rng.integers(0, 6), np.arange(WIDTH) * rng.integers(0, 6)) % 256
            made.append(np.broadcast_to(steps[..., None], shape))
    return np.stack(made).astype(np.uint8)


def pillow(name: str, picture: Image.Image, value: float, bicubic: bool) -> Image.Image:
    fill = FILL if picture.mode == "RGB" else Image.new("RGB", (1, 1), FILL).convert("L").getpixel((0, 0))
    resample = Image.Resampling.BICUBIC if bicubic else Image.Resampling.NEAREST

    def affine(*matrix: float) -> Image.Image:
        return picture.transform(picture.size, Image.Transform.AFFINE, matrix, resample, fillcolor=fill)

    added = [min(255, level + int(value)) if level < 128 else level for level in range(256)]
    ways: dict[str, Callable[[], Image.Image]] = {
        "identity": lambda: picture,
        "rotate": lambda: picture.rotate(value, resample, fillcolor=fill),
        "shear-x": lambda: affine(1, value, 0, 0, 1, 0),
        "shear-y": lambda: affine(1, 0, 0, value, 1, 0),
        "translate-x": lambda: affine(1, 0, value, 0, 1, 0),
        "translate-y": lambda: affine(1, 0, 0, 0, 1, value),
        "auto-contrast": lambda: ImageOps.autocontrast(picture),
        "equalize": lambda: ImageOps.equalize(picture),
        "invert": lambda: ImageOps.invert(picture),
        "posterize": lambda: ImageOps.posterize(picture, int(value)),
        "solarize": lambda: ImageOps.solarize(picture, value),
        "solarize-add": lambda: picture.point(added * len(picture.getbands())),
        "brightness": lambda: ImageEnhance.Brightness(picture).enhance(value),
        "contrast": lambda: ImageEnhance.Contrast(picture).enhance(value),
        "color": lambda: ImageEnhance.Color(picture).enhance(value),
        "sharpness": lambda: ImageEnhance.Sharpness(picture).enhance(value),
    }
    return ways[name]()


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize(("name", "bicubic"), [*((n, False) for n in NAMES), *((n, True) for n in GEOMETRIC)])
def test_pillows_bytes(name: str, bicubic: bool, channels: int) -> None:
    images = pictures(48, channels)
    values = np.random.default_rng(4).uniform(*RANGES.get(name, (0, 1)), len(images))
    if name == "rotate":
        values[:4] = 0, 90, -90, 45
    operation = torch.full((len(images),), NAMES.index(name))
    got = apply(torch.from_numpy(images), operation, torch.from_numpy(values), fill=FILL, bicubic=bicubic)
    for image, value, ours in zip(images, values.tolist(), got.numpy(), strict=True):
        picture = Image.fromarray(image.squeeze(2) if channels == 1 else image)
        theirs = np.asarray(pillow(name, picture, value, bicubic)).reshape(image.shape)
        assert np.array_equal(ours, theirs), (value, np.abs(ours.astype(int) - theirs).max())


def test_each_image_undergoes_its_own() -> None:
    images = torch.from_numpy(pictures(6, 3))
    operation = torch.tensor([NAMES.index(name) for name in ("invert", "identity", "rotate") * 2])
    value = torch.tensor([0, 0, 20, 0, 0, -20], dtype=torch.float64)
    together = apply(images, operation, value, fill=FILL, bicubic=False)
    for row in range(6):
        one = slice(row, row + 1)
        assert torch.equal(together[one], apply(images[one], operation[one], value[one], fill=FILL, bicubic=False))
    assert torch.equal(together[1], images[1])
    with pytest.raises(BadInput, match="2 channels"):
        apply(images[..., :2], operation, value, fill=FILL, bicubic=False)


def test_pillows_rectangle() -> None:
    images, rng = pictures(100, 3), np.random.default_rng(5)
    side, x, y = (rng.uniform(0, most, 100) for most in (WIDTH / 2, WIDTH, HEIGHT))
    got = cut_out(torch.from_numpy(images), *(torch.from_numpy(each) for each in (side, x, y)), (125, 123, 114))
    for image, v, x0, y0, ours in zip(images, side, x, y, got.numpy(), strict=True):
        picture = Image.fromarray(image)
        left, top = int(max(0, x0 - v / 2)), int(max(0, y0 - v / 2))  # as FixMatch's CutoutAbs
        corners = (left, top, min(WIDTH, left + v), min(HEIGHT, top + v))
        ImageDraw.Draw(picture).rectangle(corners, (125, 123, 114))
        assert np.array_equal(ours, np.asarray(picture))
