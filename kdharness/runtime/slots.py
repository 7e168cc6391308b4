"""Places to train: one per GPU, else one per usable core. A slot's name changes no result."""

import os
from collections import Counter
from pathlib import Path

from kdharness.core.errors import BadInput

# A driver's device node; without one there is no GPU to ask torch about, and torch need not be imported (1.7 s).
_DRIVER_NODES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def has_gpu_driver() -> bool:
    """Whether this machine has the driver of a GPU; torch may be unable to use it."""
    return any(Path(node).exists() for node in _DRIVER_NODES)


def gpu_count() -> int:
    """GPUs that torch can use; 0 on a machine without a driver."""
    if not has_gpu_driver():
        return 0
    import torch

    return torch.cuda.device_count()


def choose_slots(count: int | None = None) -> tuple[str, ...]:
    """`count` slots, default one per GPU, else one per usable core.

    With GPUs they go round: cuda:0, cuda:1, cuda:0#2, cuda:1#2. Raises BadInput for a count below 1.
    """
    if count is not None and count < 1:
        raise BadInput(f"--slots {count}: at least one slot is needed")
    gpus = gpu_count()
    if gpus == 0:
        return tuple(f"cpu:{number}" for number in range(count if count is not None else usable_cores()))
    taken: Counter[str] = Counter()
    names = []
    for number in range(count if count is not None else gpus):
        device = f"cuda:{number % gpus}"
        taken[device] += 1
        names.append(device if taken[device] == 1 else f"{device}#{taken[device]}")
    return tuple(names)


def device_of(slot: str) -> str:
    """The torch device of a slot: `cpu:3` -> `cpu`, `cuda:1#2` -> `cuda:1`. Raises BadInput for another name."""
    name = slot.partition("#")[0]
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or not number.isdigit():
        raise BadInput(f"slot {slot!r} is neither cpu:N nor cuda:N")
    return "cpu" if kind == "cpu" else name
