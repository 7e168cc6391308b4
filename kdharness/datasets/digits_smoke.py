"""A hundred-odd of the scikit-learn digits: what a study shrunk by `--smoke` trains on, and nothing else."""

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch

from kdharness.core.streams import draw
from kdharness.core.types import Split
from kdharness.datasets.digits import Digits
from kdharness.datasets.registry import DATASETS
from kdharness.datasets.splitting import part_of


@DATASETS.add("digits-smoke")
class DigitsSmoke:
    """128 images of either split of `digits`, drawn by their position alone: the same for every seed and machine."""

    name = "digits-smoke"
    num_classes = Digits.num_classes
    image_shape = Digits.image_shape
    normalization = Digits.normalization
    fingerprint = hashlib.sha256(f"128 of {Digits.fingerprint}".encode()).hexdigest()
    train_size = 128
    test_size = 128
    streamed = False
    recipe = "smoke"
    teacher_recipe = "smoke"

    def __init__(self, data: Path) -> None:
        self._digits = Digits(data)

    def split(self, part: Literal["train", "val", "test"], validation: float = 0.0) -> Split:
        """See `Dataset.split`. Raises EnvironmentRefused as the digits do."""
        return part_of(self.name, part, validation, lambda: self._official[0], lambda: self._official[1])

    @cached_property
    def _official(self) -> tuple[Split, Split]:
        train = _some(self._digits.split("train"), self.train_size)
        return train, _some(self._digits.split("test"), self.test_size)


def _some(whole: Split, number: int) -> Split:
    """So many of its images in their old order, numbered anew."""
    rank = draw("smoke", 0, 0, torch.arange(len(whole.labels)))
    chosen = rank.argsort()[:number].sort().values
    return Split(whole.images[chosen], whole.labels[chosen], torch.arange(number))
