"""A dataset by the name that a setting carries: a registered one, or a folder that has been decoded."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kdharness.core.types import Dataset

_FOLDER = re.compile(r"folder-[0-9a-f]{12}")


def open_dataset(name: str, data: Path) -> "Dataset":
    """The dataset `name`, whose files or decoded images lie in `data`.

    Raises UnknownName; EnvironmentRefused for a folder whose decoded images are not there.
    """
    from kdharness.datasets.prepared import PreparedFolder
    from kdharness.datasets.registry import DATASETS

    return PreparedFolder(name, data) if _FOLDER.fullmatch(name) else DATASETS.get(name)(data)
