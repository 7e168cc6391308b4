"""Synthetic images of any number, size and classes, made in memory: only for measuring speed."""

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from kdharness.core.streams import draw, mix, stream_seed
from kdharness.core.types import Normalization, Split
from kdharness.datasets.registry import DATASETS
from kdharness.datasets.splitting import part_of

VERSION = 1
"""Of the pixels: a change of them is a new one."""
PATCH = 8
"""Pixels of the side of a class's coloured squares."""
CHUNK = 2**21
"""Numbers drawn at a time, eight pixels each."""


@DATASETS.add("synthetic")
class Synthetic:
    """Every image is its class's pattern of coloured squares plus noise, both an integer hash of (class, index).

    Both are uniform in 0..127, so that the classes can be learnt, to no purpose. By its name it has the form of
    CIFAR-100; a benchmark may ask for another form, which is another dataset by its fingerprint.
    """

    name = "synthetic"
    normalization = Normalization(mean=(0.498,) * 3, std=(0.2049,) * 3)
    streamed = False
    recipe = "cifar100-240"
    teacher_recipe = "cifar100-240"

    def __init__(
        self, data: Path, *, num_classes: int = 100, size: int = 32, train_size: int = 50_000, test_size: int = 10_000
    ) -> None:
        del data  # nothing lies on the disk
        self.num_classes = num_classes
        self.image_shape = (3, size, size)
        self.train_size, self.test_size = train_size, test_size
        form = f"synthetic {VERSION} {num_classes} {size} {train_size} {test_size}"
        self.fingerprint = hashlib.sha256(form.encode()).hexdigest()

    def split(self, part: Literal["train", "val", "test"], validation: float = 0.0) -> Split:
        """See `Dataset.split`."""
        return part_of(self.name, part, validation, lambda: self._train, lambda: self._test)

    @cached_property
    def _train(self) -> Split:
        return _made("train", self.train_size, self.num_classes, self.image_shape)

    @cached_property
    def _test(self) -> Split:
        return _made("test", self.test_size, self.num_classes, self.image_shape)


def _made(part: str, count: int, num_classes: int, image_shape: tuple[int, int, int]) -> Split:
    index = torch.arange(count)
    labels = index % num_classes
    images = _noise(part, count, image_shape)
    patterns = _patterns(num_classes, image_shape)
    for start in range(0, count, 1000):
        images[start : start + 1000] += patterns[labels[start : start + 1000]]
    return Split(images, labels, index)


def _noise(part: str, count: int, image_shape: tuple[int, int, int]) -> Tensor:
    """(count, C, H, W) uint8 in 0..127"""
    channels, height, width = image_shape
    pixels = count * channels * height * width
    words = -(-pixels // 8)
    noise = torch.empty(words, dtype=torch.int64)
    key = stream_seed("synthetic", part)
    for start in range(0, words, CHUNK):
        position = torch.arange(start, min(start + CHUNK, words))
        noise[start : start + CHUNK] = mix(position ^ key)
    return (noise.view(torch.uint8)[:pixels] & 127).view(count, *image_shape)


def _patterns(num_classes: int, image_shape: tuple[int, int, int]) -> Tensor:
    """(K, C, H, W) uint8 in 0..127, in squares of one colour"""
    channels, height, width = image_shape
    rows, columns = -(-height // PATCH), -(-width // PATCH)
    square = torch.arange(num_classes * channels * rows * columns)
    coarse = (draw("synthetic-class", 0, 0, square) & 127).to(torch.uint8).view(num_classes, channels, rows, columns)
    return coarse.repeat_interleave(PATCH, 2).repeat_interleave(PATCH, 3)[:, :, :height, :width]
