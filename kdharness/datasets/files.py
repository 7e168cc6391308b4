"""Datasets that are decoded from files once and mapped from the cache ever after."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch

from kdharness.core.types import Split
from kdharness.datasets import cache
from kdharness.datasets.cache import Arrays, Facts, Layout
from kdharness.datasets.splitting import part_of


@dataclass(frozen=True)
class CachedImages:
    """The decoded images of one dataset: `train-images`, `train-labels`, `test-images`, `test-labels`."""

    name: str
    place: Path
    """The directory of the cache."""
    image_shape: tuple[int, int, int]
    train_size: int
    test_size: int
    decode: Callable[[], Arrays]
    """Makes the arrays out of the files. Raises BadInput, EnvironmentRefused."""
    describe: Callable[[Arrays], Facts] | None = None
    """What to keep beside them."""

    @cached_property
    def arrays(self) -> Arrays:
        """Raises what `decode` raises, EnvironmentRefused where the cache cannot be written."""
        return cache.cached(self.place, self._layout, self.decode, self.describe)

    @property
    def are_there(self) -> bool:
        """Whether they are decoded already."""
        return cache.opened(self.place, self._layout) is not None

    def split(self, part: Literal["train", "val", "test"], validation: float) -> Split:
        """See `Dataset.split`."""
        return part_of(self.name, part, validation, lambda: self._official("train"), lambda: self._official("test"))

    def _official(self, part: Literal["train", "test"]) -> Split:
        images, labels = (torch.from_numpy(self.arrays[f"{part}-{what}"]) for what in ("images", "labels"))
        return Split(images, labels, torch.arange(len(labels)))

    @property
    def _layout(self) -> Layout:
        layout: dict[str, tuple[str, tuple[int, ...]]] = {}
        for part, size in (("train", self.train_size), ("test", self.test_size)):
            layout[f"{part}-images"] = ("uint8", (size, *self.image_shape))
            layout[f"{part}-labels"] = ("int64", (size,))
        return layout


class FromFiles(ABC):
    """What `kdharness data` asks of a dataset whose images come from files."""

    streamed = False

    @property
    @abstractmethod
    def images(self) -> CachedImages:
        """Where they are once they are decoded. Raises as `split` for a dataset whose facts stand in its files."""

    @property
    @abstractmethod
    def missing(self) -> str | None:
        """Which files are not there and what to put where, without opening one; None where they are there."""

    @abstractmethod
    def reread(self) -> Arrays:
        """The arrays from the files, every byte of which is verified anew. Raises BadInput, EnvironmentRefused."""

    def split(self, part: Literal["train", "val", "test"], validation: float = 0.0) -> Split:
        """See `Dataset.split`. Raises EnvironmentRefused without the files, BadInput where they cannot be used."""
        return self.images.split(part, validation)


class OfficialImages(FromFiles):
    """A set whose files are known: its facts are constants of the code, and name the cache."""

    name: str
    fingerprint: str
    image_shape: tuple[int, int, int]
    train_size: int
    test_size: int

    def __init__(self, data: Path) -> None:
        self._data = data

    @cached_property
    def images(self) -> CachedImages:
        return CachedImages(
            name=self.name,
            place=self._data / f"{self.name}-{self.fingerprint[:12]}",
            image_shape=self.image_shape,
            train_size=self.train_size,
            test_size=self.test_size,
            decode=self.reread,
        )
