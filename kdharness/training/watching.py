"""A step watched while it is taken: whether the next one is the same operations, and none waits for the device."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

WAITS = frozenset(
    (
        *("_local_scalar_dense", "equal", "is_nonzero", "nonzero", "masked_select", "_unique2", "unique_dim"),
        *("unique_consecutive", "bincount", "repeat_interleave", "multinomial"),
        *("_linalg_svd", "_linalg_eigh", "linalg_lstsq"),
    )
)
"""Operations that make the host wait for a GPU, by their names in aten."""


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch does not type it
    """Inside, every operation is noted with all that a recording of it would hold fast."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch does not type it
        self.operations: list[tuple[Any, ...]] = []
        self.waits: str | None = None
        """The first operation that waits."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.removeprefix("aten::")
        chosen = name.startswith("index") and any(_is_mask(each) for each in args)
        if self.waits is None and (name in WAITS or chosen):
            self.waits = f"{name} by a mask" if chosen else name
        self.operations.append((name, *_held(args), *_held(sorted(kwargs.items()))))
        return func(*args, **kwargs)


def why_not_recorded(one: Watch, other: Watch) -> str | None:
    """What is against recording a step of which two were watched; None if nothing is."""
    if one.waits is not None:
        return f"it waits for the device ({one.waits})"
    for before, now in zip(one.operations, other.operations, strict=False):
        if before != now:
            return f"its operations differ from step to step (from {before[0]} to {now[0]})"
    if len(one.operations) != len(other.operations):
        return f"it has {len(one.operations)} operations in one step and {len(other.operations)} in another"
    return None


def _is_mask(each: Any) -> bool:
    if isinstance(each, list | tuple):
        return any(_is_mask(item) for item in each)
    return isinstance(each, Tensor) and each.dtype in (torch.bool, torch.uint8) and each.ndim > 0


def _held(values: Any) -> list[Any]:
    """Of tensors the form, of everything else the value."""
    return [
        (tuple(each.shape), each.dtype) if isinstance(each, Tensor)
        else tuple(_held(each)) if isinstance(each, list | tuple)
        else str(each.device) if isinstance(each, torch.Generator)
        else each
        for each in values
    ]  # fmt: skip
