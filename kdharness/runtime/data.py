"""`kdharness data`: a dataset's files verified byte for byte, or decoded before anybody waits for them."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor

from kdharness.core.errors import BadInput, EnvironmentRefused
from kdharness.core.types import Dataset, ImageSource
from kdharness.datasets import cache
from kdharness.datasets.files import FromFiles
from kdharness.datasets.folder import Folder
from kdharness.datasets.images import first_five, quiet, threads
from kdharness.datasets.registry import DATASETS
from kdharness.study.load import load_study

CHUNK = 256
"""Images that a thread decodes at a time."""


@dataclass(frozen=True)
class Preparation:
    """What `kdharness data prepare` did."""

    dataset: str
    place: str
    """The directory of the decoded images; empty where none are kept."""
    train: int
    test: int
    classes: int
    seconds: float
    decoded: bool
    """False where they were there already, whole."""


def named_dataset(what: str, data: Path, *, test: float | None = None, size: int | None = None) -> Dataset:
    """The dataset that a study file, a registered name or a path inside the data directory means.

    Raises BadInput, EnvironmentRefused where a folder is not there.
    """
    if what.endswith((".yaml", ".yml")) or what in DATASETS:
        if test is not None or size is not None:
            raise BadInput(f"--test and --size are for a folder of images, not for {what}")
        if what in DATASETS:
            return DATASETS.get(what)(data)
        part = load_study(Path(what)).spec.dataset
        if isinstance(part, str):
            return DATASETS.get(part)(data)
        what, test, size = part.folder, part.test, part.size
    folder = Folder(data, what, test=test, size=size)
    if folder.missing is not None:
        raise EnvironmentRefused(
            folder.missing, remedy=f"or name a study file or a registered dataset: {', '.join(DATASETS)}"
        )
    return folder


def prepare_dataset(dataset: Dataset) -> Preparation:
    """Decode its images into the cache, where they are not there byte for byte as they were written.

    Raises BadInput where they cannot be used, EnvironmentRefused where they are not there.
    """
    began = time.monotonic()
    place, decoded = "", False
    if isinstance(dataset, FromFiles):
        images = dataset.images
        whole = images.are_there
        if whole and cache.damaged(images.place):
            cache.discard(images.place)
            whole = False
        place, decoded = str(images.place), not whole
    sizes = [len(dataset.split(part).labels) for part in ("train", "test")]
    return Preparation(
        dataset.name, place, sizes[0], sizes[1], dataset.num_classes, round(time.monotonic() - began, 1), decoded
    )


def verify_dataset(dataset: Dataset) -> list[str]:
    """Read everything again and verify it; one line for each thing that was seen.

    Raises BadInput with the first five files that are wrong, EnvironmentRefused where nothing is there.
    """
    if not isinstance(dataset, FromFiles):
        return [*_facts(dataset), _decode_everything(dataset)]
    if dataset.missing is not None:
        if isinstance(dataset, Folder) or not dataset.images.are_there:
            raise EnvironmentRefused(dataset.missing)
        return [*_facts(dataset), f"files: {dataset.missing}", _check_cache(dataset)]
    arrays = dataset.reread()
    lines = [*_facts(dataset), "files: every byte read and verified"]
    if not dataset.images.are_there:
        return [*lines, "decoded images: none yet; they are made when they are first wanted"]
    lines.append(_check_cache(dataset))
    other = [name for name, array in dataset.images.arrays.items() if not np.array_equal(array, arrays[name])]
    if other:
        raise BadInput(
            f"the decoded images are not those of the files: {', '.join(other)}",
            where=str(dataset.images.place),
            remedy="another version of PIL decoded them; kept as they are, results stay comparable: delete the "
            "directory to decode them again",
        )
    return lines


def _facts(dataset: Dataset) -> list[str]:
    _, height, width = dataset.image_shape
    return [
        f"dataset {dataset.name}, fingerprint {dataset.fingerprint}",
        f"images: {dataset.train_size:,} for training, {dataset.test_size:,} for the test, {width} x {height} pixels",
        f"classes: {dataset.num_classes:,}",
    ]


def _decode_everything(dataset: Dataset) -> str:
    """Of a set too large to be resident every image is decoded once; others are there when they are opened."""
    for part in ("train", "test"):
        images = dataset.split(part).images
        if isinstance(images, Tensor):
            continue
        chunks = [range(start, min(start + CHUNK, len(images))) for start in range(0, len(images), CHUNK)]
        wrong: dict[str, str] = {}
        with quiet(), ThreadPoolExecutor(threads()) as pool:
            for found in pool.map(partial(_unusable, images), chunks):
                wrong |= found
        if wrong:
            raise BadInput(f"{len(wrong):,} images of {part} cannot be used: {first_five(wrong)}")
    return "images: every one was read"


def _unusable(images: ImageSource, positions: Sequence[int]) -> dict[str, str]:
    """File -> why, of those that cannot be decoded."""
    wrong = {}
    for position in positions:
        try:
            images.decode([position])
        except BadInput as error:
            wrong[error.where] = error.what
    return wrong


def _check_cache(dataset: FromFiles) -> str:
    place = dataset.images.place
    damaged = cache.damaged(place)
    if damaged:
        raise BadInput(
            f"the decoded images are damaged: {first_five(dict.fromkeys(damaged, ''))}",
            where=str(place),
            remedy="kdharness data prepare decodes them again",
        )
    return f"decoded images: as they were written, in {place}"
