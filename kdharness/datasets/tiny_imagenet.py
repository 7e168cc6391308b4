"""Tiny ImageNet: 200 classes of 500 images of 64x64 pixels, from the official zip or the directory it unpacks to.

Source: Stanford CS231n, http://cs231n.stanford.edu/tiny-imagenet-200.zip. The labels of its test part were never
released: its validation part is the test split, as everywhere in the field.
"""

import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdharness.core.errors import BadInput, EnvironmentRefused
from kdharness.core.types import Normalization
from kdharness.datasets.cache import Arrays
from kdharness.datasets.files import OfficialImages
from kdharness.datasets.images import decode_all, first_five
from kdharness.datasets.official import check_archive
from kdharness.datasets.official import fingerprint as fingerprint_of
from kdharness.datasets.registry import DATASETS

FOLDER = "tiny-imagenet-200"
ANNOTATIONS = "val/val_annotations.txt"
MOST_FILES, MOST_FILE_BYTES = 200_000, 8 * 2**20
"""Limits on the zip; the official one has 120,609 members."""


@DATASETS.add("tiny-imagenet", "tiny_imagenet")
class TinyImageNet(OfficialImages):
    """Classes are numbered by WordNet id, images by path; `val/images` is sorted into them by its annotations.

    The zip is verified by its hash, the directory by its counts: 500 train and 50 test images of every class.
    The normalisation is that of mdistiller's Tiny-ImageNet recipe.
    """

    name = "tiny-imagenet"
    num_classes = 200
    image_shape = (3, 64, 64)
    train_each, test_each = 500, 50
    train_size = 100_000
    test_size = 10_000
    normalization = Normalization(mean=(0.4802, 0.4481, 0.3975), std=(0.2302, 0.2265, 0.2262))
    recipe = "tiny-imagenet-200"
    teacher_recipe = "tiny-imagenet-200"
    url = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
    md5 = "90528d7ca1a48142e341f4ef8d21d0de"
    fingerprint = fingerprint_of(md5, normalization)

    def __init__(self, data: Path) -> None:
        super().__init__(data)
        self._archive, self._folder = data / f"{FOLDER}.zip", data / FOLDER

    @property
    def missing(self) -> str | None:
        if self._archive.is_file() or self._folder.is_dir():
            return None
        return (
            f"tiny-imagenet is not in {self._data}: put {self._archive.name} from {self.url} there, or the directory "
            f"{FOLDER} that it holds; --data names another directory"
        )

    def reread(self) -> Arrays:
        if self.missing is not None:
            raise EnvironmentRefused(self.missing)
        if not self._archive.is_file():
            return self._decode(_Directory(self._folder), str(self._folder))
        where = str(self._archive)
        try:
            check_archive(self._archive, self.md5, f"delete it and take it again from {self.url}")
            with zipfile.ZipFile(self._archive) as archive:
                return self._decode(_Zip(archive, where), where)
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError) as error:  # what zipfile raises
            raise BadInput(f"cannot be unpacked: {error}", where=where) from error

    def _decode(self, tree: "_Tree", where: str) -> Arrays:
        train, test = self._train(tree.paths()), self._test(tree, where)
        classes = sorted({label for _, label in train})
        self._check_counts(train, test, classes, where)
        files = [*train, *test]
        pixels = np.empty((len(files), *self.image_shape), np.uint8)
        paths = [path for path, _ in files]
        done = decode_all(tree.read(paths), {path: number for number, path in enumerate(paths)}, pixels)
        wrong = {**done.unusable, **{path: f"is {size} pixels" for path, size in done.other_sizes.items()}}
        if wrong:
            raise BadInput(
                f"{len(wrong):,} of its images cannot be used: {first_five(wrong)}",
                where=where,
                remedy=f"take it again from {self.url}",
            )
        numbers = {name: number for number, name in enumerate(classes)}
        labels: NDArray[np.int64] = np.array([numbers[label] for _, label in files], np.int64)
        size = len(train)
        return {
            "train-images": pixels[:size],
            "train-labels": labels[:size],
            "test-images": pixels[size:],
            "test-labels": labels[size:],
        }

    def _train(self, paths: Sequence[str]) -> list[tuple[str, str]]:
        """(path, WordNet id) of `train/<id>/images/*.JPEG` in order."""
        split = (path.split("/") for path in paths)
        return sorted(
            {
                ("/".join(names), names[1])
                for names in split
                if len(names) == 4 and names[0] == "train" and names[2] == "images" and names[3].endswith(".JPEG")
            }
        )

    def _test(self, tree: "_Tree", where: str) -> list[tuple[str, str]]:
        """(path, WordNet id) of `val/images/*.JPEG`, by class and name. Raises BadInput."""
        try:
            lines = tree.content(ANNOTATIONS).decode("ascii").splitlines()
        except (OSError, KeyError, UnicodeDecodeError) as error:
            raise BadInput(f"{ANNOTATIONS} cannot be read: {error}", where=where) from error
        found = []
        for number, line in enumerate(lines, 1):
            name, label, *_ = [*line.split("\t"), ""]
            if not name or not label or "/" in name:
                raise BadInput(f"{ANNOTATIONS}: line {number} names no image and class: {line!r}", where=where)
            found.append((f"val/images/{name}", label))
        if len({path for path, _ in found}) != len(found):
            raise BadInput(f"{ANNOTATIONS} names an image twice", where=where)
        return sorted(found, key=lambda one: (one[1], one[0]))

    def _check_counts(
        self, train: list[tuple[str, str]], test: list[tuple[str, str]], classes: list[str], where: str
    ) -> None:
        wrong = {}
        if len(classes) != self.num_classes:
            wrong[f"{len(classes)} classes"] = f"instead of {self.num_classes}"
        for part, files, each in (("train", train, self.train_each), ("test", test, self.test_each)):
            counts = dict.fromkeys(classes, 0)
            for _, label in files:
                counts[label] = counts.get(label, 0) + 1
            wrong |= {
                f"{label}": f"has {count} {part} images instead of {each}"
                for label, count in counts.items()
                if count != each or label not in classes
            }
        if wrong:
            raise BadInput(
                f"is not the whole of tiny-imagenet: {first_five(wrong)}",
                where=where,
                remedy=f"take it again from {self.url}",
            )


class _Tree(ABC):
    """The official files by their path below `tiny-imagenet-200/`."""

    @abstractmethod
    def paths(self) -> list[str]: ...

    @abstractmethod
    def content(self, path: str) -> bytes:
        """Raises KeyError or OSError where it is not there."""

    def read(self, paths: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """An image that is not there comes as an empty one."""
        for path in paths:
            try:
                yield path, self.content(path)
            except (KeyError, FileNotFoundError):
                yield path, b""


class _Zip(_Tree):
    def __init__(self, archive: zipfile.ZipFile, where: str) -> None:
        self._archive = archive
        members = archive.infolist()
        if len(members) > MOST_FILES or any(member.file_size > MOST_FILE_BYTES for member in members):
            raise BadInput(
                f"holds more than {MOST_FILES:,} files or one of more than {MOST_FILE_BYTES:,} bytes", where=where
            )

    def paths(self) -> list[str]:
        return [name.removeprefix(f"{FOLDER}/") for name in self._archive.namelist() if name.startswith(f"{FOLDER}/")]

    def content(self, path: str) -> bytes:
        return self._archive.read(f"{FOLDER}/{path}")


class _Directory(_Tree):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def paths(self) -> list[str]:
        return [path.relative_to(self._folder).as_posix() for path in self._folder.glob("train/*/images/*.JPEG")]

    def content(self, path: str) -> bytes:
        return (self._folder / path).read_bytes()
