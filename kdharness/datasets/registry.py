"""The datasets by name. An entry is called with the home's data directory and opens nothing until `split` is asked."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from kdharness.core.registry import Registry

if TYPE_CHECKING:  # the name list must not cost an import of torch
    from kdharness.core.types import Dataset

DATASETS: "Registry[Callable[[Path], Dataset]]" = Registry("dataset", "kdharness.datasets")
