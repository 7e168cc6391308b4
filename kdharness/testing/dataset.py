"""The laws that every dataset keeps: `check_dataset(MyDataset, data)` in one test of your own package."""

from collections.abc import Callable
from pathlib import Path

import torch

from kdharness.core.errors import BadInput, SealedSplit
from kdharness.core.types import Dataset, Split
from kdharness.testing.expect import expect

VALIDATION = 0.1
SOME = 64


def check_dataset(factory: Callable[[Path], Dataset], data: Path, *, official: bool = True) -> None:
    """Every check of this module on the dataset whose files lie in `data`. Raises AssertionError.

    The facts of an official set are constants of the code; those of a user's own images come from its files.
    """
    check_facts(factory, Path("no data here") if official else data)
    check_splits(factory, data)
    check_validation(factory, data)


def check_facts(factory: Callable[[Path], Dataset], data: Path = Path("no data here")) -> None:
    """Name, sizes, shape, normalisation, recipes and fingerprint are known, by default without data on the disk."""
    dataset = factory(data)
    expect(len(dataset.fingerprint) == 64, f"fingerprint must be a SHA-256, is {dataset.fingerprint!r}")
    expect(dataset.num_classes >= 2, f"num_classes is {dataset.num_classes}")
    channels = dataset.image_shape[0]
    normalization = dataset.normalization
    expect(
        len(normalization.mean) == len(normalization.std) == channels, f"normalization is not for {channels} channels"
    )
    expect(all(std > 0 for std in normalization.std), f"normalization divides by {normalization.std}")
    expect(dataset.train_size > 0 and dataset.test_size > 0, "train_size and test_size must be known")
    expect(bool(dataset.name and dataset.recipe and dataset.teacher_recipe), "name and recipes must be known")


def check_splits(factory: Callable[[Path], Dataset], data: Path) -> None:
    """The official splits: declared sizes, uint8 images of the declared shape, every class, positions in order."""
    dataset = factory(data)
    for part, size in (("train", dataset.train_size), ("test", dataset.test_size)):
        split = dataset.split("train" if part == "train" else "test")
        expect(len(split.labels) == size, f"{part} has {len(split.labels)} images, declared {size}")
        expect(torch.equal(split.index, torch.arange(size)), f"the index of {part} must be 0..{size - 1}")
        expect(len(split.images) == size, f"{part} has {len(split.images)} images for {size} labels")
        images = _images(split, _positions(split))
        expect(images.dtype == torch.uint8, f"images of {part} are {images.dtype}, not uint8")
        expect(images.shape[1:] == dataset.image_shape, f"images of {part} have shape {images.shape}")
        expect(split.labels.dtype == torch.int64, f"labels of {part} are {split.labels.dtype}, not int64")
        classes = set(split.labels.unique().tolist())  # type: ignore[no-untyped-call]  # torch leaves it untyped
        expect(classes == set(range(dataset.num_classes)), f"{part} has the classes {sorted(classes)}")
    again = factory(data)
    expect(again.fingerprint == dataset.fingerprint, "two openings give two different fingerprints")
    train = dataset.split("train")
    first, second = (_images(one, _positions(train)) for one in (train, again.split("train")))
    expect(torch.equal(first, second), "two openings give two different train splits")


def check_validation(factory: Callable[[Path], Dataset], data: Path) -> None:
    """Validation cuts train into two disjoint stratified parts, always the same ones, and seals the test split."""
    dataset = factory(data)
    whole = dataset.split("train")
    train, val = dataset.split("train", VALIDATION), dataset.split("val", VALIDATION)
    positions = torch.cat((train.index, val.index)).sort().values
    expect(torch.equal(positions, whole.index), "train and val are not a partition of the official train split")
    for part in (train, val):
        some = _positions(part)
        same = torch.equal(_images(part, some), _images(whole, part.index[some].tolist()))
        expect(same, "images do not lie at their index of the train split")
        same = torch.equal(part.labels, whole.labels[part.index])
        expect(same, "labels do not lie at their index of the train split")
    wanted = VALIDATION * _per_class(whole, dataset.num_classes)
    off = (_per_class(val, dataset.num_classes) - wanted).abs().max()
    expect(float(off) <= 1, "validation images are not stratified: a class is off by more than one image")
    again = factory(data).split("val", VALIDATION)
    expect(torch.equal(again.index, val.index), "two openings hold out different images")
    for part_name, validation, error in (("test", VALIDATION, SealedSplit), ("val", 0.0, BadInput)):
        try:
            dataset.split("test" if part_name == "test" else "val", validation)
        except error:
            continue
        raise AssertionError(f"split({part_name!r}, {validation}) must raise {error.__name__}")


def _per_class(split: Split, num_classes: int) -> torch.Tensor:
    return split.labels.bincount(minlength=num_classes).double()


def _positions(split: Split) -> list[int]:
    """Which images to look at: all of a resident split, some of one that is decoded when it is wanted."""
    count = len(split.images)
    return list(range(0, count, 1 if isinstance(split.images, torch.Tensor) else max(1, count // SOME)))


def _images(split: Split, positions: list[int]) -> torch.Tensor:
    return split.images[positions] if isinstance(split.images, torch.Tensor) else split.images.decode(positions)
