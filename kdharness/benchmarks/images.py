"""The plug-in that `bench study` gives to its two command lines: a synthetic dataset small enough for a whole study."""

from pathlib import Path

from kdharness.datasets.registry import DATASETS
from kdharness.datasets.synthetic import Synthetic

NAME = "synthetic-640"


@DATASETS.add(NAME)
def small(data: Path) -> Synthetic:
    """640 training and 256 test images of 32×32 pixels in 100 classes."""
    dataset = Synthetic(data, train_size=640, test_size=256)
    dataset.name = NAME
    return dataset
