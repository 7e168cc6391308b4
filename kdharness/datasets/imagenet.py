"""ImageNet: the ILSVRC 2012 classification set as its unpacked JPEG files, decoded when they are wanted.

Source: Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 2015. MD5 hashes of the archives are
those that torchvision checks.
"""

import hashlib
import io
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from kdharness.core.errors import BadInput, EnvironmentRefused
from kdharness.core.types import Crops, Normalization, Split
from kdharness.datasets.cache import Arrays, cached
from kdharness.datasets.official import fingerprint as fingerprint_of
from kdharness.datasets.registry import DATASETS
from kdharness.datasets.splitting import part_of

TRAIN_MD5, VAL_MD5 = "1d675b47d978889d74fa0da5fadfb00e", "29b22e2961454d5413ddabcf34fc5622"
"""Of ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar."""
TRAIN_FILE, VAL_FILE = "{0}_{1}.JPEG", "ILSVRC2012_val_{1:08d}.JPEG"
"""A file's name by its class and number."""
PARTS = ("train", "val")
_NUMBER = re.compile(r"_(\d{1,8})\.JPEG$")
NAMED = 5
"""How many of the wrong files or classes a message names."""


@dataclass(frozen=True)
class Pictures:
    """The files of one part, an ImageSource: bytes are those of torchvision's transforms on the same crops."""

    folder: Path
    classes: tuple[str, ...]
    file: str
    labels: NDArray[np.int16]
    numbers: NDArray[np.int32]
    side: int
    """Pixels of a side of the images."""
    shorter: int
    """Pixels of the shorter side that a picture is resized to before its middle is cut out."""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, chosen: Tensor | slice) -> "Pictures":
        part = chosen.numpy() if isinstance(chosen, Tensor) else chosen
        return replace(self, labels=self.labels[part], numbers=self.numbers[part])

    def path(self, position: int) -> Path:
        name = self.classes[int(self.labels[position])]
        return self.folder / name / self.file.format(name, self.numbers[position])

    def decode(self, positions: Sequence[int], crops: Crops | None = None) -> Tensor:
        """See ImageSource.decode: bilinear and antialiased; without crops Resize and CenterCrop."""
        paths = [self.path(position) for position in positions]
        pixels = torch.empty(len(paths), self.side, self.side, 3, dtype=torch.uint8)
        pictures = [_opened(path) for path in paths]
        widths, heights = torch.tensor([picture.size for picture in pictures]).unbind(1)
        boxes = crops(heights, widths).tolist() if crops is not None else [None] * len(paths)
        for row, (path, picture, box) in enumerate(zip(paths, pictures, boxes, strict=True)):
            try:
                image = picture.convert("RGB")
            except _UNUSABLE as error:
                raise _unusable(path, error) from error
            part = self._middle(image) if box is None else self._part(image, *box)
            pixels[row] = torch.from_numpy(np.array(part))
        return pixels.permute(0, 3, 1, 2)

    def _part(self, image: Image.Image, top: int, left: int, height: int, width: int, mirrored: int) -> Image.Image:
        # cropped first: given a box, `resize` would let pixels beside it bleed in
        part = image.crop((left, top, left + width, top + height))
        part = part.resize((self.side, self.side), Image.Resampling.BILINEAR)
        return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else part

    def _middle(self, image: Image.Image) -> Image.Image:
        width, height = image.size
        short = min(width, height)
        width, height = self.shorter * width // short, self.shorter * height // short
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        left, top = round((width - self.side) / 2), round((height - self.side) / 2)
        return image.crop((left, top, left + self.side, top + self.side))


_UNUSABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
"""What PIL raises for bytes that are no whole image."""


def _opened(path: Path) -> Image.Image:
    try:
        return Image.open(io.BytesIO(path.read_bytes()), formats=("JPEG", "PNG"))  # one of train is a PNG
    except _UNUSABLE as error:
        raise _unusable(path, error) from error


def _unusable(path: Path, error: Exception) -> BadInput:
    if isinstance(error, UnidentifiedImageError):
        reason = "is no image"
    elif isinstance(error, OSError) and error.strerror:
        reason = f"cannot be read: {error.strerror}"
    else:
        reason = f"cannot be decoded: {error}"
    return BadInput(reason, where=str(path), remedy="unpack the official archive again")


@DATASETS.add("imagenet")
class ImageNet:
    """1,000 classes of photographs, 224 pixels a side as networks see them; the validation images are the test split.

    They are looked for in the data directory, as `imagenet/train/<class>/*.JPEG` and `imagenet/val/<class>/*.JPEG` with
    the official names. Their order is by class, then by the number in the name. What lies there is looked over once
    and remembered until a directory changes.
    """

    name = "imagenet"
    num_classes = 1000
    image_shape = (3, 224, 224)
    normalization = Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    fingerprint = fingerprint_of(f"{TRAIN_MD5} {VAL_MD5}", normalization)
    train_size = 1_281_167
    test_size = 50_000
    streamed = True
    recipe = "imagenet-100"
    teacher_recipe = "imagenet-100"

    shorter = 256
    train_per_class = range(732, 1301)
    """How many training images a class has."""
    classes_sha256 = "791ce0333040dd249d13133f90d28ef0263ffc01e5de0afd85b3e32048d7d456"
    """Of the classes' names in order, with blanks between."""

    def __init__(self, data: Path) -> None:
        self._data = data

    @property
    def missing(self) -> str | None:
        """What is not there and what to put where, without opening anything; None where both parts are there."""
        absent = [f"imagenet/{part}" for part in PARTS if not (self._folder / part).is_dir()]
        if not absent:
            return None
        return f"{self.name} is not in {self._data} (there is no directory {' and no '.join(absent)}): {self._remedy}"

    def split(self, part: Literal["train", "val", "test"], validation: float = 0.0) -> Split:
        """See `Dataset.split`. Raises EnvironmentRefused without the files, BadInput where they are other ones."""
        return part_of(self.name, part, validation, lambda: self._official("train"), lambda: self._official("test"))

    def _official(self, part: Literal["train", "test"]) -> Split:
        labels, numbers = (self._index[f"{part}-{what}"] for what in ("labels", "numbers"))
        pictures = Pictures(
            folder=self._folder / ("train" if part == "train" else "val"),
            classes=self._classes,
            file=TRAIN_FILE if part == "train" else VAL_FILE,
            labels=labels,
            numbers=numbers,
            side=self.image_shape[1],
            shorter=self.shorter,
        )
        return Split(pictures, torch.from_numpy(labels).long(), torch.arange(len(labels)))

    @cached_property
    def _index(self) -> Arrays:
        """Label and number of every file of both parts: made anew where a directory has changed since."""
        if self.missing is not None:
            raise EnvironmentRefused(self.missing)
        stamps = [_class_directories(self._folder / part) for part in PARTS]
        for part, here, there in zip(PARTS, stamps, reversed(stamps), strict=True):
            self._check_classes(self._folder / part, sorted(here), sorted(there))
        changed = [sorted(each.items()) for each in stamps]
        layout: dict[str, tuple[str, tuple[int, ...]]] = {}
        for name, size in (("train", self.train_size), ("test", self.test_size)):
            layout |= {f"{name}-labels": ("int16", (size,)), f"{name}-numbers": ("int32", (size,))}
        state = hashlib.sha256(f"{layout} {changed}".encode()).hexdigest()
        return cached(self._data / f"{self.name}-index-{state[:12]}", layout, self._looked_over)

    @cached_property
    def _classes(self) -> tuple[str, ...]:
        return tuple(sorted(_class_directories(self._folder / "val")))

    def _check_classes(self, folder: Path, names: list[str], others: list[str]) -> None:
        """Raises BadInput where the names are not the official ones; those of the other part may tell which."""
        if self._are_official(names):
            return
        what = f"has {len(names):,} class directories, not {self.num_classes:,}"
        if len(names) == self.num_classes:
            what = "has class directories that are not those of ILSVRC 2012"
        if names and self._are_official(others):
            lacks, more = sorted(set(others) - set(names)), sorted(set(names) - set(others))
            what += f"; it lacks {_first(lacks)}" if lacks else ""
            what += f"; {_first(more)} is none of them" if more else ""
        raise BadInput(what, where=str(folder), remedy=self._remedy)

    def _are_official(self, names: list[str]) -> bool:
        return hashlib.sha256(" ".join(names).encode()).hexdigest() == self.classes_sha256

    def _looked_over(self) -> Arrays:
        """Every file by name and stat. Raises BadInput with what is wrong of either part."""
        arrays: dict[str, NDArray[Any]] = {}
        wrong = []
        for part, directory, file, size, usual in (
            ("train", "train", TRAIN_FILE, self.train_size, self.train_per_class),
            ("test", "val", VAL_FILE, self.test_size, (self.test_size // self.num_classes,)),
        ):
            folder = self._folder / directory
            unusable: list[str] = []
            numbers = [sorted(_numbers(folder / name, file, unusable)) for name in self._classes]
            counts = [len(each) for each in numbers]
            odd = [f"{name} {count:,}" for name, count in zip(self._classes, counts, strict=True) if count not in usual]
            if unusable:
                wrong.append(f"{folder} has files that are no official image: {_first(unusable)}")
            if sum(counts) != size or odd:
                named = f", an unofficial number of them in {_first(odd)}" if odd else ""
                wrong.append(f"{folder} has {sum(counts):,} images, not {size:,}{named}")
            arrays[f"{part}-labels"] = np.repeat(np.arange(len(counts), dtype=np.int16), counts)
            arrays[f"{part}-numbers"] = np.concatenate([np.array(each, dtype=np.int32) for each in numbers])
        if wrong:
            raise BadInput("\n".join(wrong), remedy=self._remedy)
        return arrays

    @property
    def _folder(self) -> Path:
        return self._data / "imagenet"

    @property
    def _remedy(self) -> str:
        return (
            "unpack ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar of https://image-net.org so that there are "
            f"{self._folder}/train/n01440764/n01440764_10026.JPEG and {self._folder}/val/n01751748/"
            "ILSVRC2012_val_00000001.JPEG, every image in the directory of its class; --data names another directory"
        )


def _class_directories(folder: Path) -> dict[str, int]:
    """The time of change of each, in ns. Raises EnvironmentRefused."""
    return {entry.name: entry.stat().st_mtime_ns for entry in _entries(folder) if entry.is_dir()}


def _numbers(folder: Path, file: str, unusable: list[str]) -> list[int]:
    """The numbers of the images of a class; to `unusable` what is no image of it is added, with the reason."""
    numbers = []
    for entry in _entries(folder):
        found = _NUMBER.search(entry.name)
        number = int(found[1]) if found else 0
        if file.format(folder.name, number) != entry.name:
            unusable.append(f"{folder.name}/{entry.name} is no official name")
            continue
        try:
            size = entry.stat().st_size
        except FileNotFoundError:
            unusable.append(f"{folder.name}/{entry.name} is a link to nothing")
            continue
        if not size or not entry.is_file():
            unusable.append(f"{folder.name}/{entry.name} is {'empty' if entry.is_file() else 'no file'}")
            continue
        numbers.append(number)
    return numbers


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """What lies in a directory, without hidden files. Raises EnvironmentRefused."""
    try:
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        raise EnvironmentRefused(f"cannot be read: {error.strerror or error}", where=str(folder)) from error


def _first(names: Sequence[str]) -> str:
    shown = ", ".join(sorted(names)[:NAMED])
    more = len(names) - NAMED
    return f"{shown} and {more:,} more" if more > 0 else shown
