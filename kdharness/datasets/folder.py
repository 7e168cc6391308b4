"""A user's own images: a tree of class directories, or a tar of one, of any size."""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from kdharness.core.errors import BadInput, EnvironmentRefused
from kdharness.core.types import Normalization
from kdharness.datasets import cache
from kdharness.datasets.cache import Arrays, Facts
from kdharness.datasets.files import CachedImages, FromFiles
from kdharness.datasets.folder_index import FolderIndex, ImageFile, Index
from kdharness.datasets.images import Decoding, decode_all, first_five
from kdharness.datasets.splitting import held_out, held_out_count
from kdharness.datasets.trees import PARTS

FORMAT = 1
"""Of the fingerprint and of what is decoded: a change of either is a new one."""
RECIPE = "cifar10-short"
SIZES = range(8, 513)
"""What images may be brought to."""
TEST_STREAM = "folder-test"
T = TypeVar("T")


@dataclass(frozen=True)
class _Facts:
    """What is known of a folder before an image is decoded."""

    fingerprint: str
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    train_size: int
    test_size: int


class Folder(FromFiles):
    """`train/<class>/<image>` and `test/<class>/<image>`; or `<class>/<image>`, of which `test` (0.2) is held out.

    `source` is a directory or a tar inside the data directory; a tar and the directory it was made from are the same
    dataset, wherever they lie. Classes are numbered by name, images by path. With `size` every image is brought to
    that size, else all must have one. The part held out is stratified and a constant of the set. Normalisation: mean
    and standard deviation of the train images per channel, to 4 decimals, a function of the content.

    Refused before anything is trained, by name: images that cannot be decoded or have another size, the same pixels
    under two classes, the same pixels in train and test (a copied test image is no test; CIFAR-10 itself, 60,000
    images, has not one such pair, so that it costs honest sets nothing), and classes with too few images.

    Every fact raises BadInput for a source that is no such tree, EnvironmentRefused where it is not there.
    """

    recipe = RECIPE
    teacher_recipe = RECIPE

    def __init__(self, data: Path, source: str, *, test: float | None = None, size: int | None = None) -> None:
        """Opens nothing. Raises BadInput for a source that is no path inside the data directory, and odd numbers."""
        path = PurePosixPath(source)
        if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in source:
            raise BadInput(
                f"folder {source!r} is not a path inside the data directory {data}",
                remedy="put the images, or a link to them, into that directory and name them relative to it; "
                "--data names another directory",
            )
        if test is not None and not 0 < test < 1:
            raise BadInput(f"test {test!r} is not between 0 and 1")
        if size is not None and size not in SIZES:
            raise BadInput(f"size {size!r} is not between {SIZES[0]} and {SIZES[-1]} pixels")
        self.title = path.name
        self._data, self._source, self._test, self._size = data, str(path), test, size
        self._index = FolderIndex(data, str(path), has_parts=test is None)

    @property
    def name(self) -> str:
        return f"folder-{self.fingerprint[:12]}"

    @property
    def fingerprint(self) -> str:
        """SHA-256 over every image's path, size and content, `test`, `size` and the format."""
        return self._facts.fingerprint

    @property
    def classes(self) -> tuple[str, ...]:
        return self._facts.classes

    @property
    def num_classes(self) -> int:
        return len(self._facts.classes)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self._facts.image_shape

    @property
    def train_size(self) -> int:
        return self._facts.train_size

    @property
    def test_size(self) -> int:
        return self._facts.test_size

    @property
    def missing(self) -> str | None:
        if self._index.where.exists():
            return None
        return f"there is no {self._source} in {self._data}: put it there, or name another directory with --data"

    @cached_property
    def images(self) -> CachedImages:
        facts = self._facts
        return CachedImages(
            name=self.name,
            place=self._data / self.name,
            image_shape=facts.image_shape,
            train_size=facts.train_size,
            test_size=facts.test_size,
            decode=self._decode,
            describe=self._describe,
        )

    def reread(self) -> Arrays:
        self._require()
        self._index.reread()
        for known in ("_seen", "_facts", "images"):
            self.__dict__.pop(known, None)
        return self._decode()

    def _require(self) -> None:
        if self.missing is not None:
            raise EnvironmentRefused(self.missing)

    @cached_property
    def _seen(self) -> Index:
        self._require()
        return self._index.read()

    @cached_property
    def _facts(self) -> _Facts:
        where = str(self._index.where)
        index = self._seen
        train, test = _class_counts(index, self._test, where)
        classes = _classes(train, test, where)
        shape = (self._size, self._size) if self._size is not None else index.shape
        if not all(shape):
            raise BadInput("not one of its files is an image that can be read", where=where)
        identity = json.dumps([FORMAT, index.content, self._test, self._size])
        return _Facts(
            fingerprint=hashlib.sha256(identity.encode()).hexdigest(),
            classes=classes,
            image_shape=(3, *shape),
            train_size=sum(train.values()),
            test_size=sum(test.values()),
        )

    @property
    def normalization(self) -> Normalization:
        """Decodes the images where they are not yet."""
        _ = self.images.arrays  # decodes where that has not been done
        about = cache.described(self.images.place)
        if about is None:
            raise EnvironmentRefused(
                "what is known of the decoded images is damaged",
                where=str(self.images.place),
                remedy="delete this directory: it is made again",
            )
        return Normalization(mean=tuple(about["mean"]), std=tuple(about["std"]))

    def _decode(self) -> Arrays:
        where = str(self._index.where)
        facts = self._facts
        files = self._index.files(self._seen)
        in_test, labels = self._parts(files)
        order = [*np.flatnonzero(~in_test), *np.flatnonzero(in_test)]  # train first
        position = {files[old].path: new for new, old in enumerate(order)}
        _require_memory(len(files) * math.prod(facts.image_shape), where)
        pixels = np.empty((len(files), *facts.image_shape), np.uint8)
        done = decode_all(self._contents(files), position, pixels, self._size)
        _require_usable(done, facts.image_shape, where)
        _require_distinct(done, files, in_test, where)
        labels, size = labels[order], facts.train_size
        return {
            "train-images": pixels[:size],
            "train-labels": labels[:size],
            "test-images": pixels[size:],
            "test-labels": labels[size:],
        }

    def _parts(self, files: Sequence[ImageFile]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Whether each image is for test, and its class."""
        numbers = {name: number for number, name in enumerate(self._facts.classes)}
        labels = np.array([numbers[file.path.split("/")[-2]] for file in files], np.int64)
        if self._test is None:
            return np.array([file.path.startswith("test/") for file in files]), labels
        return held_out(torch.from_numpy(labels), self._test, TEST_STREAM).numpy(), labels

    def _contents(self, files: Sequence[ImageFile]) -> Iterator[tuple[str, bytes]]:
        """Path and content of every image, none of which has changed since the folder was looked through."""
        prefix = self._seen.prefix
        wanted = {file.path: file.sha256 for file in files}
        for full_path, content in self._index.tree().read():
            path = full_path.removeprefix(prefix)
            known = wanted.pop(path, None)
            if known is None:
                continue
            if hashlib.sha256(content).hexdigest() != known:
                raise self._changed([path])
            yield path, content
        if wanted:
            raise self._changed(wanted)

    def _changed(self, paths: Iterable[str]) -> BadInput:
        return BadInput(
            f"files changed while the images were read: {first_five(dict.fromkeys(paths, ''))}",
            where=str(self._index.where),
            remedy="let nothing write there and start again",
        )

    def _describe(self, arrays: Arrays) -> Facts:
        facts = self._facts
        mean, std = _moments(arrays["train-images"])
        if not all(std):
            raise BadInput("a colour channel of its train images never changes", where=str(self._index.where))
        return {
            "format": FORMAT,
            "title": self.title,
            "test": self._test,
            "size": self._size,
            "fingerprint": facts.fingerprint,
            "classes": facts.classes,
            "image_shape": facts.image_shape,
            "train_size": facts.train_size,
            "test_size": facts.test_size,
            "mean": mean,
            "std": std,
        }


def _require_memory(needed: int, where: str) -> None:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > memory:
        raise EnvironmentRefused(
            f"its images are {needed:,} bytes when decoded, more than this machine's memory of {memory:,}",
            where=where,
            remedy="bring them to a smaller `size`",
        )


def _class_counts(index: Index, test: float | None, where: str) -> tuple[dict[str, int], dict[str, int]]:
    """Images by class in train and in test."""
    if test is None:
        parts: dict[str, dict[str, int]] = {part: {} for part in PARTS}
        for directory, count in index.counts.items():
            part, _, name = directory.partition("/")
            parts[part][name] = count
        for part, counts in parts.items():
            if not counts:
                raise BadInput(
                    f"has no class directories in {part}/",
                    where=where,
                    remedy="images lie in train/<class>/ and test/<class>/; of one tree <class>/ say which part is "
                    "for the test, `test: 0.2`",
                )
        return parts["train"], parts["test"]
    if set(index.counts) <= set(PARTS):
        raise BadInput(
            "is not a tree of class directories" + (" but has train and test already" if index.counts else ""),
            where=where,
            remedy="leave out `test`" if index.counts else "images lie in <class>/",
        )
    held = {name: held_out_count(count, test) if count else 0 for name, count in index.counts.items()}
    return {name: count - held[name] for name, count in index.counts.items()}, held


def _classes(train: Mapping[str, int], test: Mapping[str, int], where: str) -> tuple[str, ...]:
    """Their names in order. Raises BadInput where they have too few images."""
    wrong = {}
    for name in {**train, **test}:
        if name not in train:
            wrong[name] = "is a class of test but not of train"
        elif not test.get(name):
            wrong[name] = "has no test image"
        elif train[name] < 2:
            wrong[name] = f"has {train[name]} train image{'s'[train[name] == 1 :]}"
    if wrong:
        raise BadInput(
            f"{len(wrong):,} of its classes cannot be learnt: {first_five(wrong)}",
            where=where,
            remedy="a class needs two images for training and one for the test",
        )
    if len(train) < 2:
        raise BadInput(f"has only one class, {next(iter(train))!r}", where=where)
    return tuple(sorted(train))


def _require_usable(done: Decoding, shape: tuple[int, int, int], where: str) -> None:
    if done.unusable:
        raise BadInput(
            f"{len(done.unusable):,} of its images cannot be used: {first_five(done.unusable)}",
            where=where,
            remedy="repair them or take them out",
        )
    if done.other_sizes:
        raise BadInput(
            f"{len(done.other_sizes):,} of its images have another size than the first, {shape[2]} x {shape[1]}: "
            f"{first_five(done.other_sizes)}",
            where=where,
            remedy="say to which size they are to be brought, for example `size: 32`",
        )


def _require_distinct(done: Decoding, files: Sequence[ImageFile], in_test: NDArray[np.bool_], where: str) -> None:
    """No pixels under two classes, nor in train and test."""
    first: dict[bytes, int] = {}
    mislabelled, shared = {}, {}
    for number, file in enumerate(files):
        other = first.setdefault(done.digests[file.path], number)
        twin = files[other].path
        if file.path.split("/")[-2] != twin.split("/")[-2]:
            mislabelled[file.path] = f"= {twin}"
        elif in_test[number] != in_test[other]:
            shared[file.path] = f"= {twin}"
    if mislabelled:
        raise BadInput(
            f"{len(mislabelled):,} images have the same pixels as one of another class: {first_five(mislabelled)}",
            where=where,
            remedy="keep each in the one class it belongs to",
        )
    if shared:
        raise BadInput(
            f"{len(shared):,} images are both in train and in test: {first_five(shared)}",
            where=where,
            remedy="take out one of each: a test on images that were trained on says nothing",
        )


def _moments(images: NDArray[np.uint8]) -> tuple[list[float], list[float]]:
    """(N, C, H, W) -> mean and standard deviation of each channel / 255, to 4 decimals; by exact sums."""
    counts = np.zeros((images.shape[1], 256), np.int64)
    for start in range(0, len(images), 1000):
        for channel, counted in enumerate(counts):
            counted += np.bincount(images[start : start + 1000, channel].ravel(), minlength=256)
    values = np.arange(256) / 255
    mean = counts @ values / counts.sum(1)
    variance = counts @ values**2 / counts.sum(1) - mean**2
    return [round(float(one), 4) for one in mean], [round(float(max(one, 0)) ** 0.5, 4) for one in variance]
