"""The scikit-learn handwritten digits: 1,797 real 8x8 images inside a dependency, a smoke benchmark.

Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI 1998 (its test part), as scikit-learn
ships it.
"""

import hashlib
import importlib.util
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from kdharness.core.errors import EnvironmentRefused
from kdharness.core.types import Normalization, Split
from kdharness.datasets.registry import DATASETS
from kdharness.datasets.splitting import held_out, part_of

TEST_FRACTION = 0.2
REMEDY = 'pip install "kdharness[report]"'


@DATASETS.add("digits")
class Digits:
    """10 classes, grey repeated to three channels, pixel values 0..16 stored as 15 times the value.

    There is no official split: a stratified fixed 80/20 cut, independent of every seed, stands for it.
    """

    name = "digits"
    num_classes = 10
    image_shape = (3, 8, 8)
    normalization = Normalization(mean=(0.2875,) * 3, std=(0.3540,) * 3)
    fingerprint = "5903340027d7005a708ba054a34db3da3f1de7b43c8100534bb2ebc40519e68c"
    train_size = 1438
    test_size = 359
    streamed = False
    recipe = "digits-quick"
    teacher_recipe = "digits-quick"

    def __init__(self, data: Path) -> None:
        # `data` is where downloaded sets live; this one lives in scikit-learn.
        del data

    def split(self, part: Literal["train", "val", "test"], validation: float = 0.0) -> Split:
        """See `Dataset.split`. Raises EnvironmentRefused without scikit-learn or where its digits have changed."""
        return part_of(self.name, part, validation, lambda: self._official[0], lambda: self._official[1])

    @cached_property
    def _official(self) -> tuple[Split, Split]:
        pixels, labels = _read()
        images = (pixels * 15).to(torch.uint8).reshape(-1, 1, 8, 8).repeat(1, 3, 1, 1)
        mask = held_out(labels, TEST_FRACTION, "digits-test")
        train, test = (
            Split(images[chosen], labels[chosen], torch.arange(int(chosen.sum()))) for chosen in (~mask, mask)
        )
        found = _fingerprint(train, test)
        if found != self.fingerprint:
            raise EnvironmentRefused(
                f"the digits inside scikit-learn are not the ones this version knows (sha256 {found[:12]}..., "
                f"expected {self.fingerprint[:12]}...)",
                remedy="install the scikit-learn named in constraints.txt",
            )
        return train, test


def _read() -> tuple[Tensor, Tensor]:
    """Pixels (1797, 64) and labels (1797,), int64, from scikit-learn's own file: importing the package takes 1 s."""
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise EnvironmentRefused("the digits dataset is inside scikit-learn, which is not installed", remedy=REMEDY)
    path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if not path.is_file():
        raise EnvironmentRefused(f"scikit-learn has no {path}", remedy=REMEDY)
    table = torch.from_numpy(np.loadtxt(path, delimiter=",", dtype=np.int64))
    return table[:, :-1], table[:, -1]


def _fingerprint(train: Split, test: Split) -> str:
    """SHA-256 over images and labels of both parts and the normalisation: everything a student sees."""
    digest = hashlib.sha256(repr(Digits.normalization).encode())
    for split in (train, test):
        assert isinstance(split.images, Tensor)
        digest.update(split.images.numpy().tobytes())
        digest.update(split.labels.numpy().tobytes())
    return digest.hexdigest()
