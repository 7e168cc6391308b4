"""Places to train: one or several per GPU, else one per usable core. A slot's name changes no result."""

import os
from collections.abc import Mapping
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


AUTO = "auto"
MOST_A_DEVICE = 16
"""Jobs on one GPU that `auto` would try: more would wait for each other's launches."""


def choose_slots(asked: str | None = None) -> tuple[str, ...]:
    """The slots of `--slots`, or by default one per GPU, else one per usable core.

    `4`: so many; with GPUs they go round: cuda:0, cuda:1, cuda:0#2, cuda:1#2. `0:2,1:3`: two jobs on GPU 0, three on
    GPU 1. `auto`: as many as a GPU could ever take, in rounds; `packing` says which of them fit. Raises BadInput.
    """
    gpus = gpu_count()
    if asked is None:
        return _round(dict.fromkeys(range(gpus), 1)) if gpus else _cores(usable_cores())
    if asked == AUTO:
        return _round(dict.fromkeys(range(gpus), MOST_A_DEVICE)) if gpus else _cores(usable_cores())
    if asked.isdecimal():
        count = int(asked)
        if count < 1:
            raise BadInput(f"--slots {asked}: at least one slot is needed")
        if not gpus:
            return _cores(count)
        return _round({gpu: len(range(gpu, count, gpus)) for gpu in range(gpus)})
    return _round(_per_device(asked, gpus))


def _per_device(asked: str, gpus: int) -> dict[int, int]:
    """`0:2,1:3` -> {0: 2, 1: 3}."""
    found: dict[int, int] = {}
    for part in asked.split(","):
        device, _, jobs = part.strip().partition(":")
        if not device.isdecimal() or not jobs.isdecimal() or int(jobs) < 1 or int(device) in found:
            raise BadInput(
                f"--slots {asked}: {part!r} is not GPU:JOBS", remedy="as 4, or 0:2,1:3 (two on GPU 0), or auto"
            )
        if int(device) >= gpus:
            raise BadInput(f"--slots {asked}: GPU {device} is not here", remedy=f"there are {gpus}, counted from 0")
        found[int(device)] = int(jobs)
    return found


def _round(jobs: Mapping[int, int]) -> tuple[str, ...]:
    """The slots of GPUs that take so many jobs each, one of each GPU after the other."""
    rounds = range(1, max(jobs.values(), default=0) + 1)
    return tuple(
        f"cuda:{gpu}" + ("" if number == 1 else f"#{number}")
        for number in rounds
        for gpu in jobs
        if jobs[gpu] >= number
    )


def _cores(count: int) -> tuple[str, ...]:
    return tuple(f"cpu:{number}" for number in range(count))


def device_of(slot: str) -> str:
    """The torch device of a slot: `cpu:3` -> `cpu`, `cuda:1#2` -> `cuda:1`. Raises BadInput for another name."""
    name = slot.partition("#")[0]
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or not number.isdigit():
        raise BadInput(f"slot {slot!r} is neither cpu:N nor cuda:N")
    return "cpu" if kind == "cpu" else name
