"""Conformance checks for your own distillers, networks, datasets and the rest; no other room imports this one.

They are loaded when asked for, so that a check without tensors does not import torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdharness.testing.dataset import check_dataset
    from kdharness.testing.distiller import check_distiller
    from kdharness.testing.executor import check_executor
    from kdharness.testing.model import check_model
    from kdharness.testing.table import check_table
    from kdharness.testing.tracker import check_tracker

__all__ = ["check_dataset", "check_distiller", "check_executor", "check_model", "check_table", "check_tracker"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{name.removeprefix('check_')}"), name)
