"""The dataset that a study names: a registered one, or a folder of images, which may not be here yet."""

from pathlib import Path
from typing import TYPE_CHECKING

from kdharness.study.spec import StudySpec

if TYPE_CHECKING:
    from kdharness.core.types import Dataset


def dataset_of(spec: StudySpec, data: Path) -> "Dataset":
    """The study's dataset; nothing but a folder is opened. A `MissingFolder` where the folder is not in `data`.

    Raises UnknownName, and BadInput for a folder that is no dataset.
    """
    if isinstance(spec.dataset, str):
        from kdharness.datasets.registry import DATASETS

        return DATASETS.get(spec.dataset)(data)
    from kdharness.datasets.folder import Folder
    from kdharness.datasets.missing import MissingFolder

    part = spec.dataset
    folder = Folder(data, part.folder, test=part.test, size=part.size)
    if folder.missing:
        return MissingFolder(folder.missing)
    _ = folder.train_size  # looks into it now, so that a tree that is no dataset is told at its place in the study
    return folder


def missing_images(dataset: "Dataset") -> str:
    """Which images are not here; empty for a dataset whose identity is known."""
    from kdharness.datasets.missing import MissingFolder

    return dataset.what if isinstance(dataset, MissingFolder) else ""
