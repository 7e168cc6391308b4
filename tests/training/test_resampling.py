"""Resizing gives Pillow's bytes, random crops are torchvision's, erased rectangles timm's."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from kdharness.core.streams import Draws
from kdharness.training.erasing import erase, rectangles
from kdharness.training.inputs import shrunk
from kdharness.training.resampling import Filter, crop_boxes, resized, resized_crops

WAYS: dict[Filter, Image.Resampling] = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def draws(count: int) -> Draws:
    return Draws("augmentation", 0, 1, torch.arange(count))


def noise(count: int, height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, channels)).astype(np.uint8)


@pytest.mark.parametrize("kind", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("height", "width", "size"), [(32, 32, 224), (32, 32, 32), (32, 32, 13), (24, 32, 40), (24, 32, 17)]
)
def test_pillows_bytes(kind: Filter, height: int, width: int, size: int) -> None:
    images = noise(4, height, width)
    got = resized(torch.from_numpy(images), size, kind)
    assert got.shape == (4, size, size, 3)
    for image, ours in zip(images, got.numpy(), strict=True):
        assert np.array_equal(ours, np.asarray(Image.fromarray(image).resize((size, size), WAYS[kind])))


def test_a_batch_in_parts_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.from_numpy(noise(5, 8, 8, 1))
    whole = resized(images, 12)
    monkeypatch.setattr("kdharness.training.resampling.MOST_BYTES", 2 * 8 * 12 * 12)
    assert torch.equal(resized(images, 12), whole)


@pytest.mark.parametrize("kind", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [48, 32])
def test_resized_crops_are_pillows(kind: Filter, size: int) -> None:
    images = noise(60, 32, 32)
    got = resized_crops(torch.from_numpy(images), draws(60), size, kind).numpy()
    for row, (top, left, tall, wide) in enumerate(torch.stack(crop_boxes(draws(60), 32, 32), dim=1).tolist()):
        crop = Image.fromarray(images[row]).crop((left, top, left + wide, top + tall))
        assert np.array_equal(got[row], np.asarray(crop.resize((size, size), WAYS[kind])))


def test_crops_are_drawn_as_torchvision_draws_them() -> None:
    top, left, tall, wide = (each.double() for each in crop_boxes(draws(20_000), 32, 32))
    area, ratio = tall * wide / 1024, wide / tall
    assert 0.07 < area.min() < 0.1
    assert area.max() == 1
    assert 0.65 < ratio.min() < ratio.max() < 1.5  # 3:4 to 4:3, rounded to pixels
    assert area.mean() == pytest.approx(0.4904, abs=0.01)  # that of 150,000 of torchvision's
    assert (top + tall).max() == (left + wide).max() == 32
    assert (top / (32 - tall).clamp(min=1)).mean() == pytest.approx(0.49, abs=0.02)


def test_crops_of_pictures_of_other_shapes() -> None:
    """As torchvision: where nothing fits, the middle within 3:4 and 4:3."""
    heights, widths = torch.tensor([500, 4, 400, 3]).repeat(500), torch.tensor([375, 400, 4, 3]).repeat(500)
    top, left, tall, wide = crop_boxes(draws(2000), heights, widths)
    assert (top + tall <= heights).all()
    assert (left + wide <= widths).all()
    assert min(tall.min(), wide.min(), top.min(), left.min()) >= 0
    for begin, tallest in ((1, (0, 197, 4, 5)), (2, (197, 0, 5, 4))):
        found = {tuple(box) for box in torch.stack([top, left, tall, wide], dim=1)[begin::4].tolist()}
        assert tallest in found


def test_erased_is_a_quarter_with_normal_noise() -> None:
    images = torch.full((2000, 3, 16, 16), 9.0)
    got = erase(images, draws(2000), 0.25)
    changed = (got != 9).any(1)
    chosen = changed.any((1, 2))
    assert chosen.double().mean() == pytest.approx(0.25, abs=0.03)
    _, _, tall, wide = rectangles(draws(2000), 16, 16)
    area = (tall * wide)[chosen]
    assert torch.equal(changed.sum((1, 2))[chosen], area)
    assert 0.01 < area.min() / 256 < 0.03
    assert 0.3 < area.max() / 256 < 0.4
    ratio = (tall / wide)[chosen]
    assert 0.2 < ratio.min() < 0.45 < 2.2 < ratio.max() < 5  # 3:10 to 10:3, rounded to pixels
    values = got[changed[:, None].expand_as(got)]
    assert values.mean() == pytest.approx(0, abs=0.01)
    assert values.std() == pytest.approx(1, abs=0.01)
    assert torch.equal(got[5], erase(images[5:6], Draws("augmentation", 0, 1, torch.tensor([5])), 0.25)[0])


def test_a_teacher_sees_the_same_images_shrunk() -> None:
    images = torch.randn(2, 3, 28, 28).contiguous(memory_format=torch.channels_last)
    assert shrunk(images, None) is images
    assert shrunk(images, 28) is images
    small = shrunk(images, 4)
    assert small.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(small, F.interpolate(images, size=(4, 4), mode="bilinear", align_corners=False))
